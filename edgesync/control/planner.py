"""How one board gets from the images it holds to the images it shall run: a target for each component, and the blobs.

Pure. A blob is named by what it is made from and what it makes (`BlobKey`), never by the board: 12 or 12,000 boards
on the same base need the same one blob.

The rules, for each component:
1. The board reports the wanted digest: a target without source.
2. It reports another digest whose image is stored: a delta from that base, a mixed one where server and board have
   the context-mixing coder and the other is not known to be as small.
3. It reports no image, or one that is not stored: the full image.
4. A mixed delta that failed (on the board, or in the making), or asks for more than the board has (`means`), is
   replaced by the other one; that one as the failure policy says, or refused.
5. A delta that is larger than a quarter of the image is compared with the full image, and the smaller that the board
   can carry is sent.

`weigh` says for each way what speaks against it, `plan` what follows for a whole board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgesync.control.means import Kind, Means
from edgesync.control.types import FailurePolicy, Image
from edgesync.wire.errors import DETAIL_LIMIT, BeyondMeansError
from edgesync.wire.ids import BlobId, Digest
from edgesync.wire.messages import ErrorReport, Source, Target

COMPARE_ABOVE = 0.25
"""Fraction of the image: making a full image costs a minute of CPU, so a small delta is taken without comparing."""

DELTA_ERRORS = frozenset({"BaseModified", "DeltaCorrupt", "UnknownFormat"})
"""Errors of a board that say that its delta will never work there."""
MIXED_ERRORS = frozenset({"DeltaCorrupt", "UnknownFormat", "WorkerDied", "WorkerStalled"})
"""Errors after which a mixed delta is given up: the fault may be its coder's, which is machine code."""


@dataclass(frozen=True, slots=True, order=True)
class BlobKey:
    """A blob before it exists: it makes `result` from `base`, or from nothing ("") where it is a full image. A `mixed`
    delta is made by the context-mixing coder, which not every board has.
    """

    result: Digest
    base: Digest | str = ""
    mixed: bool = False

    @property
    def kind(self) -> Kind:
        return ("mixed" if self.mixed else "delta") if self.base else "full"

    def __str__(self) -> str:
        if not self.base:
            return f"full image {self.result[:12]}"
        return f"{'mixed ' if self.mixed else ''}delta {self.base[:12]}..{self.result[:12]}"


@dataclass(frozen=True, slots=True)
class Built:
    """A blob that exists: its id and its length in bytes."""

    blob: BlobId
    length: int


@dataclass(frozen=True, slots=True)
class Unbuildable:
    """A blob that could not be made, and why. An operator's retry forgets it."""

    error: ErrorReport


