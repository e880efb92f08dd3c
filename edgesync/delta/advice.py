"""What compressed parts of two images cost in a delta, and how to build them instead.

Where it is cheap the price is measured on the very pair: both parts are unpacked and a delta is made between them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from edgesync.delta import api, images
from edgesync.delta.inside import Part, find
from edgesync.host.files import storage_errors
from edgesync.wire.errors import EdgesyncError, NotReachableError

MEASURE_LIMIT = 32 << 20
"""Bytes of a part, compressed and unpacked, up to which the delta without compression is really made."""
SQUASHFS_LIMIT = 12 << 20
"""The same for a squashfs, whose unpacked length is not in its superblock."""
TOOL_SECONDS = 300

Progress = Callable[[str, int, int], None]

_INSTEAD = {
    "file": "give it unpacked; `edgesync release import` stores it so",
    "squashfs": "build it with `mksquashfs DIR IMAGE -noI -noD -noF -noX`; a slot has the room, the link has not",
    "initrd": "build it without compression: BR2_TARGET_ROOTFS_CPIO_NONE=y in Buildroot, INITRAMFS_FSTYPES = 'cpio' in "
    "Yocto, compress=cat for dracut",
    "data": "store it decompressed: a kernel as Image, not Image.gz",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """A compressed part of an image, which the image before has not got. `plain_delta` is the bytes of the delta
    between the unpacked parts, None where it was not measured; `instead` says how to build it.
    """

    part: Part
    plain_delta: int | None
    instead: str

    def __str__(self) -> str:
        part = self.part
        plain = "" if self.plain_delta is None else f"; unpacked, its delta has {self.plain_delta} bytes"
        return f"the image {_name(part)}: {part.length} bytes{_burden(part)}{plain}. Better: {self.instead}"

    def to_dict(self) -> dict[str, object]:
        return {**dataclasses.asdict(self.part), "plain_delta": self.plain_delta, "instead": self.instead}


def advise(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    measure: bool = True,
    coder: api.Coder | None = None,
) -> tuple[Cost, ...]:
    """The costs of compression in the step from one image file to the other; to `measure` takes as long as the delta
    between the unpacked parts does, which is made with this `coder` as `api.make` does. Raises StorageError.
    """
    before = find(old)
    known = {part.sha256 for part in before}
    costs = []
    for part in (part for part in find(new) if part.sha256 not in known):
        twin = next((p for p in before if (p.kind, p.compression) == (part.kind, part.compression)), None)
        make = functools.partial(api.make, progress=progress, coder=coder)
        plain = _plain_delta(old, twin, new, part, make) if twin and measure else None
        costs.append(Cost(part, plain, _INSTEAD[part.kind]))
        before = tuple(p for p in before if p is not twin)
    return tuple(costs)


def price(image: str | os.PathLike[str]) -> tuple[Cost, ...]:
    """The compressed parts of one image file, whatever was before it. Raises StorageError."""
    return tuple(Cost(part, None, _INSTEAD[part.kind]) for part in find(image))


def _name(part: Part) -> str:
    if part.kind == "file":
        return "is an Android sparse file" if part.compression == "sparse" else f"is compressed with {part.compression}"
    what = {
        "squashfs": f"a squashfs in {part.compression}",
        "initrd": f"an initrd in {part.compression}",
    }.get(part.kind, f"{part.compression} data")
    return f"holds {what} at byte {part.offset}"


def _burden(part: Part) -> str:
    """What the packing does to a delta: a squashfs is compressed a block at a time, a stream as one."""
    if part.compression == "sparse":
        return f" for a partition of {part.unpacked}, which is what a slot holds"
    if part.kind == "squashfs":
        return ", each block of which travels again when a byte in it changes"
    return ", most of which travel again when one of them changes"


def _plain_delta(
    old: str | os.PathLike[str], twin: Part, new: str | os.PathLike[str], part: Part, make: Callable[..., api.Info]
) -> int | None:
    """Bytes of the delta between two unpacked parts; None where that is not cheap or not possible here."""
    limit = SQUASHFS_LIMIT if part.kind == "squashfs" else MEASURE_LIMIT
    if max(twin.length, part.length, twin.unpacked, part.unpacked) > limit:
        return None
    unpack = _unpack_squashfs if part.kind == "squashfs" else _unpack_stream
    with tempfile.TemporaryDirectory(prefix="edgesync-") as directory:
        before, after = os.path.join(directory, "old"), os.path.join(directory, "new")
        try:
            unpack(old, twin, before)
            unpack(new, part, after)
            return make(before, after, os.path.join(directory, "delta")).length
        except EdgesyncError:
            return None


def _unpack_stream(image: str | os.PathLike[str], part: Part, out: str) -> None:
    packed = f"{out}.packed"
    with storage_errors(os.fspath(image)):
        with open(image, "rb") as source, open(packed, "wb") as sink:
            source.seek(part.offset)
            sink.write(source.read(part.length))
        with open(packed, "rb") as source, open(out, "wb") as sink:
            images.unpack(source, sink, os.fspath(image), MEASURE_LIMIT)


def _unpack_squashfs(image: str | os.PathLike[str], part: Part, out: str) -> None:
    """The same file system without compression. Raises NotReachableError where squashfs-tools are not installed."""
    tree = f"{out}.tree"
    plain = ["-noI", "-noD", "-noF", "-noX", "-all-root", "-mkfs-time", "0", "-all-time", "0"]
    for command in (
        ["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-offset", str(part.offset), "-dest", tree, image],
        ["mksquashfs", tree, out, "-quiet", "-no-progress", "-no-xattrs", *plain],
    ):
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TOOL_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NotReachableError(f"{command[0]}: {error}; install squashfs-tools to have this measured") from error
