"""Images that look like firmware, deltas between them, and what the tests of the delta do with descriptors."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import os
import random
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from edgesync.delta import apply, chapter, encoder, plain, segment
from edgesync.delta.addresses import NO_STEPS, NO_TABLES, Regions, Space, Tables
from edgesync.delta.align import align
from edgesync.delta.chapter import Chapter
from edgesync.delta.copies import Copies, Steps
from edgesync.delta.crew import Crew
from edgesync.delta.disk import read_base
from edgesync.delta.format import (
    CORRECTIONS_LIMIT,
    HEADER_LIMIT,
    PART_LIMIT,
    PIECES_LIMIT,
    REGIONS_LIMIT,
    SEGMENT,
    ChapterHeader,
    SegmentHeader,
    header_of,
    parse_chapter_header,
    parse_header,
    parse_segment_header,
)
from edgesync.delta.kinds import FILE_SHIFT
from edgesync.delta.layout import layout
from edgesync.delta.pair import Pair, pair_of
from edgesync.delta.plan import Alignment
from edgesync.wire.ids import Digest, digest_of

NO_COPIES = Copies(*(np.zeros(0, np.int64) for _ in range(3)))
GIB = 1 << 30


def firmware(seed: int, size: int) -> bytes:
    """Words of which some repeat, as instructions do, then some text."""
    chance = random.Random(seed)
    common = [chance.getrandbits(32) for _ in range(64)]
    words = [chance.choice(common) if chance.random() < 0.7 else chance.getrandbits(32) for _ in range(size // 4)]
    return (struct.pack(f"<{len(words)}I", *words)[: size - size // 8] + b"text \n" * size)[:size]


def rebuilt(seed: int, base: bytes) -> bytes:
    """The same program after a small change: something moved, and many words shifted by one amount."""
    chance = random.Random(seed)
    cut = chance.randrange(max(1, len(base) // 8)) * 4
    result = bytearray(base[:cut] + chance.randbytes(chance.randrange(0, 64, 4)) + base[cut:])
    for at in range(0, len(result) - 4, 4 * chance.randrange(7, 90)):
        word = struct.unpack_from("<I", result, at)[0]
        struct.pack_into("<I", result, at, (word + 0x40) & 0xFFFFFFFF)
    return bytes(result)


@contextmanager
def on_disk(base: bytes, result: bytes) -> Iterator[Pair]:
    with tempfile.TemporaryDirectory() as directory:
        paths = [os.path.join(directory, name) for name in ("base", "result")]
        for path, data in zip(paths, (base, result), strict=True):
            Path(path).write_bytes(data)
        yield pair_of(*paths)


def delta_of(base: bytes, result: bytes, copies: Copies | None = None, *, mixing: bool = False) -> bytes:
    """A delta in memory, from bsdiff's alignment or from given copies."""
    copies = align(base, result) if copies is None else copies
    alignment = Alignment(copies, layout(base, result, copies))
    with on_disk(base, result) as pair:
        body = encoder.encode(Crew(1), pair, alignment, lambda *_: None, mixing=mixing)
    return header_of(len(base), digest_of(base), len(result), digest_of(result)).encode() + body


