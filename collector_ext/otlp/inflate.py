"""gzip from outside, which may be a bomb: never more than a limit is inflated."""

from __future__ import annotations

import zlib

from edgesync.wire.codec import inflated

MAGIC = b"\x1f\x8b"
"""How gzip begins, and no OTLP message: in protobuf it would be a field of the wire type 7, which there is not."""


def gunzip(body: bytes, limit: int) -> bytes:
    """Raises MessageTooLargeError for more than `limit` bytes inflated, MalformedMessageError."""
    return inflated(body, limit, "the body's gzip", 16 + zlib.MAX_WBITS)
