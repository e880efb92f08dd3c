"""POSIX ustar archives that come out the same everywhere: no clock, no umask, no user names, no encoder's taste.

One record per regular file, mode 0755 or 0644, uid and gid 0, the given time, two zero blocks at the end.
"""

from __future__ import annotations

from edgesync.wire.errors import ConfigError

BLOCK = 512
END = bytes(2 * BLOCK)

_NAME, _PREFIX = 100, 155
_CHECKSUM = slice(148, 156)


def header(path: str, size: int, mtime: int, *, executable: bool = False) -> bytes:
    """The 512 bytes before a file of `size` bytes. Raises ConfigError for a path that ustar cannot hold."""
    if not path.isascii():
        raise ConfigError(f"{path!r}: a ustar archive holds ASCII names only")
    name, prefix = path.encode(), b""
    if len(name) > _NAME:
        # Cut at the first slash that leaves at most 100 bytes: other cuts are valid too and give another digest.
        cut = name.find(b"/", len(name) - _NAME - 1)
        prefix, name = name[:cut], name[cut + 1 :]
        if cut < 0 or len(prefix) > _PREFIX or not name:
            raise ConfigError(f"{path}: too long for a ustar archive")
    block = bytearray(BLOCK)
    mode = 0o755 if executable else 0o644
    for at, value in (
        (0, name),
        (100, _octal(mode, 8)),
        (108, _octal(0, 8)),
        (116, _octal(0, 8)),
        (124, _octal(size, 12)),
        (136, _octal(mtime, 12)),
        (_CHECKSUM.start, b" " * 8),
        (156, b"0"),
        (257, b"ustar\x0000"),
        (329, _octal(0, 8)),
        (337, _octal(0, 8)),
        (345, prefix),
    ):
        block[at : at + len(value)] = value
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def padding(size: int) -> bytes:
    """What fills a file's last block."""
    return bytes(-size % BLOCK)


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)