def program(code: bytes, pointers: bytes = b"", *, grown: int = 0) -> bytes:
    """A small AArch64 ELF file: `.text` at the address of its offset, `.data` one page higher, memory behind it."""
    names = b"\0.shstrtab\0.text\0.data\0"
    text_at = 0x1000
    data_at = -(-(text_at + len(code)) // 16) * 16
    names_at = data_at + len(pointers)
    table_at = -(-(names_at + len(names)) // 8) * 8
    loads = ((5, 0, 0, text_at + len(code), 0), (6, data_at, data_at + 0x1000, len(pointers), 4096 + grown))
    sections = (
        (11, 1, 6, text_at, text_at, len(code)),
        (17, 1, 3, data_at + 0x1000, data_at, len(pointers)),
        (1, 3, 0, 0, names_at, len(names)),
    )
    file = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, 183, 1, 0, 64, table_at, 0, 64, 56, 2, 64, 4, 3)
    for flags, offset, address, size, more in loads:
        file += struct.pack("<IIQQQQQQ", 1, flags, offset, address, address, size, size + more, 0x1000)
    file = file.ljust(text_at, b"\0") + code
    file = file.ljust(data_at, b"\0") + pointers + names
    file = file.ljust(table_at, b"\0") + bytes(64)
    for section in sections:
        file += struct.pack("<IIQQQQIIQQ", *section, 0, 0, 8, 0)
    return file


def linked(grown: dict[int, int], functions: int = 3000) -> bytes:
    """An AArch64 program as a linker lays it out: functions that call one another by distance, load the addresses of
    data in two instructions, and have pointers to them. `grown` maps a function to the instructions that it has more.
    """
    chance = random.Random(35)
    bodies = [[chance.getrandbits(16) | 0xD2800000 for _ in range(chance.randrange(10, 60))] for _ in range(functions)]
    sites = [(f, chance.randrange(len(body) - 2)) for f, body in enumerate(bodies) for _ in range(4)]
    lengths = [len(body) + grown.get(f, 0) for f, body in enumerate(bodies)]
    starts = list(itertools.accumulate(lengths, initial=0))
    data = -(-(0x1000 + 4 * starts[-1]) // 16) * 16 + 0x1000
    words = []
    for f, body in enumerate(bodies):
        words += body + [0xD503201F] * grown.get(f, 0)
    for number, (caller, at) in enumerate(sites):
        called, here = chance.randrange(functions), starts[caller] + at
        if number % 2:
            words[here] = 0x94000000 | (starts[called] - here) & 0x3FFFFFF
        else:
            address = data + 8 * called
            pages = (address >> 12) - (0x1000 + 4 * here >> 12)
            words[here] = 0x90000000 | (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5 | 3
            words[here + 1] = 0x91000063 | (address & 0xFFF) << 10
    pointers = struct.pack(f"<{functions}Q", *(0x1000 + 4 * start for start in starts[:-1]))
    return program(struct.pack(f"<{len(words)}I", *words), pointers)


def parts_of(blob: bytes) -> Iterator[tuple[int, int, ChapterHeader | SegmentHeader]]:
    """Where the header and the streams of each chapter and loud segment begin, and the header."""
    header, at = parse_header(blob[:HEADER_LIMIT])
    first = 0
    while at < len(blob):
        chapter, size = parse_chapter_header(0, blob[at : at + PART_LIMIT], header.segments - first)
        yield at, at + size, chapter
        at += size + chapter.part.body_length
        number, end = first, first + chapter.counts.segments
        for left in range(chapter.counts.loud, 0, -1):
            head, quiet, alone = blob[at : at + PART_LIMIT], end - number - left, chapter.counts.loud == 1
            segment, size = parse_segment_header(number, head, header, quiet, alone=alone)
            yield at, at + size, segment
            at += size + segment.part.body_length
            number = segment.number + 1
        first = end


def decoded_chapter(data: bytes, first: int, lengths: tuple[int, int]) -> Chapter:
    """The tables of a chapter as a board reads them; its first segment is number `first`."""
    head, size = parse_chapter_header(0, data[:PART_LIMIT], 9)
    body = data[size : size + head.part.body_length]
    return chapter.decode(head, body, plain.rows(head, body, first, lengths), lengths)


def streams_of(blob: bytes, segment: int) -> int:
    """Where the streams of the loud segment number `segment` begin."""
    heads = ((body, head) for _, body, head in parts_of(blob) if isinstance(head, SegmentHeader))
    return next(body for body, head in heads if head.number == segment)


@st.composite
def copies_of(draw: st.DrawFn, output: int, base_length: int, count: int = 6) -> Copies:
    """Copies in the order of the output, anywhere in the base, however silly."""
    rows: list[tuple[int, int, int]] = []
    at = 0
    for _ in range(draw(st.integers(0, count))):
        at += draw(st.integers(0, 40))
        length = draw(st.integers(1, 60))
        if at + length > output or length > base_length:
            break
        rows.append((at, draw(st.integers(0, base_length - length)), length))
        at += length
    return Copies(*np.array(rows, np.int64).reshape(-1, 3).T)


class Bench:
    """A base, a blob and a target as files, and `apply_delta` on them."""

    def __init__(self, directory: Path, base: bytes, result: bytes, blob: bytes, before: bytes = b"") -> None:
        self.base, self.blob, self.target = directory / "base", directory / "blob", directory / "target"
        self.base.write_bytes(base)
        self.blob.write_bytes(blob)
        self.target.write_bytes(before)
        self.wanted = {"base_sha256": digest_of(base), "length": len(result), "sha256": digest_of(result)}
        self.steps: list[tuple[int, int]] = []

    def apply(self) -> bytes:
        """The target afterwards."""
        with opened(self.base) as base, opened(self.blob) as blob, opened(self.target) as target:
            apply.apply_delta(base, blob, target, **self.wanted, progress=lambda *step: self.steps.append(step))
        return self.target.read_bytes()


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR)
    try:
        yield fd
    finally:
        os.close(fd)


def write_big_delta(directory: Path, length: int, *, mixing: bool = False) -> tuple[Digest, Digest]:
    """`base` (sparse, with a little code at its start) and `blob`, segment by segment; digests of base and result.

    The first chapters have one segment each, as heavy as the format allows, in turns: each word corrected by another
    value under tables that are full, nothing but new bytes, and as many copies as may be. Then comes a light one. If
    `mixing`, the heavy ones are mixed, and so are the tables.
    """
    chance = np.random.default_rng(7)
    code = chance.bytes(SEGMENT)
    with open(directory / "base", "wb") as file:
        file.write(code)
        file.truncate(length)
    one = Copies(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([SEGMENT]))
    scattered = np.arange(0, SEGMENT, 16)
    heavy = (
        Chapter(one, _full_tables(chance)),
        Chapter(NO_COPIES, NO_TABLES),
        Chapter(Copies(scattered, chance.permutation(scattered), np.full(len(scattered), 16)), _full_tables(chance)),
    )
    base_hash, result_hash, zeros = hashlib.sha256(code), hashlib.sha256(), bytes(SEGMENT)
    segments = length // SEGMENT
    known = [_shifted(heavy[number % len(heavy)], number * SEGMENT) for number in range(2 * len(heavy))]
    start = len(known) * SEGMENT
    rest = Copies(*(np.array([number]) for number in (start, start, length - start)))
    chapters = [*((tables, range(number, number + 1)) for number, tables in enumerate(known))]
    chapters.append((Chapter(rest, NO_TABLES), range(len(known), segments)))
    with opened(directory / "base") as base, open(directory / "blob", "wb") as blob:
        read = functools.partial(read_base, base)
        nothing = Digest("0" * 64)
        blob.write(header_of(length, nothing, length, nothing).encode())
        for tables, numbers in chapters:
            coded = []
            for number in numbers:
                light = _marked(number) if number % 8 == 0 else zeros
                wanted = chance.bytes(SEGMENT) if number < len(known) else light
                if mixing and number < len(known):
                    wanted = bytes(byte & 0x7F for byte in wanted)  # so that a stream of it keeps the format's limit
                    coded.append(segment._mixed(tables, wanted, number * SEGMENT, read, SEGMENT))
                else:
                    coded.append(segment.encode(tables, wanted, number * SEGMENT, read, mixing=mixing))
                base_hash.update(zeros if number else b"")
                result_hash.update(wanted)
            blob.write(chapter.encode(tables, numbers.start, coded, (length, length), mixing=mixing))
        digests = Digest(base_hash.hexdigest()), Digest(result_hash.hexdigest())
        blob.seek(0)
        blob.write(header_of(length, digests[0], length, digests[1]).encode())
    return digests


def _full_tables(chance: np.random.Generator) -> Tables:
    """As many pieces, regions and corrections as may be, of one file, in which every word is code or a pointer."""
    size = SEGMENT // PIECES_LIMIT
    offset = size * np.arange(PIECES_LIMIT)
    space = Space(offset, np.full(PIECES_LIMIT, size), (1 << FILE_SHIFT) + chance.permutation(offset) + 4096)
    start = SEGMENT // REGIONS_LIMIT * np.arange(REGIONS_LIMIT)
    anchor = np.full(REGIONS_LIMIT, 1 << FILE_SHIFT)
    regions = Regions(start, 1 + start // 64 % 2, anchor, anchor)
    at = (1 << FILE_SHIFT) + 8 * np.arange(CORRECTIONS_LIMIT)
    return Tables(space, space, NO_STEPS, Steps(at, chance.permutation(at) - at), regions, np.zeros(1, np.int64))


def _shifted(known: Chapter, offset: int) -> Chapter:
    """The same copies for a segment at `offset`."""
    copies = Copies(known.copies.at + offset, known.copies.base, known.copies.length)
    base, result = known.tables.base, known.tables.result
    moves = chapter.moves_between(copies, base, result, 1 << 36, 1 << 36)
    moved = Space(result.offset + offset if len(result.offset) else result.offset, result.length, result.address)
    return Chapter(copies, dataclasses.replace(known.tables, result=moved, moves=moves))


def _marked(number: int) -> bytes:
    """A segment of zeros with a few words set, different for each number."""
    words = np.zeros(SEGMENT // 4, "<u4")
    words[number::4096] = number
    return words.tobytes()


def descendants(pid: int) -> list[int]:
    """A process and all that it has started, as far as they still run."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(process for child in below for process in descendants(int(child)))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: list[int]) -> bool:
    """Whether all have ended, within ten seconds."""
    for _ in range(100):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.1)
    return False
