"""Which files are followed and from where: found, renamed, truncated, copied, gone.

1. An inode that is known goes on, if it begins as it did and is not shorter than what was read of it. If not, it was
   truncated (copytruncate) and is read from its beginning.
2. One that no pattern matches any more was renamed or deleted. What it still gets is read, under its new name in the
   same directory or from the open descriptor, until nothing has come for a while; then it is forgotten.
3. An unknown inode that begins as one that was just truncated or forgotten is its copy and goes on from its position;
   one that begins as a file that lives, in a whole fingerprint, is a copy in the making, and is left alone.
4. A compressed file is left alone. Any other is new: read from its beginning, or from where the first start finds it.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from collector_ext.receiver.filelog.config import FileLogConfig
from collector_ext.receiver.filelog.identity import Fingerprint, fingerprint, is_compressed, open_regular
from collector_ext.receiver.filelog.offsets import Position
from collector_ext.receiver.filelog.patterns import ENTRIES_LIMIT, FILES_LIMIT, Finder, Found, Inode, stamp

QUIET = 300.0
"""Seconds without news after which a renamed or deleted file is forgotten: a daemon may go on writing to it."""
COPY_LOOKS = 3
"""Looks for which a truncated or forgotten file waits for its copy to be found."""


@dataclass(slots=True, eq=False)
class Tail:
    """One file. Bytes before `read` are in the ring or further, those before `taken` are a pipeline's; `pending` chunks
    of it are in the ring. `name` is the path at which it was found first. `stamp` is what was seen last, at `changed`
    (monotonic seconds) for the first time; `settled` the one with which there was nothing more to read.
    """

    inode: Inode
    path: str
    name: str
    mark: Fingerprint = field(default_factory=Fingerprint)
    read: int = 0
    taken: int = 0
    pending: int = 0
    fd: int = -1
    listed: bool = True
    stamp: tuple[int, int] = (0, 0)
    settled: tuple[int, int] = (-1, -1)
    changed: float = 0.0
    turn: int = 0
    dirty: bool = True

    @property
    def position(self) -> Position:
        return Position(self.inode, self.taken, self.path, self.name, self.mark)


class Tails:
    """`look` says which files have something. `problems` are those of the last look, by path."""

    def __init__(self, config: FileLogConfig, known: list[Position] | None, log: logging.Logger) -> None:
        """`known` None: it never ran before, and `start_at` counts."""
        self._config, self._log = config, log
        self._finder = Finder(config.include, config.exclude)
        self._from_end = known is None and config.start_at == "end"
        self._known: dict[Inode, Tail] = {}
        for one in known or ():
            at = one.at or 0
            self._known[one.inode] = Tail(one.inode, one.path, one.name, one.mark, at, at, dirty=False)
        self._open: dict[Tail, None] = {}
        self._lost: list[Tail] = []  # known, and nothing leads to them now
        self._orphans: deque[tuple[int, Tail]] = deque()  # truncated or forgotten, and in which look
        self._compressed: dict[Inode, tuple[int, int]] = {}
        self._copies: set[Inode] = set()
        self._gone: set[Inode] = set()
        self._listings: dict[str, Mapping[int, str]] = {}
        self._looks = 0
        self.problems: dict[str, str] = {}

    @property
    def open_files(self) -> int:
        return len(self._open)

    def look(self, now: float) -> list[Tail]:
        """Those that have something to read, the longest not served first. `now` in monotonic seconds."""
        found = self._finder.look()
        self.problems = dict(self._finder.problems)
        self._looks += 1
        while self._orphans and self._orphans[0][0] <= self._looks - COPY_LOOKS:
            self._orphans.popleft()
        self._listings, self._lost = {}, []
        for tail in list(self._known.values()):
            self._follow(tail, found.get(tail.inode), now)
        self._compressed = {inode: seen for inode, seen in self._compressed.items() if inode in found}
        self._copies &= found.keys()
        for one in found.values():
            if one.inode not in self._known and self._compressed.get(one.inode) != one.stamp:
                self._meet(one, now)
        self._from_end = False
        due = [tail for tail in self._known.values() if tail.stamp != tail.settled or self.is_final(tail, now)]
        return sorted(due, key=lambda tail: (tail.turn, tail.listed))

    def is_final(self, tail: Tail, now: float) -> bool:
        """Is what stands at its end without an end of its own taken for an entry, and not read yet?"""
        quiet, period = now - tail.changed, self._config.force_flush_period
        over = (period and quiet >= period) or (not tail.listed and quiet >= QUIET)
        return bool(over) and tail.stamp[0] > tail.read

    def opened(self, tail: Tail) -> bool:
        """Open it where it is not; False where it cannot be, which is a problem, or has gone."""
        if tail.fd < 0:
            fd = self._opened(tail.path, tail.inode)
            if fd is None:
                return False
            self._hold(tail, fd)
        return True

    def changes(self) -> list[Position]:
        """What has changed since `saved`."""
        gone = [Position(inode, None) for inode in self._gone if inode not in self._known]
        return [*gone, *(tail.position for tail in self._known.values() if tail.dirty)]

    def positions(self) -> list[Position]:
        return [tail.position for tail in self._known.values()]

    def saved(self) -> None:
        self._gone.clear()
        for tail in self._known.values():
            tail.dirty = False

    def close(self) -> None:
        for tail in list(self._open):
            self._close(tail)

    # --- files that are known -----------------------------------------------------------------------------------

    def _follow(self, tail: Tail, found: Found | None, now: float) -> None:
        if not found and tail.fd < 0 and not tail.mark.length:  # nothing would tell it from whoever has its inode now
            self._drop(tail)
            return
        if tail.listed and not found:
            tail.changed = now  # from now on it is to be quiet
        tail.listed = found is not None
        if found:
            self._moved(tail, found.path)
        seen = found.stamp if found else self._whereabouts(tail)
        if seen is None:
            self._lost.append(tail)
        elif seen != tail.stamp and self._verified(tail):
            tail.stamp, tail.changed = seen, now
        if self._known.get(tail.inode) is tail and self._is_over(tail, now, there=seen is not None):
            self._forget(tail)

    def _is_over(self, tail: Tail, now: float, *, there: bool) -> bool:
        if tail.listed or tail.pending or (there and (tail.stamp != tail.settled or self.is_final(tail, now))):
            return False
        return now - tail.changed >= QUIET or len(self._known) > 2 * FILES_LIMIT

    def _whereabouts(self, tail: Tail) -> tuple[int, int] | None:
        """The stamp of a file that no pattern matches; None where nothing leads to it."""
        status = _status(tail.path)
        if _inode(status) != tail.inode:
            directory = os.path.dirname(tail.path)
            if directory not in self._listings:
                self._listings[directory] = _listing(directory)
            name = self._listings[directory].get(tail.inode[1])
            path = os.path.join(directory, name or "")
            status = _status(path) if name else None
            if _inode(status) == tail.inode:
                self._moved(tail, path)
            else:
                status = os.fstat(tail.fd) if tail.fd >= 0 else None
        return stamp(status) if status else None

    def _verified(self, tail: Tail) -> bool:
        """It was written to: did it go on? What began anew, or was empty, is to be met like an unknown file."""
        if not self.opened(tail):
            return False
        head = _head(tail.fd, max(self._config.fingerprint_size, tail.mark.length))
        if head and not tail.mark.length and tail.listed:
            self._drop(tail)
            return False
        if os.fstat(tail.fd).st_size < tail.read or not tail.mark.matches(head):
            self._forget(tail)
            return False
        if len(head) > tail.mark.length:
            tail.mark, tail.dirty = fingerprint(head), True
        return True

    def _forget(self, tail: Tail) -> None:
        """A copy of it may still turn up, in the next looks."""
        if tail.stamp[0] > tail.read:
            self._log.debug("%s: %d bytes are not read, unless a copy has them", tail.path, tail.stamp[0] - tail.read)
        self._drop(tail)
        self._orphans.append((self._looks, tail))

    def _drop(self, tail: Tail) -> None:
        self._close(tail)
        del self._known[tail.inode]
        self._gone.add(tail.inode)

    # --- files that are not -------------------------------------------------------------------------------------

    def _meet(self, found: Found, now: float) -> None:
        fd = self._opened(found.path, found.inode)
        if fd is None:
            return
        head, status = _head(fd, self._config.fingerprint_size), os.fstat(fd)
        if is_compressed(head):
            self._compressed[found.inode] = found.stamp
            os.close(fd)
        elif tail := self._original(found.inode, head):
            self._adopt(tail, found, fingerprint(head), status.st_size, now)
            self._hold(tail, fd)
        elif living := self._living(head):
            if found.inode not in self._copies:
                self._log.info("%s begins as %s does and is taken for a copy of it", found.path, living.path)
                self._copies.add(found.inode)
            os.close(fd)
        else:
            at = status.st_size if self._from_end else 0
            mark = fingerprint(head)
            tail = Tail(found.inode, found.path, found.path, mark, at, at, stamp=found.stamp, changed=now)
            tail.turn = self._looks  # behind what was rotated to make room for it
            self._known[tail.inode] = tail
            self._hold(tail, fd)

    def _original(self, inode: Inode, head: bytes) -> Tail | None:
        """The file whose copy this is, or itself after a reboot that numbered the devices anew."""
        whole = [tail for tail in self._lost if tail.mark.length >= self._config.fingerprint_size]
        renumbered = [tail for tail in self._lost if tail.inode[1] == inode[1]]
        for tail in (*(tail for _, tail in self._orphans), *whole, *renumbered):
            if tail.inode != inode and tail.mark.length and tail.mark.matches(head):
                return tail
        return None

    def _living(self, head: bytes) -> Tail | None:
        mark = fingerprint(head)
        living = (tail for tail in self._known.values() if tail.mark == mark)
        return next(living, None) if mark.length >= self._config.fingerprint_size else None

    def _adopt(self, tail: Tail, found: Found, mark: Fingerprint, size: int, now: float) -> None:
        self._lost = [other for other in self._lost if other is not tail]
        self._orphans = deque(one for one in self._orphans if one[1] is not tail)
        if self._known.get(tail.inode) is tail:
            del self._known[tail.inode]
            self._gone.add(tail.inode)
        tail.inode, tail.path, tail.listed, tail.mark = found.inode, found.path, True, mark
        tail.read, tail.taken = min(tail.read, size), min(tail.taken, size)
        tail.stamp, tail.settled, tail.changed, tail.dirty = found.stamp, (-1, -1), now, True
        self._known[tail.inode] = tail

    # --- descriptors --------------------------------------------------------------------------------------------

    def _opened(self, path: str, inode: Inode) -> int | None:
        try:
            fd = open_regular(path)
        except FileNotFoundError:  # it has just gone; the next look knows more
            return None
        except OSError as error:
            self.problems[path] = str(error.strerror)
            return None
        if _inode(os.fstat(fd)) != inode:
            os.close(fd)
            return None
        return fd

    def _hold(self, tail: Tail, fd: int) -> None:
        """The oldest is closed for it where there are too many, if it can be opened again."""
        if len(self._open) >= self._config.max_concurrent_files:
            self._close(next((one for one in self._open if one.listed), next(iter(self._open))))
        tail.fd = fd
        self._open[tail] = None

    def _close(self, tail: Tail) -> None:
        if tail.fd >= 0:
            os.close(tail.fd)
            tail.fd = -1
            del self._open[tail]

    def _moved(self, tail: Tail, path: str) -> None:
        if tail.path != path:
            tail.path, tail.dirty = path, True


def _head(fd: int, size: int) -> bytes:
    """The first bytes, but for zeros: they are room for what comes, or what a writer left out who goes on behind a
    truncation.
    """
    return os.pread(fd, size, 0).rstrip(b"\0")


def _inode(status: os.stat_result | None) -> Inode | None:
    return (status.st_dev, status.st_ino) if status else None


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _listing(directory: str) -> Mapping[int, str]:
    """Names by inode number; nothing of what cannot be listed."""
    try:
        with os.scandir(directory or ".") as entries:
            return {entry.inode(): entry.name for entry in islice(entries, ENTRIES_LIMIT)}
    except OSError:
        return {}
