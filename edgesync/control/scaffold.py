"""A first fleet on one machine: repository, images, keys and certificates, and the files of server, broker and boards.

For development and trials: the authority's key, the root key and every board's key lie side by side. Everything is
written beside the target and moved there when it is whole, so a failure leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesync.control import templates
from edgesync.control.broker import BrokerFiles, acl, mosquitto_conf, openssl_conf
from edgesync.control.images import HashCache
from edgesync.control.source import Repository
from edgesync.host.files import storage_errors
from edgesync.trust import director, keys, pki
from edgesync.wire.errors import ConfigError
from edgesync.wire.ids import COLLECTOR, DEVICE_LIMIT, SERVER, device_id, digest_of, is_label

BOARDS_LIMIT = 1000
"""Boards of a first fleet: more are enrolled, not scaffolded."""
ROOT_SECONDS = 10 * 365 * 86400
COMPONENT = "firmware"
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")
RELEASE = "v1"


@dataclass(frozen=True, slots=True)
class Setup:
    """What to write. `host` and `port` are the broker's, as boards see it; `image` becomes release v1 and what every
    board runs at first.
    """

    fleet: str = "demo"
    boards: int = 3
    host: str = "127.0.0.1"
    port: int = 8883
    image: Path | None = None

    def names(self) -> list[str]:
        digits = max(2, len(str(self.boards)))
        return [f"b{number:0{digits}}" for number in range(1, self.boards + 1)]


def write(directory: Path, setup: Setup, now: float) -> None:
    """Write everything into `directory`, which is absent or empty. `now` is in unix seconds.

    Raises ConfigError for a directory with content and for settings that cannot be, StorageError or DiskFullError if
    it cannot be written.
    """
    _check(directory, setup)
    directory = directory.absolute()
    with storage_errors(str(directory)):
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        with storage_errors(str(directory)):
            _write(partial, directory, setup, now)
            partial.chmod(0o755)
            partial.replace(directory)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _check(directory: Path, setup: Setup) -> None:
    if directory.is_symlink() or (directory.exists() and (not directory.is_dir() or any(directory.iterdir()))):
        raise ConfigError(f"{directory}: found something there, expected no such directory or an empty one")
    if not 1 <= setup.boards <= BOARDS_LIMIT:
        raise ConfigError(f"--boards: found {setup.boards}, expected 1 to {BOARDS_LIMIT}")
    if not is_label(setup.fleet) or len(f"{setup.fleet}.{setup.names()[-1]}") > DEVICE_LIMIT:
        raise ConfigError(f"--fleet: found {setup.fleet[:80]!r}, expected a short name of [a-z0-9-]")
    if not 1 <= setup.port <= 65535:
        raise ConfigError(f"--port: found {setup.port}, expected 1 to 65535")
    if not _HOST.fullmatch(setup.host):
        raise ConfigError(f"--host: found {setup.host[:80]!r}, expected a host name or an IP address")
    if setup.image and not (setup.image.is_file() and setup.image.stat().st_size):
        raise ConfigError(f"--image: found no content in {setup.image}, expected an image file")


def _write(at: Path, final: Path, setup: Setup, now: float) -> None:
    """Write into `at`; files that need absolute paths name `final`."""
    for name in ("ca", "images", "server", "broker/store", "collector", "fleet/boards", "fleet/releases"):
        (at / name).mkdir(parents=True)
    pki.create_ca(str(at / "ca"), setup.fleet)
    keys.generate(str(at / "ca/root.key"))
    public = keys.generate(str(at / "server/director.key"))
    signer = keys.load_signer(str(at / "ca/root.key"))
    root = director.create_root(public, signer, int(now) + ROOT_SECONDS)
    _server(at, setup, root)
    _broker(at, final / "broker", setup)
    _collector(at, final / "collector", setup)
    board_keys = {name: _board(at, final / "boards" / name, setup, root) for name in setup.names()}
    _fleet(at, setup, board_keys)


def _server(at: Path, setup: Setup, root: bytes) -> None:
    place = at / "server"
    _certificate(at, place, setup.fleet, SERVER)
    (place / "root.json").write_bytes(root)
    values = {"fleet": setup.fleet, "host": setup.host, "port": setup.port}
    (place / "server.toml").write_text(templates.SERVER.format(**_quoted(values)))


def _broker(at: Path, final: Path, setup: Setup) -> None:
    place = at / "broker"
    _certificate(at, place, setup.fleet, "broker", setup.host)
    files = BrokerFiles(*(str(final / name) for name in ("ca.crt", "tls.crt", "tls.key", "acl")))
    here = setup.host if setup.host in ("127.0.0.1", "::1") else ""
    # As root mosquitto would change to a user that may not read the key of a directory made by root.
    run_as = "root" if os.geteuid() == 0 else ""
    conf = mosquitto_conf(files, setup.port, address=here, persistence=str(final / "store"), run_as=run_as)
    (place / "mosquitto.conf").write_text(conf)
    (place / "openssl.cnf").write_text(openssl_conf())
    (place / "acl").write_text(acl(setup.fleet))
    # mosquitto warns of an access list that others can write or read.
    (place / "acl").chmod(0o600)


def _collector(at: Path, final: Path, setup: Setup) -> None:
    place = at / "collector"
    _certificate(at, place, setup.fleet, COLLECTOR)
    values = {"ENDPOINT": f"{setup.host}:{setup.port}", "FLEET": setup.fleet, "PLACE": str(final)}
    (place / "collector.yaml").write_text(_filled(templates.COLLECTOR, values))


def _filled(text: str, values: Mapping[str, str]) -> str:
    """YAML with its placeholders, which are words in capitals, replaced by JSON strings: those are YAML too."""
    return re.sub(r"\b([A-Z]{5,})(/[a-z.]+)?", lambda found: json.dumps(values[found[1]] + (found[2] or "")), text)


def _board(at: Path, final: Path, setup: Setup, root: bytes) -> str:
    """One board's directory; returns its public key."""
    name = final.name
    place = at / "boards" / name
    for slot in ("a", "b"):
        (place / "slots" / slot).mkdir(parents=True)
    if setup.image:
        # A copy: a board writes to its slots.
        shutil.copyfile(setup.image, place / "slots/a" / f"{COMPONENT}.img")
    _certificate(at, place, setup.fleet, name)
    (place / "root.json").write_bytes(root)
    values = {"device": device_id(setup.fleet, name), "host": setup.host, "port": setup.port}
    (place / "agent.toml").write_text(templates.AGENT.format(**_quoted(values)))
    spool = {"DIRECTORY": str(final / "state" / "telemetry")}
    (place / "collector.yaml").write_text(_filled(templates.BOARD_COLLECTOR, spool))
    return keys.generate(str(place / "board.key"))


