"""What a link is like, as values, and the one list of links that have a name (links.toml).

Rates are bit/s at IP level, times seconds, sizes bytes, fractions 0 to 1. "down" is towards the board.
"""

from __future__ import annotations

import importlib.resources
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar, cast

from edgesync.wire.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")

IP_TCP_HEADERS = 52
"""Bytes of IPv4 and TCP headers in a full segment (Linux sends the 12 bytes of the timestamp option)."""
MTU_MINIMUM = 576
RATE_MAXIMUM = 1e9
TIME_MAXIMUM = 3600.0
QUEUE_MAXIMUM = 16 << 20


@dataclass(frozen=True, slots=True)
class Burst:
    """Loss in bursts (Gilbert-Elliott): mean packets between two bursts, mean packets of one, fraction lost within."""

    gap: float
    length: float
    loss: float = 1.0

    def __post_init__(self) -> None:
        _check("burst.gap", self.gap, 1, math.inf, "packets")
        _check("burst.length", self.length, 1, math.inf, "packets")
        _check("burst.loss", self.loss, 0, 1, "a fraction")

    @property
    def mean_loss(self) -> float:
        """Fraction of all packets that is lost in the long run."""
        return self.loss * self.length / (self.gap + self.length)


@dataclass(frozen=True, slots=True)
class Direction:
    """One way of a link. `rate` bit/s, 0 for no limit; `queue` bytes that wait for it before the newest is dropped.

    `jitter` spreads the delay evenly by so many seconds either way; packets never overtake one another. A packet is
    lost by `loss` or by `burst`, each on its own.
    """

    rate: float
    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    burst: Burst | None = None
    queue: int = 64 * 1024

    def __post_init__(self) -> None:
        _check("rate", self.rate, 0, RATE_MAXIMUM, "bit/s, 0 for no limit,")
        _check("delay", self.delay, 0, TIME_MAXIMUM, "seconds")
        _check("jitter", self.jitter, 0, self.delay, "seconds, at most the delay,")
        _check("loss", self.loss, 0, 1, "a fraction")
        _check("queue", self.queue, MTU_MINIMUM, QUEUE_MAXIMUM, "bytes")

    @property
    def mean_loss(self) -> float:
        """Fraction of packets that is lost in the long run."""
        kept = 1 - self.loss
        return 1 - kept * (1 - self.burst.mean_loss) if self.burst else self.loss


@dataclass(frozen=True, slots=True)
class Outage:
    """The link is gone for the last `length` seconds of each `period` seconds, counted from its start."""

    period: float
    length: float

    def __post_init__(self) -> None:
        _check("outage.period", self.period, 0.001, math.inf, "seconds")
        _check("outage.length", self.length, 0, self.period, "seconds, at most the period,")

    def remaining(self, age: float) -> float:
        """Seconds until the link is back, `age` seconds after its start; 0.0 where it is there."""
        position = age % self.period
        return self.period - position if position >= self.period - self.length else 0.0


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """A whole link. `reset_every`: seconds after which the network forgets all TCP connections, 0 for never."""

    name: str
    summary: str
    source: str
    down: Direction
    up: Direction
    mtu: int = 1500
    outage: Outage | None = None
    reset_every: float = 0.0

    def __post_init__(self) -> None:
        _check("mtu", self.mtu, MTU_MINIMUM, 65535, "bytes")
        _check("reset_every", self.reset_every, 0, math.inf, "seconds, 0 for never,")
        for way, direction in (("down", self.down), ("up", self.up)):
            _check(f"{way}.queue", direction.queue, self.mtu, QUEUE_MAXIMUM, "bytes, at least one packet,")

    @property
    def round_trip(self) -> float:
        """Seconds there and back for a small packet, without queues and serialisation."""
        return self.down.delay + self.up.delay

    @property
    def loses_packets(self) -> bool:
        return self.down.mean_loss > 0 or self.up.mean_loss > 0

    def payload_rate(self) -> float:
        """Bytes a second of TCP payload towards the board at best: the rate less IP and TCP headers."""
        return self.down.rate / 8 * (self.mtu - IP_TCP_HEADERS) / self.mtu if self.down.rate else math.inf

    def replace(self, **changes: Any) -> LinkProfile:
        """The same link with other values of its fields. Raises ConfigError for values that no link has."""
        unknown = sorted(set(changes) - {f.name for f in fields(self)})
        if unknown:
            raise ConfigError(f"link profile: found {unknown[0]!r}, expected one of {_names(LinkProfile)}")
        return replace(self, **changes)

    def with_loss(self, fraction: float) -> LinkProfile:
        """The same link losing that fraction of packets each way, independently, in place of its own losses."""
        down, up = (replace(d, loss=fraction, burst=None) for d in (self.down, self.up))
        return replace(self, down=down, up=up)

    def without_loss(self) -> LinkProfile:
        return self.with_loss(0.0)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(value: Mapping[str, Any], where: str = "link profile") -> LinkProfile:
        """The inverse of `to_dict`. Raises ConfigError that begins with `where`."""
        table = dict(value)
        try:
            for way in ("down", "up"):
                direction = dict(_take(table, way, dict))
                if direction.get("burst") is not None:
                    direction["burst"] = _build(Burst, _take(direction, "burst", dict))
                table[way] = _build(Direction, direction)
            if table.get("outage") is not None:
                table["outage"] = _build(Outage, _take(table, "outage", dict))
            for key in ("name", "summary", "source"):
                _take(table, key, str)
            return _build(LinkProfile, table)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error


def names() -> tuple[str, ...]:
    """The names of all profiles, in the order of the file."""
    return tuple(_read())


def load(name: str) -> LinkProfile:
    """One profile by name. Raises ConfigError, which lists the known names."""
    table = _read()
    if name not in table:
        raise ConfigError(f"link profile {name!r} is unknown, expected one of: {', '.join(table)}")
    return LinkProfile.from_dict({"name": name, **table[name]}, f"links.toml, [{name}]")


def _read() -> dict[str, dict[str, Any]]:
    text = importlib.resources.files("edgesync.sim").joinpath("links.toml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, Any]] = tomllib.loads(text)
    return tables


def _build(kind: type[_T], table: Mapping[str, Any]) -> _T:
    known = {f.name for f in fields(cast(Any, kind))}
    unknown = sorted(set(table) - known)
    if unknown:
        raise ConfigError(f"key {unknown[0]!r} is unknown in {kind.__name__}, expected one of {_names(kind)}")
    try:
        return kind(**table)
    except TypeError as error:  # a required key is not there
        raise ConfigError(f"{kind.__name__}: {error}") from error


def _take(table: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    value = table.get(key)
    if not isinstance(value, kind):
        expected = "a table" if kind is dict else "text"
        raise ConfigError(f"key {key!r}: found {str(value)[:60]!r}, expected {expected}")
    return value


def _names(kind: type[Any]) -> str:
    return ", ".join(f.name for f in fields(kind))


def _check(key: str, value: object, low: float, high: float, unit: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"key {key!r}: found {value!r}, expected {unit} from {low:g} to {high:g}")
