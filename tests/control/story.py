"""A fleet for tests of the rollout: boards that say what the test lets them say, and the state that comes of it."""

from __future__ import annotations

from typing import Any

from edgesync.control import rollout
from edgesync.control.planner import Built
from edgesync.control.standing import (
    BlobReady,
    BoardReported,
    Effect,
    EnsureBlob,
    Event,
    Listening,
    NewRevision,
    Offer,
    Spec,
    Standing,
    State,
    Status,
    Tick,
)
from edgesync.control.types import ConfigBundle, Fleet, Image, Selector, Wanted, Wave
from edgesync.wire.ids import BlobId, DeviceId, digest_of
from edgesync.wire.messages import ConfigPhase, ConfigReport, ErrorReport, Phase, Reported

IMAGES = {name: digest_of(name.encode()) for name in "ABC"}
CONFIGS = {name: ConfigBundle(digest_of(name.encode()), 100, "", b"") for name in "XYZ"}


class Story:
    """A fleet of boards on image A without config, told what happens. `mixing`: its server can make mixed deltas."""

    def __init__(self, *boards: str, canaries: int = 0, now: float = 1e9, mixing: bool = False, **fleet: Any) -> None:
        self.devices = [DeviceId(f"demo.{b}") for b in boards]
        self.canaries, self.settings, self.mixing = canaries, fleet, mixing
        self.state, self.now, self.revision = State(), now, 0
        self.counter = 0
        self.do(Listening(on=True))
        self.push("A")
        for device in self.devices:
            self.says(device)

    def do(self, event: Event) -> list[Effect]:
        self.now += 1
        self.state, effects = rollout.step(self.state, event, self.now)
        return effects

    def wait(self, seconds: float) -> list[Effect]:
        self.now += seconds
        return self.do(Tick())

    def push(self, image: str, only: int | None = None, config: str = "", **wanted_as_well: Any) -> list[Effect]:
        self.revision += 1
        images = {"root": Image("root", image, image, IMAGES[image], ())}
        wanted = {
            d: Wanted(d, image, images, 0 if n < self.canaries else 1, CONFIGS.get(config), **wanted_as_well)
            for n, d in enumerate(self.devices[:only])
        }
        waves = (Wave("canary", Selector()), Wave("rest", Selector()))
        settings = {"abort_at": 1.0, "waves": waves, "boards": {}, "groups": (), **self.settings}
        fleet = Fleet("demo", f"{self.revision:040}", releases={}, **settings)
        sizes = dict.fromkeys(IMAGES.values(), 10_000)
        return self.do(NewRevision(Spec(fleet, wanted, sizes, mixing=self.mixing)))

    def build(self, effects: list[Effect]) -> list[Effect]:
        done: list[Effect] = []
        for effect in effects:
            if isinstance(effect, EnsureBlob):
                blob = BlobId(digest_of(str(effect.key).encode())[:32])
                done += self.do(BlobReady(effect.key, Built(blob, 90 if effect.key.mixed else 100)))
        return done

    def says(self, device: str, **what: Any) -> list[Effect]:
        device = DeviceId(device if "." in device else f"demo.{device}")
        self.counter += 1
        board = self.state.boards[device]
        version = board.offered.desired.version if board.offered else 0
        told = {"confirmed": True, "images": {"root": IMAGES["A"]}, "phase": Phase.IDLE, "version": version, **what}
        return self.do(BoardReported(Reported(device, self.counter, told.pop("boot_id", "boot-1"), "a", **told)))

    def confirms(self, device: str, image: str) -> list[Effect]:
        return self.says(device, boot_id=f"boot-{self.counter}", images={"root": IMAGES[image]})

    def config(
        self, device: str, at: str, config: str = "", failure: str = "", *, drift: int = 0, **what: Any
    ) -> list[Effect]:
        """Says where its config stands: the phase that it is `at`, and which it is."""
        digest = CONFIGS[config].sha256 if config else ""
        report = ConfigReport(digest, ConfigPhase(at), ErrorReport(failure) if failure else None, drift)
        return self.says(device, config=report, **what)

    def board(self, device: str) -> Standing:
        return self.state.boards[DeviceId(f"demo.{device}")]

    def status(self, device: str) -> Status:
        return self.state.boards[DeviceId(f"demo.{device}")].status


def offers(effects: list[Effect]) -> list[str]:
    return [effect.offered.desired.device.partition(".")[2] for effect in effects if isinstance(effect, Offer)]
