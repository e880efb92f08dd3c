"""The rollouts of the story as spans, as the agent's own tracing and the server name them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from collector_ext.pdata import Resource, Traces
from collector_ext.receiver.agent.receiver import traces
from edgesync.agent.tracing import Progress, View, follow
from edgesync.control import spans as server
from edgesync.wire import trace
from edgesync.wire.ids import DeviceId
from edgesync.wire.trace import Link, Span
from notebooks.sample.story import BACK, BLOB, CUT, HOUR, NEW, Rollout, Story, Wave

SLOW = 8
"""Every so many boards one has 32 kbit/s instead of 256."""
_SERVER = Resource({"service.name": "edgesync-server"})


@dataclass(frozen=True, slots=True)
class Part:
    """One board's part in a rollout: (unix seconds, phase, error) in order, and what it told."""

    device: DeviceId
    release: str
    steps: tuple[tuple[float, str, str], ...]
    spans: tuple[Span, ...]

    @property
    def fetched(self) -> tuple[float, float]:
        """From when to when it fetched."""
        times = [at for at, phase, _ in self.steps if phase in ("fetching", "applying")]
        return times[0], times[-1]

    @property
    def ended(self) -> float:
        return self.steps[-1][0]

    @property
    def error(self) -> str:
        return self.steps[-1][2]


def parts(story: Story, begin: float, seed: random.Random) -> Iterator[tuple[Rollout, list[tuple[Wave, Part]]]]:
    """Every rollout of the day that begins at `begin` (unix seconds)."""
    for rollout in story.rollouts:
        done = [
            (wave, _part(rollout, device, tuple(_steps(story, rollout, wave, device, begin=begin, seed=seed))))
            for wave in rollout.waves
            for device in wave.boards
        ]
        yield rollout, done


def of_server(begin: float, rollout: Rollout, done: list[tuple[Wave, Part]]) -> Traces:
    """What the server tells of one rollout."""
    start = begin + rollout.began * HOUR
    told = [_board(rollout, wave, part, begin) for wave, part in done]
    for number in range(3 if len(done) > 3 else 1):
        made = start + 4 + 20 * number
        told.append(server.made(rollout.name, f"firmware {rollout.release}", number, made, made + 18, length=BLOB))
    if rollout.over:
        own = trace.rollout_trace(rollout.name)
        attributes: trace.Attributes = {
            "edgesync.rollout": rollout.name,
            "edgesync.revision": rollout.revision,
            "edgesync.author": "fleet@example.org",
            "edgesync.subject": rollout.subject,
            "edgesync.boards": len(done),
        }
        end = max(part.ended for _, part in done) + 2
        told.append(Span(own, trace.span_id(own, trace.ROLLOUT), "", trace.ROLLOUT, start, end, "", attributes))
    made_traces = traces(told)
    return Traces(tuple(replace(one, resource=_SERVER) for one in made_traces.resources))


def _part(rollout: Rollout, device: DeviceId, steps: tuple[tuple[float, str, str], ...]) -> Part:
    attributes: trace.Attributes = {"edgesync.release": rollout.release, "edgesync.revision": rollout.revision}
    progress, told = Progress(), list[Span]()
    before = View("", "idle", over=True)
    for at, phase, error in steps:
        over, parting = phase in ("idle", "failed"), phase == "activating"
        after = View(rollout.name, phase, over, parting, error, attributes)
        progress, spans = follow(progress, trace.UPDATE, device, (before, after), at)
        told += spans
        before = after
    return Part(device, rollout.release, steps, tuple(told))


def _steps(
    story: Story, rollout: Rollout, wave: Wave, device: DeviceId, *, begin: float, seed: random.Random
) -> Iterator[tuple[float, str, str]]:
    at = begin + wave.opened * HOUR + seed.uniform(1, 25)
    yield at, "fetching", ""
    if device == story.held and story.cause and wave.opened < CUT < wave.opened + 1:
        yield begin + CUT * HOUR + 190, "waiting", "Link" if story.cause == "link" else "MemoryShort"
        at = begin + BACK * HOUR + 12
        yield at, "fetching", ""
    rate = 32_000 if int(device[-2:]) % SLOW == 0 else 256_000
    at += BLOB * 8 / rate * seed.uniform(1.05, 1.3)
    yield at, "applying", ""
    at += seed.uniform(20, 60)
    yield at, "activating", ""
    at += seed.uniform(30, 55)
    if device == story.broken and rollout.release == NEW:
        yield at + 95, "failed", "BootFailed"
        return
    yield at, "confirming", ""
    at += seed.uniform(45, 70)
    yield at, "idle", ""


def _board(rollout: Rollout, wave: Wave, part: Part, begin: float) -> Span:
    own, whole = trace.board_trace(rollout.name, part.device), trace.rollout_trace(rollout.name)
    attributes: trace.Attributes = {
        "edgesync.rollout": rollout.name,
        "edgesync.revision": rollout.revision,
        "edgesync.release": rollout.release,
        "edgesync.device": part.device,
        "edgesync.wave": wave.name,
        "edgesync.status": "failed" if part.error else "confirmed",
    }
    links = (Link(whole, trace.span_id(whole, trace.ROLLOUT)),)
    start, end = begin + wave.opened * HOUR, part.ended + 1.5
    return Span(own, trace.span_id(own, trace.BOARD), "", trace.BOARD, start, end, part.error, attributes, links)
