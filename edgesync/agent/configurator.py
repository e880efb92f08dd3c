"""The config's side of the agent: feeds its decider with events, persists each new state, then performs its effects.

The runner holds it, tells it what concerns both firmware and config, and asks it for its part of the report.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping

from edgesync.agent import record
from edgesync.agent.downloader import Downloader
from edgesync.agent.effects import Fetch, Forget, Report, Stop, WakeAfter
from edgesync.agent.events import Woken
from edgesync.agent.gate import Gate
from edgesync.agent.ledger import Ledger
from edgesync.agent.reporter import Reporter
from edgesync.agent.staging import Staging
from edgesync.agent.tracer import Tracer
from edgesync.agent.tree import effects, events, machine
from edgesync.agent.tree.bundles import Bundles
from edgesync.agent.tree.endpoint import Endpoint
from edgesync.agent.tree.installer import Installer
from edgesync.agent.tree.journal import Journal
from edgesync.agent.tree.state import State
from edgesync.agent.tree.trees import Trees
from edgesync.agent.tree.watch import Watch
from edgesync.boards.profile import ConfigProfile
from edgesync.host.clock import Clock
from edgesync.host.mqtt import MqttLink
from edgesync.wire import topics
from edgesync.wire.errors import EdgesyncError
from edgesync.wire.ids import DeviceId, Digest, fleet_of
from edgesync.wire.messages import ConfigPhase, ConfigReport
from edgesync.wire.topics import Topic

EVENTS = 256
"""Events that wait for the decider; each comes from a stage that runs once at a time, so there are never many."""
TELL = 5.0
"""Seconds that the healing of a tree waits for the report that it drifted."""
_BUSY = (ConfigPhase.FETCHING, ConfigPhase.APPLYING, ConfigPhase.PROBING)

log = logging.getLogger("edgesync.config")


class Configurator:
    """One board's config below `root`, with its journal and its blobs below `state`. Applications may ask for it at
    `socket` ("" for nowhere).
    """

    def __init__(
        self,
        device: DeviceId,
        *,
        state: str,
        root: str,
        socket: str,
        profile: ConfigProfile,
        link: MqttLink,
        ledger: Ledger,
        gate: Gate,
        clock: Clock,
        reporter: Reporter,
        tracer: Tracer,
    ) -> None:
        self._reporter, self._gate, self._tracer = reporter, gate, tracer
        self._healing: asyncio.Task[None] | None = None
        self._journal = Journal(state)
        self._events: asyncio.Queue[events.Event] = asyncio.Queue(EVENTS)
        self._wake: asyncio.TimerHandle | None = None
        self._staging = Staging(os.path.join(state, "config"))
        self._downloader = Downloader(
            topics.config(fleet_of(device), device),
            link,
            what="config",
            staging=self._staging,
            ledger=ledger,
            gate=gate,
            clock=clock,
            emit=self.tell,
        )
        self._trees, self._bundles = Trees(root), Bundles(root)
        self._installer = Installer(
            self._trees,
            self._bundles,
            staging=self._staging,
            profile=profile,
            gate=gate,
            clock=clock,
            emit=self.tell,
            switched=self._switched,
        )
        self._watch = Watch(self._trees, self._bundles, self._installer.at_work, self.tell)
        self._endpoint = Endpoint(socket, self._trees, self._bundles) if socket else None

    # --- what the runner asks ---------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self._journal.state

    @property
    def damage(self) -> EdgesyncError | None:
        """Why the journal could not be read, or None."""
        return self._journal.damage

    @property
    def busy(self) -> bool:
        """Whether something is under way that asks for a report when it ends."""
        return not self._events.empty() or self.state.phase in _BUSY

    @property
    def linger(self) -> float:
        """Seconds that a report which says nothing new of the firmware may wait, so that it tells of the config too."""
        return machine.LINGER if self.busy else 0.0

    def part(self) -> ConfigReport | None:
        """The config's part of a report; None for a board that was never sent any."""
        state = self.state
        if state.target is None and not state.current:
            return None
        return ConfigReport(state.current, state.phase, state.error, state.drift)

    def tell(self, event: events.Event) -> None:
        self._events.put_nowait(event)

    def link_up(self) -> None:
        self._downloader.link_up()

    def link_down(self) -> None:
        self._downloader.link_down()

    def received(self, topic: Topic, payload: bytes) -> None:
        """A message on a topic of the config's blobs."""
        self._downloader.received(topic, payload)

    async def start(self, boot_id: str, images: Mapping[str, Digest], *, confirmed: bool) -> None:
        """Find out what is on the disk. Raises StorageError where that cannot be read."""
        linked, kept = self._trees.linked(), self._bundles.whole()
        self.tell(events.Started(boot_id, images, confirmed, linked, linked in kept, kept))
        if linked in kept:
            await self._watch.look()

    async def run(self) -> None:
        """Decide for ever; ends when it is cancelled. Raises what no stage has a name for."""
        services = [self._watch.run(), self._installer.run(), self._decide()]
        if self._endpoint:
            services.append(self._endpoint.run())
        tasks = [asyncio.get_running_loop().create_task(service) for service in services]
        try:
            await asyncio.gather(*tasks)
        finally:
            tasks += [self._healing] if self._healing else []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._downloader.stop()

    # --- deciding ---------------------------------------------------------------------------------------------------

    async def _decide(self) -> None:
        while True:
            event = await self._events.get()
            before = self.state
            state, asked = machine.step(before, event)
            if state != before:
                self._journal.state = state
                await record.persist(self._journal.save)
            if state.phase is not before.phase:
                log.info("config is %s, was %s", state.phase.value, before.phase.value)
            if state.phase in (ConfigPhase.IDLE, ConfigPhase.FAILED):
                self._gate.settled("config")
            for effect in asked:
                self._perform(effect)

    def _perform(self, effect: effects.Effect) -> None:
        match effect:
            case Fetch(source):
                self._downloader.start(source)
            case Stop():
                self._downloader.stop()
                self._installer.stop()
            case Forget(keep):
                self._downloader.stop_unless(keep)
                self._staging.forget(keep)
            case effects.Prepare(target):
                self._installer.prepare(target)
            case effects.Try(config):
                self._installer.attempt(config)
            case effects.GoBack(config, failed, quiet):
                self._installer.go_back(config, failed, quiet=quiet)
            case effects.Heal(config):
                self._healing = asyncio.get_running_loop().create_task(self._heal(config))
            case effects.Prune(keep):
                self._installer.prune(keep)
            case Report(within):
                self._reporter.request(within)
            case WakeAfter(seconds):
                if self._wake:
                    self._wake.cancel()
                self._wake = asyncio.get_running_loop().call_later(seconds, self.tell, Woken())

    async def _heal(self, config: Digest) -> None:
        """That someone was there is told before it is undone, if there is anyone to tell."""
        await self._reporter.settled(TELL)
        self._installer.heal(config)

    def _switched(self) -> None:
        self._watch.switched()
        if self._endpoint:
            self._endpoint.switched()
