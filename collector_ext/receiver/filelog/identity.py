"""Which file is which: its inode while it lives, and a fingerprint of its first bytes, which a copy has as well."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass

_DIGEST_BYTES = 16
_COMPRESSED = (
    b"\x1f\x8b",  # gzip
    b"\x1f\x9d",  # compress
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",  # zstd
    b"\x04\x22\x4d\x18",  # lz4
    b"PK\x03\x04",
)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The digest of a file's first `length` bytes: of all there are, up to the configured size."""

    length: int = 0
    digest: str = ""

    def matches(self, head: bytes) -> bool:
        """Does a file that begins so go on from what was seen?"""
        return len(head) >= self.length and fingerprint(head[: self.length]) == self


def fingerprint(head: bytes) -> Fingerprint:
    if not head:
        return Fingerprint()
    return Fingerprint(len(head), hashlib.blake2b(head, digest_size=_DIGEST_BYTES).hexdigest())


def is_compressed(head: bytes) -> bool:
    """A rotated file that was packed: what is in it was read before."""
    return head.startswith(_COMPRESSED)


def open_regular(path: str) -> int:
    """A descriptor to read from. Raises OSError, also for what has become something else than a regular file.

    A FIFO's writer would notice, and a device may act on being opened, so whoever calls has looked before; what slips
    in between at least blocks nobody.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file")
    return fd
