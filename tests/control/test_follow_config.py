"""Following a branch whose commits carry config: what is good takes force, what is not leaves the last good there."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edgesync.control import config
from edgesync.control.follow import Follower
from edgesync.control.images import ImageStore
from edgesync.control.standing import Spec
from edgesync.host.tasks import end
from edgesync.wire.bundle import decode
from edgesync.wire.ids import DeviceId
from tests.control.config_texts import BASE

CONF = "config/fleet/files/app/site.conf.j2"
TEXT = "site = {{ labels.site }}\n"
B01 = DeviceId("demo.b01")


class Followed:
    """A fleet repository in git, a follower, and what it said: specs, one a revision in a row, and problems."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.tree = place / "fleet"
        self.specs: list[Spec] = []
        self.problems: list[str] = []
        self.heard = asyncio.Event()
        (place / "images").mkdir()
        (place / "images/firmware.img").write_bytes(b"firmware")
        digest = hashlib.sha256(b"firmware").hexdigest()
        release = BASE["releases/v1.yaml"].replace("a" * 64, digest).replace("[files, bare]", "[files]")
        self.git("init", "--quiet", "--initial-branch=main", str(self.tree))
        self.commit({**BASE, "releases/v1.yaml": release, CONF: TEXT})
        (place / "server.toml").write_text(
            'fleet = "demo"\nrepository = "fleet"\nimages = "images"\npoll = 3600\n'
            '[broker]\nhost = "x"\n[trust]\nkey = "k"\n'
        )

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        at = self.tree if self.tree.exists() else self.place
        run = subprocess.run(["git", "-C", str(at), *identity, *words], check=True, capture_output=True, text=True)
        return run.stdout.strip()

    def commit(self, files: dict[str, str]) -> str:
        for name, text in files.items():
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def text(self) -> str:
        """What b01 gets of the template, by the spec in force."""
        bundle = self.specs[-1].wanted[B01].config
        assert bundle is not None
        return decode(bundle.data).files["app/site.conf"].data.decode()

    async def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                self.heard.clear()
                await self.heard.wait()

        await asyncio.wait_for(wait(), 30)

    def follow(self, scenario: Callable[[Follower], Awaitable[None]], last_good: str = "") -> None:
        async def on_spec(spec: Spec) -> None:
            if not self.specs or self.specs[-1].fleet.revision != spec.fleet.revision:
                self.specs.append(spec)
            self.heard.set()

        def on_problem(_: str, problem: str) -> None:
            self.problems.append(problem)
            self.heard.set()

        async def run() -> None:
            loaded = config.load(self.place / "server.toml")
            follower = Follower(loaded, ImageStore(loaded.state / "images"), on_spec, on_problem)
            task = asyncio.ensure_future(follower.run(last_good))
            try:
                await scenario(follower)
            finally:
                await end([task])

        asyncio.run(run())


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def test_two_pushes_within_a_second_end_with_the_second_in_force(followed: Followed):
    async def scenario(follower: Follower) -> None:
        await followed.until(lambda: bool(followed.specs))
        followed.commit({CONF: "one"})
        follower.wake()
        last = followed.commit({CONF: "two"})
        follower.wake()
        await followed.until(lambda: followed.specs[-1].fleet.revision == last)
        assert followed.text() == "two"

    followed.follow(scenario)
    assert not followed.problems


