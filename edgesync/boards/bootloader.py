"""What the boot loader of a played board does between power-on and the start of the agent: it picks a slot.

A slot is refused when it holds no image, an empty one, or one that is a tar with a file named `refuse-to-boot`, which
is how a demonstration or a test makes firmware that does not boot.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

from edgesync.boards.bootenv import BootRecord, read_env, write_env, write_record
from edgesync.boards.files import SUFFIX

MARKER = "refuse-to-boot"
HEADER_LIMIT = 100_000
"""Members of a tar that are looked at; behind them the marker is not found."""
TRY_LIMIT = 20
"""Attempts in one boot: more than the tries that any profile may give."""

_BLOCK = 512

Say = Callable[..., None]
"""Takes the name of an event and its fields."""


def boot(root: Path, boot_id: str, say: Say) -> BootRecord | None:
    """Boot the slot that the environment asks for, and record it; None when no slot can be booted.

    The try is taken away on disk before the slot is looked at, so that a slot which kills the loader runs out too.
    """
    for _ in range(TRY_LIMIT):
        before = read_env(root)
        env, slot, trial = before.next_boot()
        if env != before:
            write_env(root, env)
        if env.fell_back and not before.fell_back:
            say("fallback", tried=env.fell_back, slot=slot)
        reason = refusal(root / slot)
        if not reason:
            record = BootRecord(boot_id, slot, trial, env.fell_back)
            write_record(root, record)
            say("boot", boot_id=boot_id, slot=slot, trial=trial, fell_back=env.fell_back, left=env.left)
            return record
        say("refuse", slot=slot, reason=reason, left=env.left)
        if not trial:
            return None
    return None


def refusal(slot: Path) -> str:
    """Why this slot cannot be booted, or "" when it can."""
    try:
        images = sorted(slot.glob(f"*{SUFFIX}"))
        if not images:
            return f"no *{SUFFIX} in {slot}"
        for image in images:
            if not image.stat().st_size:
                return f"{image.name} is empty"
            if tar_has(image, MARKER):
                return f"{image.name} contains {MARKER}"
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return ""


def tar_has(path: Path, base_name: str) -> bool:
    """True if the file is an uncompressed tar with a member of this base name. Reads headers only, so a path
    of more than 100 bytes (ustar: 255) is not recognised.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        offset = 0
        for _ in range(HEADER_LIMIT):
            try:
                member = tarfile.TarInfo.frombuf(os.pread(fd, _BLOCK, offset), "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                return False
            if os.path.basename(member.name) == base_name:
                return True
            if member.size < 0:
                return False
            offset += _BLOCK - (-member.size // _BLOCK) * _BLOCK
    finally:
        os.close(fd)
    return False
