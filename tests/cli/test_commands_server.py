"""The operator's commands, from the arguments to the request and back to a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgesync.cli import client, main


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the server is asked; it answers with a rollout, or two lines of history."""
    found: list[Any] = []
    entry = {
        "time": 0,
        "rollout": "r",
        "revision": "c" * 40,
        "author": "Ada <ada@example.com>",
        "event": "confirmed",
        "detail": "v2",
    }
    entries = [{**entry, "device": "demo.b1"}, {**entry, "device": "", "event": "wave", "detail": ""}]

    def get(_self: client.Client, target: str) -> dict[str, Any]:
        found.append(target)
        return {"entries": entries}

    def post(_self: client.Client, target: str, **body: Any) -> dict[str, Any]:
        found.append((target, body))
        return {"rollout": "abc", "phase": "aborted", "paused": True, "reason": "smoke"}

    monkeypatch.setattr(client.Client, "get", get)
    monkeypatch.setattr(client.Client, "post", post)
    return found


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (["pause"], ("/v1/pause", {})),
        (["resume"], ("/v1/resume", {})),
        (["abort"], ("/v1/abort", {"reason": "by the operator"})),
        (["abort", "--reason", "smoke"], ("/v1/abort", {"reason": "smoke"})),
        (["retry", "demo.b1"], ("/v1/retry", {"board": "demo.b1"})),
        (["retry", "--all"], ("/v1/retry", {"all": True})),
    ],
)
def test_a_command_asks_one_thing_and_prints_what_came_of_it(
    asked: list[Any], capsys: pytest.CaptureFixture[str], words: list[str], request_: Any
) -> None:
    assert main.main([*words, "--socket", "/none"]) == 0
    assert asked == [request_]
    assert capsys.readouterr().out == "rollout abc is aborted, paused: smoke\n"


def test_history_is_a_line_an_event_or_json(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["history", "--socket", "/none", "--board", "demo.b1", "-n", "2"]) == 0
    assert asked == ["/v1/history?n=2&board=demo.b1"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["1970-01-01", "00:00:00Z", "cccccccc", "Ada", "demo.b1", "confirmed", "v2"],
        ["1970-01-01", "00:00:00Z", "cccccccc", "Ada", "fleet", "wave"],
    ]
    assert main.main(["history", "--socket", "/none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["device"] == "demo.b1"


def test_retry_without_saying_what_is_a_mistake_in_the_arguments(asked: list[Any]) -> None:
    with pytest.raises(SystemExit) as error:
        main.main(["retry", "--socket", "/none"])
    assert error.value.code == 2
    assert asked == []


def test_without_server_toml_the_command_says_what_it_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["pause"]) == 1
    assert "server.toml" in capsys.readouterr().err
