"""What crosses the network: names, topics, messages, the layout of blobs. Standard library only; no I/O, no clock.

A change here is a change of the protocol and needs an ADR.
"""
