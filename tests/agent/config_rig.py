"""The config of the rig's board: a board type whose commands are shell scripts of the test, bundles, and a reader."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import final

from rig import DEVICE, FLEET, Rig

from edgesync.wire import topics
from edgesync.wire.bundle import Bundle, BundleFile, Settings, encode
from edgesync.wire.ids import Digest, digest_of
from edgesync.wire.messages import ConfigPhase, ConfigTarget, Desired, Reported, Source

ROOT = topics.config(FLEET, DEVICE)
ALLOW = ("app/**", "*.conf")


def bundle(files: Mapping[str, str], **settings: object) -> bytes:
    """A bundle of text files; settings as `Settings` has them."""
    return encode(Bundle({p: BundleFile(t.encode()) for p, t in files.items()}, Settings(**settings)))  # type: ignore[arg-type]


def board_type(directory: Path, scripts: Mapping[str, str], limit: int = 5) -> None:
    """The type `files` with these commands: shell scripts that get the tree as $1."""
    directory.mkdir(exist_ok=True)
    packaged = Path(__file__).parents[2] / "edgesync" / "boards" / "files.toml"
    text = packaged.read_text().partition("[config]")[0] + f"[config]\nallow = {list(ALLOW)}\n[config.commands]\n"
    for name, script in scripts.items():
        path = directory / f"{name}.sh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        text += f'[config.commands.{name}]\nrun = ["{path}", "{{tree}}"]\nlimit = "{limit} s"\n'
    (directory / "files.toml").write_text(text)


@final
class ConfigRig:
    """What a test does with the config of `rig`'s board. `scripts` are its commands, by name."""

    def __init__(self, rig: Rig, scripts: Mapping[str, str] | None = None, limit: int = 5) -> None:
        self.rig, self.root = rig, rig.board / "state" / "config"
        self.scripts = rig.root / "types"
        board_type(self.scripts, scripts or {}, limit)
        config = rig.board / "agent.toml"
        config.write_text(f'profiles = "{self.scripts}"\n' + config.read_text())

    async def offer(
        self, image: bytes, data: bytes, base: bytes | None = None, requires: str = "", **changes: object
    ) -> Desired:
        """Publish a bundle, as a delta from `base` where it is given, and the desired state that names it."""
        source = self.rig.delta(base, data) if base is not None else self.rig.full(data)
        await self.rig.publish(source.blob, ROOT)
        return await self.want(image, data, source, requires, **changes)

    async def want(
        self,
        image: bytes,
        data: bytes,
        source: Source | None,
        requires: str = "",
        *,
        image_source: Source | None = None,
        **changes: object,
    ) -> Desired:
        target = ConfigTarget(digest_of(data), len(data), requires, source)
        desired = replace(self.rig.desired(image, image_source, **changes), config=target)
        await self.rig.want(desired)
        return desired

    async def settled(
        self, data: bytes, phase: ConfigPhase = ConfigPhase.IDLE, limit: float = 30.0, error: str | None = None
    ) -> Reported:
        """The report with this bundle in force in this phase, about the newest desired state."""
        digest, version = digest_of(data), self.rig.version

        def fits(report: Reported) -> bool:
            told = report.config
            if told is None or (told.sha256, told.phase, report.version) != (digest, phase, version):
                return False
            return error is None or (told.error is not None and told.error.name == error)

        since = max(0, len(self.rig.reports) - 1)
        return await self.rig.reported(fits, limit, since)

    def linked(self) -> Digest | None:
        """The bundle whose tree the link names."""
        link = self.root / "current"
        return Digest(os.readlink(link).removeprefix("trees/")[:64]) if link.is_symlink() else None

    def files(self) -> dict[str, str]:
        """What an application reads."""
        current = self.root / "current"
        if not current.exists():
            return {}
        real = current.resolve()
        return {str(path.relative_to(real)): path.read_text() for path in sorted(real.rglob("*")) if path.is_file()}
