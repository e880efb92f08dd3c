"""Bytes of the current rollout by purpose, kept over restarts.

The file is replaced but not synced: after a power cut the figures may be a few seconds old, which costs no truth that
anything is decided by, while syncing them would wear the flash with each block.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

from edgesync.wire import codec, fields
from edgesync.wire.errors import EdgesyncError
from edgesync.wire.messages import Traffic

FILE_LIMIT = 4096


class Ledger:
    """Counts of one rollout in `traffic`; `begin` starts another."""

    def __init__(self, state: str) -> None:
        self._path = os.path.join(state, "traffic.json")
        self.rollout = ""
        self.traffic = Traffic()
        self._tcp_seen = (0, 0)
        with contextlib.suppress(EdgesyncError, OSError):
            self._load()

    def begin(self, rollout: str) -> None:
        if rollout != self.rollout:
            self.rollout, self.traffic = rollout, Traffic()
            self.save()

    def add(self, *, blob: int = 0, refetched: int = 0, metadata: int = 0, reported: int = 0) -> None:
        """`refetched` is negative where bytes that were counted so turn out to be of use. Those that were counted in an
        earlier rollout stay there.
        """
        now = self.traffic
        self.traffic = replace(
            now,
            blob=now.blob + blob,
            refetched=max(0, now.refetched + refetched),
            metadata=now.metadata + metadata,
            reported=now.reported + reported,
        )

    def tcp(self, totals: tuple[int, int]) -> None:
        """Totals of this process's connections so far (in, out), as `MqttLink.traffic` gives them."""
        now, seen = self.traffic, self._tcp_seen
        self.traffic = replace(
            now, tcp_in=now.tcp_in + max(0, totals[0] - seen[0]), tcp_out=now.tcp_out + max(0, totals[1] - seen[1])
        )
        self._tcp_seen = totals

    def save(self) -> None:
        temporary = f"{self._path}.tmp"
        with contextlib.suppress(OSError):  # a full disk shall not stop an update over its statistics
            with open(temporary, "wb") as file:
                file.write(codec.canonical({"rollout": self.rollout, "traffic": self.traffic.to_dict()}))
            os.replace(temporary, self._path)

    def _load(self) -> None:
        with open(self._path, "rb") as file:
            value = codec.parse_object(file.read(FILE_LIMIT))
        self.rollout = fields.text(value, "rollout")
        self.traffic = Traffic.from_dict(fields.mapping(value, "traffic"))
