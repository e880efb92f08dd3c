"""What the agent needs from a board's boot chain, as a Protocol: one backend a kind of boot loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BootEvidence:
    """What the boot loader and the kernel say of this boot.

    `boot_id` is new at every boot. `slot` is booted, `other` is the one that may be written. `trial`: this slot is
    being tried and goes back by itself unless it is marked good. `fell_back`: the slot that was tried before this
    boot and did not come up, or "".
    """

    boot_id: str
    slot: str
    other: str
    trial: bool
    fell_back: str = ""


class BootBackend(Protocol):
    """Every call is idempotent: it is issued again after a crash. Raises StorageError and DiskFullError only."""

    def evidence(self) -> BootEvidence: ...

    def components(self, slot: str) -> Mapping[str, int]:
        """The components that a slot holds, with their sizes in bytes."""
        ...

    def open_component(self, slot: str, component: str) -> int:
        """A descriptor for reading one component. The caller closes it."""
        ...

    def prepare(self, component: str, size: int) -> int:
        """A descriptor for reading and writing the component in the other slot, with room for `size` bytes.

        Takes the other slot's boot tries away first, so that a half-written slot is never booted. Content that is
        already there stays. The caller closes it.
        """
        ...

    def activate(self) -> None:
        """Let the boot loader try the other slot at the next boot."""
        ...

    def mark_good(self) -> None:
        """Keep the booted slot. A healthy slot is marked at every boot, or its tries drain."""
        ...

    def reboot(self) -> None:
        """Ask for a reboot; the process may be ended at any moment afterwards."""
        ...
