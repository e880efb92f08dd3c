"""Commands that config names: what they get of the tree, and whose failure theirs is."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from edgesync.agent.tree.commands import Commands
from edgesync.boards.profile import Command
from edgesync.wire.errors import CheckFailedError, EdgesyncError, NotAllowedError, WorkerDiedError


def failure(*argv: str, limit: int = 10, tree: str = "/a b", name: str = "it") -> EdgesyncError | None:
    """The error of a command, None for none."""
    known = Commands({"it": Command(argv, limit)})
    try:
        asyncio.run(asyncio.wait_for(known.run(name, tree, CheckFailedError), 60))
    except EdgesyncError as error:
        return error
    return None


def test_a_command_gets_the_tree_in_its_arguments_and_no_shell_reads_them(tmp_path: Path) -> None:
    told = ["/bin/sh", "-c", f'printf "%s\\n" "$@" > {tmp_path}/args', "it"]
    assert failure(*told, "{tree}/x", "--tree={tree}", f"; touch {tmp_path}/made", tree="$(reboot)") is None
    assert (tmp_path / "args").read_text() == f"$(reboot)/x\n--tree=$(reboot)\n; touch {tmp_path}/made\n"
    assert os.listdir(tmp_path) == ["args"]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 3", "it: exit status 3"),
        ("echo one; echo two >&2; exit 1", "it: exit status 1: two"),
        ("kill -9 $$", "it: killed by SIGKILL"),
        ("echo hanging; sleep 60", "it: not done in time: hanging (1 s)"),
    ],
)
def test_a_command_that_fails_is_the_failure_that_was_asked_for(script: str, told: str) -> None:
    error = failure("/bin/sh", "-c", script, limit=1)
    assert type(error) is CheckFailedError
    assert str(error) == told


def test_a_program_that_is_not_there_is_the_failure_and_is_named() -> None:
    error = failure("/no/such/program")
    assert type(error) is CheckFailedError
    assert "it: exit status 127: /no/such/program" in str(error)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_board_that_is_short_of_something_does_not_blame_the_config(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    async def short(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(asyncio, "create_subprocess_exec", short)
    assert type(failure("/bin/true")) is WorkerDiedError


def test_a_name_that_the_board_does_not_know_is_not_allowed() -> None:
    error = failure("/bin/true", name="that")
    assert type(error) is NotAllowedError
    assert "command 'that' is not known here, expected one of: it" in str(error)
