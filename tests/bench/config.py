"""What config for 10,000 boards costs the server: from a commit to each board's bundle, and to the next commit.

A real git repository: boards of 50 sites and two groups, 20 files and four templates, one of which is another text on
each board, so that no two bundles are the same.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from edgesync.control import repository
from edgesync.control.changes import changes
from edgesync.control.desired import compile_fleet
from edgesync.control.rendering import Remembering, Render, render
from edgesync.control.source import Repository
from edgesync.control.types import Fleet
from tests.bench.measure import MIB, BenchError, Figure, Workshop

BOARDS = 10_000
COMPILE_LIMIT = 15.0
"""CPU seconds of one core: a quarter of what compiling and publishing may take together."""
FLEET = """\
format: 1
fleet: bench
defaults: {release: v1}
groups:
  canary: {select: {ring: canary}}
  field: {select: {ring: field}}
waves:
  - {name: canary, select: {ring: canary}}
  - {name: field, select: {}}
"""
RELEASE = f"name: v1\nimages:\n  firmware: {{path: x.img, version: '1', sha256: {'a' * 64}, compatible: [files]}}\n"
LINE = "config/fleet/files/app/f00.conf"
T = TypeVar("T")


def run(workshop: Workshop) -> Iterator[Figure]:
    place = workshop.room("config")
    _write(place)
    source = Repository(place)
    where = f"{BOARDS} boards, 24 files each, 4 templates, as many different bundles as boards, real git"
    workshop.say("compiling the first commit")
    first, seconds = _cpu(lambda: _compile(source, render))
    yield Figure("commit to bundles, CPU time", seconds, "s", where, COMPILE_LIMIT)
    remembering = Remembering()
    _compile(source, remembering)
    place.joinpath(LINE).write_text("changed = yes\n")
    _commit(place)
    workshop.say("compiling a change of one line")
    second, seconds = _cpu(lambda: _compile(source, remembering))
    yield Figure("a change of one line, to bundles, CPU time", seconds, "s", where, COMPILE_LIMIT)
    workshop.say("comparing the two")
    found, seconds = _cpu(lambda: changes(first, second))
    if len(found) != BOARDS or len({config.sha256 for config in second.configs.values()}) != BOARDS:
        raise BenchError(f"{len(found)} changes for {BOARDS} boards")
    yield Figure("what changes on each board, CPU time", seconds, "s", where, COMPILE_LIMIT)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield Figure("memory of all that, with two revisions", peak / MIB, "MiB", where)


def _compile(source: Repository, how: Render) -> Fleet:
    head = source.head().id
    fleet = repository.load(source.files(head), head, repository.known_types(), how)
    if len(compile_fleet(fleet)) != BOARDS:
        raise BenchError("not every board wants something")
    return fleet


def _cpu(work: Callable[[], T]) -> tuple[T, float]:
    """The result, and the CPU seconds of this process and of its children that have ended."""
    before = sum(os.times()[:4])
    result = work()
    return result, sum(os.times()[:4]) - before


def _write(place: Path) -> None:
    boards = "".join(
        f"  - id: b{n:05}\n    type: files\n    key: {n:064x}\n"
        f"    labels: {{ring: {'field' if n % 10 else 'canary'}, site: s{n % 50}, rack: r{n}}}\n"
        for n in range(BOARDS)
    )
    files = {"fleet.yaml": FLEET, "releases/v1.yaml": RELEASE, "boards/all.yaml": f"boards:\n{boards}"}
    files["config/fleet/files/app/site.conf.j2"] = "site = {{ labels.site }}\n" * 20
    files["config/fleet/files/app/board.conf.j2"] = "board = {{ board }}\nrack = {{ labels.rack }}\n" * 20
    files["config/fleet/files/app/list.conf.j2"] = "{% for n in range(20) %}{{ labels.site }}.{{ n }}\n{% endfor %}"
    files["config/groups/field/files/app/ring.conf.j2"] = "{{ labels.ring }}\n"
    files["config/groups/canary/files/app/ring.conf.j2"] = "trial of {{ labels.ring }}\n"
    files |= {f"config/fleet/files/app/f{n:02}.conf": f"value = {n}\n" * 20 for n in range(20)}
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    subprocess.run(["git", "-C", str(place), "init", "-q", "-b", "main"], check=True)
    _commit(place)


def _commit(place: Path) -> None:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    for words in (["add", "--all"], [*identity, "commit", "-q", "-m", "change"]):
        subprocess.run(["git", "-C", str(place), *words], check=True)
