"""Images that look like firmware, deltas between them, and what the tests of the delta do with descriptors."""

from __future__ import annotations

import functools
import hashlib
import os
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgesync.delta import apply, segment
from edgesync.delta.disk import read_base
from edgesync.delta.format import SEGMENT, Header
from edgesync.delta.make import align
from edgesync.delta.segment import Copies
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


def delta_of(base: bytes, result: bytes, copies: Copies | None = None) -> bytes:
    """A delta in memory, from bsdiff's alignment or from given copies."""
    copies = align(base, result) if copies is None else copies
    parts = [Header(len(base), digest_of(base), len(result), digest_of(result)).encode()]

    def read(view: memoryview, offset: int) -> None:
        view[:] = base[offset : offset + len(view)]

    for offset in range(0, len(result), SEGMENT):
        piece = result[offset : offset + SEGMENT]
        parts.append(segment.encode(copies.window(offset, offset + len(piece)), piece, offset, read))
    return b"".join(parts)


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


def write_big_delta(directory: Path, length: int) -> tuple[Digest, Digest]:
    """`base` (sparse, with a little code at its start) and `blob`, segment by segment; digests of base and result.

    Most segments are one copy. Every eighth is as heavy as the format allows, in turns: each word corrected by
    another value, nothing but new bytes, as many copies as may be.
    """
    chance = np.random.default_rng(7)
    code = chance.bytes(SEGMENT)
    with open(directory / "base", "wb") as file:
        file.write(code)
        file.truncate(length)
    whole = np.array([SEGMENT])
    scattered = np.arange(0, SEGMENT, 16)
    heavy = [
        (Copies(np.zeros(1, np.int64), np.zeros(1, np.int64), whole), chance.bytes(SEGMENT)),
        (NO_COPIES, chance.bytes(SEGMENT)),
        (Copies(scattered, chance.permutation(scattered), np.full(len(scattered), 16)), chance.bytes(SEGMENT)),
    ]
    base_hash, result_hash, zeros = hashlib.sha256(code), hashlib.sha256(), bytes(SEGMENT)
    with opened(directory / "base") as base, open(directory / "blob", "wb") as blob:
        read = functools.partial(read_base, base)
        plain = segment.encode(Copies(np.zeros(1, np.int64), np.array([SEGMENT]), whole), zeros, SEGMENT, read)
        blob.write(Header(length, Digest("0" * 64), length, Digest("0" * 64)).encode())
        for number in range(length // SEGMENT):
            if number:
                base_hash.update(zeros)
            if number % 8:
                blob.write(plain)  # it says where it copies from relative to itself
                result_hash.update(zeros)
                continue
            copies, wanted = heavy[number // 8 % 3]
            blob.write(segment.encode(copies, wanted, number * SEGMENT, read) if number < 24 else _light(number, read))
            result_hash.update(wanted if number < 24 else _marked(number))
        digests = Digest(base_hash.hexdigest()), Digest(result_hash.hexdigest())
        blob.seek(0)
        blob.write(Header(length, digests[0], length, digests[1]).encode())
    return digests


def _marked(number: int) -> bytes:
    """A segment of zeros with a few words set, different for each number."""
    words = np.zeros(SEGMENT // 4, "<u4")
    words[number::4096] = number
    return words.tobytes()


def _light(number: int, read: segment.ReadBase) -> bytes:
    offset = number * SEGMENT
    copies = Copies(np.zeros(1, np.int64), np.array([offset]), np.array([SEGMENT]))
    return segment.encode(copies, _marked(number), offset, read)
