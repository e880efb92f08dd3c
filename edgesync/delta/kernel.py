"""Linux kernels for AArch64 as a boot loader starts them ("Image"): no ELF headers, no sections, anywhere in an image.

Server only. A header of 64 bytes says how much memory the kernel takes, and the PE header behind it (which the kernel
has for EFI) how long the file is: Documentation/arm64/booting.rst. Where it runs says no field; its own pointers do.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import numpy as np

from edgesync.delta import contents
from edgesync.delta.aarch64 import Words
from edgesync.delta.elf import LIMIT, Load, Program

_MAGIC = re.compile(rb"ARM\x64")
_MAGIC_AT = 56
_HEADER = struct.Struct("<IIQQQQQQII")
_PE = struct.Struct("<4sHHIIIHH")
_PE_SECTION = struct.Struct("<8sIIIIIIHHI")
_RESERVED = 16
"""Flags of the header that have a meaning are below this bit."""
_ALIGNED = 21
"""A kernel runs at a multiple of 2 MiB."""
_KERNEL_HALF = 0xFFFF
"""The upper 16 bits of each address in a kernel."""
_SOME = 1000
"""Of so many addresses of a kernel one is in its first 2 MiB, at least: the functions that start it are there."""


def kernels(image: bytes) -> Iterator[Program]:
    """All kernels in the order of the image."""
    for match in _MAGIC.finditer(image):
        start = match.start() - _MAGIC_AT
        if start >= 0 and (program := _read(image, start)):
            yield program


def _read(image: bytes, start: int) -> Program | None:
    if start + _HEADER.size > len(image):
        return None
    _, _, _, memory, flags, *reserved, _, pe_at = _HEADER.unpack_from(image, start)
    if flags >> _RESERVED or any(reserved) or not 0 < memory <= LIMIT:
        return None
    length = min(_file_length(image, start + pe_at) or memory, len(image) - start)
    words = np.frombuffer(image, "<u4", length // 4, start)
    base = _runs_at(words, memory)
    if base is None:
        return None
    kinds = contents.kinds(words, base, memory)
    return Program(start, length, (Load(0, length, 0, max(memory, length), True),), (), base, kinds)


def _file_length(image: bytes, pe: int) -> int | None:
    """Where the last section of the PE file ends."""
    if pe + _PE.size > len(image):
        return None
    magic, _, count, _, _, _, optional, _ = _PE.unpack_from(image, pe)
    table = pe + _PE.size + optional
    if magic != b"PE\0\0" or table + count * _PE_SECTION.size > len(image):
        return None
    sections = [_PE_SECTION.unpack_from(image, table + number * _PE_SECTION.size) for number in range(count)]
    return max((at + size for _, _, _, size, at, *_ in sections), default=None)


def _runs_at(words: Words, memory: int) -> int | None:
    """The address of the first byte, from the pointers in the kernel; None if it has none."""
    values = words[: len(words) // 2 * 2].view("<u8")
    values = values[values >> np.uint64(48) == _KERNEL_HALF]
    if not len(values):
        return None
    steps, counts = np.unique(values >> np.uint64(_ALIGNED), return_counts=True)
    peak = int(steps[counts.argmax()])
    reach = (memory >> _ALIGNED) + 1
    near = (steps >= peak - min(reach, peak)) & (steps <= peak + reach)
    often = near & (counts * _SOME >= counts[near].sum())
    return int(steps[often].min()) << _ALIGNED
