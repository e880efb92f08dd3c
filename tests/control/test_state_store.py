"""What is saved is what is loaded, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edgesync.control.configblobs import ConfigBlob
from edgesync.control.documents import standing_from_dict, standing_to_dict
from edgesync.control.planner import BlobKey, Built, Unbuildable
from edgesync.control.standing import Offered, Standing, State, Status
from edgesync.control.state import FLEET, Batch, Entry, Heard, Presence, Signed, Store
from edgesync.control.tables import MIXED_BLOBS
from edgesync.control.types import ConfigBundle, Image, Wanted
from edgesync.wire.errors import ConfigError, StorageError, UnknownFormatError
from edgesync.wire.ids import BlobId, DeviceId, digest_of
from edgesync.wire.messages import (
    ConfigPhase,
    ConfigReport,
    ConfigTarget,
    Desired,
    ErrorReport,
    Manners,
    Phase,
    Reported,
    Source,
    Target,
    Traffic,
)

DEVICE, OTHER = DeviceId("demo.b1"), DeviceId("demo.b2")
OLD, NEW = digest_of(b"old"), digest_of(b"new")
BLOB = BlobId("ab" * 16)

POSTGRES = Path("/usr/lib/postgresql")


def _initdb() -> Path | None:
    found = sorted(POSTGRES.glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path) if on_path else None


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a cluster of our own, on a Unix socket; "" where PostgreSQL is not installed."""
    initdb = _initdb()
    if initdb is None:
        yield ""
        return
    place = Path(tempfile.mkdtemp(prefix="edgesync-pg-"))
    as_user: list[str] = []
    user = pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        user = "postgres"  # PostgreSQL refuses to run as root
        as_user = ["runuser", "-u", user, "--"]
        os.chown(place, pwd.getpwnam(user).pw_uid, -1)
    data = place / "data"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": place, "timeout": 120}
    subprocess.run([*as_user, str(initdb), "-A", "trust", "--no-sync", "-D", str(data)], check=True, **quiet)
    control = [*as_user, str(initdb.with_name("pg_ctl")), "-D", str(data)]
    options = f"-c listen_addresses='' -c unix_socket_directories={place} -c fsync=off"
    subprocess.run([*control, "-w", "-o", options, "-l", str(place / "log"), "start"], check=True, **quiet)
    try:
        yield f"postgresql+psycopg://{user}@/postgres?host={place}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, **quiet)
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path, postgres: str, require: Callable[[str], None]) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state.db"
        return
    require("" if postgres else "PostgreSQL is not installed (apt-get install postgresql)")
    yield postgres
    engine = sa.create_engine(postgres)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.close()


def board(device: DeviceId = DEVICE) -> Standing:
    """A standing with every field set."""
    target = Target("root", "2", 1000, NEW, Source("delta", BLOB, 100, OLD, "http://files/x"))
    return Standing(
        Wanted(
            device,
            "v2",
            {"root": Image("root", "v2.img", "2", NEW, ("files",))},
            1,
            ConfigBundle(NEW, 100, "firmware >= 2", b""),
            Manners(check_in=3600),
        ),
        Status.FAILED,
        part=True,
        error=ErrorReport("BootFailed", "slot b"),
        since=5.5,
        reported=Reported(
            device,
            9,
            "boot-1",
            "a",
            confirmed=True,
            images={"root": OLD},
            phase=Phase.FAILED,
            version=3,
            rollout="r1",
            done=10,
            total=100,
            error=ErrorReport("BootFailed"),
            missing=(BLOB,),
            quarantine=(NEW,),
            traffic=Traffic(1, 2, 3, 4, 5, 6),
            config=ConfigReport(OLD, ConfigPhase.FAILED, ErrorReport("ProbeFailed"), 2),
        ),
        seen=6.5,
        offered=Offered(
            Desired(
                device,
                3,
                "c" * 40,
                "r1",
                "v2",
                (target,),
                retry=7,
                config=ConfigTarget(NEW, 100, "firmware >= 2"),
                manners=Manners(check_in=3600),
            ),
            "boot-0",
            {"root": OLD},
            4.5,
            9.5,
            2,
            OLD,
            whole=True,
            mixed=True,
        ),
        retry=7,
        delta_failed=ErrorReport("BaseModified"),
        quarantine=frozenset({NEW}),
        config_whole=True,
        mixed_failed=ErrorReport("DeltaCorrupt", "segment 3"),
    )


