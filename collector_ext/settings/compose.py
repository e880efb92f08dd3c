"""YAML text to nodes, event by event and within limits: no Python objects, no tags, each key once.

Aliases are allowed as in the Collector, but each counts with all that it stands for, so that a small file cannot stand
for gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from collector_ext.settings.nodes import NULLS, Items, Node, Scalar, Table
from edgesync.wire.errors import ConfigError

FILE_LIMIT = 256 * 1024
"""Bytes of one file."""
NODE_LIMIT = 20_000
"""Scalars, lists and mappings of one file, aliases written out."""
DEPTH_LIMIT = 32

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def compose(name: str, data: bytes) -> Node:
    """The one document of a file; null for an empty one. Raises ConfigError that names file and line."""
    if len(data) > FILE_LIMIT:
        raise ConfigError(f"{name}: {len(data)} bytes, at most {FILE_LIMIT}")
    try:
        events = yaml.parse(data.decode(), Loader=_LOADER)
        next(events)  # the beginning of the stream
        if isinstance(next(events), yaml.StreamEndEvent):
            return Scalar(None, quoted=False, where=name)
        node = _Composer(name, events).node(next(events), DEPTH_LIMIT)
        next(events)  # the end of the document
        after: Any = next(events)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: found byte {data[error.start]:#04x}, expected text in UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigError(_syntax(name, error)) from error
    if not isinstance(after, yaml.StreamEndEvent):
        raise ConfigError(f"{name}:{after.start_mark.line + 1}: found a second document, expected one")
    return node


class _Composer:
    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self._name, self._events = name, events
        self._left = NODE_LIMIT
        self._anchors: dict[str, tuple[Node, int]] = {}

    def node(self, event: Any, depth: int) -> Node:
        where = f"{self._name}:{event.start_mark.line + 1}"
        anchor: str | None = event.anchor
        if isinstance(event, yaml.AliasEvent):
            if anchor not in self._anchors:
                raise ConfigError(f"{where}: found *{str(anchor)[:60]}, expected an anchor that is complete before it")
            node, size = self._anchors[anchor]
            self._charge(where, size)
            return node
        if event.tag is not None and event.tag != "!":
            raise ConfigError(f"{where}: found the tag {event.tag[:60]!r}, expected no tags")
        if depth <= 0:
            raise ConfigError(f"{where}: more than {DEPTH_LIMIT} levels")
        before = self._left
        self._charge(where, 1)
        node = self._build(event, where, depth)
        if anchor is not None:
            self._anchors[anchor] = (node, before - self._left)
        return node

    def _build(self, event: Any, where: str, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            quoted = bool(event.style)
            return Scalar(None if not quoted and event.value in NULLS else event.value, quoted, where)
        if isinstance(event, yaml.SequenceStartEvent):
            items = Items([], where)
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.values.append(self.node(event, depth - 1))
            return items
        table = Table({}, where)
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._entry(table, event, depth)
        return table

    def _entry(self, table: Table, event: Any, depth: int) -> None:
        where = f"{self._name}:{event.start_mark.line + 1}"
        if not isinstance(event, yaml.ScalarEvent):
            raise ConfigError(f"{where}: found a list, mapping or alias as a key, expected a word")
        if event.value in table.values:
            raise ConfigError(f"{where}: the key {event.value[:60]!r} a second time")
        self._charge(where, 1)
        table.values[event.value] = self.node(next(self._events), depth - 1)

    def _charge(self, where: str, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ConfigError(f"{where}: more than {NODE_LIMIT} values, aliases written out")


def _syntax(name: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable")
    line, column = (f":{mark.line + 1}", f" (column {mark.column + 1})") if mark else ("", "")
    return f"{name}{line}: not YAML: {what}{column}"
