"""gzip from outside, which may be a bomb: never more than a limit is inflated."""

from __future__ import annotations

import zlib

from edgesync.wire.errors import MalformedMessageError, MessageTooLargeError

MAGIC = b"\x1f\x8b"
"""How gzip begins, and no OTLP message: in protobuf it would be a field of the wire type 7, which there is not."""


def gunzip(body: bytes, limit: int) -> bytes:
    """Raises MessageTooLargeError for more than `limit` bytes inflated, MalformedMessageError."""
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = inflate.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedMessageError(f"the body is no gzip: {error}") from error
    if len(plain) > limit:
        raise MessageTooLargeError(f"the body inflates to more than {limit} bytes")
    if not inflate.eof or inflate.unused_data:
        raise MalformedMessageError("the body's gzip is cut off or has bytes behind its end")
    return plain
