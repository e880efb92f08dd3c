"""`edgesync diff` as it is typed: what each board would get."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
from pathlib import Path

import pytest

from edgesync.cli import client, diff, difftable
from edgesync.control.scaffold import Setup, write


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    image = tmp_path / "built.img"
    image.write_bytes(b"firmware" * 1000)
    write(tmp_path / "lab", Setup(image=image), 1_800_000_000.0)
    return tmp_path / "lab/fleet"


def run(fleet: Path, *words: str) -> int:
    parser = argparse.ArgumentParser(prog="edgesync")
    diff.add_parser(parser.add_subparsers())
    args = parser.parse_args(["diff", "-C", str(fleet), *words])
    status: int = args.func(args)
    return status


def release_v2_to_canaries(fleet: Path) -> str:
    digest = hashlib.sha256(b"two").hexdigest()
    text = (fleet / "releases/v1.yaml").read_text()
    old = next(line for line in text.splitlines() if "sha256:" in line and "#" not in line).split()[-1]
    text = text.replace("name: v1", "name: v2").replace('"1"', '"2"').replace(old, digest)
    (fleet / "releases/v2.yaml").write_text(text)
    (fleet / "fleet.yaml").write_text((fleet / "fleet.yaml").read_text().replace("# release: v2", "release: v2"))
    return digest


def commit(fleet: Path) -> None:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for words in (["add", "--all"], [*identity, "commit", "--quiet", "-m", "v2"]):
        subprocess.run(["git", "-C", str(fleet), *words], check=True)


def test_the_working_tree_is_compared_with_head(fleet: Path, capsys: pytest.CaptureFixture[str]):
    assert run(fleet) == 0
    assert capsys.readouterr().out == "no board would change\n"
    digest = release_v2_to_canaries(fleet)
    assert run(fleet) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["BOARD", "WAVE", "CHANGE", "FROM", "TO"]
    assert lines[1].split()[:4] == ["demo.b01", "canary", "firmware", "1"]
    assert lines[1].endswith(f"2 ({digest[:12]})")
    assert lines[-1] == "1 board would change"


def test_two_commits_are_compared_and_an_empty_side_is_head(fleet: Path, capsys: pytest.CaptureFixture[str]):
    release_v2_to_canaries(fleet)
    commit(fleet)
    for words in ("HEAD~1..HEAD", "HEAD~1..", "HEAD~1"):
        assert run(fleet, words) == 0
        assert "1 board would change" in capsys.readouterr().out
    (fleet / "fleet.yaml").write_text("spoilt, and of no interest to commits")
    assert run(fleet, "..HEAD~1") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[3:6:2] == ["2", "1"]


def test_boards_that_come_and_go_are_shown(fleet: Path, capsys: pytest.CaptureFixture[str]):
    place = fleet / "boards/bench.yaml"
    place.write_text(place.read_text().replace("id: b03", "id: b04"))
    assert run(fleet) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()[1:3]]
    assert [[cell.strip() for cell in row if cell.strip()][:3] for row in rows] == [
        ["demo.b03", "everyone", "board removed, firmware"],
        ["demo.b04", "everyone", "board added, firmware"],
    ]


def test_json_has_the_whole_digests(fleet: Path, capsys: pytest.CaptureFixture[str]):
    digest = release_v2_to_canaries(fleet)
    assert run(fleet, "--json") == 0
    (change,) = json.loads(capsys.readouterr().out)
    assert (change["device"], change["change"], change["component"]) == ("demo.b01", "image", "firmware")
    assert (change["new"], change["old"]["version"]) == ({"version": "2", "sha256": digest}, "1")


def test_an_invalid_side_is_named_with_its_problems(fleet: Path, capsys: pytest.CaptureFixture[str]):
    (fleet / "fleet.yaml").write_text("format: 2\n")
    assert run(fleet) == 1
    said = capsys.readouterr().err
    assert "fleet.yaml:1: format: found '2'" in said
    assert said.endswith("nothing to compare: the working tree is not a valid fleet\n")


def test_a_server_that_is_named_says_what_it_sends_for_each_change(
    fleet: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    new = release_v2_to_canaries(fleet)
    old = hashlib.sha256(b"firmware" * 1000).hexdigest()
    made = [{"result": new, "base": old, "kind": "delta", "coder": "lzma", "bytes": 2627}]
    monkeypatch.setattr(client.Client, "get", lambda _self, _target: {"blobs": made})
    assert run(fleet, "--socket", "/none") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-1] == "BY"
    assert lines[1].endswith("delta, 2,627 bytes")
    plain = made[0]
    for size, words in ((2200, "  mixed delta, 2,200 bytes"), (2627, "  delta, 2,627 bytes")):
        mixed = {**plain, "coder": "mixing", "bytes": size}
        for order in ([plain, mixed], [mixed, plain]):
            made[:] = order
            assert run(fleet, "--socket", "/none") == 0
            assert capsys.readouterr().out.splitlines()[1].endswith(words)
    made.append({"result": new, "base": None, "kind": "full", "coder": "lzma", "bytes": 99})  # type: ignore[dict-item]
    assert run(fleet, "--socket", "/none", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["way"] == {"kind": "full", "coder": "lzma", "bytes": 99}
    made.clear()
    assert run(fleet, "--socket", "/none") == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("not made yet")


# --- config --------------------------------------------------------------------------------------------------------


def put(fleet: Path, name: str, text: str | bytes) -> Path:
    place = fleet / "config" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text.encode() if isinstance(text, str) else text)
    return place


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    table = capsys.readouterr().out.partition("\n\n")[0]
    return [re.split(r"  +", line.strip()) for line in table.splitlines()[1:]]


def test_files_and_settings_of_config_are_told_and_equal_changes_of_boards_in_one_line(
    fleet: Path, capsys: pytest.CaptureFixture[str]
):
    put(fleet, "fleet/files/app/a", "a")
    put(fleet, "fleet/files/app/name.j2", "{{ board }}")
    put(fleet, "groups/canary/files/app/b", "b")
    commit(fleet)
    put(fleet, "fleet/files/app/name.j2", "name {{ board }}")
    put(fleet, "fleet/config.yaml", "drift: report\n")
    put(fleet, "fleet/files/app/a", "a").chmod(0o755)
    put(fleet, "groups/canary/files/app/b", "b").unlink()
    assert run(fleet) == 0
    assert rows(capsys) == [
        ["demo.b01", "canary", "config app/a", "0644", "0755"],
        ["demo.b01", "canary", "config app/b", "0644", "-"],
        ["demo.b01", "canary", "config app/name", "0644", "other content"],
        ["demo.b01", "canary", "setting drift", "heal", "report"],
        ["demo.b02 and 1 more", "everyone", "config app/a", "0644", "0755"],
        ["demo.b02 and 1 more", "everyone", "config app/name", "0644", "other content"],
        ["demo.b02 and 1 more", "everyone", "setting drift", "heal", "report"],
    ]


def test_the_lines_that_change_are_shown_once_for_all_boards_that_share_them(
    fleet: Path, capsys: pytest.CaptureFixture[str]
):
    put(fleet, "fleet/files/app/a", "one\ntwo\n")
    put(fleet, "fleet/files/app/name.j2", "{{ board }}\n")
    put(fleet, "fleet/files/app/bytes", b"\xff")
    commit(fleet)
    put(fleet, "fleet/files/app/a", "one\n\x1b[2Jthree\n")
    put(fleet, "fleet/files/app/name.j2", "name {{ board }}\n")
    put(fleet, "fleet/files/app/bytes", b"\xfe")
    assert run(fleet, "-p") == 0
    said = capsys.readouterr().out
    assert "app/a of demo.b01 and 2 more\n--- app/a\n+++ app/a\n@@ -1,2 +1,2 @@\n one\n-two\n+\\x1b[2Jthree\n" in said
    assert "app/bytes of demo.b01 and 2 more\nbinary, and other content than before\n" in said
    assert said.count("\n+name b0") == 3


def test_more_texts_than_anybody_reads_are_counted(
    fleet: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(difftable, "_TEXTS_LIMIT", 2)
    put(fleet, "fleet/files/app/name.j2", "{{ board }}\n")
    assert run(fleet, "-p") == 0
    assert capsys.readouterr().out.endswith("\n1 more files differ (--json names them all)\n")


def test_config_that_leaves_the_repository_is_said_to_be_left_on_the_boards(
    fleet: Path, capsys: pytest.CaptureFixture[str]
):
    place = put(fleet, "boards/b02/files/app/a", "a")
    commit(fleet)
    place.unlink()
    assert run(fleet) == 0
    assert rows(capsys) == [["demo.b02", "everyone", "setting config", "from git", "left as it is"]]


def test_json_has_files_settings_and_manners_of_each_board(fleet: Path, capsys: pytest.CaptureFixture[str]):
    put(fleet, "groups/canary/files/app/a", "a")
    text = (fleet / "fleet.yaml").read_text()
    (fleet / "fleet.yaml").write_text(text.replace("byte_budget: 100 MB", "byte_budget: 2 MB"))
    assert run(fleet, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(c["device"], c["change"], c["name"]) for c in found] == [
        ("demo.b01", "file", "app/a"),
        ("demo.b01", "setting", "drift"),
        ("demo.b01", "manners", "byte_budget"),
        ("demo.b02", "manners", "byte_budget"),
        ("demo.b03", "manners", "byte_budget"),
    ]
    assert found[0]["old"] is None
    assert found[0]["new"] == {"mode": "0644", "size": 1, "sha256": hashlib.sha256(b"a").hexdigest()}
    assert (found[-1]["old"], found[-1]["new"]) == ("100 MB", "2 MB")


def test_manners_are_told_as_they_are_written(fleet: Path, capsys: pytest.CaptureFixture[str]):
    text = (fleet / "fleet.yaml").read_text()
    (fleet / "fleet.yaml").write_text(text.replace("byte_budget: 100 MB", "manners: {check_in: 90 min, share: 20 %}"))
    assert run(fleet) == 0
    assert [row[2:] for row in rows(capsys) if row[1] == "canary"] == [
        ["manners byte_budget", "100 MB", "-"],
        ["manners check_in", "-", "90 min"],
        ["manners share", "-", "20 %"],
    ]
