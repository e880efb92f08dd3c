"""OTLP's answers: what a backend did not take of a request that it took, why a request failed, and when to come again.

The three signals' responses have one shape: `partial_success` with how many were rejected, and why. A failure is a
google.rpc.Status, over HTTP as the body, over gRPC beside the status.
"""

from __future__ import annotations

import math

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from edgesync.wire.fields import storable

TEXT_LIMIT = 200
"""Characters of a backend's words that are kept."""


def rejected(body: bytes) -> tuple[int, str]:
    """How many points, spans or records were rejected, and why; (0, "") for none, and for an answer that is no OTLP:
    the data are taken whatever the answer says besides.
    """
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return 0, ""
    return max(0, partial.rejected_spans), printable(partial.error_message)


def printable(text: str) -> str:
    """As much of a backend's words as goes into a line of the log."""
    return "".join(c if c.isprintable() else "?" for c in text[:TEXT_LIMIT])


def failure(why: str, code: int = 0, delay: float = 0.0) -> bytes:
    """What says of a request why it failed. `code` is gRPC's, 0 over HTTP; `delay` the seconds until it may come again,
    0 where nobody knows.
    """
    status = Status(code=code, message=storable(why))
    if delay > 0:
        info = RetryInfo()
        info.retry_delay.FromMilliseconds(math.ceil(delay * 1000))
        status.details.add().Pack(info)
    return bytes(status.SerializeToString())


def retry_delay(status: bytes) -> float | None:
    """Seconds after which the request may come again; None where a failure does not say that it may."""
    info = RetryInfo()
    try:
        for detail in Status.FromString(status).details:
            if detail.Unpack(info):
                return max(0.0, float(info.retry_delay.ToNanoseconds()) / 1e9)
    except DecodeError:
        pass  # whatever it says, it does not say that
    return None