def state() -> State:
    return State(
        rollout="r1",
        revision="c" * 40,
        author="Ada",
        subject="Ship",
        started=1.5,
        phase="aborted",
        reason="too many",
        paused=True,
        open_waves=2,
        boards={DEVICE: board()},
        blobs={
            BlobKey(NEW, OLD): Built(BLOB, 100),
            BlobKey(NEW, OLD, mixed=True): Built(BlobId("ef" * 16), 90),
            BlobKey(NEW): Built(BlobId("cd" * 16), 1 << 40),
        },
        quarantine=frozenset({OLD}),
    )


def test_all_that_is_saved_is_there_after_a_restart(store: Store, url: str) -> None:
    heard, presence = {DEVICE: Heard("key", 1 << 50)}, {DEVICE: Presence(up=True, since=2.5)}
    store.save(Batch(State(), state(), heard, presence, [Entry(1.0, DEVICE, "r1", "c", "Ada", "failed", "why")]))
    store.save_signed({DEVICE: Signed(3, b"\x00\xff")})
    store.close()
    again = Store(url)
    loaded = again.load()
    assert loaded.state == state()
    assert (loaded.heard, loaded.presence) == (heard, presence)
    assert loaded.signed == {DEVICE: Signed(3, b"\x00\xff")}
    assert [entry.detail for entry in again.history()] == ["why"]
    again.close()


def test_config_is_kept_with_the_blob_that_brings_it_until_nobody_needs_it(store: Store) -> None:
    new, other = b"\x00new", b"other"
    store.save(Batch(State(), state(), bundles={NEW: new, OLD: b"old"}))
    assert store.bundles([NEW, digest_of(b"unknown")]) == {NEW: new}
    assert store.load().bundles == {NEW, OLD}
    first = ConfigBlob(Source("delta", BLOB, 5, OLD), b"\xff\x00abc")
    second = ConfigBlob(Source("full", BlobId("cd" * 16), 5), other)
    # Two boards that go the same way share the bytes; a hold has none.
    store.save_signed({DEVICE: Signed(3, b"x", first), OTHER: Signed(3, b"y", first)})
    assert {device: signed.config for device, signed in store.load().signed.items()} == {DEVICE: first, OTHER: first}
    store.save_signed({DEVICE: Signed(4, b"x", second), OTHER: Signed(4, b"y")})
    store.drop_config([OLD])
    loaded = store.load()
    assert {device: signed.config for device, signed in loaded.signed.items()} == {DEVICE: second, OTHER: None}
    assert loaded.bundles == {NEW}


def test_a_standing_of_a_server_that_knew_no_config_and_no_mixed_deltas_is_read() -> None:
    old = standing_to_dict(replace(board(), config_whole=False))
    for where, names in (
        (old, ("config_whole", "mixed_failed")),
        (old["offered"], ("config_base", "whole", "mixed")),
        (old["wanted"], ("config", "manners")),
    ):
        for name in names:
            del where[name]
    found = standing_from_dict(old)
    assert (found.wants_config, found.config_whole, found.offered and found.offered.config_base) == (None, False, "")
    assert (found.mixed_failed, found.offered and found.offered.mixed) == (None, False)
    assert found.wants == board().wants


