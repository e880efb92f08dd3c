"""Following a real git repository: what is read of it, what is seen of it, and what it may do to the server."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgesync.control import git as git_command
from edgesync.control import hooks, source
from edgesync.control.git import Git
from edgesync.control.parse import FILE_LIMIT
from edgesync.control.repository import FleetInvalidError, known_types, load
from edgesync.control.source import Commit, Repository
from edgesync.control.types import EXECUTABLE, LINK, SourceFile
from edgesync.wire.bundle import BUNDLE_LIMIT
from edgesync.wire.errors import ConfigError, NotReachableError

FILES = {"fleet.yaml": "fleet: demo\n", "boards/a/b.yaml": "boards: []\n", "releases/v1.yaml": "name: v1\n"}


def git(at: Path, *arguments: str) -> str:
    """Git as an operator would run it, with an identity of its own and no configuration of this machine."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(at), "GIT_CONFIG_GLOBAL": os.devnull}
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "protocol.file.allow=always")
    command = ["git", "-C", str(at), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def commit(at: Path, subject: str = "change", **files: str) -> str:
    for name, text in files.items():
        (at / name).write_text(text)
    git(at, "add", "--all")
    git(at, "commit", "--quiet", "--allow-empty", "-m", subject)
    return git(at, "rev-parse", "HEAD")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    place = tmp_path / "fleet"
    for name, text in (FILES | {"README.md": "hello\n"}).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    git(place, "init", "--quiet", "--initial-branch=main")
    commit(place, "first")
    return place


@pytest.fixture
def bare(tree: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "--quiet", "--bare", str(tree), "bare.git")
    return tmp_path / "bare.git"


def expected() -> dict[str, SourceFile]:
    return {name: SourceFile(text.encode()) for name, text in FILES.items()}


def test_a_commit_is_read_with_its_author_and_exactly_the_fleets_files(tree: Path):
    name = commit(tree, "say: über \x07 things")
    repository = Repository(tree)
    head = repository.head()
    assert (head.id, head.author) == (name, "Ada <ada@example.com>")
    assert head.subject.startswith("say: über")
    assert repository.files(name) == expected()
    assert repository.files("HEAD~1") == expected()


def test_what_a_commit_says_commands_no_terminal(tree: Path) -> None:
    git(tree, "-c", "user.name=Eve\x1b[2J", "commit", "--quiet", "--allow-empty", "-m", "grün\x1b]0;mine\x07")
    head = Repository(tree).head()
    assert head.subject == "grün\\x1b]0;mine\\x07"
    assert head.author.startswith("Eve\\x1b[2J <")


def test_a_bare_repository_is_read_like_any_other(bare: Path):
    repository = Repository(bare)
    assert repository.git.is_bare()
    assert repository.files("main") == repository.current_files() == expected()


def test_the_working_tree_is_read_with_what_is_not_committed(tree: Path):
    (tree / "fleet.yaml").write_text("fleet: other\n")
    (tree / "boards/new.yaml").write_text("x")
    found = Repository(tree).current_files()
    assert found == expected() | {"fleet.yaml": SourceFile(b"fleet: other\n"), "boards/new.yaml": SourceFile(b"x")}
    assert Repository(tree).files("HEAD") == expected()


def test_bytes_are_those_of_the_commit_and_not_as_a_checkout_would_convert_them(tree: Path):
    text = "a\r\nb\n\0c"
    (tree / ".gitattributes").write_text("*.yaml text eol=crlf ident export-ignore\n")
    git(tree, "config", "core.autocrlf", "true")
    (tree / "releases/v1.yaml").write_bytes(text.encode())
    commit(tree)
    stored = subprocess.check_output(["git", "-C", str(tree), "cat-file", "blob", "HEAD:releases/v1.yaml"])
    assert Repository(tree).files("HEAD")["releases/v1.yaml"].data == stored


@pytest.mark.parametrize(
    "rev", ["nowhere", "--all", "-n1", "", "HEAD:fleet.yaml", "a\nb", "a\0b", "main..main", "@{-99}"]
)
def test_a_revision_that_is_no_commit_is_named(tree: Path, rev: str):
    with pytest.raises(ConfigError, match="commit"):
        Repository(tree).files(rev)


def test_a_branch_that_is_not_there_is_named(tree: Path):
    with pytest.raises(ConfigError, match="no branch 'release'"):
        Repository(tree, "release").head()


def test_all_that_lies_below_config_is_read_with_gits_modes(tree: Path, bare: Path):
    names = ("config/fleet/files/app/run", "config/fleet/files/etc/\u00fc b.conf", "config/README", "config/.hidden")
    for number, name in enumerate(names):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(bytes([0, number, 255]))
    (tree / names[0]).chmod(0o700)
    (tree / names[1]).chmod(0o600)
    commit(tree)
    git(tree, "push", "--quiet", str(bare), "main")
    data = {name: SourceFile(bytes([0, number, 255])) for number, name in enumerate(names)}
    data[names[0]] = replace(data[names[0]], mode=EXECUTABLE)
    for repository in (Repository(tree), Repository(bare)):
        assert repository.files("main") == repository.current_files() == expected() | data


def test_links_and_submodules_are_told_by_their_mode_and_not_followed(tree: Path, tmp_path: Path):
    (tree / "boards/a/b.yaml").unlink()
    (tree / "boards/a/b.yaml").symlink_to("/etc/passwd")
    (tree / "config/fleet/files").mkdir(parents=True)
    (tree / "config/fleet/files/to-a-file").symlink_to("/etc/passwd")
    (tree / "config/fleet/files/to-a-directory").symlink_to("/etc")
    commit(tree, "links")
    link = SourceFile(b"", LINK)
    links = dict.fromkeys(("boards/a/b.yaml", *(f"config/fleet/files/to-a-{x}" for x in ("file", "directory"))), link)
    repository = Repository(tree)
    assert repository.files("HEAD") == repository.current_files() == expected() | links
    git(tree, "submodule", "--quiet", "add", str(tree), "config/fleet/files/sub")
    commit(tree, "a submodule")
    assert repository.files("HEAD")["config/fleet/files/sub"] == SourceFile(b"", 0o160000)


def test_a_folder_that_is_a_link_is_told_and_not_followed(tree: Path, tmp_path: Path):
    (tmp_path / "elsewhere/fleet/files").mkdir(parents=True)
    (tmp_path / "elsewhere/fleet/files/secret").write_text("x")
    (tree / "config").symlink_to(tmp_path / "elsewhere")
    commit(tree)
    repository = Repository(tree)
    assert repository.files("HEAD") == repository.current_files() == expected() | {"config": SourceFile(b"", LINK)}


@pytest.mark.parametrize("name", [b"..", b".", b"a\nb", b"a\\b"])
def test_a_tree_that_was_forged_by_hand_is_read_as_it_is_and_refused_by_name(tree: Path, name: bytes):
    def written(kind: str, data: bytes) -> bytes:
        words = ["git", "-C", str(tree), "hash-object", "-w", "--literally", "-t", kind, "--stdin"]
        return bytes.fromhex(subprocess.run(words, input=data, capture_output=True, check=True).stdout.decode())

    inner = written("tree", b"100644 x\0" + written("blob", b"escaped"))
    for above in (name, b"files", b"fleet", b"config"):
        inner = written("tree", b"40000 %b\0%b" % (above, inner))
    forged = written("commit", b"tree %b\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nx" % inner.hex().encode())
    files = Repository(tree).files(forged.hex())
    assert [file.data for file in files.values()] == [b"escaped"]
    with pytest.raises(FleetInvalidError) as caught:
        load(files, "rev", known_types())
    assert any(problem.file.startswith("config/fleet/files/") for problem in caught.value.problems)


def test_a_name_that_is_no_text_is_kept_in_a_form_that_can_be_told(tree: Path):
    place = os.path.join(os.fsencode(tree), b"config")
    os.mkdir(place)
    with open(os.path.join(place, b"a\xff"), "wb"):
        pass
    commit(tree)
    repository = Repository(tree)
    assert repository.files("HEAD") == repository.current_files() == expected() | {"config/a\\xff": SourceFile(b"")}


def test_files_beyond_the_limits_are_refused_before_they_are_read(tree: Path, monkeypatch: pytest.MonkeyPatch):
    commit(tree, **{"boards/big.yaml": "#" * (FILE_LIMIT + 1)})
    repository = Repository(tree)
    monkeypatch.setattr(repository, "_contents", lambda *_: pytest.fail("read all the same"))
    with pytest.raises(ConfigError, match=r"boards/big\.yaml: found 4194305 bytes, expected at most 4194304"):
        repository.files("HEAD")
    with pytest.raises(ConfigError, match=r"boards/big\.yaml"):
        repository.current_files()
    (tree / "boards/big.yaml").write_text("")
    (tree / "config").mkdir()
    commit(tree, **{"config/big": "#" * (BUNDLE_LIMIT + 1)})
    with pytest.raises(ConfigError, match=r"config/big: found 1048577 bytes, expected at most 1048576"):
        repository.files("HEAD")
    monkeypatch.setattr(source, "FILES_LIMIT", 3)
    with pytest.raises(ConfigError, match="found 5 files"):
        repository.files("HEAD")


def test_a_missing_object_is_named(tree: Path):
    name = git(tree, "rev-parse", "HEAD:fleet.yaml")
    loose = tree / ".git/objects" / name[:2] / name[2:]
    loose.chmod(0o644)
    loose.unlink()
    with pytest.raises(ConfigError, match=f"object {name} is missing"):
        Repository(tree).files("HEAD")


def test_what_is_no_repository_is_named_even_inside_of_another(tree: Path):
    with pytest.raises(NotReachableError, match="not a git repository"):
        Repository(tree / "boards").head()
    with pytest.raises(NotReachableError, match="no such directory"):
        Repository(tree / "nowhere").head()


def test_a_git_environment_of_the_caller_leads_nowhere_else(tree: Path, bare: Path, monkeypatch: pytest.MonkeyPatch):
    name = commit(tree, "only here")
    monkeypatch.setenv("GIT_DIR", str(bare))
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere")
    assert Repository(tree).head().id == name


def test_a_git_that_does_not_answer_is_given_up(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    slow = tmp_path / "bin/git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(git_command, "TIMEOUT", 0.3)
    with pytest.raises(NotReachableError, match="took more than"):
        Repository(tree).head()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(NotReachableError, match="install git"):
        Repository(tree).head()


def test_create_makes_a_repository_whatever_identity_and_hooks_this_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[commit]\n\tgpgSign = true\n[core]\n\thooksPath = /nowhere\n[init]\n\tdefaultBranch = x\n"
    )
    monkeypatch.setenv("HOME", str(home))
    place = tmp_path / "new"
    place.mkdir()
    (place / "fleet.yaml").write_text("x")
    Repository(place).create("Begin")
    assert Repository(place).head().subject == "Begin"
    assert Repository(place).files("main") == {"fleet.yaml": SourceFile(b"x")}


# --- watching ------------------------------------------------------------------------------------------------------

Step = Callable[[], Awaitable[Commit | Exception]]


def watching(repository: Repository, poll: float, scenario: Callable[[Step, asyncio.Event], Awaitable[None]]) -> None:
    """Run a scenario that takes the watch's findings one by one, each within 10 s."""

    async def run() -> None:
        wake = asyncio.Event()
        seen: AsyncIterator[Commit | ConfigError | NotReachableError] = repository.watch(poll, wake)
        await scenario(lambda: asyncio.wait_for(anext(seen), 10), wake)

    asyncio.run(run())


def test_the_watch_gives_the_head_and_then_each_new_one_without_being_woken(tree: Path):
    async def scenario(step: Step, wake: asyncio.Event) -> None:
        assert await step() == Repository(tree).head()
        for subject in ("one", "two"):
            commit(tree, subject)
            found = await step()
            assert isinstance(found, Commit)
            assert found.subject == subject

    watching(Repository(tree), 0.05, scenario)


def test_a_head_that_stays_is_given_once(tree: Path):
    async def scenario(step: Step, wake: asyncio.Event) -> None:
        await step()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(step(), 0.3)

    watching(Repository(tree), 0.02, scenario)


def test_the_watch_looks_at_once_when_it_is_woken(tree: Path):
    async def scenario(step: Step, wake: asyncio.Event) -> None:
        await step()
        name = commit(tree)
        wake.set()
        found = await step()
        assert isinstance(found, Commit)
        assert found.id == name

    watching(Repository(tree), 3600, scenario)


def test_a_wake_while_the_watch_is_busy_elsewhere_is_not_lost(tree: Path):
    async def scenario(step: Step, wake: asyncio.Event) -> None:
        await step()
        wake.set()
        name = commit(tree)
        assert isinstance(found := await step(), Commit)
        assert found.id == name

    watching(Repository(tree), 3600, scenario)


def test_a_branch_that_was_forced_back_is_another_head(tree: Path):
    first = git(tree, "rev-parse", "HEAD")
    commit(tree)

    async def scenario(step: Step, wake: asyncio.Event) -> None:
        await step()
        git(tree, "reset", "--hard", "--quiet", "HEAD~1")
        assert isinstance(found := await step(), Commit)
        assert found.id == first

    watching(Repository(tree), 0.05, scenario)


def test_a_repository_that_goes_away_gives_one_error_and_then_its_head_again(tree: Path, tmp_path: Path):
    async def scenario(step: Step, wake: asyncio.Event) -> None:
        head = await step()
        tree.rename(tmp_path / "away")
        assert isinstance(await step(), NotReachableError)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(again := asyncio.ensure_future(step())), 0.5)
        (tmp_path / "away").rename(tree)
        assert await again == head

    watching(Repository(tree), 0.05, scenario)


