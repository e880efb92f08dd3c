"""Golden deltas: one for each feature of the format, small, written once and decoded for ever.

    python -m tests.delta.golden      writes them anew into tests/delta/golden/, after a change of the format

Only the deltas are in the repository, for their images come from seeds. An encoder may get better and the files stay as
they are. A decoder that does not understand one any more has broken the format, which then needs another name.
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from edgesync.delta import plan
from edgesync.delta.btf_records import HEADER, MAGIC
from edgesync.delta.make import make_delta
from edgesync.delta.small import make_bytes

PLACE = Path(__file__).with_name("golden")
MIB = 1 << 20


@dataclass(frozen=True)
class Golden:
    """A delta's name, what it shows, its images, and whether it needs the context-mixing coder."""

    name: str
    shows: str
    images: Callable[[], tuple[bytes, bytes]]
    mixing: bool = False

    @property
    def delta(self) -> bytes:
        return (PLACE / f"{self.name}.esd").read_bytes()


def stream(seed: str, size: int) -> bytes:
    """Bytes without a pattern, the same wherever and whenever this runs."""
    return hashlib.shake_256(seed.encode()).digest(size)


def text() -> tuple[bytes, bytes]:
    lines = [f"setting_{number} = {stream(f'line {number}', 2).hex()}\n" for number in range(40)]
    changed = [*lines[:7], "setting_7 = changed\n", *lines[8:], "one more\n"]
    return "".join(lines).encode(), "".join(changed).encode()


def bytes_of_another_machine() -> tuple[bytes, bytes]:
    """Instructions of 23 bytes that change in one of sixteen ways: no words, and too much for a short stream."""
    old, chance = stream("another machine", 23 * 1200), stream("ways", 16 * 11 + 1200)
    ways = [chance[11 * way : 11 * way + 11] + bytes(12) for way in range(16)]
    changes = b"".join(ways[choice % 16] for choice in chance[-1200:])
    return old, bytes((byte + change) & 0xFF for byte, change in zip(old, changes, strict=True))


def few_bytes() -> tuple[bytes, bytes]:
    """Noise of which a byte changed here and there, by anything."""
    old = stream("few bytes", 20_000)
    new, chance = bytearray(old), stream("changes", 600)
    for at in range(0, len(chance), 3):
        new[int.from_bytes(chance[at : at + 2], "little") % len(new)] = chance[at + 2]
    return old, bytes(new)


def words() -> tuple[bytes, bytes]:
    """Numbers of 32 bits, those of some upper halves larger, with a carry into any byte, and two that are new."""
    old = [word & 0x0F00FFFF | 0x7F0000 for word in struct.unpack("<4000I", stream("words", 16_000))]
    new = [word + 0x01808081 * (word >> 24 in (3, 7)) for word in old]
    return struct.pack("<4000I", *old), struct.pack("<4002I", *new[:1000], 7, 9, *new[1000:])


