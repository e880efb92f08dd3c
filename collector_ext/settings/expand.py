"""`${env:NAME}`, `${env:NAME:-default}`, `${NAME}` and `${file:PATH}` in values; `$$` stands for one dollar sign.

A value that is nothing but one `${...}` becomes what the text means as YAML: a number, a list, a mapping. Inside other
text it stays text. An environment variable that is not set is empty, with a warning, as in the Collector.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from collector_ext.settings.compose import FILE_LIMIT, compose
from collector_ext.settings.nodes import Items, Node, Scalar, Table
from edgesync.host.files import read_limited
from edgesync.wire.errors import ConfigError

EXPANSIONS = 1000
"""`${...}` of one configuration."""
NESTING = 10
"""Expansions within what was expanded."""
TEXT_LIMIT = FILE_LIMIT
_INNERMOST = re.compile(r"\$\{([^${}]*)\}")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Expander:
    """For one configuration. `directory` is where relative paths of `${file:...}` begin."""

    def __init__(self, environment: Mapping[str, str], directory: str) -> None:
        self._environment, self._directory = environment, directory
        self._left = EXPANSIONS
        self.warnings: list[str] = []

    def node(self, node: Node, nesting: int = NESTING) -> Node:
        match node:
            case Items(values, where):
                return Items([self.node(value, nesting) for value in values], where)
            case Table(values, where):
                return Table({key: self.node(value, nesting) for key, value in values.items()}, where)
            case Scalar(str(text), quoted, where) if "$" in text:
                return self._scalar(text, quoted, where, nesting)
        return node

    def _scalar(self, text: str, quoted: bool, where: str, nesting: int) -> Node:
        whole = _INNERMOST.fullmatch(text)
        if not whole:
            return Scalar(self._text(text, where), quoted, where)
        if nesting <= 0:
            raise ConfigError(f"{where}: {text[:80]}: more than {NESTING} expansions within one another")
        value = self._lookup(whole[1], where)
        try:
            found = compose(where, value.encode())
        except ConfigError:  # text that is no YAML is text
            found = Scalar(value, quoted=True, where=where)
        if isinstance(found, Scalar):
            if not value.strip():
                return Scalar("", quoted=True, where=where)
            # Its own spelling is kept, for a field of text; a newline at the end of a file is none of it.
            return found if found.quoted or found.text is None else Scalar(value.strip(), quoted=False, where=where)
        return self.node(found, nesting - 1)

    def _text(self, text: str, where: str) -> str:
        parts = []
        for part in text.split("$$"):
            while found := _INNERMOST.search(part):
                part = part[: found.start()] + self._lookup(found[1], where) + part[found.end() :]  # noqa: PLW2901
                if len(part) > TEXT_LIMIT:
                    raise ConfigError(f"{where}: more than {TEXT_LIMIT} characters after expansion")
            parts.append(part)
        return "$".join(parts)

    def _lookup(self, uri: str, where: str) -> str:
        self._left -= 1
        if self._left < 0:
            raise ConfigError(f"{where}: more than {EXPANSIONS} expansions")
        scheme, colon, rest = uri.partition(":")
        if not colon:
            scheme, rest = "env", uri
        if scheme == "env":
            return self._variable(rest, where)
        if scheme == "file":
            return read_limited(os.path.join(self._directory, rest), FILE_LIMIT).decode(errors="replace")
        raise ConfigError(
            f"{where}: scheme {scheme[:60]!r} is not supported for uri {uri[:80]!r}, expected env or file"
        )

    def _variable(self, rest: str, where: str) -> str:
        name, has_default, default = rest.partition(":-")
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{where}: environment variable {name[:60]!r} has invalid name: must match regex {_NAME.pattern}"
            )
        value = self._environment.get(name, default)
        if name not in self._environment and not has_default:
            self.warnings.append(f"{where}: configuration references unset environment variable {name}")
        return value