def test_a_repository_without_commits_is_waited_for(tmp_path: Path):
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "empty")

    async def scenario(step: Step, wake: asyncio.Event) -> None:
        assert isinstance(await step(), ConfigError)
        name = commit(tmp_path / "empty")
        assert isinstance(found := await step(), Commit)
        assert found.id == name

    watching(Repository(tmp_path / "empty"), 0.05, scenario)


# --- hooks ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def door(tmp_path: Path) -> tuple[Path, list[bytes], threading.Event]:
    """A Unix socket in the server's place: its path, what was said to it, and the event of having heard something."""
    path, heard, event = tmp_path / "es.sock", [], threading.Event()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer() -> None:
        with listener:
            listener.settimeout(20)
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                heard.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        event.set()

    threading.Thread(target=answer, daemon=True).start()
    return path, heard, event


@pytest.mark.parametrize("how", ["commit", "amend", "push"])
def test_a_hook_tells_the_server_at_once(
    how: str, tree: Path, bare: Path, door: tuple[Path, list[bytes], threading.Event]
):
    path, heard, event = door
    assert hooks.install(Git(bare if how == "push" else tree), path) == ()
    if how == "push":
        commit(tree)
        git(tree, "push", "--quiet", str(bare), "main")
    else:
        git(tree, "commit", "--quiet", "--allow-empty", "-m", "x", *(["--amend"] if how == "amend" else []))
    assert event.wait(10)
    assert heard[0].startswith(b"POST /v1/wake HTTP/1.1\r\n")


