"""The played board with real processes: what it boots, when it boots again, and that nothing outlives it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgesync.boards import bootloader
from edgesync.boards.bootenv import BootEnv, read_env, read_record, write_env
from edgesync.boards.bootloader import MARKER, refusal, tar_has

RUN = """
import json, sys
from pathlib import Path
from edgesync.boards.supervisor import Habits, Supervisor
def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)
root, agent, habits = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
sys.exit(Supervisor(root, [sys.executable, "-c", agent, str(root)], say, Habits(**habits)).run())
"""
AGENT = """
import sys, time, signal, os
from pathlib import Path
from edgesync.boards.files import FilesBackend
root = Path(sys.argv[1])
board = FilesBackend(root, 3)
"""
LIVES = AGENT + "time.sleep(600)"
QUICK = {"dark": 0.05, "pause": 0.02, "longest_pause": 0.1, "grace": 2.0, "lock": 3.0}


class Board:
    """A supervisor process and the events that it printed so far."""

    def __init__(self, root: Path, agent: str, **habits: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(root), agent, json.dumps({**QUICK, **habits})],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.events: list[dict[str, Any]] = []

    def until(self, event: str, times: int = 1) -> dict[str, Any]:
        """The next event of this kind, `times` of them; fails when the supervisor ends first."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == event:
                times -= 1
                if not times:
                    return self.events[-1]
        pytest.fail(f"no {event} in {self.events}")

    def end(self) -> int:
        """The exit status; reads what is left of the events."""
        assert self.process.stdout
        self.events += [json.loads(line) for line in self.process.stdout]
        return self.process.wait(20)

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for slot, content in (("a", b"image of slot a"), ("b", b"image of slot b")):
        (tmp_path / slot).mkdir()
        (tmp_path / slot / "root.img").write_bytes(content)
    return tmp_path


@pytest.fixture
def play(root: Path) -> Iterator[Callable[..., Board]]:
    boards: list[Board] = []

    def start(agent: str = LIVES, **habits: float) -> Board:
        boards.append(Board(root, agent, **habits))
        return boards[-1]

    yield start
    for board in boards:
        board.process.kill()
        board.process.communicate()
    _wait_for(lambda: not _agents_of(root))


def test_a_stop_ends_the_agent_and_then_the_supervisor(play: Callable[..., Board], root: Path) -> None:
    board = play()
    started = board.until("agent-start")
    assert read_record(root).boot_id == started["boot_id"]
    board.process.terminate()
    assert board.end() == 0
    assert board.events[-2]["signal"] == "SIGTERM"
    assert board.kinds()[-1] == "stop"
    assert not os.path.exists(f"/proc/{started['pid']}")


def test_an_agent_that_ignores_sigterm_is_killed_after_its_grace(play: Callable[..., Board], root: Path) -> None:
    board = play(AGENT + "signal.signal(15, signal.SIG_IGN); (root / 'deaf').touch(); time.sleep(600)", grace=0.3)
    board.until("agent-start")
    _wait_for((root / "deaf").exists)
    board.process.terminate()
    assert board.end() == 0
    assert board.events[-2]["signal"] == "SIGKILL"


def test_a_dead_agent_comes_back_in_the_same_boot_and_a_power_cut_makes_a_new_one(play: Callable[..., Board]) -> None:
    board = play()
    first = board.until("agent-start")
    os.kill(first["pid"], signal.SIGKILL)
    second = board.until("agent-start")
    assert second["boot_id"] == first["boot_id"]
    board.process.send_signal(signal.SIGUSR1)
    third = board.until("agent-start")
    assert third["boot_id"] != first["boot_id"]
    assert "power-cut" in board.kinds()
    assert not os.path.exists(f"/proc/{second['pid']}")


def test_a_kill_of_the_supervisor_is_a_power_cut(play: Callable[..., Board], root: Path) -> None:
    write_env(root, BootEnv("a", "b", 3))
    board = play()
    first = board.until("agent-start")
    board.process.kill()
    _wait_for(lambda: _gone(first["pid"]))
    again = play()
    second = again.until("agent-start")
    assert second["boot_id"] != first["boot_id"]
    assert read_env(root).left == 1


def test_no_agent_survives_a_kill_however_soon_it_comes(play: Callable[..., Board], root: Path) -> None:
    for delay in range(8):
        board = play(LIVES)
        board.until("boot")
        time.sleep(delay / 1000)
        board.process.kill()
    _wait_for(lambda: not _agents_of(root))


def test_two_supervisors_never_play_the_same_board(
    play: Callable[..., Board], capfd: pytest.CaptureFixture[str]
) -> None:
    play().until("agent-start")
    second = play(lock=0.2)
    assert second.end() == 1
    assert second.events == []
    assert "another supervisor plays this board" in capfd.readouterr().err


