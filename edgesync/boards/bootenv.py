"""The boot environment and the boot record of a played board: values, the rules of the boot loader, and their files.

`try.json` is the environment, as U-Boot keeps one: the agent says in it what to try, the boot loader counts in it.
The two never write at once, for the loader runs only while no agent does. `boot.json` is what the loader says about
the present boot; only the loader writes it. Rules:

1. One slot is `primary`: it proved itself. It is booted whenever there is nothing to try, and no counter can drain it.
2. Another slot is booted only while it is `trying` and has tries `left`; each is taken away before it is used.
3. A slot whose tries are used up is never booted again by itself, it is noted as `fell_back`.
4. Whoever writes to a slot ends its trial first, so a half-written slot has neither rule on its side.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

from edgesync.host.files import read_limited, write_atomic
from edgesync.wire.errors import StorageError

FORMAT = 1
SLOTS = ("a", "b")
LIMIT = 4096
"""Bytes of either file; both are far smaller."""


@dataclass(frozen=True, slots=True)
class BootEnv:
    """What to boot. `trying` and `fell_back` name a slot or are "" for none; `left` counts boots."""

    primary: str = "a"
    trying: str = ""
    left: int = 0
    fell_back: str = ""

    def closed(self) -> BootEnv:
        """Nothing is to be tried and no failure is remembered: the other slot may now be written."""
        return BootEnv(self.primary)

    def with_trial(self, slot: str, tries: int) -> BootEnv:
        return BootEnv(self.primary, slot, tries)

    def given_up(self) -> BootEnv:
        """The next boot falls back."""
        return replace(self, left=0)

    def kept(self, slot: str) -> BootEnv:
        """`slot` proved itself. A trial of the other one, asked for since, stays."""
        return BootEnv(slot) if self.trying == slot else replace(self, primary=slot)

    def next_boot(self) -> tuple[BootEnv, str, bool]:
        """The environment to keep before booting, the slot to boot, and whether that is a trial."""
        if self.trying and self.left > 0:
            return replace(self, left=self.left - 1), self.trying, True
        if self.trying:
            return BootEnv(self.primary, fell_back=self.trying), self.primary, False
        return self, self.primary, False


@dataclass(frozen=True, slots=True)
class BootRecord:
    """One boot as the loader made it; the fields are those of `backend.BootEvidence`."""

    boot_id: str
    slot: str
    trial: bool
    fell_back: str = ""


def other(slot: str) -> str:
    return SLOTS[1 - SLOTS.index(slot)]


def read_env(root: Path) -> BootEnv:
    """The environment; that of a board fresh from the factory where there is none. Raises StorageError."""
    path = root / "try.json"
    if not path.exists():
        return BootEnv()
    env = _read(path, BootEnv)
    slots = ("", *SLOTS)
    if env.primary not in SLOTS or env.trying not in slots or env.fell_back not in slots or env.trying == env.primary:
        raise StorageError(f"{path}: impossible slots {env}; expected a primary and at most one other of {SLOTS}")
    return env


def write_env(root: Path, env: BootEnv) -> None:
    _write(root / "try.json", env)


def read_record(root: Path) -> BootRecord:
    """The present boot. Raises StorageError where nothing has booted the board yet."""
    path = root / "boot.json"
    if not path.exists():
        raise StorageError(f"{path} is missing: the board was never booted; start it with `edgesync board run`")
    record = _read(path, BootRecord)
    if record.slot not in SLOTS or record.fell_back not in ("", *SLOTS) or not record.boot_id:
        raise StorageError(f"{path}: impossible boot {record}; expected a boot id and slots of {SLOTS}")
    return record


def write_record(root: Path, record: BootRecord) -> None:
    _write(root / "boot.json", record)


_V = TypeVar("_V", BootEnv, BootRecord)


def _read(path: Path, kind: type[_V]) -> _V:
    data = read_limited(str(path), LIMIT)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    types: dict[str, object] = {"format": "int"} | {field.name: field.type for field in fields(kind)}
    if not isinstance(value, dict) or {key: type(item).__name__ for key, item in value.items()} != types:
        raise StorageError(f"{path}: found {data[:60]!r}, expected JSON with {types}")
    if value.pop("format") != FORMAT:
        raise StorageError(f"{path}: not of format {FORMAT}; another version of edgesync wrote it")
    return kind(**value)


def _write(path: Path, value: BootEnv | BootRecord) -> None:
    write_atomic(os.fspath(path), json.dumps({"format": FORMAT, **asdict(value)}).encode() + b"\n")