def program(grown: dict[int, int], hole: int, functions: int = 600) -> bytes:
    """An AArch64 program as a linker lays it out: functions that call one another and load addresses of data, tables of
    pointers, unwind distances, their index, and symbols. `grown` maps a function to the instructions that it has
    more; `hole` bytes are in the middle of the memory that no file fills, which half of the functions refer to.
    """
    chance = stream("program", 64 * functions)
    lengths = [12 + chance[64 * f] % 40 + grown.get(f, 0) for f in range(functions)]
    starts = [sum(lengths[:f]) for f in range(functions)]
    code, size = 0x1000, 4 * sum(lengths)
    data = -(-(code + size) // 16) * 16
    tables_at = data + 8 * functions
    unwind_at, index_at, symbols_at = (tables_at + 8 * functions * number for number in range(3))
    names_at = symbols_at + 24 * functions
    letters = b"".join(b"f%03d\0" % f for f in range(functions))
    memory = 0x1000  # an address less an offset, for everything behind the code
    free = names_at + len(letters) + memory
    words: list[int] = []
    for f in range(functions):
        here, known = code + 4 * starts[f], chance[64 * f + 1 : 64 * f + 64]
        called, other = (int.from_bytes(known[at : at + 2], "little") % functions for at in (0, 2))
        address = free + 8 * other + hole * (other > 150) if f % 2 else data + memory + 8 * other
        pages = (address >> 12) - (here + 8 >> 12)
        page = 0x90000000 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
        words += [0x94000000 | (starts[called] - starts[f]) & 0x3FFFFFF, 0xB40000A0]
        words += [page | 3, 0x91000063 | (address & 0xFFF) << 10, 0x36000080, 0x10000100, page | 9]
        words += [0xD2800000 | byte << 5 for byte in known[: lengths[f] - grown.get(f, 0) - 7]]
        words += [0xD503201F] * (sum(lengths[: f + 1]) - len(words))
    places = [code + 4 * start for start in starts]
    pointers = struct.pack(f"<{functions}Q", *places)
    unwind = (struct.pack("<iI", p - memory - unwind_at - 8 * f, 4 * lengths[f]) for f, p in enumerate(places))
    index = (struct.pack("<ii", p - memory - index_at, unwind_at + 8 * f - index_at) for f, p in enumerate(places))
    symbols = (struct.pack("<IIQQ", 5 * f, 0x10012, p, 4 * lengths[f]) for f, p in enumerate(places))
    parts = (pointers, *unwind, *index, *symbols, letters)
    file = struct.pack(f"<{len(words)}I", *words).ljust(data - code, b"\0") + b"".join(parts)
    sections = (
        ("", 0, 0, 0, 0, 0, 0),
        (".text", 1, 6, code, code, size, 0),
        (".data", 1, 3, data + memory, data, len(pointers), 0),
        (".eh_frame", 1, 2, unwind_at + memory, unwind_at, 8 * functions, 0),
        (".eh_frame_hdr", 1, 2, index_at + memory, index_at, 8 * functions, 0),
        (".dynsym", 11, 2, symbols_at + memory, symbols_at, 24 * functions, 6),
        (".dynstr", 3, 2, names_at + memory, names_at, len(letters), 0),
    )
    titles = b"".join(name.encode() + b"\0" for name, *_ in sections) + b".shstrtab\0"
    titles_at = code + len(file)
    table_at = -(-(titles_at + len(titles)) // 8) * 8
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 183, 1, 0, 64, table_at, 0, 64, 56, 2, 64, 8, 7)
    head += struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, code + size, code + size, 0x1000)
    filled = titles_at - data
    head += struct.pack("<IIQQQQQQ", 1, 6, data, *[data + memory] * 2, filled, filled + 8192, 0x1000)
    file = (head.ljust(code, b"\0") + file + titles).ljust(table_at, b"\0")
    for name, kind, flags, place, at, length, link in (*sections, (".shstrtab", 3, 0, 0, titles_at, len(titles), 0)):
        title = titles.index(name.encode() + b"\0")
        file += struct.pack(
            "<IIQQQQIIQQ", title, kind, flags, place, at, length, link, 0, 8 * (kind > 0), 24 * (kind == 11)
        )
    return file


