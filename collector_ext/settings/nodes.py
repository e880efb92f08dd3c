"""A configuration before it has types: scalars, lists and mappings that remember the file and line they came from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
TRUE, FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
INTEGER = re.compile(r"[-+]?[0-9]{1,19}|0x[0-9a-fA-F]{1,16}|0o[0-7]{1,21}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text as it was written: what it means decides the field that it is bound to. `text` None is null."""

    text: str | None
    quoted: bool
    where: str

    def __str__(self) -> str:
        return "null" if self.text is None else repr(self.text[:60])

    def value(self) -> Any:
        """By YAML's core schema, for fields that take anything."""
        if self.text is None or self.quoted:
            return self.text
        if self.text in TRUE or self.text in FALSE:
            return self.text in TRUE
        if INTEGER.fullmatch(self.text):
            return integer(self.text)
        if FLOAT.fullmatch(self.text):
            return number(self.text)
        return self.text


@dataclass(frozen=True, slots=True)
class Items:
    values: list[Node]
    where: str

    def __str__(self) -> str:
        return f"a list of {len(self.values)}"


@dataclass(frozen=True, slots=True)
class Table:
    values: dict[str, Node] = field(default_factory=dict)
    where: str = ""

    def __str__(self) -> str:
        return f"a mapping of {len(self.values)} keys"


Node = Scalar | Items | Table


def integer(text: str) -> int:
    """Of what INTEGER matches: a leading zero is decimal, as in Go."""
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


def number(text: str) -> float:
    """Of what FLOAT matches."""
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def merged(below: Node | None, above: Node) -> Node:
    """Two files' values of one key: mappings are merged deep, everything else is replaced by the later file. A later
    null leaves a mapping as it is.
    """
    if not isinstance(below, Table):
        return above
    if isinstance(above, Scalar) and above.text is None:
        return below
    if not isinstance(above, Table):
        return above
    values = {**below.values, **{key: merged(below.values.get(key), value) for key, value in above.values.items()}}
    return Table(values, above.where)


def plain(node: Node) -> Any:
    """Ordinary Python values."""
    match node:
        case Scalar():
            return node.value()
        case Items(values):
            return [plain(value) for value in values]
        case Table(values):
            return {key: plain(value) for key, value in values.items()}


def to_json(node: Node) -> Any:
    match node:
        case Scalar(text, quoted, where):
            return [text, int(quoted), where]
        case Items(values, where):
            return {"items": [to_json(value) for value in values], "where": where}
        case Table(values, where):
            return {"table": {key: to_json(value) for key, value in values.items()}, "where": where}


def from_json(value: Any) -> Node:
    """The other way round, for what `to_json` made."""
    if isinstance(value, list):
        return Scalar(value[0], bool(value[1]), value[2])
    if "items" in value:
        return Items([from_json(item) for item in value["items"]], value["where"])
    return Table({key: from_json(item) for key, item in value["table"].items()}, value["where"])
