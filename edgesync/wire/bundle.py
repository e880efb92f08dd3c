"""A bundle: all config files of one board and how to treat them, as one canonical string of bytes.

    "esc1"  length of the header u32 (little-endian)  header  then the content of each file, one behind the other
    header = {"files": [[path, mode, bytes], ...] sorted by path, "settings": {...}}, canonical JSON

The same files and settings give the same bytes everywhere, so the SHA-256 of a bundle is the name of the tree that it
makes. It holds no links, no owners, no times, and no directories but those that its files need: there is nothing in it
that could point outside of the tree or make code run.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from edgesync.wire import codec, fields
from edgesync.wire.errors import MalformedMessageError, UnknownFormatError

BUNDLE_LIMIT = 1 << 20
"""Bytes of a whole bundle: several minutes of a narrow link, even deflated. What is larger is not config."""
FILES_LIMIT = 1000
PATH_LIMIT = 200
"""Characters of a path, and of all that stands in it."""
COMMANDS_LIMIT = 8
NAME_LIMIT = 64
PROBE_LIMIT = 3600
"""Seconds that a probe may be asked to hold."""
READABLE = 0o400
"""The bit of a mode without which not even its owner can read a file: applications would be locked out."""

Drift = Literal["heal", "report"]

_MAGIC = b"esc1"
_HEAD = struct.Struct("<4sI")
HEAD_FIXED = _HEAD.size
"""Bytes from which `head_size` can tell how long a header is."""


@dataclass(frozen=True, slots=True)
class BundleFile:
    """Content and permission bits of one file."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Settings:
    """How a board treats the tree: names of commands in the board's image that `check` the tree before it is switched
    to, make applications `reload`, and `probe` whether all is well, for `probe_seconds` on end; whether what someone
    changed by hand is healed or only reported.
    """

    check: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    probe: tuple[str, ...] = ()
    probe_seconds: int = 0
    drift: Drift = "heal"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Files by path, and settings."""

    files: Mapping[str, BundleFile] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an encoded bundle: its content is `length` bytes from byte `offset` on."""

    path: str
    mode: int
    offset: int
    length: int


def path_problem(path: str) -> str:
    """What is wrong with the path of a file in a tree; "" for nothing."""
    if not path or len(path.encode(errors="replace")) > PATH_LIMIT:
        return f"a path of {len(path)} characters, expected 1 to {PATH_LIMIT}"
    if not path.isprintable() or "\\" in path:
        return "a character that is not printable, or a backslash"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "an empty name, `.` or `..`, or a slash at an end"
    return ""


def mode_problem(mode: int) -> str:
    """What is wrong with the mode of a file in a tree; "" for nothing."""
    if not 0 <= mode <= 0o777:
        return f"mode {mode:o}, expected permission bits from 0 to 777 and nothing else"
    return "" if mode & READABLE else f"mode {mode:04o}, which its owner cannot read"


