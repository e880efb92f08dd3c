"""The demo's firmware: real ARM64 images, built byte for byte the same everywhere from pinned wheels.

`firmware.toml` names each wheel and image with its SHA-256. An image is the ustar archive (`sim.ustar`) of all files
of its wheels, spread as an installer would, sorted by name as bytes.

As a program: `python -m edgesync.sim.firmware DIR`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from edgesync.boards.bootloader import MARKER
from edgesync.host.files import storage_errors
from edgesync.sim import ustar
from edgesync.sim.pins import Pins, Wheel, load_pins
from edgesync.wire.errors import EdgesyncError, NotReachableError, StorageError

Progress = Callable[[str, int, int], None]
"""Takes what is being done, and how many of how many bytes of it."""

PIP_LIMIT = 900
"""Seconds for one run of pip; 2 MB over a poor line take some minutes."""
BATCH = 6
"""Wheels of one run of pip: what an interrupted download loses at most."""

_CHUNK = 1 << 20
_TAIL = 800
_MARKER_TEXT = b"The boot loader of a played board refuses an image that holds this file.\n"


def prepare(directory: Path, names: Sequence[str], progress: Progress) -> dict[str, Path]:
    """The images of these names, in `directory`; fetched and built where they are not there and right already.

    Raises ConfigError for an unknown name, NotReachableError when pip cannot get a wheel, StorageError for a wheel
    or an image with a wrong digest.
    """
    pins = load_pins()
    for name in names:
        pins.image(name)
    missing = [name for name in names if not _is_built(pins, name, directory)]
    if missing:
        fetch(directory / "wheels", progress, missing)
    return {name: build(name, directory / "wheels", directory, progress) for name in names}


def fetch(wheels: Path, progress: Progress, names: Sequence[str] = ()) -> None:
    """Have every wheel of these images (of all, when none is named) in `wheels`. Those that are right are kept.

    Raises NotReachableError with pip's last words, StorageError for a wheel that pip brought with a wrong digest.
    """
    pins = load_pins()
    fetch_wheels(pins.wheels_of(names or tuple(pins.images)), pins.pip_options, wheels, progress)


def fetch_wheels(wanted: Sequence[Wheel], pip_options: Sequence[str], wheels: Path, progress: Progress) -> None:
    """Have these wheels in `wheels`, as `fetch` does; `pip_options` say for which Python and platforms."""
    wheels.mkdir(parents=True, exist_ok=True)
    total = sum(wheel.size for wheel in wanted)
    absent = [wheel for wheel in wanted if _digest(wheels / wheel.file) != wheel.sha256]
    done = total - sum(wheel.size for wheel in absent)
    for batch in _batches(absent):
        progress(f"fetching {', '.join(f'{wheel.name} {wheel.version}' for wheel in batch)}", done, total)
        _download(pip_options, batch, wheels)
        done += sum(wheel.size for wheel in batch)
    progress("fetched the wheels", done, total)


def extract(wheels: Path, wheel: Wheel, member: str, out: Path, sha256: str) -> None:
    """Write one file of a wheel to `out`, unless it is there and right. Raises StorageError for a wrong digest."""
    if _digest(out) != sha256:
        with _open_wheel(wheels, wheel) as archive:
            _replace(out, [archive.read(member)], sha256)


def build(name: str, wheels: Path, out: Path, progress: Progress) -> Path:
    """Build the image `name` as `out/<name>.tar`, unless it is there and right.

    Raises StorageError naming a wheel or the image whose digest is not the pinned one; nothing is left behind then.
    """
    pins = load_pins()
    pin = pins.image(name)
    path = out / f"{name}.tar"
    if not _is_built(pins, name, out):
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            members = _members(pins, [stack.enter_context(_open_wheel(wheels, w)) for w in pins.wheels_of([name])])
            _replace(
                path, _archive(pins, members, lambda done: progress(f"building {name}", done, pin.size)), pin.sha256
            )
    progress(f"{name} is at {path}", pin.size, pin.size)
    return path


def with_marker(image: Path, out: Path) -> Path:
    """The same archive with the file that a played boot loader refuses, as `out`. Raises StorageError for another."""
    pins = load_pins()
    size = image.stat().st_size - len(ustar.END)
    with image.open("rb") as source:
        source.seek(max(0, size))
        if size < 0 or source.read() != ustar.END:
            raise StorageError(f"{image}: does not end like a tar archive of `edgesync.sim.firmware`")
        source.seek(0)
        head = ustar.header(f"{pins.root}{MARKER}", len(_MARKER_TEXT), pins.mtime)
        tail = head + _MARKER_TEXT + ustar.padding(len(_MARKER_TEXT)) + ustar.END
        _replace(out, [*_chunks(source, size), tail])
    return out


def _is_built(pins: Pins, name: str, directory: Path) -> bool:
    return _digest(directory / f"{name}.tar") == pins.image(name).sha256


def _batches(wheels: Iterable[Wheel]) -> Iterator[list[Wheel]]:
    """At most BATCH wheels each, and no name twice: pip refuses two versions of one."""
    rest = list(wheels)
    while rest:
        batch: dict[str, Wheel] = {}
        for wheel in rest:
            if len(batch) < BATCH:
                batch.setdefault(wheel.name, wheel)
        yield list(batch.values())
        rest = [wheel for wheel in rest if wheel not in batch.values()]


def _download(pip_options: Sequence[str], batch: Sequence[Wheel], wheels: Path) -> None:
    with tempfile.TemporaryDirectory(dir=wheels, prefix=".fetch-") as directory:
        wanted = Path(directory) / "requirements.txt"
        wanted.write_text("".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in batch))
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--require-hashes", "--no-deps", "--only-binary=:all:", *pip_options]
        try:
            pip = subprocess.run(
                [*command, "--dest", directory, "--requirement", str(wanted)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PIP_LIMIT,
                check=False,
            )
            said = pip.stdout.decode(errors="replace").strip() if pip.returncode else ""
        except subprocess.TimeoutExpired:
            said = f"no end after {PIP_LIMIT} s"
        if said:
            names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in batch)
            raise NotReachableError(f"pip cannot fetch {names}; run it again to go on. It said: {said[-_TAIL:]}")
        for wheel in batch:
            _check(Path(directory) / wheel.file, wheel)
            os.replace(Path(directory) / wheel.file, wheels / wheel.file)


def _check(path: Path, wheel: Wheel) -> None:
    found = _digest(path)
    if found != wheel.sha256:
        raise StorageError(f"{path}: sha256 {found or 'of no file'}, expected {wheel.sha256}; fetch it again")


def _open_wheel(directory: Path, wheel: Wheel) -> zipfile.ZipFile:
    _check(directory / wheel.file, wheel)
    return zipfile.ZipFile(directory / wheel.file)


def _members(pins: Pins, wheels: Iterable[zipfile.ZipFile]) -> list[tuple[str, zipfile.ZipFile, zipfile.ZipInfo]]:
    """Path on the board, wheel and member of every file of the image, in the order of the archive."""
    members: dict[str, tuple[zipfile.ZipFile, zipfile.ZipInfo]] = {}
    for wheel in wheels:
        for info in wheel.infolist():
            if info.is_dir():
                continue
            path = pins.root + _installed(info.filename)
            if path in members or path.startswith("/") or ".." in path.split("/"):
                raise StorageError(
                    f"{wheel.filename}: member {info.filename!r} is there twice, or outside of {pins.root}"
                )
            members[path] = (wheel, info)
    return [(path, *members[path]) for path in sorted(members, key=str.encode)]


def _installed(member: str) -> str:
    """Where an installer puts a member of a wheel, below the image's root."""
    data = re.fullmatch(r"[^/]+\.data/(purelib|platlib|scripts|data|headers)/(.+)", member)
    if not data:
        return f"site-packages/{member}"
    places = {"purelib": "site-packages", "platlib": "site-packages", "scripts": "bin"}
    return f"{places.get(data[1], data[1])}/{data[2]}"


