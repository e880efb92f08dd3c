"""The server's configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.control.config import load
from edgesync.host.mqtt import Tls
from edgesync.wire.errors import ConfigError

TEXT = """\
fleet = "demo"
repository = "../fleet"
images = "../images"

[broker]
host = "127.0.0.1"
ca = "ca.crt"
cert = "tls.crt"
key = "tls.key"

[trust]
key = "director.key"
"""


def write(tmp_path: Path, text: str) -> Path:
    place = tmp_path / "server/server.toml"
    place.parent.mkdir(exist_ok=True)
    place.write_text(text)
    return place


def test_paths_are_relative_to_the_file_and_the_rest_has_defaults(tmp_path: Path):
    config = load(write(tmp_path, TEXT))
    here = tmp_path / "server"
    assert (config.repository, config.images) == (tmp_path / "fleet", tmp_path / "images")
    assert (config.state, config.socket) == (here / "state", here / "state/edgesync.sock")
    assert config.database == f"sqlite:///{here}/state/state.db"
    assert (config.branch, config.poll, config.broker.port, config.broker.keepalive) == ("main", 5, 8883, 60)
    assert config.broker.tls == Tls(str(here / "ca.crt"), str(here / "tls.crt"), str(here / "tls.key"))
    assert config.director_key == here / "director.key"


def test_a_database_elsewhere_and_units_are_read(tmp_path: Path):
    text = 'poll = 30\ndatabase = "postgresql+psycopg:///es"\nstate = "/var/lib/edgesync"\n' + TEXT
    config = load(write(tmp_path, text))
    assert (config.poll, config.database) == (30, "postgresql+psycopg:///es")
    assert config.socket == Path("/var/lib/edgesync/edgesync.sock")


def test_own_board_types_lie_where_the_file_says(tmp_path: Path):
    assert load(write(tmp_path, TEXT)).profiles is None
    assert load(write(tmp_path, 'profiles = "../types"\n' + TEXT)).profiles == tmp_path / "types"


def test_without_certificates_the_broker_is_reached_in_the_clear(tmp_path: Path):
    text = "\n".join(
        line for line in TEXT.splitlines() if line.split(" ")[0] not in ("ca", "cert") and "tls" not in line
    )
    config = load(write(tmp_path, text))
    assert config.broker.tls is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('fleet = "demo"', 'fleet = "De.mo"', "fleet: found 'De.mo', expected a name of [a-z0-9-]"),
        ('fleet = "demo"\n', "", "fleet: found nothing, expected the fleet's name"),
        ("repository", "repositry", "repositry: found the unknown key 'repositry'"),
        ("host = ", "hots = ", "broker.hots: found the unknown key 'hots', expected a known key (did you mean 'host'"),
        ('"../images"', '"\\u0000"', "images: found '\\x00' with a control character"),
        ('"127.0.0.1"', '"127.0.0.1"\nport = 0', "broker.port: found '0', expected a whole number from 1 to 65535"),
        ('"127.0.0.1"', '"127.0.0.1"\nport = true', "broker.port: found 'True', expected a whole number"),
        (
            '"127.0.0.1"',
            '"127.0.0.1"\nkeepalive = 4',
            "keepalive: found '4', expected a whole number from 5 to 3600 (seconds)",
        ),
        ('cert = "tls.crt"\n', "", "broker.cert: found nothing, expected ca, cert and key, or none of them"),
        ("[trust]", "[[trust]]", "trust: found a list of 1, expected a table with key"),
        ('"../images"', "[1]", "images: found a list of 1, expected a directory"),
        ("[broker]", "[broker", "expected TOML"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_key(old: str, new: str, says: str, tmp_path: Path):
    place = write(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(place)
    assert str(place) in str(caught.value)
    assert says in str(caught.value)


def test_every_mistake_is_named(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, TEXT.replace("fleet =", "flet =").replace("key = ", "kee = ")))
    assert all(key in str(caught.value) for key in (" flet:", " fleet:", " broker.kee:", " trust.kee:"))


def test_a_missing_or_huge_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no\.toml: No such file"):
        load(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match="more than 65536 bytes"):
        load(write(tmp_path, "#" * 70_000))


@given(st.binary(max_size=60), st.integers(0, len(TEXT)), st.integers(0, 30))
def test_any_bytes_give_a_configuration_or_a_config_error(tmp_path: Path, junk: bytes, at: int, cut: int):
    place = tmp_path / "server.toml"
    place.write_bytes(TEXT.encode()[:at] + junk + TEXT.encode()[at + cut :])
    try:
        load(place)
    except ConfigError as error:
        named = str(place) in str(error)
        assert named


def test_who_is_told_of_a_rollout_s_phases_can_be_said(tmp_path: Path):
    config = load(write(tmp_path, TEXT))
    assert (config.status_command, config.status_notes) == ((), True)
    config = load(write(tmp_path, f'{TEXT}[status]\ncommand = ["tell", "--all"]\nnotes = false\n'))
    assert (config.status_command, config.status_notes) == (("tell", "--all"), False)
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, f'{TEXT}[status]\ncommand = "tell"\nnotes = "yes"\n'))
    assert "status.command" in str(error.value)
    assert "status.notes: found 'yes', expected true or false" in str(error.value)


@pytest.mark.parametrize("url", ["http://localhost:4318", "https://[::1]:4318/otlp/"])
def test_a_backend_for_traces_is_a_url_and_by_default_there_is_none(tmp_path: Path, url: str):
    assert load(write(tmp_path, TEXT)).otlp == ""
    assert load(write(tmp_path, f'{TEXT}[telemetry]\notlp = "{url}"\n')).otlp == url.rstrip("/")


@pytest.mark.parametrize("line", ['otlp = "localhost:4318"', 'otlp = "http://"', 'otpl = "http://a"', "otlp = 1"])
def test_a_backend_that_is_none_is_refused(tmp_path: Path, line: str):
    with pytest.raises(ConfigError, match=r"telemetry\.ot[lp]{2}: found"):
        load(write(tmp_path, f"{TEXT}[telemetry]\n{line}\n"))
