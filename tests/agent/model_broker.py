"""A broker and a link in memory and in virtual time, with the faults of both, and the board's side around one `Fetch`.

What mosquitto 2.0.11 does is played: retained messages at each SUBSCRIBE, at QoS 0, in the order of the filters; and
the stall: what is queued behind unsent output stays there until the next SUBSCRIBE.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgesync.agent import actions
from edgesync.agent import fetch as protocol
from edgesync.agent.fetch import Fetch
from edgesync.wire import blob as layout
from edgesync.wire import topics
from edgesync.wire.blob import BlobIndex

FLEET = "acme"
ROOT = topics.firmware(FLEET)
STEP = 0.25
"""Seconds of virtual time between two looks while something is on its way."""


def blob_of(data: bytes, block: int = layout.BLOCK) -> tuple[BlobIndex, dict[str, bytes]]:
    """The index of a blob, and every message that carries it."""
    pieces = [data[at : at + layout.PIECE] for at in range(0, len(data), layout.PIECE)]
    index, leaves = layout.build(pieces, len(data), block)
    messages = {topics.index(ROOT, index.blob): index.encode()}
    messages |= {topics.leaf(ROOT, index.blob, n): leaf for n, leaf in enumerate(leaves)}
    for number, piece in enumerate(pieces[: index.pieces]):
        for at, part in enumerate(layout.split(index, number, piece)):
            messages[topics.block(ROOT, index.blob, number, at)] = part
    return index, messages


def matches(pattern: str, topic: str) -> bool:
    pattern_parts, parts = pattern.split("/"), topic.split("/")
    return len(pattern_parts) == len(parts) and all(p in ("+", t) for p, t in zip(pattern_parts, parts, strict=True))


@dataclass
class Link:
    """Retained messages in `store`, and one connection to them. `rate` in bytes/s; chances are 0 to 1."""

    store: dict[str, bytes] = field(default_factory=dict)
    rate: float = 1e6
    drop: float = 0.0
    double: float = 0.0
    shuffle: bool = False
    stall_after: int = 0  # messages after which the rest is stuck until the next SUBSCRIBE, 0 for never
    seed: int = 1
    up: bool = True
    deaf: bool = False  # what the board says no longer arrives, and no answer comes back
    filters: list[str] = field(default_factory=list)
    queue: deque[tuple[str, bytes]] = field(default_factory=deque)
    sent: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    asked: int = 0
    _credit: float = 0.0
    _stuck: bool = False
    _chance: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def subscribe(self, filters: Iterable[str]) -> None:
        if self.deaf or not self.up:
            return
        self._stuck = False
        for pattern in filters:
            self.asked += 1
            if pattern not in self.filters:
                self.filters.append(pattern)
            found = [(t, p) for t, p in self.store.items() if matches(pattern, t)]
            if self.shuffle:
                self._chance.shuffle(found)
            for number, message in enumerate(found):
                if self._chance.random() < self.drop:
                    continue
                if self.stall_after and number >= self.stall_after:
                    self._stuck = True
                self.queue.extend([message] * (1 + (self._chance.random() < self.double)))

    def unsubscribe(self, filters: Iterable[str]) -> None:
        if not self.deaf and self.up:
            self.filters = [f for f in self.filters if f not in set(filters)]

    def publish(self, messages: dict[str, bytes]) -> None:
        """Retained, and to whoever is subscribed now."""
        for topic, payload in messages.items():
            self.store[topic] = payload
            if not payload:
                del self.store[topic]
            if self.up and any(matches(f, topic) for f in self.filters):
                self.queue.append((topic, payload))

    def cut(self) -> None:
        self.up = False
        self.filters, self._stuck, self._credit, self.deaf = [], False, 0.0, False
        self.queue.clear()

    def arriving(self, seconds: float) -> list[tuple[str, bytes]]:
        """What arrives in so many seconds."""
        if not self.up or self._stuck or self.deaf:
            return []
        self._credit += self.rate * seconds
        arrived = []
        while self.queue and len(self.queue[0][1]) + len(self.queue[0][0]) <= self._credit:
            message = self.queue.popleft()
            self._credit -= sum(map(len, message))
            self.sent[message[0]] += len(message[1])
            arrived.append(message)
        waiting = sum(map(len, self.queue[0])) if self.queue else 0
        self._credit = min(self._credit, waiting)
        self.bytes_in = sum(self.sent.values()) + int(self._credit)
        return arrived


@dataclass
class Session:
    """The board's side: feeds a `Fetch` and keeps what it says. Checks at each step what must always hold."""

    fetch: Fetch
    link: Link
    now: float = 0.0
    kept: dict[int, bytes] = field(default_factory=dict)
    index: actions.KeepIndex | None = None
    told: list[str] = field(default_factory=list)  # Starved, Flowing, Refused, Withdrawn in order
    errors: list[str] = field(default_factory=list)
    _looked: float = 0.0

    def connect(self) -> None:
        self.link.up = True
        self._do(self.fetch.connected(self.now))

    def cut(self) -> None:
        self.link.cut()
        self.fetch.disconnected()

    def run(self, seconds: float, idle: float = 1.0) -> None:
        """Virtual time passes, in steps of `idle` seconds while nothing is on its way; less when the fetch is over."""
        until = self.now + seconds
        while self.now < until and not self.over:
            step = STEP if self.link.queue else idle
            self.now += step
            for topic, payload in self.link.arriving(step):
                if not self.over:
                    self._do(self.fetch.received(topics.parse(topic), payload, self.now))
            self._check()
            if self.now - self._looked >= 1.0:
                self._looked = self.now
                self._do(self.fetch.tick(self.now, self.link.bytes_in, answered=not self.link.deaf))

    def perform(self, asked: list[actions.Action]) -> None:
        self._do(asked)

    def _do(self, asked: list[actions.Action]) -> None:
        for action in asked:
            match action:
                case actions.Subscribe(filters):
                    self.link.subscribe(filters)
                case actions.Unsubscribe(filters):
                    self.link.unsubscribe(filters)
                case actions.KeepIndex():
                    self.index = action
                case actions.KeepPiece(offset, data):
                    assert offset not in self.kept, "a piece is kept once"
                    self.kept[offset] = data
                case actions.Flowing():
                    self.told.append("Flowing")
                case actions.Starved(error) | actions.Refused(error) | actions.Withdrawn(error):
                    self.told.append(type(action).__name__)
                    self.errors.append(str(error))

    def _check(self) -> None:
        if self.link.deaf:
            return
        topics_of = [topics.parse(f.replace("+", "0")) for f in self.link.filters if not f.endswith("/kick")]
        pieces = {t.piece for t in topics_of if t.kind == "block"}
        assert len(pieces - self.fetch.have) <= protocol.WINDOW, "at most two pieces are in flight"
        assert len(pieces & self.fetch.have) < protocol.UNSUBSCRIBE_TOGETHER, "what is complete is unsubscribed"

    @property
    def over(self) -> bool:
        return self.fetch.complete or "Withdrawn" in self.told

    @property
    def data(self) -> bytes:
        return b"".join(self.kept[offset] for offset in sorted(self.kept))
