"""The little of protobuf's encoding that OTLP needs: https://protobuf.dev/programming-guides/encoding/.

Each function gives the bytes of one field, and nothing for the default value, as the official serialiser does. Fields
of a message are joined in the order of their numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_DOUBLE, _FIXED64, _SFIXED64, _FIXED32 = (struct.Struct(code) for code in ("<d", "<Q", "<q", "<I"))
_U64 = (1 << 64) - 1


def varint(number: int) -> bytes:
    """A whole number from 0."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_KEYS = {(field, kind): varint(field << 3 | kind) for field in range(1, 20) for kind in (0, 1, 2, 5)}


def message(field: int, content: bytes) -> bytes:
    """A message that is there even if it is empty."""
    return _KEYS[field, 2] + varint(len(content)) + content


def messages(field: int, contents: Iterable[bytes]) -> bytes:
    return b"".join([message(field, content) for content in contents])


def text(field: int, value: str) -> bytes:
    return message(field, value.encode()) if value else b""


def octets(field: int, value: bytes) -> bytes:
    return message(field, value) if value else b""


def unsigned(field: int, value: int) -> bytes:
    return _KEYS[field, 0] + varint(value) if value else b""


def signed(field: int, value: int) -> bytes:
    """int32 and int64: negative numbers take ten bytes."""
    return _KEYS[field, 0] + varint(value & _U64) if value else b""


def zigzag(field: int, value: int) -> bytes:
    """sint32."""
    return _KEYS[field, 0] + varint(value << 1 if value >= 0 else ~(value << 1)) if value else b""


def boolean(field: int, value: bool) -> bytes:
    return _KEYS[field, 0] + b"\1" if value else b""


def fixed64(field: int, value: int) -> bytes:
    return _KEYS[field, 1] + _FIXED64.pack(value) if value else b""


def fixed32(field: int, value: int) -> bytes:
    return _KEYS[field, 5] + _FIXED32.pack(value) if value else b""


def double(field: int, value: float) -> bytes:
    """A double that is left out where it is 0, as a field without presence is; minus zero is not 0."""
    packed = _DOUBLE.pack(value)
    return _KEYS[field, 1] + packed if packed != bytes(8) else b""


def present_double(field: int, value: float | None) -> bytes:
    """A double that is there although it is 0: optional, or one of several."""
    return b"" if value is None else _KEYS[field, 1] + _DOUBLE.pack(value)


def present_sfixed64(field: int, value: int) -> bytes:
    return _KEYS[field, 1] + _SFIXED64.pack(value)


def packed_fixed64(field: int, values: Iterable[int]) -> bytes:
    return octets(field, b"".join([_FIXED64.pack(value) for value in values]))


def packed_doubles(field: int, values: Iterable[float]) -> bytes:
    return octets(field, b"".join([_DOUBLE.pack(value) for value in values]))


def packed_varints(field: int, values: Iterable[int]) -> bytes:
    return octets(field, b"".join([varint(value) for value in values]))
