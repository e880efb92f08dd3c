"""What the fetch protocol asks for: values, performed by the downloader in their order."""

from __future__ import annotations

from dataclasses import dataclass

from edgesync.wire.errors import EdgesyncError


@dataclass(frozen=True, slots=True)
class Subscribe:
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeepIndex:
    """The index with all leaves that are known: enough to check every kept piece after a restart."""

    index: bytes
    leaves: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class KeepPiece:
    """A verified piece: `data` belongs at byte `offset` of the blob."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Starved:
    """The blob does not come; the fetch goes on waiting."""

    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class Flowing:
    """A starved blob comes again."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something arrived that is not what was promised; it was thrown away."""

    error: EdgesyncError


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The blob was cleared while it was fetched: this fetch is over."""

    error: EdgesyncError


Action = Subscribe | Unsubscribe | KeepIndex | KeepPiece | Starved | Flowing | Refused | Withdrawn