def test_a_reboot_request_boots_the_slot_that_is_tried_and_marking_keeps_it(
    play: Callable[..., Board], root: Path
) -> None:
    agent = """
if board.evidence().slot == "a":
    os.close(board.prepare("root", 4)); board.activate(); board.reboot()
else:
    board.mark_good(); (root / "marked").touch()
time.sleep(600)
"""
    board = play(AGENT + agent)
    first, second = board.until("boot"), board.until("boot")
    assert (first["slot"], first["trial"], second["slot"], second["trial"]) == ("a", False, "b", True)
    _wait_for((root / "marked").exists)
    board.process.send_signal(signal.SIGUSR1)
    third = board.until("boot")
    assert (third["slot"], third["trial"]) == ("b", False)
    assert len({event["boot_id"] for event in (first, second, third)}) == 3


def test_an_agent_that_dies_right_after_asking_still_gets_its_reboot(play: Callable[..., Board]) -> None:
    board = play(AGENT + "board.reboot(); os._exit(3)")
    board.until("reboot")
    assert board.kinds().count("agent-start") == 1


def test_new_firmware_whose_agent_never_marks_it_falls_back_after_its_tries(
    play: Callable[..., Board], root: Path
) -> None:
    write_env(root, BootEnv("a", "b", 2))
    board = play()
    for slot in ("b", "b", "a"):
        assert board.until("boot")["slot"] == slot
        board.until("agent-start")
        board.process.send_signal(signal.SIGUSR1)
    assert [e["tried"] for e in board.events if e["event"] == "fallback"] == ["b"]
    assert read_record(root).fell_back == "b"


def test_firmware_whose_agent_crashes_at_once_is_given_up_by_the_watchdog(
    play: Callable[..., Board], root: Path
) -> None:
    write_env(root, BootEnv("a", "b", 2))
    board = play(AGENT + "sys.exit(1) if board.evidence().slot == 'b' else time.sleep(600)", restarts=1)
    board.until("fallback")
    assert board.until("boot")["slot"] == "a"
    assert board.kinds().count("watchdog") == 2


def test_an_agent_that_never_lives_ends_the_board_after_a_bounded_number_of_starts(play: Callable[..., Board]) -> None:
    board = play("raise SystemExit(7)", restarts=2, watchdogs=1)
    assert board.end() == 1
    assert board.kinds().count("agent-start") == 6
    assert board.events[-1]["event"] == "dead"


def test_a_board_without_any_bootable_slot_says_so_and_ends(play: Callable[..., Board], root: Path) -> None:
    (root / "a" / "root.img").unlink()
    board = play()
    assert board.end() == 1
    assert board.kinds() == ["refuse", "dead"]


def test_an_image_that_refuses_to_boot_uses_up_its_tries_and_falls_back_in_one_boot(
    play: Callable[..., Board], root: Path
) -> None:
    _tar(root / "b" / "root.img", "opt/edge/lib", f"opt/edge/{MARKER}")
    write_env(root, BootEnv("a", "b", 3))
    board = play()
    booted = board.until("boot")
    assert (booted["slot"], booted["fell_back"]) == ("a", "b")
    assert board.kinds() == ["refuse"] * 3 + ["fallback", "boot"]
    assert read_env(root) == BootEnv("a", fell_back="b")


def test_the_agents_own_output_does_not_mix_with_the_events(play: Callable[..., Board]) -> None:
    board = play("print('not JSON', flush=True); import time; time.sleep(600)")
    board.until("agent-start")
    board.process.terminate()
    assert board.end() == 0


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_slot_with_no_image_or_an_empty_one_is_refused(tmp_path: Path) -> None:
    assert "no *.img" in refusal(tmp_path / "a")
    (tmp_path / "root.img").touch()
    assert refusal(tmp_path) == "root.img is empty"


def test_every_image_of_a_slot_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "boot.img").write_bytes(os.urandom(5000))
    assert refusal(tmp_path) == ""
    _tar(tmp_path / "root.img", MARKER)
    assert refusal(tmp_path) == f"root.img contains {MARKER}"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    ("name", "found"),
    [(MARKER, True), (f"opt/{'x' * 70}/{MARKER}", True), (f"{MARKER}/x", False), (f"x{MARKER}", False)],
)
def test_the_marker_is_the_base_name_of_a_member(tmp_path: Path, name: str, found: bool, form: int) -> None:
    _tar(tmp_path / "x.tar", "bin/first", name, "long/" * 50 + "last", form=form)
    assert tar_has(tmp_path / "x.tar", MARKER) is found


def test_a_tar_that_never_ends_is_not_followed_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootloader, "HEADER_LIMIT", 10)
    _tar(tmp_path / "x.tar", *(f"f{number}" for number in range(10)), MARKER)
    assert not tar_has(tmp_path / "x.tar", MARKER)


def test_a_header_with_a_negative_size_ends_the_search(tmp_path: Path) -> None:
    member = tarfile.TarInfo("x")
    member.size = -512
    (tmp_path / "x.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert not tar_has(tmp_path / "x.tar", MARKER)


def _tar(path: Path, *names: str, form: int = tarfile.USTAR_FORMAT) -> None:
    with tarfile.open(path, "w", format=form) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 700
            tar.addfile(member, io.BytesIO(bytes(700)))


def _wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def _agents_of(root: Path) -> list[str]:
    """Processes that were started for the slots under `root`, supervisors too."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = entry.read_bytes().split(b"\0")
        except OSError:
            continue  # it ended in between
        if os.fsencode(root) in arguments:
            found.append(entry.parent.name)
    return found


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
