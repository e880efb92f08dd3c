"""Does what the decider of the config asks for: makes a bundle and its tree, lets commands judge it, switches, goes
back, heals, prunes. One thing at a time; each call that was cut off is made again and goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

from edgesync.agent.events import PutOff
from edgesync.agent.gate import Deed, Gate
from edgesync.agent.staging import Staging
from edgesync.agent.tree import events
from edgesync.agent.tree.bundles import Bundles, Catalogue
from edgesync.agent.tree.commands import Commands
from edgesync.agent.tree.effects import Name
from edgesync.agent.tree.trees import Trees
from edgesync.boards.allow import allows
from edgesync.boards.profile import ConfigProfile
from edgesync.delta import request
from edgesync.host.clock import Clock
from edgesync.wire.bundle import Settings
from edgesync.wire.errors import (
    BaseModifiedError,
    CheckFailedError,
    EdgesyncError,
    NotAllowedError,
    ProbeFailedError,
    ReloadFailedError,
    StorageError,
)
from edgesync.wire.ids import Digest
from edgesync.wire.messages import ConfigTarget

PROBE_EVERY = 2.0
"""Seconds between two rounds of probes."""

log = logging.getLogger("edgesync.config")

T = TypeVar("T")
Emit = Callable[[events.Event], None]


async def driven(steps: Generator[None, None, T]) -> T:
    """The result of stepwise work, with a rest for everyone else between two steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        await asyncio.sleep(0)


