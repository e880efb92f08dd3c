"""Fetching one blob from retained messages: what to subscribe to, what to keep, when to ask again. Sans-IO.

A blob's length is signed, so the number of its pieces is known before its index arrives: index, the leaf and the first
pieces are asked for together and no round trip is lost. At most `WINDOW` pieces are in flight; those that are complete
are unsubscribed, a few with one message. Blocks of a broken connection stay in memory, and the piece is finished block
by block, so that a link that is cut every few seconds still gets on.

MQTT has no "not found", and mosquitto can stall in silence (retained messages behind unsent output are not sent when
the socket drains; a new SUBSCRIBE frees them). So silence is part of the protocol. When nothing new came for
`max(3 x a piece's time, 10 s)`, a topic on which nothing ever lies is subscribed: that frees what is stuck without
sending it twice, and its SUBACK proves that the broker can be heard at all. While any SUBACK is missing, the silence is
the link's, and asking again would only pay for everything twice when it comes back. With the proof, and still nothing,
all that is in flight is unsubscribed and subscribed again; after three times the blob is `Starved`, which the server is
told. The subscriptions stay, so a blob that is published again flows at once. A connection that ends after a kick and
still nothing counts as one time, so that a link that is cut every few seconds hides no missing blob.

What was wrong stays subscribed, for the server may publish it again, and is asked for again after a pause (`pauses`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgesync.agent.actions import (
    Action,
    Flowing,
    KeepIndex,
    KeepPiece,
    Refused,
    Starved,
    Subscribe,
    Unsubscribe,
    Withdrawn,
)
from edgesync.agent.pace import Pace
from edgesync.agent.pauses import Pauses
from edgesync.wire import blob as layout
from edgesync.wire import topics
from edgesync.wire.blob import BlobIndex
from edgesync.wire.errors import (
    BlobCorruptError,
    BlobMissingError,
    BlobWithdrawnError,
    EdgesyncError,
    MalformedMessageError,
)
from edgesync.wire.ids import BlobId
from edgesync.wire.topics import Topic

WINDOW = 2
"""Pieces in flight: 32 KiB, above a narrow link's bandwidth-delay product and below what makes mosquitto stall."""
SILENCE_MIN, SILENCE_MAX = 10.0, 300.0
"""Seconds without anything new before the topics are asked for again; doubled while a blob is starved."""
_DOUBLINGS = 5
"""From the shortest silence to the longest. A blob may be missing for days: 2 to the power of the tries is no float."""
PATIENCE = 3
"""Times that a topic is asked for again before the blob counts as missing."""
UNSUBSCRIBE_TOGETHER = 4
"""Pieces that one UNSUBSCRIBE names: each message and its answer cost about 200 bytes on the air."""
TRICKLE = 512
"""Bytes of TCP that count as life: a block is still on its way. A PINGRESP is far less."""


@dataclass(slots=True)
class _Piece:
    """A piece in flight: its blocks so far and the filters that are subscribed for it."""

    since: float
    blocks: dict[int, bytes] = field(default_factory=dict)
    filters: tuple[str, ...] = ()


