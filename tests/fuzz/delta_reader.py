"""`make fuzz`: libFuzzer against the reader of deltas, through atheris.

One invariant: whatever stands behind the header, the target is the declared image or there is a named error, the same
with numpy and without; the base stays as it was, nothing is read outside of it, and nothing is written behind the
target's end. Half of the inputs are damaged behind the compression: a stream is unpacked, changed, and packed again,
with the right lengths around it.

    python -m tests.fuzz.delta_reader [libFuzzer's options] CORPUS
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

OPTIONS = ("-malloc_limit_mb=64", "-rss_limit_mb=2048", "-timeout=20", "-max_len=65536")
"""No single allocation may exceed what a worker may have. libFuzzer's own tables grow with the number of runs."""


class Reader:
    """Applies bodies of deltas between two small images with a program of 64 bits and one of 32."""

    def __init__(self) -> None:
        from edgesync.delta.format import header_of
        from edgesync.wire.ids import digest_of
        from tests.delta import golden

        grown = {30: 3, 70: 9}
        self.base = golden.program({}, 0, 150) + golden.program_32({}, 0, 150)
        self.result = golden.program(grown, 256, 150) + golden.program_32(grown, 256, 150)
        digests = digest_of(self.base), digest_of(self.result)
        self.header = header_of(len(self.base), digests[0], len(self.result), digests[1]).encode()
        self._base_fd = _memory(self.base)

    def one(self, body: bytes) -> str:
        """The name of the error, "" for the right image. Raises whatever breaks the invariant."""
        with_numpy, without = (self._apply(body, plain) for plain in ("", "1"))
        assert with_numpy == without, f"{with_numpy} with numpy, {without} without"
        assert with_numpy[0] != "BaseModified", f"it reads outside the base: {with_numpy[1]}"
        return with_numpy[0]

    def _apply(self, body: bytes, plain: str) -> tuple[str, str]:
        """The name of the error and the field that it names, or two times ""."""
        from edgesync.delta.apply import apply_delta
        from edgesync.delta.switch import VARIABLE
        from edgesync.wire.errors import EdgesyncError
        from edgesync.wire.ids import digest_of

        os.environ[VARIABLE] = plain
        blob_fd, target_fd = _memory(self.header + body), _memory(b"")
        try:
            apply_delta(
                self._base_fd,
                blob_fd,
                target_fd,
                base_sha256=digest_of(self.base),
                length=len(self.result),
                sha256=digest_of(self.result),
                progress=lambda _done, _total: None,
            )
        except EdgesyncError as error:
            return error.name, str(error).partition(":")[0]
        else:
            assert os.pread(target_fd, len(self.result) + 1, 0) == self.result
            return "", ""
        finally:
            del os.environ[VARIABLE]
            assert os.fstat(target_fd).st_size <= len(self.result)
            assert os.pread(self._base_fd, len(self.base) + 1, 0) == self.base
            os.close(blob_fd)
            os.close(target_fd)

    def seeds(self, directory: Path) -> Iterator[bytes]:
        """Bodies of real deltas: from the base, also a mixed one, from images made by hand, and the golden ones, of
        other images.
        """
        from edgesync.delta import mixing
        from edgesync.delta.format import parse_header
        from edgesync.delta.make import make_delta
        from tests.delta import golden

        mixed = [(self.base, True)] if mixing.available() else []
        for number, (base, mixes) in enumerate(
            [(self.base, False), *mixed, (b"", False), (bytes(len(self.base)), False)]
        ):
            paths = [directory / f"{number}.{name}" for name in ("old", "new", "delta")]
            paths[0].write_bytes(base)
            paths[1].write_bytes(self.result)
            make_delta(*(str(path) for path in paths), mixing=mixes)
            delta = paths[2].read_bytes()
            yield delta[parse_header(delta)[1] :]
        for known in golden.ALL:
            yield known.delta[parse_header(known.delta)[1] :]


def change_stream(blob: bytes, chance: random.Random, change: Callable[[bytes], bytes]) -> bytes:
    """The blob with one stream of one chapter or segment changed behind its packing, and right lengths around it; the
    blob itself if it is broken already.
    """
    from edgesync.delta import format as layout
    from edgesync.delta.streams import pack
    from edgesync.wire.errors import EdgesyncError

    def changed(part: layout.Part, body: bytes, chosen: str) -> dict[str, bytes]:
        packed = {}
        at = 0
        for name, size in part.packed.items():
            packed[name] = body[at : at + size]
            if name == chosen == "mixed":
                packed[name] = change(packed[name])  # there is nothing behind its packing that is not a whole segment
            elif name == chosen:
                packed[name] = pack(
                    name, change(part.unpack(body, name, limits.get(name, 1 << 20))), quick=chance.random() < 0.5
                )
            at += size
        return packed

    limits: dict[str, int] = {}
    try:
        header, at = layout.parse_header(blob)
        tables, size = layout.parse_chapter_header(0, blob[at:], header.segments)
        limits.update(tables.counts.limits())  # which tell how many numbers a mixed table has
        first, at = at, at + size
        parts = [(tables.part, blob[at : at + tables.part.body_length])]
        at += tables.part.body_length
        heads, number = [], 0
        for left in range(tables.counts.loud, 0, -1):
            quiet, alone = tables.counts.segments - number - left, tables.counts.loud == 1
            head, size = layout.parse_segment_header(number, blob[at:], header, quiet, alone=alone)
            at += size
            parts.append((head.part, blob[at : at + head.part.body_length]))
            heads.append(head)
            at, number = at + head.part.body_length, head.number + 1
        choices = [(part, name) for part, _ in parts for name in part.packed]
        part, chosen = chance.choice(choices or [(None, "")])
        packed = [changed(each, body, chosen if each is part else "") for each, body in parts]
    except EdgesyncError:
        return blob
    segments = [b""] * tables.counts.segments
    for head, streams in zip(heads, packed[1:], strict=True):
        check = head.check.ljust(layout.CHECK)  # the only one has none, and loses it again
        rest = [b""] * (3 - len(streams)) if head.form == layout.WORDS else []
        segments[head.number] = layout.encode_segment(head.form, check, [*rest, *streams.values()])
    return blob[:first] + layout.encode_chapter(tables.counts, packed[0], segments) + blob[at:]


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
