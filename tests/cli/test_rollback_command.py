"""`edgesync rollback` as it is typed: a new commit that says what an earlier one said, or nothing at all."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

import pytest

from edgesync.cli import rollback
from edgesync.control import rollback as core
from edgesync.control.git import Git
from edgesync.control.scaffold import Setup, write
from edgesync.control.source import Repository
from edgesync.wire.errors import ConfigError, NotReachableError

CONF = "config/fleet/files/app/site.conf"


class Fleet:
    """A repository with two commits of config: `first` and `second`, which also adds a file and changes boards/."""

    def __init__(self, place: Path) -> None:
        write(place / "lab", Setup(), 1_800_000_000.0)
        self.tree = place / "lab/fleet"
        for name, value in {"user.name": "Ada", "user.email": "ada@example.com"}.items():
            self.git("config", name, value)
        self.write(CONF, "one\n")
        self.first = self.commit("one")
        self.write(CONF, "two\n")
        self.write("config/fleet/files/app/more", "x")
        boards = self.tree / "boards/bench.yaml"
        boards.write_text(boards.read_text().replace("site: bench", "site: hall"))
        self.second = self.commit("two")

    def write(self, name: str, text: str) -> None:
        (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (self.tree / name).write_text(text)

    def commit(self, subject: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def git(self, *words: str) -> str:
        run = subprocess.run(["git", "-C", str(self.tree), *words], check=True, capture_output=True, text=True)
        return run.stdout.strip()

    def state(self) -> tuple[str, str, bytes]:
        return self.git("rev-parse", "HEAD"), self.git("status", "--porcelain"), (self.tree / CONF).read_bytes()


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    return Fleet(tmp_path)


def run(directory: Path, *words: str) -> int:
    parser = argparse.ArgumentParser(prog="edgesync")
    rollback.add_parser(parser.add_subparsers())
    args = parser.parse_args(["rollback", "-C", str(directory), *words])
    status: int = args.func(args)
    return status


def paths(repository: Path, rev: str) -> dict[str, tuple[bytes, int]]:
    return {path: (file.data, file.mode) for path, file in Repository(repository).files(rev).items()}


def test_fleet_releases_and_config_are_those_of_the_earlier_commit_and_boards_stay(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
):
    assert run(fleet.tree, fleet.first) == 0
    head = fleet.git("rev-parse", "HEAD")
    expected = {name: file for name, file in paths(fleet.tree, fleet.first).items() if not name.startswith("boards/")}
    boards = {name: file for name, file in paths(fleet.tree, fleet.second).items() if name.startswith("boards/")}
    assert paths(fleet.tree, head) == expected | boards
    assert fleet.git("log", "-1", "--format=%P|%an <%ae>|%s") == (
        f"{fleet.second}|Ada <ada@example.com>|Roll back to {fleet.first[:12]} (one)"
    )
    assert fleet.state() == (head, "", b"one\n")
    assert not (fleet.tree / "config/fleet/files/app/more").exists()
    said = capsys.readouterr().out
    assert "config app/site.conf" in said
    assert "3 boards would change" in said
    assert f"main is now {head[:12]}" in said


def test_a_dry_run_shows_the_same_and_changes_nothing(fleet: Fleet, capsys: pytest.CaptureFixture[str]):
    before = fleet.state()
    assert run(fleet.tree, "HEAD~1", "--dry-run") == 0
    assert "3 boards would change" in capsys.readouterr().out
    assert fleet.state() == before


def test_a_bare_repository_goes_back_too(fleet: Fleet, tmp_path: Path):
    bare = tmp_path / "bare.git"
    fleet.git("clone", "--quiet", "--bare", str(fleet.tree), str(bare))
    for name in ("user.name", "user.email"):
        subprocess.run(["git", "-C", bare, "config", name, "ada@example.com"], check=True)
    assert run(bare, "HEAD~1") == 0
    assert Repository(bare).files("main")[CONF].data == b"one\n"
    assert Repository(bare).head().subject == f"Roll back to {fleet.first[:12]} (one)"


@pytest.mark.parametrize("name", [CONF, "fleet.yaml", "releases/new.yaml", "config/fleet/files/app/more"])
@pytest.mark.parametrize("staged", [True, False])
def test_paths_with_changes_of_ones_own_are_refused_and_kept(fleet: Fleet, name: str, staged: bool):
    fleet.write(name, "mine\n")
    if staged:
        fleet.git("add", "--all")
    before = fleet.state()
    with pytest.raises(ConfigError, match=f"{name}: found changes that are not committed"):
        run(fleet.tree, "HEAD~1")
    assert fleet.state() == before
    assert (fleet.tree / name).read_text() == "mine\n"


def test_a_file_that_was_written_anew_with_what_is_committed_is_no_change(fleet: Fleet):
    (fleet.tree / CONF).write_bytes(b"two\n")
    os.utime(fleet.tree / CONF, (1e9, 1e9))
    assert run(fleet.tree, fleet.first) == 0
    assert fleet.state() == (fleet.git("rev-parse", "HEAD"), "", b"one\n")


def test_changes_elsewhere_are_kept(fleet: Fleet):
    fleet.write("README.md", "mine\n")
    boards = fleet.tree / "boards/bench.yaml"
    boards.write_text(boards.read_text() + "# mine\n")
    assert run(fleet.tree, "HEAD~1") == 0
    assert boards.read_text().endswith("# mine\n")
    assert fleet.git("status", "--porcelain").split() == ["M", "boards/bench.yaml", "??", "README.md"]


@pytest.mark.parametrize("where", ["ahead", "back"])
def test_a_branch_that_moved_in_the_meantime_stays_where_it_went(
    fleet: Fleet, where: str, monkeypatch: pytest.MonkeyPatch
):
    prepare = core.Rollback.prepare

    def meanwhile(self: core.Rollback) -> str:
        made = prepare(self)
        if where == "ahead":
            fleet.commit("three")
        else:
            fleet.git("reset", "--quiet", "--hard", fleet.first)
        return made

    monkeypatch.setattr(core.Rollback, "prepare", meanwhile)
    with pytest.raises(ConfigError, match=r"main has moved in the meantime; nothing was changed"):
        run(fleet.tree, "HEAD~1")
    assert fleet.git("log", "-1", "--format=%s") == ("three" if where == "ahead" else "one")
    assert fleet.git("status", "--porcelain") == ""


def test_what_todays_boards_make_invalid_is_refused_with_its_problems(fleet: Fleet, capsys: pytest.CaptureFixture[str]):
    fleet.write("config/fleet/files/app/x.j2", "{{ labels.rack }}")
    fleet.commit("a template that no board has the label for")
    fleet.git("rm", "--quiet", "config/fleet/files/app/x.j2")
    good = fleet.commit("and away again")
    assert run(fleet.tree, "HEAD~1") == 1
    said = capsys.readouterr().err
    assert "config/fleet/files/app/x.j2:1: found no label 'rack'" in said
    assert "nothing was committed" in said
    assert fleet.git("rev-parse", "HEAD") == good


def test_a_branch_that_is_invalid_as_it_is_can_be_taken_back(fleet: Fleet):
    fleet.write("fleet.yaml", "spoilt")
    fleet.commit("spoilt")
    assert run(fleet.tree, "HEAD~1") == 0
    assert fleet.git("diff", "--stat", "HEAD", "HEAD~2") == ""


@pytest.mark.parametrize(("rev", "says"), [("HEAD", "nothing to go back to"), ("nowhere", "no commit 'nowhere'")])
def test_a_revision_that_there_is_no_way_back_to_is_named(fleet: Fleet, rev: str, says: str):
    with pytest.raises(ConfigError, match=says):
        run(fleet.tree, rev)


def test_a_detached_head_is_named(fleet: Fleet):
    fleet.git("checkout", "--quiet", "--detach")
    with pytest.raises(ConfigError, match="detached HEAD"):
        run(fleet.tree, "HEAD~1")


def test_the_author_is_who_the_environment_says_and_the_commit_is_signed_where_commits_are(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (tmp_path / "signers").write_text(f"eve@example.com {key.with_suffix('.pub').read_text()}")
    for name, value in {"commit.gpgSign": "true", "gpg.format": "ssh", "user.signingKey": str(key)}.items():
        fleet.git("config", name, value)
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Eve")
    assert run(fleet.tree, "HEAD~1") == 0
    head = Repository(fleet.tree).head()
    assert head.author == "Eve <ada@example.com>"
    Repository(fleet.tree).verify(head.id, tmp_path / "signers")


def test_a_working_tree_that_cannot_follow_keeps_the_branch_where_it_is(fleet: Fleet):
    way = core.Rollback(Git(fleet.tree), "HEAD~1")
    new = way.prepare()
    (fleet.tree / ".git/index.lock").touch()
    with pytest.raises(NotReachableError, match=r"index\.lock"):
        way.commit(new)
    (fleet.tree / ".git/index.lock").unlink()
    assert fleet.git("rev-parse", "HEAD") == fleet.second
