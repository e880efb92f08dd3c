"""The server's memory: SQLAlchemy Core on SQLite or PostgreSQL. Whatever is needed to go on after a kill at any point.

One transaction saves what one batch of events changed; the effects start after it. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from edgesync.control.configblobs import ConfigBlob
from edgesync.control.documents import standing_from_dict, standing_to_dict
from edgesync.control.planner import BlobKey, Built
from edgesync.control.standing import RolloutPhase, State
from edgesync.control.tables import (
    BLOBS,
    BOARDS,
    BUNDLES,
    CONFIGS,
    FLEET,
    HISTORY,
    METADATA,
    MIXED_BLOBS,
    PARTS,
    ROLLOUTS,
    SOURCES,
)
from edgesync.wire.errors import ConfigError, StorageError, UnknownFormatError
from edgesync.wire.ids import BlobId, DeviceId, Digest
from edgesync.wire.messages import Source

FORMAT = 1
_BLOBS = {False: BLOBS, True: MIXED_BLOBS}
"""Where a blob is kept, by whether it is mixed."""
HISTORY_LIMIT = 10_000
"""Rows that one question may ask for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of history; `device` is "" for what concerns the fleet. `time` in unix seconds."""

    time: float
    device: str
    rollout: str
    revision: str
    author: str
    event: str
    detail: str


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest report counter of a board and the key (public half, hex) that signed it."""

    key: str
    counter: int


@dataclass(frozen=True, slots=True)
class Presence:
    """What the board's last will says, and since when (s). Never evidence."""

    up: bool
    since: float


@dataclass(frozen=True, slots=True)
class Signed:
    """A desired state as it is published, and the blob of the config that it names."""

    version: int
    packed: bytes
    config: ConfigBlob | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """All that was saved, but for the bytes of bundles. `state` has no spec yet: that comes from git."""

    state: State
    heard: Mapping[DeviceId, Heard]
    presence: Mapping[DeviceId, Presence]
    signed: Mapping[DeviceId, Signed]
    bundles: set[Digest]


@dataclass(slots=True)
class Batch:
    """What one transaction saves: the difference of two states, and what came with it. `bundles` are new ones."""

    before: State
    after: State
    heard: dict[DeviceId, Heard] = field(default_factory=dict)
    presence: dict[DeviceId, Presence] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    bundles: dict[Digest, bytes] = field(default_factory=dict)