def _fleet(at: Path, setup: Setup, board_keys: dict[str, str]) -> None:
    place = at / "fleet"
    release = templates.DEFAULTS.format(release=RELEASE) if setup.image else templates.NO_DEFAULTS
    waves = templates.WAVES if setup.boards > 1 else templates.ONE_WAVE
    (place / "fleet.yaml").write_text(templates.FLEET.format(fleet=setup.fleet, defaults=release, waves=waves))
    boards = [
        templates.BOARD.format(name=name, ring="field" if number else "canary", key=key)
        for number, (name, key) in enumerate(board_keys.items())
    ]
    (place / "boards/bench.yaml").write_text(templates.BOARDS + "".join(boards))
    (place / ".gitignore").write_text(templates.GITIGNORE)
    if setup.image:
        image = at / "images" / f"{COMPONENT}-{RELEASE}.img"
        shutil.copyfile(setup.image, image)
        digest = HashCache().digest(image)
    else:
        image, digest = Path(f"{COMPONENT}-{RELEASE}.img"), digest_of(b"")
    text = templates.RELEASE.format(release=RELEASE, component=COMPONENT, path=image.name, sha256=digest)
    (place / "releases" / (f"{RELEASE}.yaml" if setup.image else f"{RELEASE}.yaml.example")).write_text(text)
    Repository(place).create("Begin the fleet")


def _certificate(at: Path, place: Path, fleet: str, name: str, host: str = "") -> None:
    cert, key = str(place / "tls.crt"), str(place / "tls.key")
    pki.issue(str(at / "ca"), cert, key, device_id(fleet, name), hosts=(host,) if host else ())
    shutil.copyfile(at / "ca/ca.crt", place / "ca.crt")


def _quoted(values: Mapping[str, object]) -> dict[str, str]:
    """As TOML writes them: its basic strings have the escapes of JSON's."""
    return {name: json.dumps(value) for name, value in values.items()}
