"""ARM programs inside an image, wherever they lie: in a tar, an ext4 file system, or by themselves.

Server only. An image is searched for ELF headers; what cannot be read as a little-endian program for AArch64 or 32-bit
ARM is no program, and then its words are predicted by nothing, which costs bytes and no correctness.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edgesync.delta.contents import Kinds

_ARM, _AARCH64 = 40, 183


@dataclass(frozen=True, slots=True)
class _Machine:
    """How programs of a machine begin, and how their headers are laid out, which are as wide as its addresses."""

    number: int
    magic: re.Pattern[bytes]
    header: struct.Struct
    program: struct.Struct
    section: struct.Struct


_MACHINES = (
    _Machine(
        _AARCH64,
        re.compile(rb"\x7fELF\x02\x01\x01"),
        struct.Struct("<16sHHIQQQIHHHHHH"),
        struct.Struct("<IIQQQQQQ"),
        struct.Struct("<IIQQQQIIQQ"),
    ),
    _Machine(
        _ARM,
        re.compile(rb"\x7fELF\x01\x01\x01"),
        struct.Struct("<16sHHIIIIIHHHHHH"),
        struct.Struct("<IIIIIIII"),
        struct.Struct("<IIIIIIIIII"),
    ),
)
_PT_LOAD = 1
LIMIT = 1 << 36
"""Bytes of a file or of its memory, at most, and its highest address."""
_TABLE_LIMIT = 4096
"""Headers in one table, at most: more are no program."""

EXECUTABLE = 4
SYMTAB, RELA, DYNAMIC, NOBITS, REL, DYNSYM, INIT_ARRAY, FINI_ARRAY, RELR = 2, 4, 6, 8, 9, 11, 14, 15, 19
EXIDX = 0x70000001


@dataclass(frozen=True, slots=True)
class Load:
    """A part of a file that is loaded: offset and bytes in the file, address and bytes in memory."""

    offset: int
    size: int
    address: int
    memory: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A section with contents, as its header says; `link` is the index of the section that it refers to."""

    index: int
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True, slots=True)
class Program:
    """A program of `length` bytes at byte `start` of an image. Sections are there if the file has them, whole; `kinds`
    of each block (`contents`) if there are none. `bias` is what the program adds to an address in a pointer. A `narrow`
    one has addresses of 32 bits.
    """

    start: int
    length: int
    loads: tuple[Load, ...]
    sections: tuple[Section, ...]
    bias: int = 0
    kinds: Kinds | None = None
    narrow: bool = False


def programs(image: bytes) -> list[Program]:
    """All programs in the order of the image; those of one machine do not overlap."""
    found: list[Program] = []
    for form in _MACHINES:
        starts = [match.start() for match in form.magic.finditer(image)]
        for start, end in itertools.pairwise([*starts, len(image)]):
            program = _read(image, start, end, form)
            if program:
                found.append(program)
    return sorted(found, key=lambda program: program.start)


def _read(image: bytes, start: int, end: int, form: _Machine) -> Program | None:
    if start + form.header.size > len(image):
        return None
    _, _, machine, _, _, programs_at, sections_at, _, _, size, count, section_size, section_count, names = (
        form.header.unpack_from(image, start)
    )
    if machine != form.number or size != form.program.size or not 0 < count < _TABLE_LIMIT:
        return None
    narrow = machine == _ARM
    loads = [
        load
        for kind, load in _loads(_table(image, start, programs_at, form.program, count), narrow=narrow)
        if kind == _PT_LOAD and max(load.offset, load.address) <= LIMIT and load.size <= load.memory <= LIMIT
    ]
    if not loads:
        return None
    sections: tuple[Section, ...] = ()
    if section_size == form.section.size and 0 < section_count < _TABLE_LIMIT:
        sections = _sections(image, start, (sections_at, form.section, section_count), names)
    length = max(load.offset + load.size for load in loads)
    if sections:
        length = max(length, sections_at + section_count * section_size)
    return Program(start, min(length, end - start), tuple(loads), sections, narrow=narrow)


def _loads(rows: Iterator[tuple[int, ...]], *, narrow: bool) -> Iterator[tuple[int, Load]]:
    """The kind of each program header, and what it says."""
    for kind, *fields in rows:
        if narrow:
            offset, address, _, size, memory, flags, _ = fields
        else:
            flags, offset, address, _, size, memory, _ = fields
        yield kind, Load(offset, size, address, memory, bool(flags & 1))


def _table(image: bytes, start: int, at: int, entry: struct.Struct, count: int) -> Iterator[tuple[int, ...]]:
    for index in range(count):
        place = start + at + index * entry.size
        if place + entry.size > len(image):
            return
        yield entry.unpack_from(image, place)


def _sections(image: bytes, start: int, table: tuple[int, struct.Struct, int], names: int) -> tuple[Section, ...]:
    """Nothing for a table that is not one: the file is in several places, and the image has other bytes here."""
    count = table[-1]
    rows = list(_table(image, start, *table))
    if len(rows) != count or any(rows[0]) or names >= count:
        return ()
    names_at, names_size = start + rows[names][4], rows[names][5]
    text = image[names_at : names_at + names_size]
    if b".shstrtab\0" not in text:
        return ()
    return tuple(
        Section(index, _name(text, name), kind, flags, offset, size, link)
        for index, (name, kind, flags, _, offset, size, link, _, _, _) in enumerate(rows)
        if size and kind not in (0, NOBITS) and link < count and max(offset, size) <= LIMIT
    )


def _name(text: bytes, at: int) -> str:
    return text[at : text.find(b"\0", at)].decode("ascii", "replace")
