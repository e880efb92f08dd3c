"""The pair "rootfs-1g": two ext4 root file systems of 1.5 GiB, built from Debian's packages for arm64 (`rootfs.toml`).

Needs a Debian 12 with dpkg and e2fsprogs. This machine's own lists and packages of apt are left alone: apt works in a
directory of the pair, with the sources that /etc/apt has for Debian.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import tomllib

NAME = "rootfs-1g"
CODE = "Debian 12 for arm64, 68 packages updated, ext4"
_SIZE = "1536M"
_SOURCES = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
_STAMP = {"E2FSPROGS_FAKE_TIME": "1700000000"}  # the same file system from the same packages
_IDS = "00000000-0000-0000-0000-00000000000"


def prepare(directory: Path, progress: Callable[[str, int, int], None]) -> tuple[Path, Path]:
    """The old and the new image, built where they are not there yet. Raises CalledProcessError."""
    images = directory / f"{NAME}.old", directory / f"{NAME}.new"
    if all(image.exists() for image in images):
        return images
    pins = tomllib.loads(Path(__file__).with_name("rootfs.toml").read_text())
    work = directory / NAME
    debs = _download(work, pins, progress)
    for side, image in zip(("old", "new"), images, strict=True):
        packages = {**pins["both"], **pins[side]}
        tree = work / side
        for done, (name, version) in enumerate(packages.items()):
            progress(f"unpacking {name}", done, len(packages))
            (deb,) = debs.glob(f"{name}_{version.replace(':', '%3a')}_*.deb")
            _run("dpkg-deb", "--extract", deb, tree)
        part = image.with_suffix(".part")
        part.unlink(missing_ok=True)
        _run(
            *("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-m", "0", "-N", "65536", "-U", f"{_IDS}1"),
            *("-E", f"hash_seed={_IDS}2,root_owner=0:0", "-d", tree, part, _SIZE),
        )
        part.rename(image)
        shutil.rmtree(tree)
    return images


def _download(work: Path, pins: Mapping[str, Mapping[str, str]], progress: Callable[[str, int, int], None]) -> Path:
    """The directory with all packages of both sides."""
    debs = work / "debs"
    for name in ("lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "debs"):
        (work / name).mkdir(parents=True, exist_ok=True)
    (work / "status").touch()
    sources = next((path for path in _SOURCES if path.exists()), _SOURCES[0])
    shutil.copy(sources, work / "etc" / sources.name)
    config = {
        "Dir::Etc": work / "etc",
        "Dir::Etc::sourcelist": work / "etc" / sources.name,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": work,
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "APT::Architecture": "arm64",
        "APT::Sandbox::User": "root",
    }
    text = "".join(f'{key} "{value}";\n' for key, value in config.items())
    (work / "apt.conf").write_text(text + 'APT::Architectures { "arm64"; };\n')
    environment = {"APT_CONFIG": str(work / "apt.conf")}
    _run("apt-get", "-qq", "update", environment=environment)
    wanted = [f"{name}={version}" for side in pins.values() for name, version in side.items()]
    for at in range(0, len(wanted), 40):
        progress(f"fetching {NAME}", at, len(wanted))
        _run("apt-get", "-qq", "download", *wanted[at : at + 40], directory=debs, environment=environment)
    return debs


def _run(*command: str | Path, directory: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    subprocess.run(
        command, check=True, cwd=directory, env={**os.environ, **_STAMP, **(environment or {}), "PATH": path}
    )
