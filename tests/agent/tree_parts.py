"""Trees and bundles on a real disk, for their tests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from edgesync.agent.tree.bundles import Bundles
from edgesync.agent.tree.trees import Trees
from edgesync.wire.bundle import Bundle, BundleFile, Settings, encode
from edgesync.wire.ids import Digest, digest_of


def made(files: Mapping[str, tuple[bytes, int] | bytes], **settings: object) -> bytes:
    """A bundle of files: content, or content and mode."""
    of = {p: BundleFile(*f) if isinstance(f, tuple) else BundleFile(f) for p, f in files.items()}
    return encode(Bundle(of, Settings(**settings)))  # type: ignore[arg-type]


class Disk:
    """A board's config directory with its stores."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trees, self.bundles = Trees(str(root)), Bundles(str(root))

    def keep(self, data: bytes) -> Digest:
        """Put a bundle into the store as an apply worker would."""
        digest = digest_of(data)
        fd = self.bundles.begin(digest, len(data))
        try:
            os.write(fd, data)
            self.bundles.keep(digest, fd)
        finally:
            os.close(fd)
        return digest

    def write(self, digest: Digest) -> str:
        """Write the tree of a bundle, to its end; its name."""
        catalogue = self.bundles.catalogue(digest)
        steps = self.trees.write(catalogue)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            return str(end.value)
        finally:
            catalogue.close()

    def install(self, data: bytes) -> Digest:
        """Put a bundle in force."""
        digest = self.keep(data)
        self.trees.switch(self.write(digest))
        return digest

    def differences(self, digest: Digest) -> list[str]:
        """The names in which the tree in force differs from this bundle."""
        catalogue = self.bundles.catalogue(digest)
        try:
            return [name for name in self.trees.compare(catalogue) if name]
        finally:
            catalogue.close()

    def read(self) -> dict[str, tuple[bytes, int]]:
        """What an application finds."""
        current = (self.root / "current").resolve()
        return {
            str(path.relative_to(current)): (path.read_bytes(), path.stat().st_mode & 0o777)
            for path in sorted(current.rglob("*"))
            if path.is_file()
        }
