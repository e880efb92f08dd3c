"""From a commit to what each board shall run: read, check, import images, compile. Keeps the last good revision."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from edgesync.boards.profile import BoardProfile
from edgesync.control import hooks, images, repository
from edgesync.control.config import ServerConfig
from edgesync.control.desired import compile_fleet
from edgesync.control.images import HashCache, ImageStore
from edgesync.control.means import Means
from edgesync.control.rendering import Remembering
from edgesync.control.repository import FleetInvalidError
from edgesync.control.source import Commit, Repository
from edgesync.control.standing import Spec
from edgesync.delta import mixing
from edgesync.host.tasks import end
from edgesync.wire.errors import ConfigError, EdgesyncError
from edgesync.wire.ids import Digest

log = logging.getLogger("edgesync.source")

LOOK_AGAIN = 15.0
"""Seconds until a commit with a problem is tried again: an image may have been put into its place meanwhile."""

OnSpec = Callable[[Spec], Awaitable[None]]
OnProblem = Callable[[str, str], None]
"""Told the revision ("" for the repository itself) and the problem."""


class Follower:
    """Watches the repository. `problem` is what keeps the newest commit, or the repository, from being followed."""

    def __init__(self, config: ServerConfig, store: ImageStore, on_spec: OnSpec, on_problem: OnProblem) -> None:
        self.problem = ""
        self._config, self._store, self._on_spec, self._on_problem = config, store, on_spec, on_problem
        self._repository = Repository(config.repository, config.branch)
        self._render = Remembering()
        self._cache = HashCache(config.state / "image-digests.json")
        self._wake = asyncio.Event()
        self._look = asyncio.Event()
        self._head: Commit | None = None
        self._followed = False

    def wake(self) -> None:
        """The branch may have moved, or an image may be there now that was missing."""
        self._wake.set()
        if self.problem:
            self._look.set()

    async def run(self, last_good: str) -> None:
        """Until cancelled. `last_good`: the revision in force before a restart, which holds until the head is good."""
        watching = asyncio.ensure_future(self._watch())
        try:
            while True:
                await self._wait(watching)
                if self._head is not None:
                    await self._take(self._head, last_good)
        finally:
            await end([watching])

    async def _watch(self) -> None:
        async for seen in self._repository.watch(self._config.poll, self._wake):
            if isinstance(seen, EdgesyncError):
                self._complain("", seen)
            else:
                if self._head is None:
                    await asyncio.to_thread(self._install_hooks)
                self._head, self.problem = seen, ""
                self._look.set()

    def _install_hooks(self) -> None:
        try:
            foreign = hooks.install(self._repository.git, self._config.socket)
        except EdgesyncError as error:
            log.warning(
                "no hooks in %s, commits are seen within %d s: %s", self._repository.path, self._config.poll, error
            )
        else:
            if foreign:
                log.info("hooks that are not edgesync's were left alone: %s", ", ".join(foreign))

    async def _wait(self, watching: asyncio.Task[None]) -> None:
        """Until there is something to look at."""
        limit = LOOK_AGAIN if self.problem else None
        looking = asyncio.ensure_future(self._look.wait())
        try:
            await asyncio.wait({looking, watching}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
        if watching.done():
            watching.result()
        self._look.clear()

    async def _take(self, commit: Commit, last_good: str) -> None:
        try:
            if self._config.allowed_signers:
                await asyncio.to_thread(self._repository.verify, commit.id, self._config.allowed_signers)
            spec = await asyncio.to_thread(self._compile, commit)
        except EdgesyncError as error:
            self._complain(commit.id, error)
            if not self._followed and last_good and last_good != commit.id:
                await self._fall_back(last_good)
            return
        self.problem, self._followed = "", True
        await self._on_spec(spec)

    async def _fall_back(self, revision: str) -> None:
        try:
            spec = await asyncio.to_thread(lambda: self._compile(self._repository.commit(revision)))
        except EdgesyncError as error:
            log.warning("the last good revision %s cannot be read either: %s", revision[:12], error)
        else:
            self._followed = True
            await self._on_spec(spec)

    def _complain(self, revision: str, error: EdgesyncError) -> None:
        problem = f"{error.name}: {error}"
        if problem != self.problem:
            self.problem = problem
            log.error("%s %s", revision[:12] or self._config.repository, problem)
            self._on_problem(revision, problem)

    def _compile(self, commit: Commit) -> Spec:
        types = repository.known_types(self._config.profiles)
        fleet = repository.load(self._repository.files(commit.id), commit.id, types)
        if fleet.name != self._config.fleet:
            raise ConfigError(
                f"{self._config.file}: key 'fleet': found {self._config.fleet!r}, but the repository declares "
                f"{fleet.name!r}; they must be the same, because certificates and topics carry the name"
            )
        problems = images.check(fleet, self._config.images, self._store, self._cache)
        if problems:
            raise FleetInvalidError(problems)
        for release in fleet.releases.values():
            for image in release.images.values():
                declared = f"{image.file}:{image.line}"
                self._store.import_image(self._config.images / image.path, image.sha256, declared)
        if self._config.http_source:
            fleet = replace(fleet, http_source=self._config.http_source)
        sizes = stored_sizes(self._config.state / "images")
        by_type = {name: _means(board_type) for name, board_type in types.items()}
        means = {device: by_type[board.type] for device, board in fleet.boards.items()}
        return Spec(fleet, compile_fleet(fleet), sizes, commit.author, commit.subject, means, mixing.available())


def _means(board: BoardProfile) -> Means:
    return Means(board.worker_memory, board.staging, board.apply_seconds, board.slowness)


def stored_sizes(directory: Path) -> dict[Digest, int]:
    """The bytes of each image in the store: every one may be the base of a delta."""
    return {Digest(path.name): path.stat().st_size for path in directory.iterdir() if len(path.name) == len("0" * 64)}
