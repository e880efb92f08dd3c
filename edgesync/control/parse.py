"""YAML text to values that remember their line, and the problem that every check of the fleet repository reports.

The text is read event by event, so nothing is built that was not asked for: no Python objects, no anchors and
aliases (a small file could stand for gigabytes), no duplicate keys. Scalars stay text: what a key means decides its
reader, so version 1.10 stays 1.10 and a label `no` is not a boolean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

FILE_LIMIT = 4 * 1024 * 1024
"""Bytes of one file: 10,000 boards take 2 MB."""
NODE_LIMIT = 500_000
"""Scalars, lists and mappings of one file: 10,000 boards take 140,000."""
DEPTH_LIMIT = 16
SHOWN = 60
"""Characters of what was found that a problem shows."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # eight times as fast where PyYAML was built with libyaml
NON_PRINTABLE = yaml.reader.Reader.NON_PRINTABLE
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})


def printable(text: str) -> str:
    """The same text with whatever begins another line, or commands a terminal, spelled out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong: where (`line` 0 where there is none), what was found, what was expected, what to do."""

    file: str
    line: int
    key: str
    found: str
    expected: str
    hint: str = ""

    @property
    def said(self) -> str:
        """All but where."""
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{key}found {self.found}, expected {self.expected}{hint}"

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return printable(f"{where}: {self.said}")

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Problem.__slots__}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: file, line, and the path of keys that leads to it."""

    file: str
    line: int
    key: str

    def problem(self, found: str, expected: str, hint: str = "") -> Problem:
        return Problem(self.file, self.line, self.key, found, expected, hint)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as text. `text` is None where the file says nothing: an empty value, `~` or `null`."""

    line: int
    text: str | None

    def __str__(self) -> str:
        return "nothing" if self.text is None else repr(self.text[:SHOWN])


@dataclass(frozen=True, slots=True)
class Items:
    line: int
    values: list[Node] = field(default_factory=list)

    def __str__(self) -> str:
        return f"a list of {len(self.values)}"


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; `lines` has the line of each key."""

    line: int
    values: dict[str, Node] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"a mapping of {len(self.values)} keys"


Node = Scalar | Items | Table


class _RefusedError(Exception):
    """Carries the problem out of a text that is not read any further."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def compose(file: str, data: bytes) -> tuple[Table, list[Problem]]:
    """The mapping that a file holds and the problems of its form; an empty mapping where the text cannot be read."""
    problems: list[Problem] = []
    try:
        node = _document(file, data, problems)
    except _RefusedError as refused:
        return Table(1), [*problems, refused.problem]
    if isinstance(node, Table):
        return node, problems
    return Table(1), [*problems, Problem(file, node.line, "", str(node), "a mapping, lines of the form `key: value`")]


def _document(file: str, data: bytes, problems: list[Problem]) -> Node:
    if len(data) > FILE_LIMIT:
        raise _RefusedError(
            Problem(file, 0, "", f"{len(data)} bytes", f"at most {FILE_LIMIT}", "split it into several files")
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _RefusedError(Problem(file, line, "", f"byte {data[error.start]:#04x}", "text in UTF-8")) from error
    if control := NON_PRINTABLE.search(text):
        line = text.count("\n", 0, control.start()) + 1
        raise _RefusedError(Problem(file, line, "", f"the character {control.group()!r}", "printable text"))
    try:
        events = yaml.parse(text, Loader=_LOADER)
        next(events)  # the beginning of the stream
        if isinstance(next(events), yaml.StreamEndEvent):
            return Scalar(1, None)
        node = _Composer(file, events, problems).node(next(events), "", DEPTH_LIMIT)
        next(events)  # the end of the document
        after: Any = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            line = after.start_mark.line + 1
            raise _RefusedError(Problem(file, line, "", "a second document", "one document", "remove the `---`"))
    except yaml.YAMLError as error:
        raise _RefusedError(_syntax(file, error)) from error
    return node


class _Composer:
    """Builds nodes from a stream of events, within the limits."""

    def __init__(self, file: str, events: Iterator[Any], problems: list[Problem]) -> None:
        self._file = file
        self._events = events
        self._problems = problems
        self._left = NODE_LIMIT

    def node(self, event: Any, key: str, depth: int) -> Node:
        line: int = event.start_mark.line + 1
        self._check(event, line, key, depth)
        if isinstance(event, yaml.ScalarEvent):
            nothing = not event.style and event.value in _NOTHING
            return Scalar(line, None if nothing else event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            items = Items(line)
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.values.append(self.node(event, f"{key}[{len(items.values)}]", depth - 1))
            return items
        table = Table(line)
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._entry(table, event, key, depth)
        return table

    def _entry(self, table: Table, event: Any, key: str, depth: int) -> None:
        line: int = event.start_mark.line + 1
        self._check(event, line, key, depth)
        if not isinstance(event, yaml.ScalarEvent):
            raise _RefusedError(Problem(self._file, line, key, "a list or mapping as a key", "a word as a key"))
        name: str = event.value
        if not name.isprintable():
            raise _RefusedError(
                Problem(self._file, line, key, f"the key {name[:SHOWN]!r}", "a key of one line of text")
            )
        path = f"{key}.{name[:SHOWN]}" if key else name[:SHOWN]
        value = self.node(next(self._events), path, depth - 1)
        if name in table.values:
            self._problems.append(
                Problem(
                    self._file,
                    line,
                    path,
                    "the key a second time",
                    "each key once",
                    f"the first is in line {table.lines[name]}",
                )
            )
            return
        table.values[name] = value
        table.lines[name] = line

    def _check(self, event: Any, line: int, key: str, depth: int) -> None:
        self._left -= 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            mark = "*" if isinstance(event, yaml.AliasEvent) else "&"
            found, expected = f"{mark}{str(event.anchor)[:SHOWN]}", "no anchors and aliases"
            hint = 'write the value out; text that begins with & or * needs quotes ("...")'
        elif event.tag is not None:
            found, expected, hint = (
                f"the tag {event.tag[:SHOWN]!r}",
                "no tags",
                'text that begins with ! needs quotes ("...")',
            )
        elif depth <= 0:
            found, expected, hint = f"more than {DEPTH_LIMIT} levels", f"at most {DEPTH_LIMIT} levels", ""
        elif self._left < 0:
            found, expected, hint = f"more than {NODE_LIMIT} values", "fewer", "split it into several files"
        else:
            return
        raise _RefusedError(Problem(self._file, line, key, found, expected, hint))


def _syntax(file: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable").removeprefix("found ")
    column = f" at column {mark.column + 1}" if mark else ""
    hint = "indent with spaces, not tabs" if "cannot start any token" in what else ""
    return Problem(file, mark.line + 1 if mark else 0, "", f"a mistake{column}: {what}", "YAML", hint)
