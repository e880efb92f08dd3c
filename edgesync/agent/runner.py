"""The board's agent: feeds the machine with events, persists each new state, then performs its effects.

The only module that knows several stages. Everything runs in one event loop; what could block it runs in a worker
process (verify, sign, apply) or in a thread (hashing a slot).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

import edgesync
from edgesync.agent import effects, events, machine, record, slots
from edgesync.agent.applier import Applier
from edgesync.agent.boots import GOODBYE, Boots
from edgesync.agent.config import AgentConfig
from edgesync.agent.configurator import Configurator
from edgesync.agent.downloader import Downloader
from edgesync.agent.events import Event
from edgesync.agent.gate import Gate, Obstacle
from edgesync.agent.journal import Journal
from edgesync.agent.ledger import Ledger
from edgesync.agent.offers import Offers
from edgesync.agent.presence import Presence
from edgesync.agent.readings import readings
from edgesync.agent.reporter import Reporter
from edgesync.agent.staging import Staging
from edgesync.agent.tracer import Tracer
from edgesync.agent.tree.events import Confirmed
from edgesync.boards.backend import BootBackend
from edgesync.boards.profile import BoardProfile
from edgesync.delta import mixing
from edgesync.delta.switch import is_plain
from edgesync.host.clock import SystemClock, TrustedTime
from edgesync.host.mqtt import Down, LinkOptions, Message, MqttLink, Up, Will
from edgesync.host.telemetry import TelemetryPort
from edgesync.wire import codec, topics
from edgesync.wire.errors import (
    ClockJumpedError,
    EdgesyncError,
    MessageTooLargeError,
)
from edgesync.wire.ids import fleet_of
from edgesync.wire.messages import ErrorReport, Phase, Reported

EVENTS = 256
"""Events that wait for the machine; each comes from a stage that runs once at a time, so there are never many."""
CLOCK_JUMP = 60
"""Seconds backwards that are told; less is NTP at work."""
CLOCK_EVERY = 10.0

log = logging.getLogger("edgesync.agent")


class AgentService:
    """One board's agent. `run` until cancelled."""

    def __init__(
        self,
        config: AgentConfig,
        backend: BootBackend,
        profile: BoardProfile,
        obstacles: Sequence[Obstacle] = (),
        port: TelemetryPort | None = None,
    ) -> None:
        """`port` takes what the agent tells of itself; without one nobody listens."""
        self._config, self._backend = config, backend
        self._fleet = fleet_of(config.device)
        self._clock = SystemClock()
        self._journal = Journal(config.state)
        self._time = TrustedTime(self._clock, self._journal.time)
        self._ledger = Ledger(config.state)
        self._gate = Gate(config.state, obstacles, ledger=self._ledger, clock=self._clock, time=self._time)
        self._link = MqttLink(
            LinkOptions(
                config.host,
                config.port,
                config.device,
                tls=config.tls,
                will=Will(topics.up(self._fleet, config.device), b"0"),
                keepalive=config.keepalive,
            )
        )
        self._events: asyncio.Queue[Event] = asyncio.Queue(EVENTS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        staging = Staging(config.state)
        self._staging = staging
        self._downloader = Downloader(
            topics.firmware(self._fleet),
            self._link,
            what="firmware",
            staging=staging,
            ledger=self._ledger,
            gate=self._gate,
            clock=self._clock,
            emit=self._emit,
        )
        self._applier = Applier(backend, staging, self._emit)
        self._reporter = Reporter(self._link, config.report_key, self._compose, self._reported)
        self._boots = Boots(
            backend,
            self._gate,
            self._reporter,
            confirm_seconds=profile.confirm_seconds,
            spawn=self._spawn,
            emit=self._emit,
        )
        self._presence = Presence(
            self._link,
            topics.up(self._fleet, config.device),
            gate=self._gate,
            reporter=self._reporter,
            clock=self._clock,
        )
        if self._journal.state.desired:
            self._gate.follow(self._journal.state.desired.manners)
        port = port or TelemetryPort()
        port.observe(lambda: readings(self._ledger.month, self._configurator.state.drift))
        self._tracer = Tracer(config.state, config.device, port)
        self._configurator = Configurator(
            config.device,
            state=config.state,
            root=config.config_root,
            socket=config.config_socket,
            profile=profile.config,
            link=self._link,
            ledger=self._ledger,
            gate=self._gate,
            clock=self._clock,
            reporter=self._reporter,
            tracer=self._tracer,
        )
        self._offers = Offers(
            config,
            self._time,
            in_force=lambda: self._journal.state.desired,
            accept=lambda desired: self._emit(events.Wanted(desired)),
            refuse=self._refuse,
        )
        self._linked = asyncio.Event()
        self._plain, self._mixing = is_plain(), mixing.available()

    async def run(self) -> None:
        """Boot, then serve. Raises StorageError if the slot or the journal cannot be read or written."""
        await self._boot()
        self._presence.start()
        own = (self._listen(), self._offers.run(), self._watch(), self._decide())
        services = (*own, self._reporter.run(), self._configurator.run())
        try:
            await asyncio.gather(*(self._spawn(service) for service in services))
        finally:
            await self._stop()

    async def send(self, payload: bytes) -> None:
        """Telemetry, acknowledged by the broker when this returns. Waits for a connection. Raises LinkError."""
        await self._linked.wait()
        await self._link.deliver(topics.telemetry(self._fleet, self._config.device), payload, retain=False)
        self._ledger.add_telemetry(len(payload))

    def check_in(self) -> None:
        """Connect now, where the board is away until its next check-in."""
        self._presence.wake()

    # --- deciding -----------------------------------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        self._events.put_nowait(event)

    async def _boot(self) -> None:
        evidence = self._backend.evidence()
        images = await slots.digests(self._backend, evidence.slot)
        log.info("booted slot=%s trial=%s boot_id=%s", evidence.slot, evidence.trial, evidence.boot_id)
        self._emit(
            events.Booted(evidence.boot_id, evidence.slot, evidence.trial, bool(evidence.fell_back), images),
        )
        for damage in (self._journal.damage, self._configurator.damage):
            if damage:
                self._emit(events.Noticed(damage))
        await self._configurator.start(evidence.boot_id, images, confirmed=not evidence.trial)

    async def _decide(self) -> None:
        while True:
            event = await self._events.get()
            before = self._journal.state
            state, asked = machine.step(before, event)
            if state != before:
                self._journal.state = state
                await record.persist(self._save)
            self._tracer.firmware(before, state)
            if state.phase is not before.phase:
                log.info("phase %s > %s", before.phase.value, state.phase.value)
            if state.desired:
                self._ledger.begin(state.desired.rollout)
                self._gate.follow(state.desired.manners)
            if state.phase in (Phase.IDLE, Phase.FAILED):
                self._gate.settled("firmware")
            if isinstance(event, events.Wanted | events.Cleared):
                self._configurator.tell(event)
            if state.confirmed and not before.confirmed:
                self._configurator.tell(Confirmed())
            for effect in asked:
                self._perform(effect)

    def _save(self) -> None:
        self._journal.time = self._time.now()
        self._journal.save()

    def _perform(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Fetch(source):
                self._downloader.start(source)
            case effects.Stop():
                self._downloader.stop()
                self._applier.stop()
                self._boots.stop()
            case effects.Forget(keep):
                self._downloader.stop_unless(keep)
                self._staging.forget(keep)
            case effects.Apply(target):
                self._applier.start(target)
            case effects.Activate():
                self._boots.activate()
            case effects.Reboot():
                self._boots.give_up()
            case effects.MarkGood():
                self._boots.mark_good()
            case effects.Probe():
                self._boots.probe()
            case effects.Report(within):
                still = self._journal.state.phase is Phase.IDLE
                self._reporter.request(max(within, self._configurator.linger if still else 0.0))
            case effects.WakeAfter(seconds):
                if self._wake:
                    self._wake.cancel()
                self._wake = asyncio.get_running_loop().call_later(seconds, self._emit, events.Woken())

    # --- the link -----------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        dropped = False
        while True:
            match await self._link.next():
                case Up():
                    log.info("connected to %s:%d", self._config.host, self._config.port)
                    self._reporter.link_up()
                    self._presence.up()
                    self._linked.set()
                    self._asking = self._spawn(self._ask(report_first=dropped))
                case Down(reason, error):
                    log.info("not connected: %s", reason)
                    self._linked.clear()
                    if self._asking:
                        self._asking.cancel()
                    dropped = error is not None
                    if error:
                        self._refuse(error)
                    self._downloader.link_down()
                    self._configurator.link_down()
                    self._reporter.link_down()
                    self._presence.down()
                case Message(topic, payload):
                    self._received(topic, payload)

    async def _ask(self, *, report_first: bool) -> None:
        """Subscribe. What ended the connection before is retained and would end this one too, so it is told first."""
        if report_first:
            await self._reporter.settled(GOODBYE)
        self._link.subscribe(topics.desired(self._fleet, self._config.device), qos=1)
        self._presence.asked()
        self._downloader.link_up()
        self._configurator.link_up()

    def _received(self, name: str, payload: bytes) -> None:
        try:
            topic = topics.parse(name)
        except EdgesyncError as error:
            self._refuse(error)
            return
        if topic.blob and topic.device is None:
            self._downloader.received(topic, payload)
        elif topic.blob and topic.device == self._config.device:
            self._configurator.received(topic, payload)
        elif topic.kind == "desired" and topic.device == self._config.device:
            self._ledger.add(metadata=len(payload))
            self._presence.heard()
            if not payload:
                self._offers.cleared()
                self._emit(events.Cleared())
            elif len(payload) > codec.PACKED_LIMIT:
                self._refuse(MessageTooLargeError(f"{name}: {len(payload)} bytes, at most {codec.PACKED_LIMIT}"))
            else:
                self._offers.received(payload)

    def _refuse(self, error: EdgesyncError) -> None:
        log.warning("refused: %s: %s", error.name, error)
        self._emit(events.Noticed(error))

    # --- telling ------------------------------------------------------------------------------------------------

    def _compose(self) -> Reported:
        """The report of this moment. Its counter grows even where it cannot be saved: it is never below the time."""
        state, config = self._journal.state, self._configurator.state
        error = state.error
        self._journal.time = self._time.now()
        self._journal.counter = max(self._journal.counter + 1, self._journal.time)
        try:
            self._journal.save()
        except EdgesyncError as failure:
            log.warning("counter not saved: %s: %s", failure.name, failure)
            error = ErrorReport.of(failure)
        self._ledger.look(self._link.carried, self._journal.time)
        fetching = state.phase in (Phase.FETCHING, Phase.WAITING)
        return Reported(
            device=self._config.device,
            counter=self._journal.counter,
            boot_id=state.boot_id,
            slot=state.slot,
            confirmed=state.confirmed,
            images=state.images,
            phase=state.phase,
            version=state.desired.version if state.desired else 0,
            rollout=state.desired.rollout if state.desired else "",
            done=self._downloader.done if fetching else 0,
            total=self._downloader.total if fetching else 0,
            error=error,
            missing=(*state.missing, *config.missing),
            quarantine=(*state.quarantine, *config.quarantine),
            traffic=self._ledger.traffic,
            agent=edgesync.__version__,
            time=self._journal.time,
            plain=self._plain,
            month=self._ledger.month.total,
            config=self._configurator.part(),
            mixing=self._mixing,
        )

    def _reported(self, size: int) -> None:
        self._presence.reported()
        self._ledger.add(reported=size)
        self._ledger.save()

    async def _watch(self) -> None:
        """Progress becomes reports, and a clock that runs backwards is told."""
        checked = 0.0
        while True:
            await asyncio.sleep(1.0)
            now = self._clock.monotonic()
            self._ledger.look(self._link.carried, self._time.now())
            self._attend()
            if self._journal.state.phase is Phase.FETCHING:
                self._reporter.progress(self._downloader.done, self._downloader.total, now)
            if now - checked >= CLOCK_EVERY:
                checked = now
                trusted = self._time.now()
                jump = self._time.take_jump()
                if jump >= CLOCK_JUMP:
                    self._refuse(ClockJumpedError(f"back by {jump} s; trusted time stays at {trusted}"))

    def _attend(self) -> None:
        state = self._journal.state
        pending = self._offers.pending or not self._events.empty() or not self._reporter.quiet
        self._presence.look(
            busy=pending or state.phase in (Phase.FETCHING, Phase.APPLYING) or self._configurator.busy,
            starving=bool(state.missing or self._configurator.state.missing),
            bound=state.phase in (Phase.ACTIVATING, Phase.CONFIRMING),
        )

    # --- ending -------------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _stop(self) -> None:
        self._downloader.stop()
        self._applier.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link.stop()
        self._ledger.close(self._link.carried, self._time.now())
