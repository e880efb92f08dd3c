"""The address tables of a pair of images: which programs are the same in both, where their bytes are when they run, and
what their sections hold.

Server only. Programs are paired by what was copied between them, so no file name and no file system is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesync.delta import elf
from edgesync.delta.addresses import NO_TABLES, Regions, Space
from edgesync.delta.contents import BLOCK, is_a32
from edgesync.delta.copies import Copies
from edgesync.delta.elf import Program, Section
from edgesync.delta.format import PIECES_LIMIT, REGIONS_LIMIT
from edgesync.delta.kernel import kernels
from edgesync.delta.kinds import (
    CODE,
    CODE_32,
    FILE_SHIFT,
    NONE,
    OFFSETS,
    POINTERS,
    POINTERS_32,
    RELATIVE,
    RELATIVE_31,
    SYMBOLS,
    SYMBOLS_32,
)
from edgesync.delta.varint import Ints

_UNLOADED = 1 << 38
"""Bytes of a file that are not loaded (symbols, their names) have addresses from here on: they are referred to too."""
_MEMORY_STEP = 1 << 20
"""Between the pieces behind an image, so that none reaches into the next."""
_POINTER_SECTIONS = {".data.rel.ro", ".got", ".got.plt", ".data", ".tdata", ".data.rel.ro.local", ".relro_padding"}
_POINTER_KINDS = {elf.RELA, elf.RELR, elf.DYNAMIC, elf.INIT_ARRAY, elf.FINI_ARRAY}


@dataclass(frozen=True, slots=True)
class Layout:
    """Tables of both images; `result_regions` says of the result what `base_regions` says of the base."""

    base: Space
    result: Space
    base_regions: Regions
    result_regions: Regions
    bias: Ints


NO_LAYOUT = Layout(NO_TABLES.base, NO_TABLES.result, NO_TABLES.regions, NO_TABLES.regions, NO_TABLES.bias)
"""Of images without programs."""


def layout(base: bytes, result: bytes, copies: Copies) -> Layout:
    """Read both images. Without a program in both that changed, the tables are empty."""
    pairs = [
        (old, new)
        for old, new in _pair(_programs(base), _programs(result), copies)
        if base[old.start : old.start + old.length] != result[new.start : new.start + new.length]
    ]
    olds, news = [old for old, _ in pairs], [new for _, new in pairs]
    return Layout(
        _space(olds, news, len(base)),
        _space(news, olds, len(result)),
        _regions(base, pairs),
        _regions(result, [(new, new) for _, new in pairs]),
        np.array([old.bias for old, _ in pairs], np.uint64).view(np.int64),
    )


def _programs(image: bytes) -> list[Program]:
    """ELF files and kernels in the order of the image; of two that overlap the first."""
    found: list[Program] = []
    for program in sorted([*elf.programs(image), *kernels(image)], key=lambda program: program.start):
        if not found or found[-1].start + found[-1].length <= program.start:
            found.append(program)
    return found


def _pair(olds: list[Program], news: list[Program], copies: Copies) -> list[tuple[Program, Program]]:
    """Programs of which most bytes were copied from one to the other; each is in one pair at most."""
    shared: list[tuple[int, int, int]] = []
    starts = np.array([new.start for new in news], np.int64)
    for old, program in enumerate(olds):
        first = np.maximum(copies.base, program.start)
        size = np.minimum(copies.base + copies.length, program.start + program.length) - first
        inside = np.flatnonzero(size > 0)
        middle = (copies.at + first - copies.base + size // 2)[inside]
        new = np.searchsorted(starts, middle, side="right") - 1
        shared += [
            (int(size[inside][new == number].sum()), old, number) for number in np.unique(new[new >= 0]).tolist()
        ]
    pairs, used_old, used_new = [], set[int](), set[int]()
    for _, old, number in sorted(shared, reverse=True):
        if old not in used_old and number not in used_new:
            pairs.append((olds[old], news[number]))
            used_old.add(old)
            used_new.add(number)
    return sorted(_that_fit(pairs), key=lambda pair: pair[0].start)


def _that_fit(pairs: list[tuple[Program, Program]]) -> list[tuple[Program, Program]]:
    """As many pairs as the tables of a chapter have room for, from the first on."""
    rows = np.array(
        [
            (3 * max(len(old.loads), len(new.loads)) + 1, 2 * max(len(old.sections), len(old.loads)) + 1)
            for old, new in pairs
        ],
        np.int64,
    ).reshape(-1, 2)
    fit = (np.cumsum(rows, axis=0) < (PIECES_LIMIT, REGIONS_LIMIT)).all(axis=1)
    return pairs[: int(fit.sum())]


def _space(programs: list[Program], others: list[Program], length: int) -> Space:
    """The pieces of one image; memory that both programs of a pair have behind a load is in both, in the same order."""
    rows, memory = [], []
    behind = -(-length // _MEMORY_STEP) * _MEMORY_STEP
    for number, (program, other) in enumerate(zip(programs, others, strict=True), 1):
        file = number << FILE_SHIFT
        done = 0
        for load in sorted(program.loads, key=lambda load: load.offset):
            start = min(max(load.offset, done), program.length)
            end = min(load.offset + load.size, program.length)
            if start > done:
                rows.append((program.start + done, start - done, file + _UNLOADED + done))
            if end > start:
                rows.append((program.start + start, end - start, file + load.address + start - load.offset))
            done = max(done, end)
        if program.length > done:
            rows.append((program.start + done, program.length - done, file + _UNLOADED + done))
        for load, twin in zip(program.loads, other.loads, strict=False):
            if load.memory > load.size and twin.memory > twin.size:
                memory.append((load.memory - load.size, file + load.address + load.size))
    for size, address in memory:
        rows.append((behind, size, address))
        behind += -(-size // _MEMORY_STEP) * _MEMORY_STEP + _MEMORY_STEP
    return Space(*np.array(sorted(rows), np.int64).reshape(-1, 3).T)


def _regions(image: bytes, pairs: list[tuple[Program, Program]]) -> Regions:
    rows: list[tuple[int, ...]] = []
    done = 0
    for number, (program, other) in enumerate(pairs, 1):
        for first, behind, *what in _contents(program, other, number << FILE_SHIFT):
            start, end = max(program.start + first, done), program.start + min(behind, program.length)
            if end <= start or (what[0] == CODE_32 and not is_a32(image, start, end)):
                continue
            if start > done:
                rows.append((done, NONE, 0, 0))
            rows.append((start, *what))
            done = end
    rows.append((done, NONE, 0, 0))
    return Regions(*np.array(rows, np.int64).T)


def _contents(program: Program, other: Program, file: int) -> list[tuple[int, ...]]:
    """Start, end (in the file), kind and both anchors of all that is known about a program."""
    if program.kinds is not None:
        edges = [0, *(np.flatnonzero(np.diff(program.kinds)) + 1).tolist()]
        ends = [*(edge * BLOCK for edge in edges[1:]), program.length]
        return [
            (edge * BLOCK, end, int(program.kinds[edge]), file, file)
            for edge, end in zip(edges, ends, strict=True)
            if program.kinds[edge] != NONE
        ]
    code, pointers = (CODE_32, POINTERS_32) if program.narrow else (CODE, POINTERS)
    if not program.sections:
        return [
            (load.offset, load.offset + load.size, code if load.executable else pointers, 0, 0)
            for load in sorted(program.loads, key=lambda load: load.offset)
        ]
    rows = []
    for section in program.sections:
        kind, anchor, result_anchor = (_short_kind if program.narrow else _section_kind)(section), 0, 0
        if kind in (OFFSETS, SYMBOLS, SYMBOLS_32):
            twin = next(
                (twin for twin in other.sections if (twin.name, twin.kind) == (section.name, section.kind)), None
            )
            places = _anchor(program, section, kind), _anchor(other, twin, kind) if twin else None
            if places[0] is None or places[1] is None:
                continue
            anchor, result_anchor = file + places[0], file + places[1]
        if kind != NONE:
            rows.append((section.offset, section.offset + section.size, kind, anchor, result_anchor))
    return sorted(rows)


def _section_kind(section: Section) -> int:
    if section.kind in (elf.DYNSYM, elf.SYMTAB):
        return SYMBOLS
    if section.flags & elf.EXECUTABLE:
        return CODE
    if section.kind in _POINTER_KINDS or section.name in _POINTER_SECTIONS:
        return POINTERS
    return {".eh_frame_hdr": OFFSETS, ".eh_frame": RELATIVE}.get(section.name, NONE)


def _short_kind(section: Section) -> int:
    """What a section of a program with addresses of 32 bits holds."""
    if section.kind in (elf.DYNSYM, elf.SYMTAB):
        return SYMBOLS_32
    if section.flags & elf.EXECUTABLE:
        return CODE_32
    if section.kind in (*_POINTER_KINDS, elf.REL) or section.name in _POINTER_SECTIONS:
        return POINTERS_32
    return RELATIVE_31 if section.kind == elf.EXIDX else NONE


def _anchor(program: Program, section: Section, kind: int) -> int:
    """The address that the numbers of a section are counted from: its own, or that of its names."""
    names = next((names for names in program.sections if names.index == section.link), section)
    return _address(program, section.offset if kind == OFFSETS else names.offset)


def _address(program: Program, offset: int) -> int:
    for load in program.loads:
        if load.offset <= offset < load.offset + load.size:
            return load.address + offset - load.offset
    return _UNLOADED + offset
