"""The server: composes the stages, runs them in one event loop, and ends them.

    Follower (git) > Driver (decides, saves, signs) > Publisher > broker
    broker > FleetView (checks) > Driver

A kill at any point loses nothing: the driver saves before it acts, and the publisher compares with the broker at every
connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgesync.control import api, view
from edgesync.control.announce import Announcer
from edgesync.control.builds import Builds
from edgesync.control.config import ServerConfig
from edgesync.control.driver import Driver
from edgesync.control.fleet import FleetView
from edgesync.control.follow import Follower
from edgesync.control.git import Git
from edgesync.control.images import ImageStore
from edgesync.control.publisher import Patience, Publisher
from edgesync.control.standing import (
    Abort,
    BoardReported,
    Event,
    Listening,
    NewRevision,
    Pause,
    Resume,
    Retry,
    Spec,
    Tick,
)
from edgesync.control.state import Store
from edgesync.control.types import Board
from edgesync.host.clock import SystemClock
from edgesync.host.mqtt import Down, LinkOptions, Message, MqttLink, Up
from edgesync.host.tasks import end
from edgesync.trust.keys import load_signer
from edgesync.wire import topics
from edgesync.wire.errors import ConfigError, EdgesyncError, MalformedMessageError, NotReachableError
from edgesync.wire.ids import SERVER, DeviceId, device_id

if TYPE_CHECKING:
    from edgesync.control.telemetry import Telemetry

log = logging.getLogger("edgesync.server")

TICK = 5.0
"""Seconds between two looks at who has fallen silent."""
SWEEP = 3600.0
"""Seconds between two looks for blobs that nobody needs."""
PACKET_LIMIT = 1024 * 1024
"""Bytes. A board's oversized message is retained: were the connection dropped for it, it would come again for ever."""
EARLY_LIMIT = 200_000
"""Retained messages of boards, two each, that wait for git to be read once."""
INBOX = 1000
"""Messages that wait for this loop: one board's report each, 10,000 of them at a connect."""


