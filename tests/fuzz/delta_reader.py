"""`make fuzz`: libFuzzer against the reader of deltas, through atheris.

One invariant: whatever stands behind the header, the target is the declared image or there is a named error; the base
stays as it was, and nothing is written behind the target's end. Checksums are made right before each run, for a damaged
one ends the search at the door.

    python -m tests.fuzz.delta_reader [libFuzzer's options] CORPUS
"""

from __future__ import annotations

import os
import random
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

OPTIONS = ("-malloc_limit_mb=64", "-rss_limit_mb=2048", "-timeout=20", "-max_len=65536")
"""No single allocation may exceed what a worker may have. libFuzzer's own tables grow with the number of runs."""


class Reader:
    """Applies bodies of deltas between two small images."""

    def __init__(self) -> None:
        from edgesync.delta.format import Header
        from edgesync.wire.ids import digest_of

        self.base = _image(0)
        self.result = _image(1)
        self._header = Header(len(self.base), digest_of(self.base), len(self.result), digest_of(self.result))
        self.header = self._header.encode()
        self._base_fd = _memory(self.base)

    def one(self, body: bytes) -> str:
        """The name of the error, "" for the right image. Raises whatever breaks the invariant."""
        from edgesync.delta.apply import apply_delta
        from edgesync.wire.errors import EdgesyncError

        blob = bytearray(self.header + body)
        for part in _parts(blob):
            struct.pack_into("<I", blob, part.head, zlib.crc32(blob[part.head + 4 : part.end]))
        blob_fd, target_fd = _memory(blob), _memory(b"")
        try:
            apply_delta(
                self._base_fd,
                blob_fd,
                target_fd,
                base_sha256=self._header.base_sha256,
                length=len(self.result),
                sha256=self._header.result_sha256,
                progress=lambda _done, _total: None,
            )
        except EdgesyncError as error:
            return error.name
        else:
            assert os.pread(target_fd, len(self.result) + 1, 0) == self.result
            return ""
        finally:
            assert os.fstat(target_fd).st_size <= len(self.result)
            assert os.pread(self._base_fd, len(self.base) + 1, 0) == self.base
            os.close(blob_fd)
            os.close(target_fd)

    def seeds(self, directory: Path) -> Iterator[bytes]:
        """Bodies of real deltas: from the base, and from images made by hand."""
        from edgesync.delta.format import HEADER_SIZE
        from edgesync.delta.make import make_delta

        for number, base in enumerate((self.base, b"", bytes(len(self.base)))):
            paths = [directory / f"{number}.{name}" for name in ("old", "new", "delta")]
            paths[0].write_bytes(base)
            paths[1].write_bytes(self.result)
            make_delta(*(str(path) for path in paths))
            yield paths[2].read_bytes()[HEADER_SIZE:]


def _image(version: int) -> bytes:
    """A small AArch64 program, laid out as an ELF file: calls, addresses in pairs of instructions, pointers. The second
    version has some instructions more, so everything behind them moves.
    """
    words = [0xD503201F] * (16 * version)
    for number in range(2000):
        here = len(words)
        words += [
            0x94000000 | ((number * 37 % 2000) * 4 - here) & 0x3FFFFFF,
            0x90000003 | (number & 3) << 29,
            0x91000063 | (number * 8 & 0xFFF) << 10,
            0xD2800000 | number << 5,
        ]
    code = struct.pack(f"<{len(words)}I", *words)
    pointers = struct.pack("<2000Q", *(0x1000 + 64 * version + 16 * number for number in range(2000)))
    data_at = 0x1000 + len(code)
    names, names_at = b"\0.shstrtab\0.text\0.data\0", data_at + len(pointers)
    table_at = (names_at + len(names) + 7) & ~7
    file = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 183, 1, 0, 64, table_at, 0, 64, 56, 2, 64, 4, 3)
    for flags, at, address, size in ((5, 0, 0, data_at), (6, data_at, data_at + 0x1000, len(pointers))):
        file += struct.pack("<IIQQQQQQ", 1, flags, at, address, address, size, size, 0x1000)
    file = file.ljust(0x1000, b"\0") + code + pointers + names
    file = file.ljust(table_at, b"\0") + bytes(64)
    for section in (
        (11, 1, 6, 0x1000, 0x1000, len(code)),
        (17, 1, 3, data_at + 0x1000, data_at, len(pointers)),
        (1, 3, 0, 0, names_at, len(names)),
    ):
        file += struct.pack("<IIQQQQIIQQ", *section, 0, 0, 8, 0)
    return file


@dataclass(frozen=True, slots=True)
class Part:
    """A chapter or segment: where its header begins, where its streams begin and end, and the names of the streams."""

    head: int
    body: int
    end: int
    names: tuple[str, ...]


def _parts(blob: bytes) -> Iterator[Part]:
    """The parts as far as their lengths go, right or wrong."""
    from edgesync.delta import format as layout

    at = layout.HEADER_SIZE
    while at + layout.CHAPTER_HEADER_SIZE <= len(blob):
        (segments,) = struct.unpack_from("<I", blob, at + 4)
        for number in range(min(segments, 4) + 1):
            size = layout.SEGMENT_HEADER_SIZE if number else layout.CHAPTER_HEADER_SIZE
            names = layout.SEGMENT_STREAMS if number else layout.CHAPTER_STREAMS
            if at + size > len(blob):
                return
            part = Part(at, at + size, at + size + sum(_lengths(blob, at + size, len(names))), names)
            yield part
            at = part.end


def _lengths(blob: bytes, body: int, count: int) -> tuple[int, ...]:
    """Packed bytes of each stream: the last numbers of the header that ends at `body`."""
    return struct.unpack_from(f"<{count}I", blob, body - 4 * count)


def change_stream(blob: bytes, chance: random.Random, change: Callable[[bytes], bytes]) -> bytes:
    """Unpack one stream, change it and pack it again, so that damage gets behind the decompressor too."""
    from edgesync.delta.format import pack_stream, unpack_stream
    from edgesync.wire.errors import EdgesyncError

    parts = list(_parts(blob))
    if not parts:
        return blob
    part = chance.choice(parts)
    lengths = list(_lengths(blob, part.body, len(part.names)))
    index = chance.randrange(len(lengths))
    at = part.body + sum(lengths[:index])
    try:
        plain = unpack_stream("fuzz", part.names[index], blob[at : at + lengths[index]], 1 << 20)
    except EdgesyncError:
        return blob
    packed = pack_stream(part.names[index], change(plain))
    changed = bytearray(blob[:at] + packed + blob[at + lengths[index] :])
    struct.pack_into("<I", changed, part.body - 4 * (len(lengths) - index), len(packed))
    return bytes(changed)


def _memory(data: bytes) -> int:
    fd = os.memfd_create("fuzz")
    os.write(fd, data)
    return fd


def main() -> None:
    import atheris

    corpus = Path(sys.argv[-1])
    corpus.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=["edgesync.delta"], enable_loader_override=False):
        reader = Reader()
        for number, body in enumerate(reader.seeds(corpus.parent)):
            (corpus / f"seed-{number}").write_bytes(body)

    def mutate(body: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(body, max_size))
        blob = change_stream(reader.header + body, chance, lambda plain: bytes(atheris.Mutate(plain, len(plain) + 64)))
        return blob[len(reader.header) :][:max_size]

    atheris.Setup([*sys.argv, *OPTIONS], reader.one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
