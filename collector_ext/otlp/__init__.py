"""OTLP: `pdata` as protobuf, by hand where a board writes it, with the official package where a server reads it; and
what the exporters and receivers of OTLP over HTTP and over gRPC have in common.
"""