class Service:
    """One server for one fleet. `run` once."""

    def __init__(self, config: ServerConfig, patience: Patience | None = None) -> None:
        """Reads keys and state. Raises ConfigError, StorageError, UnknownFormatError, NotReachableError (TLS files)."""
        config.state.mkdir(parents=True, exist_ok=True)
        (config.state / "images").mkdir(exist_ok=True)
        self._config = config
        clock = SystemClock()
        self._clock = clock
        self._store = Store(config.database)
        loaded = self._store.load()
        images = ImageStore(config.state / "images")
        builds = Builds(config.state / "blobs", images.path_of)
        self._announcer = Announcer(Git(config.repository), config.status_command, notes=config.status_notes)
        signer = load_signer(str(config.director_key))
        self._telemetry = _telemetry(config)
        self._driver = Driver(
            self._store,
            loaded,
            builds,
            signer,
            clock,
            on_saved=self._announcer.tell,
            on_spans=self._telemetry.tell if self._telemetry else lambda _spans: None,
        )
        self._view = FleetView(
            loaded.heard,
            loaded.presence,
            {device: board.reported for device, board in loaded.state.boards.items() if board.reported},
        )
        self._link = MqttLink(_link_options(config))
        self._publisher = Publisher(
            self._link, config.fleet, builds, clock, on_lost=self._driver.lost, patience=patience
        )
        self._follower = Follower(config, images, self._revision, self._problem)
        self._boards: dict[DeviceId, Board] = {}
        self._early: dict[str, bytes] = {}
        self._connected = False
        self._link_reason = "not connected yet"

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises what a part of the server died of; the others are ended first."""
        listener = api.listen(self._config.socket)
        server = api.server(self)
        parts = {
            "driver": self._driver.run(self._publisher),
            "publisher": self._publisher.run(),
            "follower": self._follower.run(self._driver.state.revision),
            "link": self._hear(),
            "time": self._tick(),
            "status": self._announcer.run(),
            "api": server.serve(sockets=[listener]),
            "stop": stop.wait(),
        }
        tasks = {asyncio.ensure_future(part): name for name, part in parts.items()}
        self._link.start()
        log.info("serving fleet=%s socket=%s", self._config.fleet, self._config.socket)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if error := task.exception():
                    log.error("the %s ended: %r", tasks[task], error)
                    raise error
        finally:
            server.should_exit = True
            await end(task for task, name in tasks.items() if name != "api")
            await asyncio.wait([task for task, name in tasks.items() if name == "api"], timeout=api.STOP_LIMIT + 1)
            await self._link.stop()
            if self._telemetry:
                await self._telemetry.close()
            listener.close()
            self._config.socket.unlink(missing_ok=True)
            self._store.close()
            log.info("stopped")

    # --- git ----------------------------------------------------------------------------------------------------

    async def _revision(self, spec: Spec) -> None:
        self._boards = dict(spec.fleet.boards)
        await self._driver.submit(NewRevision(spec))
        early, self._early = self._early, {}
        for topic, payload in early.items():
            await self._message(Message(topic, payload))
            await asyncio.sleep(0)  # as below

    def _problem(self, revision: str, problem: str) -> None:
        self._driver.note(entry=self._driver.entry("problem", f"{revision[:12]} {problem}".strip()))

    # --- the broker ---------------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        while True:
            event = await self._link.next()
            match event:
                case Up():
                    self._connected, self._link_reason = True, ""
                    log.info("broker up host=%s port=%d", self._config.broker.host, self._config.broker.port)
                    self._link.subscribe(
                        topics.all_boards(self._config.fleet, "reported"),
                        topics.all_boards(self._config.fleet, "up"),
                        qos=1,
                    )
                    self._publisher.up()
                    await self._driver.submit(Listening(on=True))
                case Down(reason):
                    if self._connected or reason != self._link_reason:
                        log.warning("broker down: %s", reason)
                    self._connected, self._link_reason = False, reason
                    self._publisher.down()
                    await self._driver.submit(Listening(on=False))
                case Message():
                    await self._message(event)
                    await asyncio.sleep(0)  # a thousand waiting messages must not keep the others waiting

    async def _message(self, message: Message) -> None:
        try:
            topic = topics.parse(message.topic)
        except MalformedMessageError as error:
            log.warning("%s: %s", error.name, error)
            return
        if topic.kind in ("index", "desired"):
            self._publisher.heard(topic, message.payload)
        elif topic.device and message.payload:
            if not self._boards:
                # Retained reports come at the connect, the fleet's keys when git is read: whichever is first waits.
                if len(self._early) < EARLY_LIMIT:
                    self._early[message.topic] = message.payload
                return
            await self._board_says(topic, topic.device, message.payload)

    async def _board_says(self, topic: topics.Topic, device: DeviceId, payload: bytes) -> None:
        now = self._clock.wall()
        try:
            if topic.kind == "up":
                presence = self._view.up(self._boards, device, payload, now)
                if presence:
                    self._driver.note(presence=(device, presence))
            elif topic.kind == "reported":
                await self._report(device, payload, now)
        except EdgesyncError as error:
            log.warning("refused %s of %s: %s: %s", topic.kind, device, error.name, error)
            if self._view.refuse(device, error, now):
                self._driver.note(entry=self._driver.entry(error.name, str(error), device))

    async def _report(self, device: DeviceId, payload: bytes, now: float) -> None:
        reported = self._view.report(self._boards, device, payload)
        if reported is None:
            return
        heard = self._view.accept(self._boards[device], reported, now)
        self._driver.note(heard=(device, heard))
        await self._driver.submit(BoardReported(reported))

    async def _tick(self) -> None:
        swept = self._clock.monotonic()
        while True:
            await asyncio.sleep(TICK)
            await self._driver.submit(Tick())
            if self._clock.monotonic() - swept > SWEEP:
                swept = self._clock.monotonic()
                await self._driver.sweep()

    # --- what the API asks (api.Control) ------------------------------------------------------------------------

    @property
    def fleet(self) -> str:
        return self._config.fleet

    def status(self) -> dict[str, Any]:
        health = {
            "fleet": self.fleet,
            "problem": self._follower.problem or self._driver.problem,
            "broker": {"connected": self._connected, "reason": self._link_reason},
            "publisher": {
                "idle": self._driver.idle and self._publisher.idle,
                "blobs_published": self._publisher.blobs_published,
                "configs_published": self._publisher.configs_published,
                "desired_published": self._publisher.desired_published,
            },
        }
        return view.overview(self._driver.state, self._view, self._driver.making, health, self._clock.wall())

    async def board(self, device: DeviceId) -> dict[str, Any]:
        standing = self._driver.state.boards.get(device)
        if standing is None:
            raise NotReachableError(f"board: found {device!r}, which this fleet does not declare or gives no release")
        rollouts = await asyncio.to_thread(self._store.parts, device)
        source = self._driver.config_source(device)
        now = self._clock.wall()
        return view.detail(self._driver.state, standing, self._view, now, rollouts=rollouts, source=source)

    def blobs(self) -> list[dict[str, Any]]:
        return view.blobs(self._driver.state)

    async def history(self, device: DeviceId | None, limit: int) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in await asyncio.to_thread(self._store.history, device, limit)]

    async def pause(self) -> dict[str, Any]:
        return await self._command(Pause())

    async def resume(self) -> dict[str, Any]:
        return await self._command(Resume())

    async def abort(self, reason: str) -> dict[str, Any]:
        if self._driver.state.phase not in ("running", "failed"):
            raise ConfigError(f"abort: found a rollout that is {self._driver.state.phase}, expected one that runs")
        return await self._command(Abort(reason))

    async def retry(self, device: DeviceId | None) -> dict[str, Any]:
        state = self._driver.state
        if device is not None and device not in state.boards:
            raise NotReachableError(f"board: found {device!r}, which this fleet does not declare or gives no release")
        if device is not None and state.phase in ("aborted", "failed"):
            raise ConfigError(
                f"retry: the whole rollout is {state.phase} ({state.reason}); `edgesync retry --all` retries it"
            )
        return await self._command(Retry(device))

    def wake(self) -> None:
        self._follower.wake()

    async def _command(self, event: Event) -> dict[str, Any]:
        """Decided and saved when this returns; what follows from it goes on by itself."""
        await self._driver.submit(event)
        await self._driver.settled()
        state = self._driver.state
        return {"rollout": state.rollout, "phase": state.phase, "paused": state.paused, "reason": state.reason}


@contextlib.contextmanager
def only_server(config: ServerConfig) -> Iterator[None]:
    """Hold the state directory: two servers on one state would undo each other. Raises ConfigError."""
    config.state.mkdir(parents=True, exist_ok=True)
    fd = os.open(config.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"{config.state}: another server works on this state; stop it first") from error
        yield
    finally:
        os.close(fd)


def _telemetry(config: ServerConfig) -> Telemetry | None:
    """Where the rollouts' spans go. Raises ConfigError."""
    if not config.otlp:
        return None
    try:
        from edgesync.control.telemetry import Telemetry  # noqa: PLC0415 - most servers go without the SDK
    except ImportError as error:
        raise ConfigError(
            f"{config.file}: telemetry.otlp: found {config.otlp!r}, expected OpenTelemetry's SDK beside it ({error}): "
            "pip install 'edgesync[collector]'"
        ) from error
    return Telemetry(config.otlp, config.fleet)


def _link_options(config: ServerConfig) -> LinkOptions:
    broker = config.broker
    return LinkOptions(
        broker.host,
        broker.port,
        device_id(config.fleet, SERVER),
        broker.tls,
        keepalive=broker.keepalive,
        packet_limit=PACKET_LIMIT,
        inbox=INBOX,
        backoff_limit=30.0,
    )
