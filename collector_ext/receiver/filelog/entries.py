"""Bytes of a file cut into log entries: lines, or what begins or ends where a pattern matches. Pure.

An entry longer than the limit is cut into pieces, each an entry: nothing of it is lost. Line ends and zeros around an
entry, and entries of nothing else, are left out: zeros are what a truncated file or a power cut puts where data was.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from collector_ext.receiver.filelog.config import Multiline, expression

AROUND = b"\r\n\0"


class Entries:
    """`limit` bytes an entry."""

    def __init__(self, multiline: Multiline, limit: int) -> None:
        pattern = multiline.line_start_pattern or multiline.line_end_pattern
        self._pattern = expression("multiline", pattern.encode()) if pattern else None
        self._starts = bool(multiline.line_start_pattern)
        self.limit = limit

    def complete(self, data: bytes) -> int:
        """How many bytes from the beginning are whole entries: what follows may go on."""
        if self._pattern is None:
            return data.rfind(b"\n") + 1
        return max(self._ends(data), default=0)

    def piece(self, data: bytes) -> int:
        """How many bytes of an entry without an end make the first piece: at most `limit`, no character cut apart."""
        if len(data) <= self.limit:
            return len(data)
        # In UTF-8 a byte 10xxxxxx goes on with a character, of four at most; elsewhere it may be anything.
        ends = (self.limit - back for back in range(4) if data[self.limit - back] & 0xC0 != 0x80)
        return next(ends, self.limit)

    def split(self, data: bytes) -> Iterator[tuple[list[bytes], int]]:
        """Of whole entries: the pieces of each, and where it ends."""
        begin = 0
        for end in chain(self._ends(data), (len(data),)):
            if end > begin:
                yield self._pieces(data[begin:end].strip(AROUND)), end
                begin = end

    def _pieces(self, entry: bytes) -> list[bytes]:
        pieces = []
        while entry:
            end = self.piece(entry)
            pieces.append(entry[:end])
            entry = entry[end:]
        return pieces

    def _ends(self, data: bytes) -> Iterator[int]:
        if self._pattern is None:
            end = data.find(b"\n") + 1
            while end:
                yield end
                end = data.find(b"\n", end) + 1
        else:
            for match in self._pattern.finditer(data):
                if end := match.start() if self._starts else match.end():
                    yield end
