"""The blobs of boards' config: what is sent for a board that holds one bundle and shall hold another.

They are small and made in this process, for one board or for all that go the same way, and they lie in the database
and not among the blobs of firmware: each is published for its board alone.
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass

from edgesync.delta.small import make_bytes
from edgesync.wire.blob import PIECE, build
from edgesync.wire.ids import BlobId, Digest
from edgesync.wire.messages import Source

MEMORY = 32 << 20
"""Bytes of blobs that are remembered for the next board that goes the same way."""
_DICTIONARY_MIN = 4096
"""Bytes: xz knows no smaller one."""


@dataclass(frozen=True, slots=True)
class ConfigBlob:
    """How the config of a board's desired state gets to it: the source, and the bytes of its blob."""

    source: Source
    data: bytes


class ConfigBlobs:
    """Makes them, and remembers the last ones. Not for several threads."""

    def __init__(self) -> None:
        self._made: dict[tuple[Digest, Digest | None], ConfigBlob] = {}
        self._bytes = 0

    def make(self, digest: Digest, bundle: bytes, base: tuple[Digest, bytes] | None) -> ConfigBlob:
        """The smallest way to a bundle. `base`: digest and bytes of the bundle that the board holds, None where there
        is none, or where it cannot serve.
        """
        key = digest, base[0] if base else None
        made = self._made.get(key)
        if made is None:
            made = _make(bundle, base)
            if self._bytes + len(made.data) > MEMORY:
                self._made.clear()
                self._bytes = 0
            self._made[key] = made
            self._bytes += len(made.data)
        return made


def _make(bundle: bytes, base: tuple[Digest, bytes] | None) -> ConfigBlob:
    whole = _compress(bundle)
    if base:
        delta = make_bytes(base[1], bundle)
        if len(delta) < len(whole):
            return ConfigBlob(Source("delta", _blob_id(delta), len(delta), base[0]), delta)
    return ConfigBlob(Source("full", _blob_id(whole), len(whole)), whole)


def _blob_id(data: bytes) -> BlobId:
    index, _ = build((data[at : at + PIECE] for at in range(0, len(data), PIECE)), len(data))
    return index.blob


def _compress(bundle: bytes) -> bytes:
    """As `edgesync.delta.full` does it, but for text, and without xz's own checksum: the digest is compared anyway."""
    size = 1 << max(len(bundle) - 1, _DICTIONARY_MIN - 1).bit_length()
    options = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size, "lc": 3, "lp": 0, "pb": 0}
    return lzma.compress(bundle, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=[options])
