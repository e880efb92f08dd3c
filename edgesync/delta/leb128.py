"""Whole numbers as bytes (LEB128), one by one and without numpy: groups of seven bits, lowest first, the high bit set
on all bytes but the last. `varint` does the same for arrays.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable


class VarintError(ValueError):
    """The bytes are not the expected numbers. The caller, who knows the part and the stream, names them."""


def encode(numbers: Iterable[int]) -> bytes:
    """Numbers of at least 0."""
    out = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def decode(data: bytes, count: int, limit: int) -> array[int]:
    """`count` numbers of at most `limit` (up to 8) bytes each. Raises VarintError for anything else."""
    numbers, value, shift, most = array("q"), 0, 0, 7 * limit
    for byte in data:
        if shift == most:
            raise VarintError(f"found a number of more than {limit} bytes")
        if byte < 0x80:
            numbers.append(value | byte << shift)
            value = shift = 0
        else:
            value |= (byte & 0x7F) << shift
            shift += 7
    if shift or len(numbers) != count:
        raise VarintError(f"found {len(numbers)} numbers in {len(data)} bytes, expected {count}")
    return numbers


def read(data: bytes, at: int, limit: int) -> tuple[int, int]:
    """The number at `at`, of at most `limit` bytes, and where it ends. Raises VarintError for one that is cut off,
    longer, or has a shorter form.
    """
    value = 0
    for length, byte in enumerate(data[at : at + limit], 1):
        value |= (byte & 0x7F) << 7 * (length - 1)
        if byte < 0x80:
            if not byte and length > 1:
                break
            return value, at + length
    raise VarintError(f"byte {at} is no number of at most {limit} bytes in its shortest form, or it is cut off")


def fold(number: int) -> int:
    """Signed to unsigned: 0, -1, 1, -2 ... become 0, 1, 2, 3 ..."""
    return number << 1 if number >= 0 else (-number << 1) - 1


def unfold(number: int) -> int:
    """The inverse of `fold`."""
    return number >> 1 if not number & 1 else -(number + 1 >> 1)