class Fetch:
    """One blob of `length` bytes below the topic `root`. `index`, `leaves` and `have` (piece numbers) are what an
    earlier life has kept.

    `arrived` counts the payload bytes of pieces, again or for nothing included; `metadata` those of index and leaves.
    """

    def __init__(
        self,
        root: str,
        blob: BlobId,
        length: int,
        *,
        index: BlobIndex | None = None,
        leaves: dict[int, bytes] | None = None,
        have: Iterable[int] = (),
        pace: Pace | None = None,
    ) -> None:
        self.root, self.blob, self.length = root, blob, length
        self.index = index
        self.leaves = dict(leaves or {})
        self.have = set(have)
        self.pace = pace or Pace()
        self.arrived = 0
        self.metadata = 0
        self._pieces = -(-length // layout.PIECE)
        self._lone = length <= layout.LONE
        self._flight: dict[int, _Piece] = {}
        self._early: dict[int, bytes] = {}  # leaves that came before the index, by number
        self._asked_index: tuple[str, ...] = ()
        self._connected = False
        self._last_news = 0.0
        self._last_block = 0.0
        self._last_tcp = 0
        self._piece_time = 0.0
        self._tries = 0
        self._kicked = False
        self._starved = False
        self._over: list[str] = []  # filters that are still subscribed and no longer needed
        self._pauses = Pauses()  # by the topic of an index or leaf, or the filter of a piece
        self._next = 0

    @property
    def complete(self) -> bool:
        return self.index is not None and len(self.have) == self._pieces

    @property
    def done(self) -> int:
        """Bytes of the blob that are verified and kept."""
        full = len(self.have) * layout.PIECE
        return full - (layout.PIECE - self._last_length()) if self._pieces - 1 in self.have else full

    @property
    def resting(self) -> bool:
        """All that was asked for has come, and nothing more is asked for before the pace lets it."""
        return self.index is not None and not self._flight and not self._asked_index

    @property
    def starved(self) -> bool:
        """The broker was asked often enough, and gave nothing."""
        return self._starved

    def connected(self, now: float) -> list[Action]:
        """A new connection: nothing is subscribed there."""
        if self._kicked:
            self._tries += 1
        self._connected, self._kicked = True, False
        self._asked_index, self._over = (), []
        self._last_news = self._last_block = now
        for piece in self._flight.values():
            piece.filters, piece.since = (), now
        return [*self._ask(now), *self._given_up()]

    def ask_anew(self, now: float) -> list[Action]:
        """Someone says that the broker has the blob now: forget how often it was asked in vain."""
        self._tries, self._kicked, self._starved = 0, False, False
        self._pauses.forget()
        return [*self.stop(), *self.connected(now)] if self._connected else []

    def disconnected(self) -> None:
        self._connected = False

    def received(self, topic: Topic, payload: bytes, now: float) -> list[Action]:
        """One message on a topic of this blob."""
        if topic.kind == "block" or self._lone:
            self.arrived += len(payload)
        else:
            self.metadata += len(payload)
        if topic.blob != self.blob or self.complete:
            return []
        if not payload:
            return [*self.stop(), Withdrawn(BlobWithdrawnError(f"blob {self.blob} was cleared from the broker"))]
        try:
            match topic.kind:
                case "index":
                    news = self._take_index(payload)
                case "leaf":
                    news = self._take_leaf(topic.piece, payload)
                case _:
                    news = self._take_block(topic.piece, topic.block, payload)
        except EdgesyncError as error:
            self._pauses.begin(self._key(topic), now)
            return [Refused(error)]
        if not news:
            return []
        self._last_news = self._last_block = now
        self._kicked = False
        if topic.kind == "block" or self.index is None:
            return self._settle(now)
        return [*self._progressed(), self._keep_index(), *self._settle(now)]

    def take_piece(self, number: int, data: bytes, now: float) -> list[Action]:
        """A whole piece that came another way (HTTP); checked like any other."""
        if self.index is None or len(data) != self.index.piece_length(number):
            return [Refused(BlobCorruptError(f"blob {self.blob}: piece {number} came with {len(data)} bytes"))]
        self.arrived += len(data)
        self._flight.setdefault(number, _Piece(now)).blocks = dict(enumerate(layout.split(self.index, number, data)))
        return self._settle(now)

    def take_index(self, index: bytes, leaves: Mapping[int, bytes], now: float) -> list[Action]:
        """Index and leaves that came another way (HTTP), all of them. Raises the error that says what is wrong."""
        if self._lone:
            self.arrived += len(index)
        else:
            self.metadata += len(index) + sum(map(len, leaves.values()))
        self._take_index(index)
        for number, leaf in leaves.items():
            self._take_leaf(number, leaf)
        assert self.index is not None
        if len(self.leaves) < len(self.index.leaves):
            raise BlobCorruptError(f"blob {self.blob}: {len(self.leaves)} of {len(self.index.leaves)} leaves came")
        return [self._keep_index(), *self._settle(now)]

    def tick(self, now: float, tcp_in: int, *, answered: bool) -> list[Action]:
        """Time has passed; `tcp_in` is the count of bytes that TCP has received in all, `answered` whether the broker
        has acknowledged every SUBSCRIBE.
        """
        if not self._connected or self.complete:
            return []
        if self.resting:
            self._last_news = self._last_block = now  # for the pace is the reason, and not the broker
        if self.resting or self.pace.limited:
            return [*self._ask(now), *self._listen(now, tcp_in, answered=answered)]
        return self._listen(now, tcp_in, answered=answered)

    def _listen(self, now: float, tcp_in: int, *, answered: bool) -> list[Action]:
        """Is it silent for too long?"""
        if tcp_in - self._last_tcp >= TRICKLE and now - self._last_block < SILENCE_MAX:
            self._last_news, self._last_tcp = now, tcp_in
        if now - self._last_news < self.silence or not answered:
            return []
        self._last_news = self._last_block = now
        if not self._kicked:
            self._kicked = True
            self._over.append(topics.kick(self.root, self.blob))
            return [Subscribe((topics.kick(self.root, self.blob),))]
        self._tries += 1
        return [*self._ask_again(now), *self._given_up()]

    @property
    def silence(self) -> float:
        """Seconds without news that are too long."""
        base = max(3 * self._piece_time, SILENCE_MIN)
        doublings = min(_DOUBLINGS, max(0, self._tries - PATIENCE + 1))
        return min(SILENCE_MAX, base * (1 << doublings))

    def missing(self) -> list[int]:
        """Numbers of the pieces that are not kept, in order."""
        return [n for n in range(self._pieces) if n not in self.have]

    def stop(self) -> list[Action]:
        """Unsubscribe from everything."""
        filters = [*self._asked_index, *self._over, *(f for piece in self._flight.values() for f in piece.filters)]
        self._asked_index, self._over = (), []
        for piece in self._flight.values():
            piece.filters = ()
        return [Unsubscribe(tuple(filters))] if filters else []

    # --- taking -------------------------------------------------------------------------------------------------

    def _take_index(self, payload: bytes) -> bool:
        if self.index is not None:
            return False
        index = layout.parse_index(self.blob, payload)
        if index.length != self.length:
            raise MalformedMessageError(f"blob {self.blob}: index says {index.length} bytes, signed are {self.length}")
        self.index = index
        early, self._early = self._early, {}
        for number, leaf in early.items():
            self._take_leaf(number, leaf)
        return True

    def _keep_index(self) -> KeepIndex:
        assert self.index is not None
        return KeepIndex(self.index.encode(), tuple(self.leaves[n] for n in sorted(self.leaves)))

    def _take_leaf(self, number: int, payload: bytes) -> bool:
        if number in self.leaves:
            return False
        if self.index is None:
            if len(payload) <= layout.LEAF_LIMIT and len(self._early) < WINDOW:
                self._early[number] = payload
            return False
        layout.parse_leaf(self.index, number, payload)
        self.leaves[number] = payload
        return True

    def _take_block(self, number: int, block: int, payload: bytes) -> bool:
        piece = self._flight.get(number)
        if piece is None or block in piece.blocks:
            return False
        if self.index is None:
            fits = len(payload) <= layout.PIECE and block < layout.PIECE // layout.BLOCK_MIN
        else:
            fits = block < self.index.blocks_of(number) and len(payload) == self.index.block_length(number, block)
        if not fits:
            raise BlobCorruptError(f"blob {self.blob}: block {number}/{block} has {len(payload)} bytes")
        piece.blocks[block] = payload
        return True

    def _settle(self, now: float) -> list[Action]:
        """Keep what is complete, and ask for what comes next."""
        actions: list[Action] = []
        index = self.index
        if index and index.lone and 0 not in self.have:
            self.have.add(0)
            actions.append(KeepPiece(0, index.lone))
        for number in sorted(self._flight) if index else ():
            assert index is not None
            piece = self._flight[number]
            leaf = self.leaves.get(number // layout.PIECES_PER_LEAF)
            if leaf is None or len(piece.blocks) < index.blocks_of(number):
                continue
            data = b"".join(piece.blocks[n] for n in sorted(piece.blocks))
            at = number % layout.PIECES_PER_LEAF * layout.HASH
            if layout.short_hash(data) != leaf[at : at + layout.HASH]:
                piece.blocks = {}
                self._pauses.begin(topics.piece(self.root, self.blob, number), now)
                actions.append(Refused(BlobCorruptError(f"blob {self.blob}: piece {number} does not have its hash")))
                continue
            del self._flight[number]
            self.have.add(number)
            spent = now - piece.since
            self.pace.came(spent, now)
            self._piece_time = spent if not self._piece_time else 0.7 * self._piece_time + 0.3 * spent
            actions.extend([*self._progressed(), KeepPiece(number * layout.PIECE, data)])
            self._over.extend(piece.filters)
        return [*actions, *self._ask(now)]

    def _progressed(self) -> list[Action]:
        """Something was verified: the broker has the blob."""
        self._tries = 0
        flowing: list[Action] = [Flowing()] if self._starved else []
        self._starved = False
        return flowing

    def _given_up(self) -> list[Action]:
        """What to tell when it was asked for often enough."""
        if self._tries < PATIENCE or self._starved:
            return []
        self._starved = True
        wanted = [*([] if self.index else ["index"]), *map(str, sorted(self._flight))]
        detail = f"blob {self.blob}: no answer for {', '.join(wanted)} of {self._pieces} pieces"
        return [Starved(BlobMissingError(detail))]

    def _key(self, topic: Topic) -> str:
        match topic.kind:
            case "index":
                return topics.index(self.root, self.blob)
            case "leaf":
                return topics.leaf(self.root, self.blob, topic.piece)
        return topics.piece(self.root, self.blob, topic.piece)

    # --- asking -------------------------------------------------------------------------------------------------

    def _ask(self, now: float) -> list[Action]:
        """Fill the window with pieces that are not there, and see that their leaves come too."""
        if not self._connected:
            return []
        if self.complete:
            return self.stop()
        wanted: list[str] = []
        window = self.pace.window(WINDOW)
        while len(self._flight) < window and self.pace.free(now) and (number := self._next_piece()) is not None:
            self._flight[number] = _Piece(now)
            self.pace.asked(min(layout.PIECE, self.length - number * layout.PIECE), now)
        index_filters = tuple(f for f in self._index_filters() if f in self._asked_index or self._pauses.over(f, now))
        wanted.extend(f for f in index_filters if f not in self._asked_index)
        self._over.extend(f for f in self._asked_index if f not in index_filters)
        self._asked_index = index_filters
        for number, piece in self._flight.items():
            if not piece.filters and self._pauses.over(topics.piece(self.root, self.blob, number), now):
                piece.filters = self._filters(number, piece)
                wanted.extend(piece.filters)
        actions: list[Action] = [Subscribe(tuple(wanted))] if wanted else []
        if len(self._over) >= UNSUBSCRIBE_TOGETHER:
            actions.append(Unsubscribe(tuple(self._over)))
            self._over = []
        return actions

    def _ask_again(self, now: float) -> list[Action]:
        filters = [f for f in self._asked_index if self._pauses.over(f, now)]
        self._asked_index = tuple(f for f in self._asked_index if f not in filters)
        for number, piece in self._flight.items():
            if self._pauses.over(topics.piece(self.root, self.blob, number), now):
                filters.extend(piece.filters)
                piece.filters, piece.since = (), now
        actions: list[Action] = [Unsubscribe(tuple(filters))] if filters else []
        return [*actions, *self._ask(now)]

    def _next_piece(self) -> int | None:
        if self._lone:
            return None  # it comes in the place of its index
        while self._next < self._pieces and (self._next in self.have or self._next in self._flight):
            self._next += 1
        return self._next if self._next < self._pieces else None

    def _index_filters(self) -> tuple[str, ...]:
        filters = [] if self.index else [topics.index(self.root, self.blob)]
        needed = sorted({number // layout.PIECES_PER_LEAF for number in self._flight})
        filters.extend(topics.leaf(self.root, self.blob, n) for n in needed if n not in self.leaves)
        return tuple(filters)

    def _filters(self, number: int, piece: _Piece) -> tuple[str, ...]:
        if not piece.blocks:
            return (topics.piece(self.root, self.blob, number),)
        if self.index is None:
            return ()  # which blocks are still to come is known with the index, and asking for all would pay twice
        return tuple(
            topics.block(self.root, self.blob, number, block)
            for block in range(self.index.blocks_of(number))
            if block not in piece.blocks
        )

    def _last_length(self) -> int:
        return self.length - (self._pieces - 1) * layout.PIECE
