"""Type information as a kernel has it, and raw kernels."""

from __future__ import annotations

import random
import struct
from typing import Any

from edgesync.delta import btf_records as btf

SIMPLE = (btf.POINTER, btf.TYPEDEF, btf.CONST, btf.FUNCTION, btf.FORWARD, btf.FLOAT, btf.TYPE_TAG)


def section(types: list[Any], names: list[str]) -> bytes:
    """A section with `types` (name, kind, members, words, in which a string is a name's and a tuple a type's), whose
    order is theirs, and with the names in the order of `names`.
    """
    number = {id(entry): index for index, entry in enumerate(types, 1)}
    at, text = {}, b""
    for name in names:
        at[name] = len(text)
        text += name.encode() + b"\0"
    words = []
    for name, kind, members, rest in types:
        words += [at[name], kind << 24 | members]
        words += [at[w] if isinstance(w, str) else w if isinstance(w, int) else number[id(w)] for w in rest]
    body = struct.pack(f"<{len(words)}I", *words)
    return btf.HEADER.pack(btf.MAGIC, 1, 0, btf.HEADER.size, 0, len(body), len(body), len(text)) + body + text


def kernel_types(seed: int, count: int) -> list[Any]:
    """Types of every kind, each of which refers to some before it."""
    chance = random.Random(seed)
    types = [["int", btf.INT, 0, [4, 0x20]]]
    for index in range(count):
        name, other = f"{chance.choice('abc')}_{index}", lambda: chance.choice(types)
        kind = chance.choice((*SIMPLE, btf.STRUCT, btf.ENUM, btf.PROTOTYPE, btf.ARRAY, btf.ENUM64, btf.DATA_SECTION))
        members = chance.randrange(1, 5) if kind in btf.EACH else 0
        if kind in SIMPLE:
            rest = [other() if kind in btf.REFERS else 8]
        elif kind == btf.ARRAY:
            rest = [0, other(), types[0], chance.randrange(99)]
        elif kind == btf.PROTOTYPE:
            rest = [other()] + [word for m in range(members) for word in (f"arg{m}", other())]
        elif kind == btf.DATA_SECTION:
            rest = [8] + [word for m in range(members) for word in (other(), 8 * m, 8)]
        elif kind == btf.STRUCT:
            rest = [32] + [word for m in range(members) for word in (f"field{m}_{index % 9}", other(), 64 * m)]
        else:
            rest = [4] + [word for m in range(members) for word in (f"V{index}_{m}", m, 0)[: btf.EACH[kind]]]
        types.append([name, kind, members, rest])
    return types


def names_of(types: list[Any]) -> list[str]:
    found = dict.fromkeys(["", *(name for name, *_ in types)])
    return list(found | dict.fromkeys(word for *_, rest in types for word in rest if isinstance(word, str)))


def kernels(seed: int, count: int = 600) -> tuple[bytes, bytes]:
    """Two sections: of the second the types and names have another order, and some are new."""
    chance = random.Random(seed)
    types = kernel_types(seed, count)
    old = section(types, names_of(types))
    mixed = [types[0], *types[300:], *types[1:300]]
    for index in range(5):
        mixed.insert(chance.randrange(len(mixed)), [f"new{index}", btf.STRUCT, 1, [8, "field0_0", types[index], 0]])
    names = names_of(mixed)
    rest = names[1:]
    chance.shuffle(rest)
    return old, section(mixed, ["", *rest])


def raw_kernel(program: bytes, start: int = 0xFFFF800008000000) -> bytes:
    """A kernel as a boot loader starts it, with the code of a program and pointers to it."""
    code = program[0x1000:]
    pointers = struct.pack("<4000Q", *(start + 0x1000 + 4 * (37 * number % (len(code) // 4)) for number in range(4000)))
    header = struct.pack("<IIQQQQQQII", 0x91005A4D, 0x14000000, 0, 1 << 20, 10, 0, 0, 0, 0x644D5241, 0x40)
    length = 0x1000 + len(code) + len(pointers)
    pe = struct.pack("<4sHHIIIHH", b"PE\0\0", 0xAA64, 1, 0, 0, 0, 0, 0)
    section = struct.pack("<8sIIIIIIHHI", b".text", length, 0x1000, length - 0x1000, 0x1000, 0, 0, 0, 0, 0)
    return (header + pe + section).ljust(0x1000, b"\0") + code + pointers