def clashes(paths: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Pairs of paths of which the first would be a file and a directory of the second at once."""
    for path in paths:
        parts = path.split("/")
        for end in range(1, len(parts)):
            if (above := "/".join(parts[:end])) in paths:
                yield above, path


def encode(bundle: Bundle) -> bytes:
    """The canonical bytes. Raises MalformedMessageError for what `decode` would not take."""
    settings = bundle.settings
    _check({path: file.mode for path, file in bundle.files.items()}, settings)
    header = codec.canonical(
        {
            "files": [[path, file.mode, len(file.data)] for path, file in sorted(bundle.files.items())],
            "settings": {name: getattr(settings, name) for name in Settings.__slots__},
        }
    )
    data = _HEAD.pack(_MAGIC, len(header)) + header + b"".join(f.data for _, f in sorted(bundle.files.items()))
    if len(data) > BUNDLE_LIMIT:
        raise MalformedMessageError(f"bundle of {len(data)} bytes, at most {BUNDLE_LIMIT}")
    return data


def decode(data: bytes) -> Bundle:
    """The inverse: only what `encode` gives is taken, byte for byte.

    Raises MalformedMessageError, UnknownFormatError for another version.
    """
    settings, entries = parse_head(data[: head_size(data)], len(data))
    files = {e.path: BundleFile(data[e.offset : e.offset + e.length], e.mode) for e in entries}
    bundle = Bundle(files, settings)
    if encode(bundle) != data:
        raise MalformedMessageError("bundle is not in its canonical form")
    return bundle


def head_size(data: bytes) -> int:
    """Bytes that magic and header take at the beginning of `data`, by their own word; checked by `parse_head`."""
    return _HEAD.size + int(_HEAD.unpack_from(data)[1]) if len(data) >= _HEAD.size else len(data)


def parse_head(head: bytes, length: int) -> tuple[Settings, tuple[Entry, ...]]:
    """Settings and files of a bundle of `length` bytes from its beginning, for readers that do not want all of it in
    memory at once. Raises what `decode` raises.
    """
    if length > BUNDLE_LIMIT or len(head) < _HEAD.size:
        raise MalformedMessageError(f"bundle of {length} bytes, expected {_HEAD.size} to {BUNDLE_LIMIT}")
    if head[:4] != _MAGIC:
        raise UnknownFormatError(f"bundle begins with {head[:4]!r}, expected {_MAGIC!r}")
    if len(head) != head_size(head):
        raise MalformedMessageError(f"bundle's header is cut off after {len(head)} bytes")
    header, at = codec.parse_object(head[_HEAD.size :]), len(head)
    entries = []
    for row in fields.array(header, "files", FILES_LIMIT):
        path, mode, size = _row(row)
        entries.append(Entry(path, mode, at, size))
        at += size
    settings, paths = _settings(fields.mapping(header, "settings")), [entry.path for entry in entries]
    if at != length or paths != sorted(set(paths)):
        raise MalformedMessageError(f"bundle of {length} bytes is cut off, too long, unsorted or names a file twice")
    _check({entry.path: entry.mode for entry in entries}, settings)
    return settings, tuple(entries)


def _check(modes: Mapping[str, int], settings: Settings) -> None:
    if len(modes) > FILES_LIMIT:
        raise MalformedMessageError(f"bundle of {len(modes)} files, at most {FILES_LIMIT}")
    for path, mode in modes.items():
        if problem := path_problem(path) or mode_problem(mode):
            raise MalformedMessageError(f"bundle: file {path[:PATH_LIMIT]!r}: {problem}")
    for above, path in clashes(modes):
        raise MalformedMessageError(f"bundle: {above!r} is a file, and a directory of {path!r}")
    for name in ("check", "reload", "probe"):
        commands = getattr(settings, name)
        if len(commands) > COMMANDS_LIMIT or any(not 0 < len(command) <= NAME_LIMIT for command in commands):
            raise MalformedMessageError(f"bundle: {name}: at most {COMMANDS_LIMIT} names of {NAME_LIMIT} characters")
    if not 0 <= settings.probe_seconds <= PROBE_LIMIT or settings.drift not in ("heal", "report"):
        raise MalformedMessageError(f"bundle: probe_seconds {settings.probe_seconds}, drift {settings.drift!r}")


def _row(row: object) -> tuple[str, int, int]:
    match row:
        case [str(path), int(mode), int(length)] if length >= 0:
            return path, mode, length
    raise MalformedMessageError(f"bundle: found {str(row)[:60]!r}, expected a path, a mode and a length")


def _settings(value: Mapping[str, Any]) -> Settings:
    def names(key: str) -> tuple[str, ...]:
        found = fields.array(value, key, COMMANDS_LIMIT)
        if not all(isinstance(name, str) for name in found):
            raise MalformedMessageError(f"bundle: {key}: found {str(found)[:60]!r}, expected names of commands")
        return tuple(found)

    return Settings(
        names("check"),
        names("reload"),
        names("probe"),
        fields.integer(value, "probe_seconds"),
        cast(Drift, fields.text(value, "drift", 10)),
    )