def test_a_branch_that_is_forced_back_takes_its_older_config_with_it(followed: Followed):
    async def scenario(follower: Follower) -> None:
        await followed.until(lambda: bool(followed.specs))
        newer = followed.commit({CONF: "newer"})
        follower.wake()
        await followed.until(lambda: followed.specs[-1].fleet.revision == newer)
        followed.git("reset", "--quiet", "--hard", "HEAD~1")
        follower.wake()
        await followed.until(lambda: followed.specs[-1].fleet.revision != newer)
        assert followed.text() == "site = north\n"
        assert followed.specs[-1].wanted == followed.specs[0].wanted

    followed.follow(scenario)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({CONF: "{{ labels.rack }}"}, f"{CONF}:1: found no label 'rack' for board b01 and 2 more"),
        ({"config/fleet/files/../x": ""}, "config/fleet/x: found a file that no layer has"),
        ({"config/fleet/config.yaml": "check: [sh]\n"}, "config/fleet/config.yaml:1: check: found 'sh' for board b01"),
    ],
)
def test_bad_config_is_named_and_leaves_the_last_good_in_force(followed: Followed, files: dict[str, str], says: str):
    async def scenario(follower: Follower) -> None:
        await followed.until(lambda: bool(followed.specs))
        followed.commit(files)
        follower.wake()
        await followed.until(lambda: bool(followed.problems))
        assert follower.problem == followed.problems[0]
        followed.git("revert", "--no-edit", "HEAD")
        follower.wake()
        await followed.until(lambda: len(followed.specs) > 1)
        assert follower.problem == ""

    followed.follow(scenario)
    assert says in followed.problems[0]
    assert [spec.wanted for spec in followed.specs] == [followed.specs[0].wanted] * 2


def test_a_repository_that_disappears_leaves_the_last_good_in_force_until_it_is_back(followed: Followed):
    async def scenario(follower: Follower) -> None:
        await followed.until(lambda: bool(followed.specs))
        followed.tree.rename(followed.place / "away")
        follower.wake()
        await followed.until(lambda: bool(followed.problems))
        (followed.place / "away").rename(followed.tree)
        last = followed.commit({CONF: "back"})
        follower.wake()
        await followed.until(lambda: followed.specs[-1].fleet.revision == last)

    followed.follow(scenario)
    assert followed.problems == [f"NotReachable: {followed.tree}: no such directory, expected a git repository"]
    assert followed.text() == "back"


def test_after_a_restart_on_a_bad_head_the_last_good_revision_is_in_force(followed: Followed):
    good = followed.git("rev-parse", "HEAD")
    followed.commit({CONF: "{{"})

    async def scenario(_: Follower) -> None:
        await followed.until(lambda: bool(followed.specs))

    followed.follow(scenario, good)
    assert [spec.fleet.revision for spec in followed.specs] == [good]
    assert len(followed.problems) == 1
    assert followed.text() == "site = north\n"


def test_a_head_that_is_not_signed_is_named_and_leaves_the_last_good_in_force(followed: Followed):
    key = followed.place / "ada"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (followed.place / "signers").write_text(f"ada@example.com {key.with_suffix('.pub').read_text()}")
    with (followed.place / "server.toml").open("a") as file:
        file.write('[git]\nallowed_signers = "signers"\n')
    signed = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}", "commit", "--quiet", "-S")
    followed.git(*signed, "--amend", "--no-edit")

    async def scenario(follower: Follower) -> None:
        await followed.until(lambda: bool(followed.specs))
        followed.commit({CONF: "unsigned"})
        follower.wake()
        await followed.until(lambda: bool(followed.problems))
        followed.git(*signed, "--allow-empty", "-m", "signed")
        follower.wake()
        await followed.until(lambda: len(followed.specs) > 1)

    followed.follow(scenario)
    assert followed.problems[0].startswith("UntrustedCommit: commit ")
    assert [spec.subject for spec in followed.specs] == ["change", "signed"]


def test_hooks_that_tell_the_server_at_once_are_there_from_the_first_head_on(followed: Followed):
    async def scenario(_: Follower) -> None:
        await followed.until(lambda: bool(followed.specs))

    followed.follow(scenario)
    hooks = {hook.name for hook in (followed.tree / ".git/hooks").iterdir() if not hook.name.endswith(".sample")}
    assert {"post-commit", "post-merge", "post-receive"} <= hooks


def test_types_of_an_operators_own_say_what_config_may_hold(followed: Followed):
    types = followed.place / "types"
    types.mkdir()
    from edgesync.boards import profile

    text = Path(profile.__file__).with_name("files.toml").read_text()
    (types / "files.toml").write_text(text.replace('allow = ["**"]', 'allow = ["net/**"]'))
    place = followed.place / "server.toml"
    place.write_text('profiles = "types"\n' + place.read_text())

    async def scenario(_: Follower) -> None:
        await followed.until(lambda: bool(followed.problems))

    followed.follow(scenario)
    assert "found the path 'app/site.conf' for board b01 and 2 more" in followed.problems[0]
