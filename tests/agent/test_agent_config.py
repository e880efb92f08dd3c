"""A board's own configuration: what is read, and what each mistake in it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgesync.agent import config
from edgesync.host.mqtt import Tls
from edgesync.wire.errors import ConfigError, EdgesyncError, StorageError

RIGHT = """\
device = "acme.b1"
type = "files"
state = "state"
[broker]
host = "broker.example.org"
port = 8883
ca = "ca.crt"
cert = "/etc/edgesync/b1.crt"
key = "b1.key"
keepalive = 120
[trust]
root = "root.json"
key = "board.key"
[board]
root = "../slots"
"""


def written(directory: Path, text: str | bytes) -> str:
    path = directory / "agent.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_paths_are_relative_to_the_file_and_everything_else_is_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc").mkdir()
    written(tmp_path / "etc", RIGHT)
    monkeypatch.chdir(tmp_path)
    etc = f"{tmp_path}/etc"
    assert config.load("etc/agent.toml") == config.AgentConfig(
        device="acme.b1",
        board_type="files",
        state=f"{etc}/state",
        host="broker.example.org",
        port=8883,
        tls=Tls(f"{etc}/ca.crt", "/etc/edgesync/b1.crt", f"{etc}/b1.key"),
        keepalive=120,
        trust_root=f"{etc}/root.json",
        report_key=f"{etc}/board.key",
        board_root=f"{etc}/../slots",
        config_root=f"{etc}/state/config",
        config_socket="",
        profiles="",
    )


def test_config_from_git_lies_where_the_file_says(tmp_path: Path) -> None:
    text = RIGHT + '[config]\nroot = "/data/config"\nsocket = "/run/edgesync/config.sock"\n'
    found = config.load(written(tmp_path, text))
    assert (found.config_root, found.config_socket) == ("/data/config", "/run/edgesync/config.sock")


def test_own_board_types_lie_where_the_file_says(tmp_path: Path) -> None:
    assert config.load(written(tmp_path, 'profiles = "types"\n' + RIGHT)).profiles == f"{tmp_path}/types"


def test_a_broker_of_a_test_bench_needs_no_certificates_and_no_keepalive(tmp_path: Path) -> None:
    lines = [line for line in RIGHT.splitlines() if line.split(" ")[0] not in ("ca", "cert", "keepalive")]
    lines.remove('key = "b1.key"')
    found = config.load(written(tmp_path, "\n".join(lines)))
    assert found.tls is None
    assert found.keepalive == config.KEEPALIVE


def test_what_says_not_now_is_read_with_paths_relative_to_the_file(tmp_path: Path) -> None:
    text = RIGHT + '[inhibit]\nfiles = ["/run/app/busy", "busy"]\ncommands = ["idle"]\nfetch = true\n'
    expected = config.Inhibit(("/run/app/busy", f"{tmp_path}/busy"), ("idle",), fetch=True)
    assert config.load(written(tmp_path, text)).inhibit == expected
    assert config.load(written(tmp_path, RIGHT)).inhibit == config.Inhibit()


def without(line: str) -> str:
    assert line in RIGHT
    return RIGHT.replace(line + "\n", "")


def instead(line: str, other: str) -> str:
    assert line in RIGHT
    return RIGHT.replace(line, other)


def test_telemetry_is_configured_beside_the_file_or_not_at_all(tmp_path: Path) -> None:
    text = RIGHT + '[collector]\nconfig = "collector.yaml"\n'
    assert config.load(written(tmp_path, text)).collector == str(tmp_path / "collector.yaml")
    assert config.load(written(tmp_path, RIGHT)).collector == ""


MISTAKES = [
    (without('device = "acme.b1"'), ["key device", "found None", "text"]),
    (instead('"acme.b1"', '"b1"'), ["key device", "'b1'", "<fleet>.<board>"]),
    (instead('"acme.b1"', '""'), ["key device", "found ''", "text"]),
    (instead('"acme.b1"', "7"), ["key device", "found 7", "text"]),
    (instead('type = "files"', 'type = "files"\ncolour = "red"'), ["unknown key colour", "device", "state"]),
    (instead('host = "broker.example.org"', 'hots = "x"'), ["unknown key broker.hots", "host"]),
    (instead('"broker.example.org"', '""'), ["key broker.host", "found ''", "text"]),
    (instead("port = 8883", 'port = "8883"'), ["key broker.port", "'8883'", "whole number"]),
    (instead("port = 8883", "port = true"), ["key broker.port", "True", "whole number"]),
    (instead("port = 8883", "port = 0"), ["key broker.port", "found 0", "1 to 65535"]),
    (instead("port = 8883", "port = 65536"), ["key broker.port", "found 65536", "1 to 65535"]),
    (instead("keepalive = 120", "keepalive = 4"), ["key broker.keepalive", "found 4", "5 to 3600 (seconds)"]),
    (instead("keepalive = 120", "keepalive = 60.0"), ["key broker.keepalive", "found 60.0", "whole number"]),
    (without('cert = "/etc/edgesync/b1.crt"'), ["table broker", "only ca, key", "expected ca, cert and key"]),
    (instead("[trust]", "[truth]"), ["unknown key truth", "trust"]),
    (without('[board]\nroot = "../slots"'), ["table [board]: found None"]),
    ('board = "x"\n' + without('[board]\nroot = "../slots"'), ["table [board]: found 'x'"]),
    (RIGHT + "[collector]\n", ["key collector.config", "found None", "text"]),
    (RIGHT + "[inhibit]\nfile = []", ["unknown key inhibit.file", "files"]),
    (RIGHT + '[inhibit]\nfiles = "/run/busy"', ["key inhibit.files", "'/run/busy'", "an array of text"]),
    (RIGHT + '[inhibit]\nfiles = [""]', ["key inhibit.files", "['']", "an array of text"]),
    (RIGHT + "[inhibit]\ncommands = [7]", ["key inhibit.commands", "[7]", "an array of text"]),
    (RIGHT + "[inhibit]\nfetch = 1", ["key inhibit.fetch", "found 1", "true or false"]),
    (RIGHT + f"[inhibit]\nfiles = {['/f'] * 17}", ["key inhibit.files", "an array of text"]),
    ('inhibit = "x"\n' + RIGHT, ["table [inhibit]: found 'x'"]),
    ("device = ", ["not TOML", "Invalid value"]),
    ("[", ["not TOML"]),
    (b"device = '\xff'", ["not TOML"]),
    ("device = " + "[" * 20_000, ["not TOML"]),
    (RIGHT + '[config]\nsocket = "/run/' + "x" * 120 + '"\n', ["config.socket", "at most 107 bytes"]),
    (RIGHT + '[config]\npath = "/data"\n', ["unknown key config.path", "root, socket"]),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES, ids=[" ".join(told)[:40] for _, told in MISTAKES])
def test_a_mistake_is_told_with_file_key_what_was_found_and_what_was_expected(
    tmp_path: Path, text: str | bytes, told: list[str]
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    for part in [path, *told]:
        assert part in str(caught.value)


def test_a_file_that_is_not_there_or_too_large_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing\.toml"):
        config.load(str(tmp_path / "missing.toml"))
    with pytest.raises(StorageError, match=str(config.FILE_LIMIT)):
        config.load(written(tmp_path, RIGHT + "#" * config.FILE_LIMIT))


VALUES = st.sampled_from(['""', '"x"', '"a.b"', "7", "-1", "true", "1.5", "[]", "{}", "1979-05-27", "[[1]]", "nan"])
KEYS = st.sampled_from(["device", "type", "state", "host", "port", "ca", "cert", "key", "root", "keepalive", "x"])
TABLES = st.sampled_from(["[broker]", "[trust]", "[board]", "[other]", "[[broker]]", "[broker.more]"])


@given(st.lists(st.tuples(KEYS, VALUES).map(" = ".join) | TABLES, max_size=12).map("\n".join) | st.binary(max_size=60))
@example("")
def test_any_file_is_a_configuration_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    directory = tmp_path_factory.getbasetemp() / "any"
    directory.mkdir(exist_ok=True)
    found: Any = None
    try:
        found = config.load(written(directory, text))
    except EdgesyncError:
        pass
    assert found is None or isinstance(found, config.AgentConfig)
