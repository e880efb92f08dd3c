"""A board's config: one tree of files that switches at once, proves itself, and goes back by itself.

`machine` decides, `installer` and `watch` do, `edgesync.agent.configurator` brings them together. Firmware has a
decider of its own; neither waits for the other's fetch.
"""