class Store:
    """One database. Every call is one short transaction and blocks; raises StorageError when the database fails."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError for a URL that is none, StorageError, UnknownFormatError for another version's state."""
        try:
            self._engine = sa.create_engine(url)
        except (SQLAlchemyError, ImportError) as error:
            raise ConfigError(
                f"key 'database': found {url!r}, expected sqlite:///FILE or postgresql+psycopg://...: {error}"
            ) from error
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _tune_sqlite)
        self._insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        with self._transaction() as connection:
            METADATA.create_all(connection)
            found = connection.execute(sa.select(FLEET.c.format)).scalar()
            if found is None:
                connection.execute(
                    sa.insert(FLEET).values(id=1, format=FORMAT, rollout="", paused=False, quarantine=[])
                )
        if found not in (None, FORMAT):
            raise UnknownFormatError(f"database {self._engine.url!r}: found format {found}, expected {FORMAT}")

    def close(self) -> None:
        self._engine.dispose()

    def load(self) -> Loaded:
        with self._transaction() as connection:
            fleet = connection.execute(sa.select(FLEET)).one()
            rollout = connection.execute(sa.select(ROLLOUTS).where(ROLLOUTS.c.id == fleet.rollout)).one_or_none()
            rows = connection.execute(sa.select(BOARDS)).all()
            blobs = {
                BlobKey(row.result, row.base, mixed): Built(BlobId(row.blob), row.length)
                for mixed, table in _BLOBS.items()
                for row in connection.execute(sa.select(table))
            }
            sources = connection.execute(sa.select(SOURCES).where(SOURCES.c.blob.is_not(None))).all()
            data = {row.blob: row.data for row in connection.execute(sa.select(CONFIGS))}
            bundles = connection.execute(sa.select(BUNDLES.c.sha256)).scalars().all()
        config = {r.device: ConfigBlob(Source.from_dict(r.source), data[r.blob]) for r in sources if r.blob in data}
        boards = {DeviceId(row.device): standing_from_dict(row.standing) for row in rows if row.standing}
        state = State(
            boards=boards,
            blobs=blobs,
            paused=fleet.paused,
            quarantine=frozenset(Digest(digest) for digest in fleet.quarantine),
        )
        return Loaded(
            _in_rollout(state, rollout) if rollout else state,
            {DeviceId(row.device): Heard(row.key, row.counter) for row in rows if row.key},
            {DeviceId(row.device): Presence(row.up, row.up_since) for row in rows},
            {
                DeviceId(row.device): Signed(row.signed_version, row.signed, config.get(row.device))
                for row in rows
                if row.signed
            },
            {Digest(digest) for digest in bundles},
        )

    def save(self, batch: Batch) -> None:
        before, after = batch.before, batch.after
        with self._transaction() as connection:
            if after.rollout:
                self._put(connection, ROLLOUTS, [_rollout_row(after)])
            fleet = {"rollout": after.rollout, "paused": after.paused, "quarantine": sorted(after.quarantine)}
            connection.execute(sa.update(FLEET).values(**fleet))
            changed = [b for device, b in after.boards.items() if before.boards.get(device) is not b]
            self._put(connection, BOARDS, [{"device": b.device, "standing": standing_to_dict(b)} for b in changed])
            parts = [
                {
                    "rollout": after.rollout,
                    "device": b.device,
                    "status": b.status.value,
                    "error": f"{b.error.name}: {b.error.detail}" if b.error else "",
                    "since": b.since,
                }
                for b in changed
                if b.part
            ]
            self._put(connection, PARTS, parts)
            heard = [{"device": d, "key": h.key, "counter": h.counter} for d, h in batch.heard.items()]
            self._put(connection, BOARDS, heard)
            presence = [{"device": d, "up": p.up, "up_since": p.since} for d, p in batch.presence.items()]
            self._put(connection, BOARDS, presence)
            # The row of a board that left stays, without standing: its counter still guards against replays.
            for gone in before.boards.keys() - after.boards.keys():
                nothing = {"standing": sa.null(), "signed": None}
                connection.execute(sa.update(BOARDS).where(BOARDS.c.device == gone).values(**nothing))
                connection.execute(sa.delete(SOURCES).where(SOURCES.c.device == gone))
            self._put(connection, BUNDLES, [{"sha256": d, "data": data} for d, data in batch.bundles.items()])
            self._save_blobs(connection, before, after)
            if batch.entries:
                connection.execute(sa.insert(HISTORY), [_entry_row(entry) for entry in batch.entries])

    def _save_blobs(self, connection: sa.Connection, before: State, after: State) -> None:
        for mixed, table in _BLOBS.items():
            new = [
                {"result": key.result, "base": key.base, "blob": built.blob, "length": built.length}
                for key, built in after.blobs.items()
                if key.mixed == mixed and isinstance(built, Built) and before.blobs.get(key) is not built
            ]
            self._put(connection, table, new)
        for key in before.blobs.keys() - after.blobs.keys():
            table = _BLOBS[key.mixed]
            connection.execute(sa.delete(table).where(table.c.result == key.result, table.c.base == key.base))

    def save_signed(self, signed: Mapping[DeviceId, Signed]) -> None:
        """What is about to be published."""
        rows = [{"device": d, "signed": s.packed, "signed_version": s.version} for d, s in signed.items()]
        config = {device: s.config for device, s in signed.items()}
        sources = [
            {"device": device, "blob": c.source.blob if c else None, "source": c.source.to_dict() if c else None}
            for device, c in config.items()
        ]
        with self._transaction() as connection:
            self._put(connection, BOARDS, rows)
            self._put(connection, CONFIGS, [{"blob": c.source.blob, "data": c.data} for c in config.values() if c])
            self._put(connection, SOURCES, sources)

    def bundles(self, digests: Iterable[Digest]) -> dict[Digest, bytes]:
        """Those that are stored."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(BUNDLES).where(BUNDLES.c.sha256.in_(sorted(digests)))).all()
        return {Digest(row.sha256): row.data for row in rows}

    def drop_config(self, bundles: Iterable[Digest]) -> None:
        """Delete bundles that nobody needs, and the blobs that no board is sent."""
        sent = sa.select(SOURCES.c.blob).where(SOURCES.c.blob.is_not(None))
        with self._transaction() as connection:
            for digest in bundles:
                connection.execute(sa.delete(BUNDLES).where(BUNDLES.c.sha256 == digest))
            connection.execute(sa.delete(CONFIGS).where(CONFIGS.c.blob.not_in(sent)))

    def add(self, entries: Sequence[Entry]) -> None:
        with self._transaction() as connection:
            connection.execute(sa.insert(HISTORY), [_entry_row(entry) for entry in entries])

    def history(self, device: str | None = None, limit: int = 100) -> list[Entry]:
        """The newest `limit` entries, oldest first; of one board and of the fleet if `device` is given."""
        query = sa.select(HISTORY).order_by(HISTORY.c.id.desc()).limit(min(limit, HISTORY_LIMIT))
        if device is not None:
            query = query.where(HISTORY.c.device.in_([device, ""]))
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return [Entry(*row[1:]) for row in reversed(rows)]

    def parts(self, device: DeviceId) -> list[dict[str, Any]]:
        """The rollouts that a board took part in, newest first, at most 100."""
        query = (
            sa.select(PARTS, ROLLOUTS.c.revision, ROLLOUTS.c.subject, ROLLOUTS.c.started)
            .join(ROLLOUTS)
            .where(PARTS.c.device == device)
            .order_by(ROLLOUTS.c.started.desc())
            .limit(100)
        )
        with self._transaction() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - its documented name

    def _put(self, connection: sa.Connection, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
        """Insert or update by primary key; all rows have the same columns."""
        values = list(rows)
        if not values:
            return
        statement = self._insert(table)
        keys = [column.name for column in table.primary_key]
        update = {name: statement.excluded[name] for name in values[0] if name not in keys}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=update), values)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StorageError(f"database {self._engine.url!r}: {_first_line(error)}") from error


def _in_rollout(state: State, row: Any) -> State:
    return State(
        rollout=row.id,
        revision=row.revision,
        author=row.author,
        subject=row.subject,
        started=row.started,
        phase=cast(RolloutPhase, row.phase),
        reason=row.reason,
        open_waves=row.open_waves,
        boards=state.boards,
        blobs=state.blobs,
        paused=state.paused,
        quarantine=state.quarantine,
    )


def _rollout_row(state: State) -> dict[str, Any]:
    return {
        "id": state.rollout,
        "revision": state.revision,
        "author": state.author,
        "subject": state.subject,
        "started": state.started,
        "phase": state.phase,
        "reason": state.reason,
        "open_waves": state.open_waves,
    }


def _entry_row(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _tune_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for setting in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()
