"""OTLP's answers: what a backend did not take of a request that it took, and why a request failed.

The three signals' responses have one shape: `partial_success` with how many were rejected, and why.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from edgesync.wire.fields import storable

TEXT_LIMIT = 200
"""Characters of the reason that are kept."""


def rejected(body: bytes) -> tuple[int, str]:
    """How many points, spans or records were rejected, and why; (0, "") for none, and for an answer that is no OTLP:
    the data are taken whatever the answer says besides.
    """
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return 0, ""
    text = "".join(c if c.isprintable() else "?" for c in partial.error_message[:TEXT_LIMIT])
    return max(0, partial.rejected_spans), text


def failure(why: str) -> bytes:
    """The body of an answer that is no success."""
    return bytes(Status(message=storable(why)).SerializeToString())
