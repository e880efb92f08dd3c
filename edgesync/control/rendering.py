"""Templates of config to text, in a child process: the parent's side.

A template is a program that somebody pushed. The sandbox keeps it from everything but its values, but not from taking
for ever or all memory, so it runs where that ends with the child: `jinja` is the other side.

    parent > child   one line of JSON: {"boards": [values], "templates": [{"file", "source", "boards": [numbers]}]}
    child > parent   JSON lines, for each template: {"at": [template, board]} before each different text and
                     {"text": text or fault} after it, then {"of": [number of the text for each board]}
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import IO

from edgesync.wire.errors import NotReachableError
from edgesync.wire.ids import board_of, parse_device

START = 60.0
"""Seconds for the child's start, which takes a quarter of one where nothing else is busy."""
STALL = 10.0
"""Seconds for one text, which takes less than a thousandth of one."""
STALLS_LIMIT = 3
"""Templates that may stall or kill the child until the others are given up."""
OUTPUT_LIMIT = 256 * 1024 * 1024
"""Bytes of all texts of one commit, as JSON: the server holds them in memory."""
READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Values:
    """What a template may use of one board: labels as pairs, sorted; `release` is "" for a board without one."""

    board: str
    device: str
    fleet: str
    type: str
    labels: tuple[tuple[str, str], ...]
    release: str


@dataclass(frozen=True, slots=True)
class Template:
    """One template: its file in the repository, its text, and the numbers of the boards that it is rendered for."""

    file: str
    source: str
    boards: Sequence[int]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no text, in the words of a Problem; `line` 0 where there is none. `everywhere`: for any board."""

    line: int
    found: str
    expected: str
    hint: str = ""
    everywhere: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """The different texts of one template, and for each of its boards the number of its own."""

    texts: Sequence[str | Fault]
    of: Sequence[int]


Render = Callable[[Sequence[Template], Sequence[Values]], Sequence[Rendered]]
"""Texts for templates, in their order."""


def render(templates: Sequence[Template], boards: Sequence[Values]) -> Sequence[Rendered]:
    """Render in a child that is ended when it stalls or takes too much memory; whatever a template does is a fault of
    that template. Raises NotReachableError where there can be no such child, as without Jinja2.
    """
    results: dict[int, Rendered] = {}
    stalls = 0
    while left := [number for number in range(len(templates)) if number not in results]:
        if stalls == STALLS_LIMIT:
            given_up = Fault(0, f"{STALLS_LIMIT} other templates that do not end", "templates that end", "", True)
            results.update({number: _all(templates[number], given_up) for number in left})
            break
        run = _Run()
        results.update(zip(left, run.follow([templates[number] for number in left], boards), strict=False))
        if run.failure:
            stalls += 1
            template = left[run.at[0]]
            name = board_of(parse_device(boards[run.at[1]].device))
            results[template] = _all(templates[template], Fault(0, f"{run.failure} for board {name}", _ENDS, "", True))
    return [results[number] for number in range(len(templates))]


class Remembering:
    """The same, but what was rendered for the last commit is not rendered again: most commits change one file, and a
    child costs more time than its texts.
    """

    def __init__(self, render: Render = render) -> None:
        self._render = render
        self._known: dict[tuple[str, tuple[Values, ...]], Rendered] = {}

    def __call__(self, templates: Sequence[Template], boards: Sequence[Values]) -> Sequence[Rendered]:
        keys = [(template.source, tuple(boards[number] for number in template.boards)) for template in templates]
        new = [number for number, key in enumerate(keys) if key not in self._known]
        made = self._render([templates[number] for number in new], boards) if new else ()
        fresh = dict(zip(new, made, strict=True))
        results = [fresh.get(number) or self._known[key] for number, key in enumerate(keys)]
        # What ended for lack of time may not do so again.
        self._known = {
            key: result
            for key, result in zip(keys, results, strict=True)
            if not any(isinstance(text, Fault) for text in result.texts)
        }
        return results


_ENDS = "a template that is rendered in a moment and little memory"


class _Run:
    """One child. `failure` says how it ended where it did not end by itself, `at` what it was busy with."""

    def __init__(self) -> None:
        self.at = (0, 0)
        self.failure = ""

    def follow(self, templates: Sequence[Template], boards: Sequence[Values]) -> Iterator[Rendered]:
        """Each template's result, as it comes."""
        self.at = (0, templates[0].boards[0])
        request = {
            "boards": [asdict(board) for board in boards],
            "templates": [{**asdict(template), "boards": [*template.boards]} for template in templates],
        }
        with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as complaint:
            asked.write(json.dumps(request).encode() + b"\n")
            asked.seek(0)
            with subprocess.Popen(
                [sys.executable, "-m", "edgesync.control.jinja", str(os.getpid())],
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=complaint,
                cwd="/",  # modules are found where edgesync is, and never in the repository that is checked
                start_new_session=True,
            ) as child:
                try:
                    yield from self._results(child, len(templates), complaint)
                finally:
                    child.kill()

    def _results(self, child: subprocess.Popen[bytes], count: int, complaint: IO[bytes]) -> Iterator[Rendered]:
        assert child.stdout is not None
        texts: list[str | Fault] = []
        for line in self._lines(child.stdout.fileno()):
            match json.loads(line):
                case {"at": [int(template), int(board)]}:
                    self.at = (template, board)
                case {"text": text}:
                    texts.append(text if isinstance(text, str) else Fault(**text))
                case {"of": of}:
                    yield Rendered(texts, of)
                    texts, count = [], count - 1
        if count and not self.failure:
            if child.wait() > 0:
                raise _broken(complaint)
            self.failure = "a rendering that was killed, which is what too much memory does,"

    def _lines(self, stream: int) -> Iterator[bytes]:
        """Lines until the end, or until there is a failure."""
        rest, total = bytearray(), 0
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while selector.select(STALL if total else START):
                data = os.read(stream, READ)
                total += len(data)
                if total > OUTPUT_LIMIT:
                    self.failure = f"more than {OUTPUT_LIMIT} bytes of text"
                    return
                if not data:
                    return
                first, *more = data.split(b"\n")
                rest += first
                for part in more:
                    yield bytes(rest)
                    rest = bytearray(part)
        self.failure = f"a rendering of more than {STALL if total else START:.0f} s"


def _broken(complaint: IO[bytes]) -> NotReachableError:
    """For a child that ended by itself before it was done."""
    complaint.seek(0)
    said = complaint.read(READ).decode(errors="replace").strip().rpartition("\n")[2]
    return NotReachableError(f"templates of config cannot be rendered: {said[:300]}")


def _all(template: Template, fault: Fault) -> Rendered:
    return Rendered([fault], [0] * len(template.boards))