Blobs = Mapping[BlobKey, Built | Unbuildable]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to an image: its blob, its length in bytes (None while it is not made), the CPU seconds that it takes on
    the board, and what speaks `against` it ("" where nothing does).
    """

    key: BlobKey
    length: int | None
    seconds: float
    against: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """Every way to one image that there is, and what is done: a source to send, a blob to make first, or a refusal.
    Nothing speaks against the way that is taken; where all are refused, something speaks against each.
    """

    ways: tuple[Way, ...]
    take: Source | BlobKey | ErrorReport

    @property
    def best(self) -> Way:
        """The way that is taken, or the first that is refused."""
        return next((way for way in self.ways if not way.against), self.ways[0])


@dataclass(frozen=True, slots=True)
class Plan:
    """Exactly one of three: `targets` to offer, blobs that are `missing` before there can be any, or a `refusal`.
    `mixed`: one of the targets' deltas is.
    """

    targets: tuple[Target, ...] = ()
    missing: tuple[BlobKey, ...] = ()
    refusal: ErrorReport | None = None
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Stock:
    """What a plan draws on: `sizes` of the stored images (bytes), the blobs known so far, the failure policy, where
    blobs lie for HTTP ("" for nowhere; a blob is at `<http_source>/<blob id>`), and whether the server can make mixed
    deltas.
    """

    sizes: Mapping[Digest, int]
    blobs: Blobs
    policy: FailurePolicy = field(default_factory=FailurePolicy)
    http_source: str = ""
    mixing: bool = False


def plan(
    wanted: Mapping[str, Image],
    held: Mapping[str, Digest],
    stock: Stock,
    means: Means,
    delta_failed: ErrorReport | None = None,
) -> Plan:
    """The targets for a board that reports the digests `held`. `delta_failed`: what it said when its delta did not
    work, or None.
    """
    targets = []
    missing = []
    mixed = False
    for component, image in sorted(wanted.items()):
        source: Source | None = None
        if held.get(component) != image.sha256:
            choice = weigh(image, held.get(component), stock, means, delta_failed)
            take = choice.take
            if isinstance(take, ErrorReport):
                return Plan(refusal=take)
            if isinstance(take, BlobKey):
                missing.append(take)
                continue
            source = take
            mixed = mixed or choice.best.key.mixed
        targets.append(Target(component, image.version, stock.sizes[image.sha256], image.sha256, source))
    return Plan(missing=tuple(missing)) if missing else Plan(targets=tuple(targets), mixed=mixed)


def weigh(
    image: Image, base: Digest | None, stock: Stock, means: Means, delta_failed: ErrorReport | None = None
) -> Choice:
    """The ways to an image that the board does not hold; `base` is what it holds, None for nothing."""
    full = _way(BlobKey(image.sha256), stock, means)
    if base is None or base not in stock.sizes:
        return _only(full, stock)
    delta, other = _deltas(image.sha256, base, stock, means, delta_failed)
    choice = _weigh(delta, full, stock, delta_failed)
    return replace(choice, ways=(choice.ways[0], other, *choice.ways[1:]))


def _deltas(result: Digest, base: Digest, stock: Stock, means: Means, failed: ErrorReport | None) -> tuple[Way, Way]:
    """The delta that is the better one for this board, and the other, which something speaks against."""
    mixed = _way(BlobKey(result, base, mixed=True), stock, means)
    delta = _way(BlobKey(result, base), stock, means)
    if failed:
        return delta, replace(mixed, against=mixed.against or f"{failed.name}: {failed.detail}")
    if mixed.against:
        return delta, mixed
    if mixed.length is None or delta.length is None:
        return mixed, replace(delta, against=delta.against or "a mixed delta is smaller as a rule")
    more = delta.length - mixed.length
    if more <= 0 and not delta.against:
        return delta, replace(mixed, against="the other delta is not larger")
    return mixed, replace(delta, against=delta.against or f"it is {more} bytes larger than the mixed delta")


def _weigh(delta: Way, full: Way, stock: Stock, delta_failed: ErrorReport | None) -> Choice:
    """A delta against the full image."""
    made = stock.blobs.get(delta.key)
    failure = made.error if isinstance(made, Unbuildable) else delta_failed
    if failure is None and delta.against:
        failure = ErrorReport.of(BeyondMeansError(f"{delta.key}: {delta.against}"))
    if failure is not None:
        delta = replace(delta, against=delta.against or f"{failure.name}: {failure.detail}")
        return _instead(delta, full, failure, stock)
    if delta.length is None:
        return Choice((delta, replace(full, against="not looked at before the delta is made")), delta.key)
    if delta.length <= COMPARE_ABOVE * stock.sizes[delta.key.result]:
        why = f"the delta has less than {COMPARE_ABOVE:.0%} of the image's bytes, no full image does"
        return Choice((delta, replace(full, against=full.against or why)), _take(delta.key, stock))
    if full.against:
        return Choice((delta, full), _take(delta.key, stock))
    if full.length is None:
        return Choice((replace(delta, against="to be compared with the full image"), full), full.key)
    if full.length <= delta.length:
        why = f"it is {delta.length - full.length} bytes larger than the full image"
        return Choice((replace(delta, against=why), full), _take(full.key, stock))
    why = f"it is {full.length - delta.length} bytes larger than the delta"
    return Choice((delta, replace(full, against=why)), _take(delta.key, stock))


def _way(key: BlobKey, stock: Stock, means: Means) -> Way:
    made, size = stock.blobs.get(key), stock.sizes[key.result]
    length = made.length if isinstance(made, Built) else None
    against = means.obstacle(key.kind, size, length)
    if key.mixed and not stock.mixing:
        against = "the server has no context-mixing coder"
    if isinstance(made, Unbuildable):
        against = f"{made.error.name}: {made.error.detail}"
    return Way(key, length, means.seconds_for(key.kind, size), against)


def _only(full: Way, stock: Stock) -> Choice:
    made = stock.blobs.get(full.key)
    if full.against and not isinstance(made, Unbuildable):
        return Choice((full,), ErrorReport.of(BeyondMeansError(f"{full.key}: {full.against}")))
    return Choice((full,), _take(full.key, stock))


def _instead(delta: Way, full: Way, failure: ErrorReport, stock: Stock) -> Choice:
    """The full image in place of a delta that does not work, if the policy sends it and the board can carry it."""
    policy = stock.policy
    against = full.against
    if policy.on_delta_failure != "full":
        against = f"the failure policy is {policy.on_delta_failure!r}"
        return Choice((delta, replace(full, against=against)), failure)
    if full.length is not None and full.length > policy.full_limit:
        against = f"the full image has {full.length} bytes, the failure policy sends at most {policy.full_limit}"
    if against and not isinstance(stock.blobs.get(full.key), Unbuildable):
        refusal = ErrorReport(failure.name, f"{failure.detail}; {against}"[-DETAIL_LIMIT:])
        return Choice((delta, replace(full, against=against)), refusal)
    return Choice((delta, full), _take(full.key, stock))


def _take(key: BlobKey, stock: Stock) -> Source | BlobKey | ErrorReport:
    made = stock.blobs.get(key)
    if made is None:
        return key
    if isinstance(made, Unbuildable):
        return made.error
    url = f"{stock.http_source.rstrip('/')}/{made.blob}" if stock.http_source else ""
    if key.base:
        return Source("delta", made.blob, made.length, Digest(key.base), url)
    return Source("full", made.blob, made.length, None, url)
