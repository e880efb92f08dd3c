"""OTLP over gRPC: names of methods, and what our client and our server have in common. Loading this loads gRPC, and
gRPC is loaded through this alone.

Messages go in and out as bytes, so that their size is checked before anything parses them. gRPC's core checks the size
of a message before it inflates it and never after, so it is told not to inflate: `inflate.gunzip` does it, within a
limit.
"""

from __future__ import annotations

import os

# Its core writes to standard error what the named errors here say too, and what any sender can provoke.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from grpc import aio

from collector_ext.ids import Signal

__all__ = ["DETAILS", "IDENTITY_AND_GZIP", "INFLATES_ITSELF", "METHOD", "SERVICES", "aio", "grpc"]

SERVICES = {
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
}
METHOD = "Export"
DETAILS = "grpc-status-details-bin"
"""The trailer with a failure's google.rpc.Status."""

INFLATES_ITSELF = ("grpc.per_message_decompression", 0)
IDENTITY_AND_GZIP = ("grpc.compression_enabled_algorithms_bitset", 0b101)
"""Whoever sends another compression is told UNIMPLEMENTED by the core."""
