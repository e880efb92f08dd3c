"""The agent's configuration: one TOML file a board, read strictly. Paths in it are relative to the file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgesync.host.files import read_limited
from edgesync.host.mqtt import Tls
from edgesync.wire.errors import ConfigError, MalformedMessageError
from edgesync.wire.ids import DeviceId, parse_device

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_LIMIT = 64 * 1024
"""Bytes of agent.toml."""
SOCKET_LIMIT = 107
"""Bytes of the path of a Unix socket: the kernel's limit."""
KEEPALIVE = 60
"""Seconds: more than four times what a block takes at 9.6 kbit/s. Slower links want more."""

_TABLES: Mapping[str, Mapping[str, type]] = {
    "": {"device": str, "type": str, "state": str, "profiles": str},
    "broker": {"host": str, "port": int, "ca": str, "cert": str, "key": str, "keepalive": int},
    "trust": {"root": str, "key": str},
    "board": {"root": str},
    "inhibit": {"files": list, "commands": list, "fetch": bool},
    "config": {"root": str, "socket": str},
    "collector": {"config": str},
}
_OPTIONAL = {
    "profiles",
    "broker.ca",
    "broker.cert",
    "broker.key",
    "broker.keepalive",
    "inhibit",
    "inhibit.files",
    "inhibit.commands",
    "inhibit.fetch",
    "config",
    "config.root",
    "config.socket",
    "collector",
}
_KINDS: Mapping[type, str] = {str: "text", int: "a whole number", bool: "true or false", list: "an array of text"}
_LIST_LIMIT = 16
"""Members of an array, each of which is looked at again and again."""


@dataclass(frozen=True, slots=True)
class Inhibit:
    """What says "not now" on this board: paths of files that are there, and names of commands of the board's profile.
    `fetch`: to a fetch as well, not only to what interrupts the application.
    """

    files: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    fetch: bool = False


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """What one board's agent needs to know.

    `state` is the directory that outlives the slots; `board_root` what the boot backend works on; `profiles` a
    directory of board types beside those of the package, "" for none. The config from git lies below `config_root`;
    `config_socket` is where applications ask for it, "" for nowhere. `tls` is None only for a broker on a test bench:
    the broker then cannot tell who is who. `collector` is the configuration of the
    telemetry that runs in the agent's process, "" for none.
    """

    device: DeviceId
    board_type: str
    state: str
    host: str
    port: int
    tls: Tls | None
    keepalive: int
    trust_root: str
    report_key: str
    board_root: str
    config_root: str
    config_socket: str = ""
    profiles: str = ""
    inhibit: Inhibit = field(default_factory=Inhibit)
    collector: str = ""


def load(path: str) -> AgentConfig:
    """Raises ConfigError that names file, key, what was found and what was expected; StorageError for a file that
    cannot be read.
    """
    try:
        top = tomllib.loads(read_limited(path, FILE_LIMIT).decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    _check(path, top)
    place = os.path.dirname(os.path.abspath(path))

    def beside(text: str) -> str:
        return os.path.join(place, text)

    try:
        device = parse_device(top["device"])
    except MalformedMessageError as error:
        raise ConfigError(f"{path}: key device: {error}") from error
    broker, inhibit, config = top["broker"], top.get("inhibit", {}), top.get("config", {})
    given = [name for name in ("ca", "cert", "key") if name in broker]
    if len(given) not in (0, 3):
        raise ConfigError(f"{path}: table broker: found only {', '.join(given)}, expected ca, cert and key or none")
    return AgentConfig(
        device=device,
        board_type=top["type"],
        state=beside(top["state"]),
        host=broker["host"],
        port=_within(path, "broker.port", broker["port"], range(1, 65536), "port"),
        tls=Tls(*(beside(broker[name]) for name in given)) if given else None,
        keepalive=_within(path, "broker.keepalive", broker.get("keepalive", KEEPALIVE), range(5, 3601), "seconds"),
        trust_root=beside(top["trust"]["root"]),
        report_key=beside(top["trust"]["key"]),
        board_root=beside(top["board"]["root"]),
        config_root=beside(config.get("root", os.path.join(top["state"], "config"))),
        config_socket=_socket(path, beside(config["socket"])) if "socket" in config else "",
        profiles=beside(top["profiles"]) if "profiles" in top else "",
        inhibit=Inhibit(
            tuple(beside(name) for name in inhibit.get("files", ())),
            tuple(inhibit.get("commands", ())),
            inhibit.get("fetch", False),
        ),
        collector=beside(top["collector"]["config"]) if "collector" in top else "",
    )


def _socket(path: str, place: str) -> str:
    if len(os.fsencode(place)) > SOCKET_LIMIT:
        raise ConfigError(f"{path}: key config.socket: found {place!r:.60}, expected at most {SOCKET_LIMIT} bytes")
    return place


def _check(path: str, top: Mapping[str, Any]) -> None:
    for table, keys in _TABLES.items():
        if table in _OPTIONAL and table not in top:
            continue
        values = top if not table else top.get(table)
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: table [{table}]: found {values!r:.60}, expected a table")
        prefix = f"{table}." if table else ""
        known = {*keys, *(_TABLES if not table else ())}
        for key in values.keys() - known:
            raise ConfigError(f"{path}: unknown key {prefix}{key}, expected {', '.join(sorted(known - {''}))}")
        for key, kind in keys.items():
            if key not in values and prefix + key in _OPTIONAL:
                continue
            value = values.get(key)
            if type(value) is not kind or value == "" or (kind is list and not _is_texts(value)):
                raise ConfigError(f"{path}: key {prefix}{key}: found {value!r:.60}, expected {_KINDS[kind]}")


def _is_texts(values: Any) -> bool:
    return len(values) <= _LIST_LIMIT and all(isinstance(value, str) and value for value in values)


def _within(path: str, key: str, value: int, allowed: range, unit: str) -> int:
    if value not in allowed:
        raise ConfigError(f"{path}: key {key}: found {value}, expected {allowed[0]} to {allowed[-1]} ({unit})")
    return value
