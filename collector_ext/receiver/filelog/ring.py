"""The memory of what was read and not yet taken: one buffer, made once, in which chunks follow each other in a circle.

    |   | oldest | ... | newest |      |      a chunk never wraps: what is left at the end of the buffer is left out

Room is reserved, written to, and committed at the front; the oldest chunk is released at the back. It never grows:
where there is no room, whoever reads waits, and the file keeps what it has.
"""

from __future__ import annotations

from collections import deque


class Ring:
    """`size` bytes. `used` counts what is committed and not released."""

    def __init__(self, size: int) -> None:
        self._view = memoryview(bytearray(size))
        self._chunks: deque[tuple[int, int]] = deque()  # begin and end
        self._next = 0
        self.used = 0

    @property
    def size(self) -> int:
        return len(self._view)

    def reserve(self, want: int, least: int) -> memoryview | None:
        """`want` bytes to write to, or what there is, and None for less than `least`. Reserving again takes it back."""
        begin, end = self._next, self.size
        if self._chunks:
            oldest = self._chunks[0][0]
            if begin <= oldest:
                end = oldest
            elif end - begin < least:
                begin, end = 0, oldest
        else:
            begin = 0
        if end - begin < least:
            return None
        self._next = begin
        return self._view[begin : min(end, begin + want)]

    def commit(self, count: int) -> memoryview:
        """The first `count` bytes of what was reserved are a chunk now."""
        begin, self._next = self._next, self._next + count
        self._chunks.append((begin, self._next))
        self.used += count
        return self._view[begin : self._next]

    def release(self) -> None:
        """The oldest chunk."""
        begin, end = self._chunks.popleft()
        self.used -= end - begin