def program_32(grown: dict[int, int], hole: int, functions: int = 600) -> bytes:
    """The same for 32-bit ARM: functions that call one another and load each other's addresses, pointers to them and
    to memory, how they are unwound, and symbols.
    """
    chance = stream("program 32", 64 * functions)
    lengths = [12 + chance[64 * f] % 40 + grown.get(f, 0) for f in range(functions)]
    starts = [sum(lengths[:f]) for f in range(functions)]
    code, size, memory = 0x1000, 4 * sum(lengths), 0x1000
    data = code + size
    unwind_at, symbols_at, names_at = (data + 8 * functions * number for number in (1, 2, 4))
    letters = b"".join(b"f%03d\0" % f for f in range(functions))
    words: list[int] = []
    for f in range(functions):
        known = chance[64 * f + 1 : 64 * f + 64]
        called, other = (int.from_bytes(known[at : at + 2], "little") % functions for at in (0, 2))
        for branch, to in ((0xEB, starts[called]), (0x1A, starts[f] + 8), (0xFA, starts[other])):
            words.append(branch << 24 | (to - len(words) - 2) & 0xFFFFFF)
        add = len(words) + 1  # ldr r3, [pc, #0]; add r3, pc, r3; b over it; the way to another function
        words += [0xE59F3004, 0xE08F3003, 0xEA000000, 4 * (starts[other] - add - 2) & 0xFFFFFFFF]
        words += [0xE3A00000 | byte for byte in known[: lengths[f] - grown.get(f, 0) - 7]]
        words += [0xE320F000] * (sum(lengths[: f + 1]) - len(words))
    places = [code + 4 * start for start in starts]
    free = names_at + len(letters) + memory
    pointers = struct.pack(f"<{functions}I", *places)
    pointers += struct.pack(f"<{functions}I", *(free + 4 * f + hole * (f > 150) for f in range(functions)))
    unwind = (
        struct.pack("<II", place - unwind_at - 8 * f & 0x7FFFFFFF, 0x80B0B0B0 if f % 3 else 1)
        for f, place in enumerate(places)
    )
    symbols = (struct.pack("<IIII", 5 * f, place, 4 * lengths[f], 0x10012) for f, place in enumerate(places))
    file = struct.pack(f"<{len(words)}I", *words) + b"".join((pointers, *unwind, *symbols, letters))
    sections = (
        ("", 0, 0, 0, 0, 0, 0),
        (".text", 1, 6, code, code, size, 0),
        (".data", 1, 3, data, data, len(pointers), 0),
        (".ARM.exidx", 0x70000001, 2, unwind_at, unwind_at, 8 * functions, 0),
        (".dynsym", 11, 2, symbols_at, symbols_at, 16 * functions, 5),
        (".dynstr", 3, 2, names_at, names_at, len(letters), 0),
    )
    titles = b"".join(name.encode() + b"\0" for name, *_ in sections) + b".shstrtab\0"
    titles_at = code + len(file)
    table_at = -(-(titles_at + len(titles)) // 4) * 4
    head = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 3, 40, 1, 0, 52, table_at, 0, 52, 32, 1, 40, 7, 6)
    head += struct.pack("<IIIIIIII", 1, 0, 0, 0, titles_at, titles_at + memory + 8192, 7, 0x1000)
    file = (head.ljust(code, b"\0") + file + titles).ljust(table_at, b"\0")
    for name, kind, flags, place, at, length, link in (*sections, (".shstrtab", 3, 0, 0, titles_at, len(titles), 0)):
        title = titles.index(name.encode() + b"\0")
        file += struct.pack("<10I", title, kind, flags, place, at, length, link, 0, 4 * (kind > 0), 16 * (kind == 11))
    return file


GROWN = {30: 3, 170: 9, 301: 1}
"""Functions of a program, and how many instructions more they have in the result."""


def programs() -> tuple[bytes, bytes]:
    return program({}, 0), program(GROWN, 256)


def programs_32() -> tuple[bytes, bytes]:
    return program_32({}, 0), program_32(GROWN, 256)


def mixed() -> tuple[bytes, bytes]:
    """The program with more changes: some functions are new in part, and some data."""
    old, new = program({}, 0), bytearray(program({30: 3, 170: 9, 301: 1, 404: 30, 599: 2}, 4096))
    chance = stream("mixed", 400)
    for at in range(0, len(chance), 4):
        place = 0x1000 + int.from_bytes(chance[at : at + 2], "little") % 0xC000
        new[place : place + chance[at + 2] % 16] = stream(f"new {at // 40}", chance[at + 2] % 16)
    return old, bytes(new)


