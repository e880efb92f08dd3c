"""How one board gets from the images it holds to the images it shall run: a target for each component, and the blobs.

Pure. A blob is named by what it is made from and what it makes (`BlobKey`), never by the board: 12 or 12,000 boards
on the same base need the same one blob.

The rules, for each component:
1. The board reports the wanted digest: a target without source.
2. It reports another digest whose image is stored: a delta from that base.
3. It reports no image, or one that is not stored: the full image.
4. A delta that failed (on the board, or in the making) is replaced as the failure policy says, or refused.
5. A delta that is larger than a quarter of the image is compared with the full image, and the smaller is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesync.control.types import FailurePolicy, Image
from edgesync.wire.errors import DETAIL_LIMIT
from edgesync.wire.ids import BlobId, Digest
from edgesync.wire.messages import ErrorReport, Source, Target

COMPARE_ABOVE = 0.25
"""Fraction of the image: making a full image costs a minute of CPU, so a small delta is taken without comparing."""

DELTA_ERRORS = frozenset({"BaseModified", "DeltaCorrupt"})
"""Errors of a board that say that its delta will never work there."""


@dataclass(frozen=True, slots=True, order=True)
class BlobKey:
    """A blob before it exists: it makes `result` from `base`, or from nothing ("") where it is a full image."""

    result: Digest
    base: Digest | str = ""

    @property
    def kind(self) -> str:
        return "delta" if self.base else "full"

    def __str__(self) -> str:
        return f"delta {self.base[:12]}..{self.result[:12]}" if self.base else f"full image {self.result[:12]}"


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
class Plan:
    """Exactly one of three: `targets` to offer, blobs that are `missing` before there can be any, or a `refusal`."""

    targets: tuple[Target, ...] = ()
    missing: tuple[BlobKey, ...] = ()
    refusal: ErrorReport | None = None


@dataclass(frozen=True, slots=True)
class Stock:
    """What a plan draws on: `sizes` of the stored images (bytes), the blobs known so far, the failure policy, and
    where blobs lie for HTTP ("" for nowhere; a blob is at `<http_source>/<blob id>`).
    """

    sizes: Mapping[Digest, int]
    blobs: Blobs
    policy: FailurePolicy = field(default_factory=FailurePolicy)
    http_source: str = ""


def plan(
    wanted: Mapping[str, Image], held: Mapping[str, Digest], stock: Stock, delta_failed: ErrorReport | None = None
) -> Plan:
    """The targets for a board that reports the digests `held`. `delta_failed`: what it said when its delta did not
    work, or None.
    """
    targets = []
    missing = []
    for component, image in sorted(wanted.items()):
        source: Source | None = None
        if held.get(component) != image.sha256:
            choice = _choose(image, held.get(component), stock, delta_failed)
            if isinstance(choice, ErrorReport):
                return Plan(refusal=choice)
            if isinstance(choice, BlobKey):
                missing.append(choice)
                continue
            source = choice
        targets.append(Target(component, image.version, stock.sizes[image.sha256], image.sha256, source))
    return Plan(missing=tuple(missing)) if missing else Plan(targets=tuple(targets))


def _choose(
    image: Image, base: Digest | None, stock: Stock, delta_failed: ErrorReport | None
) -> Source | BlobKey | ErrorReport:
    full = BlobKey(image.sha256)
    if base is None or base not in stock.sizes:
        return _take(full, stock)
    delta = BlobKey(image.sha256, base)
    made = stock.blobs.get(delta)
    failure = made.error if isinstance(made, Unbuildable) else delta_failed
    if failure is not None:
        return _instead(full, stock, failure)
    if not isinstance(made, Built):
        return delta
    if made.length > COMPARE_ABOVE * stock.sizes[image.sha256]:
        whole = stock.blobs.get(full)
        if whole is None:
            return full
        if isinstance(whole, Built) and whole.length <= made.length:
            return _take(full, stock)
    return _take(delta, stock)


def _instead(full: BlobKey, stock: Stock, failure: ErrorReport) -> Source | BlobKey | ErrorReport:
    """The full image in place of a delta that failed, if the policy lets it be sent."""
    if stock.policy.on_delta_failure != "full":
        return failure
    made = stock.blobs.get(full)
    if isinstance(made, Built) and made.length > stock.policy.full_limit:
        limit = f"the full image has {made.length} bytes, the failure policy sends at most {stock.policy.full_limit}"
        return ErrorReport(failure.name, f"{failure.detail}; {limit}"[-DETAIL_LIMIT:])
    return _take(full, stock)


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
