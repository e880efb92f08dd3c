"""The kernel's word that someone has touched a directory (inotify), where the kernel has it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterable

READ = 4096
"""Bytes of the kernel's words read at a time; what they say is not looked at."""
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
# Written, mode or owner changed, moved away, moved here, made, deleted, the directory itself deleted or moved.
_MASK = 0x02 | 0x04 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
_ONLY_DIRECTORIES = 0x01000000

log = logging.getLogger("edgesync.config")


class Notifier:
    """Calls `stirred` when a watched directory is touched. Without inotify it never does, and says so once."""

    def __init__(self, stirred: Callable[[], None]) -> None:
        self._stirred = stirred
        self._fd = -1
        self._missing = False

    def watch(self, directories: Iterable[str]) -> None:
        """Watch these and no others any more."""
        self.close()
        if self._missing:
            return
        try:
            self._fd = _watching(directories)
        except (OSError, AttributeError) as error:
            log.warning("config is looked at from time to time only, there is no inotify: %s", error)
            self._missing = True
        else:
            asyncio.get_running_loop().add_reader(self._fd, self._read)

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, READ)
        self._stirred()


def _watching(directories: Iterable[str]) -> int:
    """A descriptor that can be read when one of these is touched. Raises OSError; AttributeError without inotify."""
    import ctypes  # noqa: PLC0415 - weighs 0.6 MiB, and a board without config never needs it

    libc = ctypes.CDLL(None, use_errno=True)

    def checked(result: int, *harmless: int) -> int:
        number = ctypes.get_errno()
        if result < 0 and number not in harmless:
            raise OSError(number, os.strerror(number))
        return result

    fd = checked(libc.inotify_init1(_NONBLOCK_CLOEXEC))
    try:
        for directory in directories:
            added = libc.inotify_add_watch(fd, os.fsencode(directory), _MASK | _ONLY_DIRECTORIES)
            checked(added, errno.ENOENT, errno.ENOTDIR)  # that is drift, and a look finds it
    except OSError:
        os.close(fd)
        raise
    return fd