@pytest.mark.parametrize("kind", ["tree", "bare"])
def test_what_moves_a_branch_by_itself_can_knock_too(
    kind: str, tree: Path, bare: Path, door: tuple[Path, list[bytes], threading.Event]
):
    path, heard, event = door
    git = Git(tree if kind == "tree" else bare)
    hooks.knock(git)
    assert not heard, "no hook of edgesync's is there yet"
    hooks.install(git, path)
    hooks.knock(git)
    assert event.wait(10)
    assert heard[0].startswith(b"POST /v1/wake HTTP/1.1\r\n")


def test_knocking_runs_no_hook_of_someone_else(tree: Path, tmp_path: Path):
    hook = tree / ".git/hooks/post-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    hooks.knock(Git(tree))
    assert not (tmp_path / "ran").exists()


def test_a_server_that_is_away_costs_a_commit_neither_success_nor_a_word(tree: Path, tmp_path: Path):
    hooks.install(Git(tree), tmp_path / "nobody's; exit 1 #.sock")
    hook = tree / ".git/hooks/post-commit"
    done = subprocess.run([str(hook)], cwd=tree, capture_output=True, check=False, timeout=10)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    commit(tree)


def test_someone_elses_hook_is_left_alone_and_named(tree: Path, tmp_path: Path):
    place = tree / ".git/hooks"
    place.mkdir(exist_ok=True)
    (place / "post-commit").write_text("#!/bin/sh\necho mine\n")
    (place / "post-merge").symlink_to("/nowhere")
    assert hooks.install(Git(tree), tmp_path / "s") == ("post-commit", "post-merge")
    assert (place / "post-commit").read_text() == "#!/bin/sh\necho mine\n"
    assert (place / "post-merge").is_symlink()


def test_our_own_hook_is_renewed_for_another_socket_and_otherwise_not_touched(tree: Path, tmp_path: Path):
    repository = Git(tree)
    hooks.install(repository, tmp_path / "one")
    hook = tree / ".git/hooks/post-receive"
    before = hook.stat()
    assert stat.S_IMODE(before.st_mode) == 0o755
    hooks.install(repository, tmp_path / "one")
    assert hook.stat().st_ino == before.st_ino
    assert hooks.install(repository, tmp_path / "two") == ()
    assert str(tmp_path / "two") in hook.read_text()


def test_a_hooks_directory_that_others_share_gets_no_hook(tree: Path, tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    git(tree, "config", "core.hooksPath", str(shared))
    assert "post-commit" in hooks.install(Git(tree), tmp_path / "s")
    assert not list(shared.iterdir())


def test_a_bare_repository_gets_the_hook_of_pushes_only(bare: Path, tmp_path: Path):
    shutil.rmtree(bare / "hooks", ignore_errors=True)
    assert hooks.install(Git(bare), tmp_path / "s") == ()
    assert [hook.name for hook in (bare / "hooks").iterdir()] == ["post-receive"]
