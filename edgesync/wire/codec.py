"""Bytes of a message: canonical JSON, deflated, and both sizes checked before anything is parsed."""

from __future__ import annotations

import json
import zlib
from typing import Any

from edgesync.wire.errors import MalformedMessageError, MessageTooLargeError

PACKED_LIMIT = 8 * 1024
"""Bytes of a deflated message on the wire. `desired` and `reported` aim at 1 KiB."""
PLAIN_LIMIT = 64 * 1024
"""Bytes after inflating: a bomb stops here."""
RAW = -zlib.MAX_WBITS
"""Deflate without a header."""


def pack(plain: bytes) -> bytes:
    """Deflate. Raises MessageTooLargeError when the result would not be accepted by the other side."""
    deflate = zlib.compressobj(9, wbits=RAW)
    packed = deflate.compress(plain) + deflate.flush()
    if len(plain) > PLAIN_LIMIT or len(packed) > PACKED_LIMIT:
        raise MessageTooLargeError(f"message of {len(plain)} bytes, {len(packed)} deflated; at most {PACKED_LIMIT}")
    return packed


def unpack(packed: bytes) -> bytes:
    """Inflate. Raises MessageTooLargeError past the limits, MalformedMessageError for broken or trailing bytes."""
    if len(packed) > PACKED_LIMIT:
        raise MessageTooLargeError(f"message of {len(packed)} bytes, at most {PACKED_LIMIT}")
    return inflated(packed, PLAIN_LIMIT, "message")


def inflated(packed: bytes, limit: int, what: str, wbits: int = RAW, zdict: bytes = b"") -> bytes:
    """What zlib has packed, which may be a bomb: never more than `limit` bytes and one are inflated. Raises
    MessageTooLargeError, and MalformedMessageError for broken or trailing bytes; both say `what` it is.
    """
    inflate = zlib.decompressobj(wbits, zdict)
    try:
        plain = inflate.decompress(packed, limit + 1)
    except zlib.error as error:
        raise MalformedMessageError(f"{what} does not inflate: {error}") from error
    if len(plain) > limit:
        raise MessageTooLargeError(f"{what} inflates to more than {limit} bytes")
    if not inflate.eof or inflate.unused_data:
        raise MalformedMessageError(f"{what} is cut off or has bytes behind its end")
    return plain


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: the same value gives the same bytes everywhere."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse_object(plain: bytes) -> dict[str, Any]:
    """A JSON object. Raises MalformedMessageError for anything else, nesting that is too deep included."""
    try:
        value = json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise MalformedMessageError(f"message is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise MalformedMessageError(f"message is a JSON {type(value).__name__}, expected an object")
    return value
