"""docs/config-on-boards.md: its examples do what they say, and its names and figures are those of the code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tree_parts import Disk, made

from edgesync.agent import config as agent_toml
from edgesync.agent.tree import endpoint, installer, machine, watch
from edgesync.wire import errors

DOC = (Path(__file__).parents[2] / "docs" / "config-on-boards.md").read_text()
FILES = {"app/main.conf": b"speed = 1\n", "app/more.conf": b"more\n"}


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)[number]


def test_the_reader_reads_one_tree(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "config")
    disk.install(made(FILES))
    names: dict[str, object] = {}
    exec(block("python"), names)
    read_config = names["read_config"]
    assert callable(read_config)
    current = str(disk.root / "current")
    assert read_config(current, "app/main.conf", "app/more.conf") == ["speed = 1\n", "more\n"]
    script = f"cd -P {current} && cat app/main.conf app/more.conf"
    assert subprocess.check_output(["/bin/sh", "-c", script]) == b"speed = 1\nmore\n"


def test_the_configuration_is_taken(tmp_path: Path) -> None:
    rest = 'device = "acme.b1"\ntype = "files"\nstate = "state"\n[broker]\nhost = "h"\nport = 1\n'
    rest += '[trust]\nroot = "r"\nkey = "k"\n[board]\nroot = "b"\n'
    (tmp_path / "agent.toml").write_text(rest + block("toml"))
    found = agent_toml.load(str(tmp_path / "agent.toml"))
    assert (found.config_root, found.config_socket) == ("/data/config", "/run/edgesync/config.sock")


def test_every_error_that_it_names_is_one() -> None:
    table = DOC.partition("| step |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", table))
    assert named >= {"CheckFailed", "ProbeFailed", "ReloadFailed", "NotAllowed", "Requirement"}
    for name in named:
        assert errors.by_name(name), name


def test_its_figures_are_those_of_the_code() -> None:
    assert f"every {installer.PROBE_EVERY:.0f} s" in DOC
    assert machine.BOOTS_LIMIT == 3
    assert "three times" in DOC
    assert watch.EVERY == 600
    assert "every ten minutes" in DOC
    assert f"At most {endpoint.CLIENTS} clients" in DOC
    assert f"of {endpoint.HEAD_LIMIT >> 10} KiB, and {endpoint.PATIENCE:.0f} s" in DOC