def long_image() -> tuple[bytes, bytes]:
    """Four segments and a bit: the first and the last change, what is between them moves."""
    old = stream("long", 5000) + b"the same for long " * (4 * MIB // 18) + stream("end", 900)
    return old, b"moved" + old[:3000] + old[3100:-100] + b"another end"


def pieces() -> tuple[bytes, bytes]:
    """Much that moved, so that one chapter (of few copies, here) is not enough."""
    old = [stream(f"piece {number}", 4000) * 60 for number in range(12)]
    return b"".join(old), b"".join(part[number:] + b"new" for number, part in enumerate(old))


def kernels() -> tuple[bytes, bytes]:
    """Two sections of type information: the second has a new type near its start and its names in another order, so
    that every number is another one.
    """
    chance = stream("kernels", 4000)
    names = [f"name_{number:04}" for number in range(1000)]
    types = []
    for number in range(1000):
        other = ("type", int.from_bytes(chance[4 * number : 4 * number + 2], "little") % max(number, 1))
        if number % 3:
            types.append([("name", number), 4 << 24 | 1, 8, ("name", chance[4 * number + 2]), other, 0])
        else:
            types.append([("name", number), 2 << 24, other])
    fresh = [("name", 1000), 8 << 24, ("type", 1)]
    mixed = [types[0], fresh, *types[1:]], [names[0], "name_1000", *names[500:], *names[1:500]]
    return b"code" + _types(types, names, lambda n: n + 1), _types(*mixed, lambda n: n + 1 + (n > 0)) + b"more"


def _types(types: list[list[Any]], names: list[str], number: Callable[[int], int]) -> bytes:
    """A section: a word is itself, or the number of a type, or the offset of a name."""
    texts = [name.encode() + b"\0" for name in names]
    offsets = {name: sum(map(len, texts[:at])) for at, name in enumerate(names)}
    words = []
    for word in (word for words in types for word in words):
        match word:
            case ("name", int(at)):
                words.append(offsets[f"name_{at:04}"])
            case ("type", int(at)):
                words.append(number(at))
            case int(plain):
                words.append(plain)
    body, text = struct.pack(f"<{len(words)}I", *words), b"".join(texts)
    return HEADER.pack(MAGIC, 1, 0, HEADER.size, 0, len(body), len(body), len(text)) + body + text


def nothing() -> tuple[bytes, bytes]:
    return b"something", b""


ALL = (
    Golden("text", "one segment of form BYTES in a process of its own, stored and deflated", text),
    Golden("bytes", "form BYTES in LZMA2", bytes_of_another_machine),
    Golden("sparse", "form SPARSE", few_bytes),
    Golden("words", "form WORDS without tables", words),
    Golden("program", "tables of addresses, regions of every kind, corrections", programs),
    Golden("program-32", "the same for 32-bit ARM", programs_32),
    Golden("mixed", "form MIXED and mixed tables", mixed, mixing=True),
    Golden("long", "quiet segments, segments with checks, a copy over many", long_image),
    Golden("chapters", "several chapters, whose copies are counted from their own starts", pieces),
    Golden("kernel", "type information that is derived", kernels),
    Golden("nothing", "a result without a byte", nothing),
)


def write() -> None:
    """Make all of them anew with the encoders of today."""
    for golden in ALL:
        base, result = golden.images()
        if golden.name == "chapters":
            with mock.patch.object(plan, "COPIES_LIMIT", 4):
                data = _made(base, result)
        else:
            data = make_bytes(base, result) if golden.name == "text" else _made(base, result, mixing=golden.mixing)
        (PLACE / f"{golden.name}.esd").write_bytes(data)
        print(f"{golden.name:10} {len(base):>9} > {len(result):>9} bytes, delta of {len(data):>6}: {golden.shows}")


def _made(base: bytes, result: bytes, *, mixing: bool = False) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        old, new, out = (Path(directory) / name for name in ("old", "new", "out"))
        old.write_bytes(base)
        new.write_bytes(result)
        make_delta(str(old), str(new), str(out), mixing=mixing)
        return out.read_bytes()


if __name__ == "__main__":
    write()
