"""Telemetry as it goes over a narrow link: an OTLP request, deflated with a preset dictionary.

    one byte   4 times the dictionary's number, plus the signal: 0 metrics, 1 traces, 2 logs
    the rest   raw deflate

A dictionary is what batches have in common: names, units, keys. Both sides hold it, so it never travels. Its number is
protocol: a dictionary is never changed, only followed by another, and all are kept.
"""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path

from collector_ext.ids import Signal
from edgesync.wire.codec import RAW, inflated
from edgesync.wire.errors import MessageTooLargeError, UnknownFormatError

PACKED_LIMIT = 64 * 1024
"""Bytes of one message: a quarter of a minute of a 32 kbit/s link, and what a collector reads from a board."""
PLAIN_LIMIT = 4 << 20
"""Bytes after inflating: a bomb stops here."""
NEWEST = 1
"""The dictionary that is written with."""

_SIGNALS = (Signal.METRICS, Signal.TRACES, Signal.LOGS)


def pack(signal: Signal, request: bytes, number: int = NEWEST) -> bytes:
    """Raises MessageTooLargeError for a request that no collector would take."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, RAW, 9, zdict=dictionary(number))
    packed = bytes([number << 2 | _SIGNALS.index(signal)]) + deflate.compress(request) + deflate.flush()
    if len(request) > PLAIN_LIMIT or len(packed) > PACKED_LIMIT:
        raise MessageTooLargeError(f"telemetry of {len(request)} bytes, {len(packed)} packed; at most {PACKED_LIMIT}")
    return packed


def unpack(packed: bytes) -> tuple[Signal, bytes]:
    """The inverse. Raises MessageTooLargeError, UnknownFormatError for a dictionary that only a newer version has,
    MalformedMessageError.
    """
    if not 2 <= len(packed) <= PACKED_LIMIT:
        raise MessageTooLargeError(f"telemetry of {len(packed)} bytes, expected 2 to {PACKED_LIMIT}")
    number, signal = packed[0] >> 2, packed[0] & 3
    if number > NEWEST or signal >= len(_SIGNALS):
        raise UnknownFormatError(f"telemetry with dictionary {number} and signal {signal}, known are up to {NEWEST}")
    return _SIGNALS[signal], inflated(packed[1:], PLAIN_LIMIT, "telemetry", zdict=dictionary(number))


@cache
def dictionary(number: int) -> bytes:
    """Number 0 is empty, for what resembles nothing that was seen before."""
    # Beside this module rather than through importlib.resources, which costs a board memory.
    return Path(__file__).with_name(f"dictionary-{number}.bin").read_bytes() if number else b""