def _archive(
    pins: Pins, members: Iterable[tuple[str, zipfile.ZipFile, zipfile.ZipInfo]], on_bytes: Callable[[int], None]
) -> Iterator[bytes]:
    done = 0
    for path, wheel, info in members:
        data = wheel.read(info)
        base = path.rpartition("/")[2]
        executable = base.endswith(".so") or ".so." in base or path.startswith(f"{pins.root}bin/")
        yield ustar.header(path, len(data), pins.mtime, executable=executable) + data + ustar.padding(len(data))
        done += len(data)
        on_bytes(done)
    yield ustar.END


def _replace(path: Path, parts: Iterable[bytes], sha256: str = "") -> None:
    """Write `path` whole or not at all. Raises StorageError when the digest is not the expected one."""
    temporary = path.with_name(f"{path.name}.tmp")
    digest = hashlib.sha256()
    try:
        with storage_errors(str(path)), temporary.open("wb") as file:
            for part in parts:
                digest.update(part)
                file.write(part)
        if sha256 and digest.hexdigest() != sha256:
            raise StorageError(f"{path.name} as built: sha256 {digest.hexdigest()}, expected {sha256}")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    """SHA-256 of a file, "" when there is none."""
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for part in _chunks(file, path.stat().st_size):
            digest.update(part)
    return digest.hexdigest()


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (part := file.read(min(_CHUNK, size))):
        yield part
        size -= len(part)


class _Console:
    """Progress on standard error: a line for each step, with a running figure where it is a terminal."""

    def __init__(self) -> None:
        self._step = ""

    def __call__(self, what: str, done: int, total: int) -> None:
        live = sys.stderr.isatty()
        if what != self._step or live:
            start = "\r\x1b[K" if live and what == self._step else "\n" if live and self._step else ""
            print(f"{start}{100 * done // total:3d} %  {what}", end="" if live else "\n", file=sys.stderr, flush=True)
        self._step = what

    def close(self) -> None:
        if sys.stderr.isatty():
            print(file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    pins = load_pins()
    parser = argparse.ArgumentParser(prog="python -m edgesync.sim.firmware", description="Build the demo's firmware.")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where <image>.tar and the wheels go")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(pins.images)} (default: all)")
    args = parser.parse_args(arguments)

    console = _Console()
    try:
        paths = prepare(args.directory, args.images or tuple(pins.images), console)
    except EdgesyncError as error:
        console.close()
        print(f"{error.name}: {error}", file=sys.stderr)
        return 1
    console.close()
    for path in paths.values():
        print(f"{_digest(path)}  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
