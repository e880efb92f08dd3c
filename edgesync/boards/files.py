"""The boot backend of a played board: slots are the directories `a` and `b`, a component is `<slot>/<component>.img`.

    root/a/<component>.img, root/b/<component>.img
    root/boot.json   what the boot loader says of this boot
    root/try.json    the boot environment: what to try, what proved itself
    root/reboot      the boot id in which a reboot was asked for

A reboot is asked for by file and not by the agent's exit, so that a crash is never taken for a reboot; and the file
carries the boot id, so that a request left over from an earlier boot asks for nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from edgesync.boards.backend import BootEvidence
from edgesync.boards.bootenv import SLOTS, BootEnv, other, read_env, read_record, write_env
from edgesync.host.files import free_bytes, fsync_dir, read_limited, storage_errors, write_atomic
from edgesync.wire.errors import DiskFullError, StorageError
from edgesync.wire.ids import is_label

COMPONENT_LIMIT = 64
"""Components of one slot; more is not a board's slot."""
SUFFIX = ".img"
_BLOCK = 512
"""Bytes of one unit of `st_blocks`."""


class FilesBackend:
    """A `BootBackend` over a directory. `tries` is the number of boots that an activated slot gets."""

    def __init__(self, root: Path, tries: int) -> None:
        self._root = root
        self._tries = tries

    def evidence(self) -> BootEvidence:
        record = read_record(self._root)
        trial = record.trial and read_env(self._root).primary != record.slot
        return BootEvidence(record.boot_id, record.slot, other(record.slot), trial, record.fell_back)

    def components(self, slot: str) -> Mapping[str, int]:
        directory = self._slot(slot)
        if not directory.exists():
            return {}
        sizes: dict[str, int] = {}
        with storage_errors(str(directory)), os.scandir(directory) as entries:
            for entry in entries:
                name = entry.name.removesuffix(SUFFIX)
                if entry.name.endswith(SUFFIX) and is_label(name) and entry.is_file(follow_symlinks=False):
                    sizes[name] = entry.stat(follow_symlinks=False).st_size
                if len(sizes) > COMPONENT_LIMIT:
                    raise StorageError(f"{directory}: more than {COMPONENT_LIMIT} components")
        return dict(sorted(sizes.items()))

    def open_component(self, slot: str, component: str) -> int:
        path = self._image(slot, component)
        with storage_errors(path):
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def prepare(self, component: str, size: int) -> int:
        target = self._target()
        self._update(read_env(self._root).closed())
        path = self._image(target, component)
        directory = os.path.dirname(path)
        with storage_errors(path):
            os.makedirs(directory, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            with storage_errors(path):
                self._reserve(path, fd, size)
                fsync_dir(directory)
                fsync_dir(os.fspath(self._root))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def activate(self) -> None:
        self._update(read_env(self._root).with_trial(self._target(), self._tries))

    def mark_good(self) -> None:
        self._update(read_env(self._root).kept(read_record(self._root).slot))

    def reboot(self) -> None:
        """A reboot out of a trial that was not marked good gives the slot up: the next boot falls back, though the
        slot has tries left. Those are for power cuts.
        """
        evidence = self.evidence()
        if evidence.trial:
            self._update(read_env(self._root).given_up())
        write_atomic(os.fspath(self._root / "reboot"), evidence.boot_id.encode())

    def _target(self) -> str:
        """The slot that may be written or tried: not the booted one, nor the only one that is known to be good."""
        slot = other(read_record(self._root).slot)
        if slot == read_env(self._root).primary:
            raise StorageError(f"slot {slot} is what the board falls back to; mark the booted slot good first")
        return slot

    def _update(self, env: BootEnv) -> None:
        if env != read_env(self._root):
            write_env(self._root, env)

    def _reserve(self, path: str, fd: int, size: int) -> None:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise StorageError(f"{path}: not a regular file")
        if status.st_size > size:
            os.ftruncate(fd, size)
        needed = size - min(size, status.st_blocks * _BLOCK)
        free = free_bytes(os.path.dirname(path))
        if needed > free:
            raise DiskFullError(f"{path}: {size} bytes need {needed} more, {free} are free")
        if size:
            os.posix_fallocate(fd, 0, size)

    def _slot(self, slot: str) -> Path:
        if slot not in SLOTS:
            raise StorageError(f"slot: found {slot[:20]!r}, expected one of {', '.join(SLOTS)}")
        return self._root / slot

    def _image(self, slot: str, component: str) -> str:
        if not is_label(component):
            raise StorageError(f"component: found {component[:40]!r}, expected a name of [a-z0-9-]")
        return os.fspath(self._slot(slot) / (component + SUFFIX))


def reboot_requested(root: Path, boot_id: str) -> bool:
    """Whether the agent of this boot asked for a reboot. Raises StorageError."""
    path = root / "reboot"
    return path.exists() and read_limited(os.fspath(path), _BLOCK) == boot_id.encode()
