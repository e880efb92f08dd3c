"""Bytes of the current rollout by purpose, and of the calendar month as the link's operator counts them; both outlive
restarts.

The rollout's file is replaced but not synced: after a power cut the figures may be a few seconds old, which costs no
truth that anything is decided by. By the month's the budget is kept, so it is synced: at most once for `MONTH_BYTES` of
traffic and once an hour besides, which is what a power cut may lose and what the flash has to bear.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

from edgesync.agent.month import Month
from edgesync.host.files import read_limited, write_atomic
from edgesync.host.tcp import Carried
from edgesync.wire import codec, fields
from edgesync.wire.errors import EdgesyncError
from edgesync.wire.messages import Traffic

FILE_LIMIT = 4096
MONTH_BYTES, MONTH_SECONDS = 16 * 1024, 3600
"""Traffic and time after which the month is saved."""


class Ledger:
    """Counts of one rollout in `traffic`, which `begin` starts anew; counts of the month in `month`."""

    def __init__(self, state: str) -> None:
        self._path = os.path.join(state, "traffic.json")
        self._month_path = os.path.join(state, "month.json")
        self.rollout = ""
        self.traffic = Traffic()
        self.month = Month()
        self._seen = Carried()
        with contextlib.suppress(EdgesyncError, OSError):
            self._load()
        with contextlib.suppress(EdgesyncError):
            self.month = Month.from_dict(codec.parse_object(read_limited(self._month_path, FILE_LIMIT)))
        self._saved, self._saved_at = self.month, 0

    def begin(self, rollout: str) -> None:
        if rollout != self.rollout:
            self.rollout, self.traffic = rollout, Traffic()
            self.save()

    def add(
        self,
        *,
        blob: int = 0,
        refetched: int = 0,
        metadata: int = 0,
        reported: int = 0,
    ) -> None:
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
        self.month = self.month.plus(blob=blob, refetched=refetched, metadata=metadata, reported=reported)

    def add_config(self, size: int) -> None:
        """Bytes that came for the board's config: no rollout of firmware has to answer for them."""
        self.month = self.month.plus(config=size)

    def add_telemetry(self, size: int) -> None:
        """Bytes that went out for telemetry."""
        self.month = self.month.plus(telemetry=size)

    def add_elsewhere(self, size: int) -> None:
        """Bytes at IP level that another connection than the broker's has carried."""
        self.month = self.month.plus(total=size)

    def look(self, carried: Carried, now: int) -> None:
        """`carried` is what this process's connections to the broker have carried so far, `now` the trusted time."""
        traffic, seen = self.traffic, self._seen
        self.traffic = replace(
            traffic,
            tcp_in=traffic.tcp_in + max(0, carried.inward - seen.inward),
            tcp_out=traffic.tcp_out + max(0, carried.outward - seen.outward),
        )
        self.month = self.month.at(now).plus(total=max(0, carried.total - seen.total))
        self._seen = carried
        late = self.month != self._saved and now - self._saved_at >= MONTH_SECONDS
        if late or self.month.begin != self._saved.begin or self.month.total - self._saved.total >= MONTH_BYTES:
            self._save_month(now)

    def save(self) -> None:
        temporary = f"{self._path}.tmp"
        with contextlib.suppress(OSError):  # a full disk shall not stop an update over its statistics
            with open(temporary, "wb") as file:
                file.write(codec.canonical({"rollout": self.rollout, "traffic": self.traffic.to_dict()}))
            os.replace(temporary, self._path)

    def close(self, carried: Carried, now: int) -> None:
        """The last look, and everything on the disk."""
        self.look(carried, now)
        self.save()
        self._save_month(now)

    def _save_month(self, now: int) -> None:
        # What cannot be saved is tried again as seldom: a disk that fails is not to be worn out on top.
        self._saved, self._saved_at = self.month, now
        with contextlib.suppress(EdgesyncError):
            write_atomic(self._month_path, codec.canonical(self.month.to_dict()), 0o600)

    def _load(self) -> None:
        with open(self._path, "rb") as file:
            value = codec.parse_object(file.read(FILE_LIMIT))
        self.rollout = fields.text(value, "rollout")
        self.traffic = Traffic.from_dict(fields.mapping(value, "traffic"))