class Installer:
    """`emit` takes the decider's events, `switched` is told when another tree is in force. `at_work` is held while
    something is done to the trees.
    """

    def __init__(
        self,
        trees: Trees,
        bundles: Bundles,
        *,
        staging: Staging,
        profile: ConfigProfile,
        gate: Gate,
        clock: Clock,
        emit: Emit,
        switched: Callable[[], None],
    ) -> None:
        self._trees, self._bundles, self._staging, self._gate, self._clock = trees, bundles, staging, gate, clock
        self._allow, self._commands = profile.allow, Commands(profile.commands)
        self._emit, self._switched = emit, switched
        self.at_work = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] | None = None
        self._preparing: tuple[Digest, asyncio.Task[None]] | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    def prepare(self, target: ConfigTarget) -> None:
        """Answers `Prepared` or `PrepareFailed`. What is being prepared already goes on."""
        if self._preparing and self._preparing[0] == target.sha256 and not self._preparing[1].done():
            return
        self.stop()
        self._preparing = target.sha256, self._spawn(self._prepare(target))

    def stop(self) -> None:
        """Prepare nothing any more; a worker or a check that runs is killed."""
        if self._preparing:
            self._preparing[1].cancel()
            self._preparing = None

    def attempt(self, config: Digest) -> None:
        """Answers `Switched` or `SwitchFailed`, then `Proved` or `Disproved`."""
        self._spawn(self._in_turn(partial(self._attempt, config)))

    def go_back(self, config: Name, failed: Name, *, quiet: bool = False) -> None:
        """Answers `WentBack` or `GoBackFailed`. With `quiet` no reload is run."""
        self._spawn(self._in_turn(partial(self._go_back, config, failed, quiet=quiet)))

    def heal(self, config: Digest) -> None:
        """Answers `Healed` or `HealFailed`; nothing where another tree is in force by then."""
        self._spawn(self._in_turn(partial(self._heal, config)))

    def prune(self, keep: tuple[Digest, ...]) -> None:
        self._spawn(self._in_turn(partial(self._prune, keep)))

    async def run(self) -> None:
        """Until something fails in a way that has no name, which is raised: the decider would wait for it for ever.
        Ends when it is cancelled, and all work with it.
        """
        self._broken = asyncio.get_running_loop().create_future()
        try:
            await self._broken
        finally:
            if self._sweeping:
                self._sweeping.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.add(task)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error and self._broken and not self._broken.done():
            self._broken.set_exception(error)

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with self.at_work:
            await work()

    # --- before the switch ------------------------------------------------------------------------------------------

    async def _prepare(self, target: ConfigTarget) -> None:
        config = target.sha256
        try:
            async with self.at_work:
                await self._make(target)
        except EdgesyncError as error:
            log.warning("config %s not prepared: %s: %s", config[:12], error.name, error)
            self._emit(events.PrepareFailed(config, error))
            return
        await self._gate.passed(Deed("switch", "config"), lambda error: self._emit(PutOff(None, error)))
        self._emit(events.Prepared(config))

    async def _make(self, target: ConfigTarget) -> None:
        catalogue = await self._obtain(target)
        try:
            self._judge(catalogue)
            tree = self._trees.path(await driven(self._trees.write(catalogue)))
            for name in catalogue.settings.check:
                await self._commands.run(name, tree, CheckFailedError)
        finally:
            catalogue.close()

    async def _obtain(self, target: ConfigTarget) -> Catalogue:
        """The bundle: the one that is here, or one made from what was fetched."""
        try:
            return self._bundles.catalogue(target.sha256)
        except BaseModifiedError:
            source = target.source
            if source is None or not self._staging.holds(source.blob):
                raise
        fds: list[int] = []
        try:
            fds.append(blob := self._staging.open_blob(source.blob))
            base = self._bundles.open(source.base) if source.base else None
            fds.extend([base] if base is not None else [])
            fds.append(output := self._bundles.begin(target.sha256, target.length))
            log.info("make config %s bytes=%d", target.sha256[:12], target.length)
            await request.apply(
                source.kind,
                target=output,
                length=target.length,
                sha256=target.sha256,
                base=base,
                base_sha256=source.base,
                blob=blob,
            )
            self._bundles.keep(target.sha256, output)
        finally:
            for fd in fds:
                os.close(fd)
        return self._bundles.catalogue(target.sha256)

    def _judge(self, catalogue: Catalogue) -> None:
        """Raises NotAllowedError for what this board does not let config do."""
        settings = catalogue.settings
        self._commands.check_known(*settings.check, *settings.reload, *settings.probe)
        for entry in catalogue.entries:
            if not allows(self._allow, entry.path):
                allowed = ", ".join(self._allow)
                raise NotAllowedError(f"path {entry.path!r} is not allowed here, expected one of: {allowed}")

    # --- the switch -------------------------------------------------------------------------------------------------

    async def _attempt(self, config: Digest) -> None:
        try:
            settings, tree = await self._put_in_force(config)
        except EdgesyncError as error:
            log.warning("config %s not switched to: %s: %s", config[:12], error.name, error)
            in_force = self._trees.linked() == config
            self._emit((events.Disproved if in_force else events.SwitchFailed)(config, error))
            return
        self._emit(events.Switched(config))
        self._switched()
        try:
            await self._reload(settings.reload, tree)
            await self._probe(settings, tree)
        except EdgesyncError as error:
            log.warning("config %s failed: %s: %s", config[:12], error.name, error)
            self._emit(events.Disproved(config, error))
        else:
            self._emit(events.Proved(config))

    async def _put_in_force(self, config: Digest) -> tuple[Settings, str]:
        catalogue = self._bundles.catalogue(config)
        try:
            name = await driven(self._trees.write(catalogue))
        finally:
            catalogue.close()
        self._trees.switch(name)
        log.info("config %s is in force", config[:12])
        return catalogue.settings, self._trees.path(name)

    async def _reload(self, names: tuple[str, ...], tree: str) -> None:
        for name in names:
            await self._commands.run(name, tree, ReloadFailedError)

    async def _probe(self, settings: Settings, tree: str) -> None:
        """Every probe again and again for as long as the bundle asks, and once at least."""
        end = self._clock.monotonic() + settings.probe_seconds
        while settings.probe:
            for name in settings.probe:
                await self._commands.run(name, tree, ProbeFailedError)
            left = end - self._clock.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, PROBE_EVERY))

    # --- after it ---------------------------------------------------------------------------------------------------

    async def _go_back(self, config: Name, failed: Name, *, quiet: bool) -> None:
        try:
            if config:
                await self._back_in_force(config)
            else:
                self._trees.unlink()
        except EdgesyncError as error:
            log.warning("config %s not gone back to: %s: %s", config[:12], error.name, error)
            self._emit(events.GoBackFailed(error))
            return
        self._switched()
        trees = () if quiet else (config, failed)
        reload = dict.fromkeys(name for digest in trees if digest for name in self._reload_of(digest))
        for name in reload:
            try:
                tree = self._trees.path(self._trees.standing(config)) if config else self._trees.root
                await self._commands.run(name, tree, ReloadFailedError)
            except EdgesyncError as error:  # what ran before is in force again, and there is nothing better
                log.warning("after going back: %s: %s", error.name, error)
        self._emit(events.WentBack(config))

    async def _back_in_force(self, config: Digest) -> None:
        """Going back must not ask for anything that can be missing: where the tree cannot be proved to be right, or
        made so, the one that stands will do. Raises BaseModifiedError where there is none.
        """
        try:
            await self._put_in_force(config)
        except EdgesyncError as error:
            try:
                self._trees.switch(self._trees.standing(config))
            except StorageError:
                if isinstance(error, BaseModifiedError):
                    raise error from None
                raise

    def _reload_of(self, config: Digest) -> tuple[str, ...]:
        try:
            catalogue = self._bundles.catalogue(config)
        except EdgesyncError:
            return ()
        catalogue.close()
        return catalogue.settings.reload

    async def _heal(self, config: Digest) -> None:
        if self._trees.linked() != config:
            return
        try:
            wrong = self._trees.standing(config)
            settings, tree = await self._put_in_force(config)
            if tree != self._trees.path(wrong):
                self._trees.leave(wrong, self._clock.monotonic())
                await self._sweep()
                self._switched()
            await self._reload(settings.reload, tree)
        except EdgesyncError as error:
            log.warning("config %s not healed: %s: %s", config[:12], error.name, error)
            self._emit(events.HealFailed(config, error))
        else:
            log.info("config %s healed", config[:12])
            self._emit(events.Healed(config))

    async def _prune(self, keep: tuple[Digest, ...]) -> None:
        try:
            self._trees.prune(keep, self._clock.monotonic())
            self._bundles.prune(keep)
        except EdgesyncError as error:  # what is left over costs room, and is tried again after the next change
            log.warning("not pruned: %s: %s", error.name, error)
        await self._sweep()

    async def _sweep(self) -> None:
        """Remove the trees whose readers had their time, now and when that of the next is over."""
        if self._sweeping:
            self._sweeping.cancel()
            self._sweeping = None
        try:
            wait = self._trees.sweep(self._clock.monotonic())
        except EdgesyncError as error:
            log.warning("not pruned: %s: %s", error.name, error)
            return
        if wait is not None:
            again = partial(self._in_turn, self._sweep)
            self._sweeping = asyncio.get_running_loop().call_later(wait, lambda: self._spawn(again()))
