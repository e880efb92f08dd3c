"""The server's configuration: one TOML file, its paths relative to it, every key checked."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesync.control.parse import Items, Node, Place, Problem, Scalar, Table
from edgesync.control.section import Section
from edgesync.host.files import read_limited
from edgesync.host.mqtt import Tls
from edgesync.wire.errors import ConfigError, StorageError
from edgesync.wire.ids import is_label

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LIMIT = 64 * 1024
"""Bytes of the file."""
_BACKEND = re.compile(r"https?://[A-Za-z0-9._\[\]:-]{1,255}(?:/[!-~]*)?")


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """How the server reaches the broker; without `tls` it connects in the clear, for tests. `keepalive` in seconds."""

    host: str
    port: int
    tls: Tls | None
    keepalive: int


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Paths are absolute; `database` is a URL, whose own path is its own business. `poll` is the seconds between two
    looks at the repository, should the hook be silent. `profiles` is a directory of board types beside those of the
    package, or None; `allowed_signers` a file of the keys of which one must have signed the branch's head (ssh-keygen's
    ALLOWED SIGNERS), or None where nobody need have. `director_key` signs what boards shall run. `http_source` is where
    boards find blobs that the broker has not got, "" for the fleet's own setting. `status_command` is told each change
    of a rollout's phase, () for nobody; `status_notes`: whether commits are noted.
    `otlp` is the base URL of an OpenTelemetry backend that gets the rollouts' traces, "" for none.
    """

    file: Path
    fleet: str
    repository: Path
    branch: str
    images: Path
    state: Path
    database: str
    socket: Path
    poll: int
    profiles: Path | None
    allowed_signers: Path | None
    http_source: str
    broker: BrokerConfig
    director_key: Path
    status_command: tuple[str, ...]
    status_notes: bool
    otlp: str


def load(file: Path) -> ServerConfig:
    """Raises ConfigError that names the file, every wrong key, what was found and what was expected."""
    try:
        text = read_limited(str(file), LIMIT).decode()
    except StorageError as error:
        raise ConfigError(f"{error}; expected a server.toml as `edgesync init` writes it") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: found byte {error.object[error.start]:#04x}, expected text in UTF-8") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: found a mistake, expected TOML: {error}") from error
    problems: list[Problem] = []
    config = _server(file.absolute(), Section(_table(values), Place(str(file), 0, ""), problems))
    if problems:
        raise ConfigError("\n".join(str(problem) for problem in sorted(problems)))
    return config


def _server(file: Path, top: Section) -> ServerConfig:
    base = file.parent
    fleet = top.text("fleet", "the fleet's name")
    if fleet and not is_label(fleet):
        top.refuse("fleet", repr(fleet), "a name of [a-z0-9-]")
    state = (base / top.text("state", "a directory", "state")).resolve()
    broker = top.section("broker", "a table with host and port", required=True)
    trust = top.section("trust", "a table with key", required=True)
    git = top.section("git", "a table with allowed_signers", required=False)
    signers = git.text("allowed_signers", "a file of allowed signers", "")
    git.close()
    status = top.section("status", "a table with command and notes", required=False)
    command = [text for _, text in status.strings("command", "a list, a program and its arguments", required=False)]
    notes = status.text("notes", "true or false", "True")
    if notes not in ("True", "False"):
        status.refuse("notes", repr(notes), "true or false")
    status.close()
    telemetry = top.section("telemetry", "a table with otlp", required=False)
    otlp = telemetry.matching("otlp", _BACKEND, "the base URL of an OTLP backend such as http://localhost:4318", "")
    telemetry.close()
    profiles = top.text("profiles", "a directory of board types", "")
    config = ServerConfig(
        file,
        fleet,
        (base / top.text("repository", "the fleet repository's directory")).resolve(),
        top.text("branch", "a branch", "main"),
        (base / top.text("images", "a directory")).resolve(),
        state,
        top.text("database", "a URL such as sqlite:///FILE or postgresql+psycopg://...", f"sqlite:///{state}/state.db"),
        (base / top.text("socket", "the path of a Unix socket", str(state / "edgesync.sock"))).resolve(),
        top.integer("poll", 5, 1, 3600, "seconds"),
        (base / profiles).resolve() if profiles else None,
        (base / signers).resolve() if signers else None,
        top.text("http_source", "an http or https URL", ""),
        _broker(base, broker),
        (base / trust.text("key", "the director's private key file")).resolve(),
        tuple(command),
        notes == "True",
        otlp.rstrip("/"),
    )
    trust.close()
    top.close()
    return config


def _broker(base: Path, section: Section) -> BrokerConfig:
    texts = {name: section.text(name, "a PEM file", "") for name in ("ca", "cert", "key")}
    missing = [name for name, text in texts.items() if not text]
    if 0 < len(missing) < len(texts):
        section.refuse(missing[0], "nothing", "ca, cert and key, or none of them")
    files = [str((base / text).resolve()) for text in texts.values()]
    config = BrokerConfig(
        section.text("host", "a host name or address"),
        section.integer("port", 8883, 1, 65535),
        Tls(*files) if not missing else None,
        section.integer("keepalive", 60, 5, 3600, "seconds"),
    )
    section.close()
    return config


def _table(values: dict[str, Any]) -> Table:
    """TOML as the nodes that sections read; TOML tells no lines."""
    return Table(0, {key: _node(value) for key, value in values.items()}, dict.fromkeys(values, 0))


def _node(value: Any) -> Node:
    if isinstance(value, dict):
        return _table(value)
    if isinstance(value, list):
        return Items(0, [_node(item) for item in value])
    return Scalar(0, str(value))
