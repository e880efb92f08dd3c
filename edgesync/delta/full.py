"""Compressing a full image, on the server: `python -m edgesync.delta.full IMAGE OUT`, in a process of its own.

For boards whose base is not known. One xz stream, as small as a decoder in 64 MiB of memory allows: the dictionary is
what the decoder holds beside Python and numpy.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from edgesync.delta.command import run
from edgesync.host.files import fsync_dir, storage_errors
from edgesync.wire.ids import Digest

DICTIONARY = 16 << 20
"""Bytes. A worker peaks at 54 MiB with it; the next size would leave it no room."""
READ = 1 << 20

PhaseProgress = Callable[[str, int, int], None]

# lc, lp and pb of 2: instructions are words of four bytes; 0.4 % smaller than xz's defaults on AArch64 images.
_FILTERS = [
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": DICTIONARY,
        "lc": 2,
        "lp": 2,
        "pb": 2,
    }
]


@dataclass(frozen=True, slots=True)
class FullInfo:
    """A compressed image: its length in bytes, and the image."""

    length: int
    result_length: int
    result_sha256: Digest


def make_full(image_path: str, out_path: str, progress: PhaseProgress | None = None) -> FullInfo:
    """Compress an image, streaming. Progress: ("compress", bytes done, of).

    Raises DiskFullError or StorageError; then there is nothing at `out_path` that was not there before.
    """
    report = progress or (lambda _phase, _done, _total: None)
    encoder, digest, done = lzma.LZMACompressor(format=lzma.FORMAT_XZ, filters=_FILTERS), hashlib.sha256(), 0
    temporary = f"{out_path}.tmp"
    with storage_errors(f"{image_path} > {out_path}"):
        try:
            with open(image_path, "rb") as image, open(temporary, "wb") as out:
                total = os.fstat(image.fileno()).st_size
                while data := image.read(READ):
                    digest.update(data)
                    out.write(encoder.compress(data))
                    done += len(data)
                    report("compress", done, total)
                out.write(encoder.flush())
                out.flush()
                os.fsync(out.fileno())
                length = out.tell()
            os.replace(temporary, out_path)
            fsync_dir(os.path.dirname(out_path) or ".")
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
    return FullInfo(length, done, Digest(digest.hexdigest()))


if __name__ == "__main__":
    sys.exit(run("edgesync.delta.full", "Compress a full firmware image.", ("image", "out"), make_full))