def test_a_save_that_is_cut_off_leaves_the_state_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(Batch(State(), state()))
    after = replace(state(), paused=False, boards={DEVICE: replace(board(), status=Status.CONFIRMED)})
    for cut in range(1, 6):
        calls = 0
        execute = sa.Connection.execute

        def failing(self: sa.Connection, *arguments: Any, at: int = cut, real: Any = execute, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                raise sa.exc.OperationalError("disk full", None, OSError())
            return real(self, *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(sa.Connection, "execute", failing)
            try:
                store.save(Batch(state(), after, {DEVICE: Heard("k", 5)}, {}, [Entry(1, "", "", "", "", "e", "")]))
            except StorageError:
                assert store.load().state == state()
                assert store.history() == []
            else:
                assert cut > 4


def test_a_board_that_leaves_keeps_its_counter_and_nothing_else(store: Store) -> None:
    full = replace(state(), boards={DEVICE: board(), OTHER: board(OTHER)})
    store.save(Batch(State(), full, {OTHER: Heard("key", 7)}))
    store.save_signed({OTHER: Signed(3, b"x")})
    store.save(Batch(full, replace(full, boards={DEVICE: board()})))
    loaded = store.load()
    assert set(loaded.state.boards) == {DEVICE}
    assert loaded.heard[OTHER] == Heard("key", 7)
    assert OTHER not in loaded.signed


def test_history_is_oldest_first_and_a_board_s_own_with_the_fleet_s(store: Store) -> None:
    store.save(
        Batch(
            State(),
            State(),
            entries=[Entry(n, who, "r", "c", "a", f"e{n}", "") for n, who in enumerate(["", DEVICE, OTHER])],
        )
    )
    assert [entry.event for entry in store.history()] == ["e0", "e1", "e2"]
    assert [entry.event for entry in store.history(DEVICE)] == ["e0", "e1"]
    assert [entry.event for entry in store.history(limit=1)] == ["e2"]


def test_a_board_s_rollouts_stay_after_the_next_one(store: Store) -> None:
    first = state()
    second = replace(
        first, rollout="r2", started=2.5, boards={DEVICE: replace(board(), status=Status.CONFIRMED, error=None)}
    )
    store.save(Batch(State(), first))
    store.save(Batch(first, second))
    assert [(p["rollout"], p["status"], p["error"]) for p in store.parts(DEVICE)] == [
        ("r2", "confirmed", ""),
        ("r1", "failed", "BootFailed: slot b"),
    ]


def test_a_blob_that_is_gone_is_forgotten_and_one_that_failed_never_kept(store: Store) -> None:
    failed = replace(state(), blobs={**state().blobs, BlobKey(OLD): Unbuildable(ErrorReport("BuildFailed"))})
    store.save(Batch(State(), failed))
    before = failed
    for key in (BlobKey(NEW, OLD), BlobKey(NEW, OLD, mixed=True)):
        fewer = replace(failed, blobs={key: state().blobs[key]})
        store.save(Batch(before, fewer))
        assert store.load().state.blobs == fewer.blobs
        before = fewer


def test_the_database_of_a_server_that_knew_no_mixed_deltas_is_taken_over(store: Store, url: str) -> None:
    older = replace(state(), blobs={key: made for key, made in state().blobs.items() if not key.mixed})
    store.save(Batch(State(), older))
    store.close()
    engine = sa.create_engine(url)
    MIXED_BLOBS.drop(engine)
    engine.dispose()
    again = Store(url)
    assert again.load().state == older
    again.save(Batch(older, state()))
    assert again.load().state == state()
    again.close()


def test_another_version_s_state_is_refused_by_name(store: Store, url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.update(FLEET).values(format=99))
    engine.dispose()
    with pytest.raises(UnknownFormatError, match="99"):
        Store(url)


def test_a_url_that_is_none_and_a_database_that_is_away_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="database"):
        Store("nonsense")
    with pytest.raises(StorageError):
        Store(f"sqlite:///{tmp_path}/no/such/directory/state.db")
