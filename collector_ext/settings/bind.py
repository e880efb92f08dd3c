"""A tree bound to frozen dataclasses, strictly: an unknown key, a wrong type and a bad value are problems with a path.

Fields may be `bool`, `int`, `float`, `str`, `Secret`, `Duration`, `ByteSize`, `ComponentId`, `Any`, `Literal[...]`,
other dataclasses, `tuple[X, ...]`, `Mapping[str, X]`, and each of them `| None`. A null body is the default. All
problems of a tree are found in one go.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from collector_ext.ids import ComponentId, parse_component
from collector_ext.settings.durations import Duration, parse_duration
from collector_ext.settings.nodes import FALSE, FLOAT, INTEGER, TRUE, Items, Node, Scalar, Table, integer, number, plain
from collector_ext.settings.sizes import ByteSize, parse_size
from edgesync.wire.errors import ConfigError

C = TypeVar("C")

SEPARATOR = "::"


class Secret(str):
    """Text that is never shown: its `repr` and `redacted` hide it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[REDACTED]'"


class Problems:
    """What is wrong with a configuration, a line each: where, path, text."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, node: Node | None, path: str, text: str) -> None:
        where = f"{node.where}: " if node is not None and node.where else ""
        self.lines.append(f"{where}{path}: {text}" if path else f"{where}{text}")

    def raise_any(self) -> None:
        """Raises ConfigError with all of them, at most 50."""
        if self.lines:
            more = [f"... and {len(self.lines) - 50} more"] if len(self.lines) > 50 else []
            raise ConfigError("\n".join([*self.lines[:50], *more]))


class _MismatchError(Exception):
    """What was found does not fit; carries the expectation."""


def join(path: str, key: str) -> str:
    return f"{path}{SEPARATOR}{key}" if path else key


def bind(default: C, node: Node, path: str, problems: Problems) -> C:
    """`default` with what `node` says. A field that is wrong keeps its default, and is a problem."""
    if isinstance(node, Scalar) and node.text is None:
        return default
    if not isinstance(node, Table):
        problems.add(node, path, f"found {node}, expected a mapping")
        return default
    kind: Any = type(default)
    kinds = hints(kind)
    unknown = [key for key in node.values if key not in kinds]
    if unknown:
        known = ", ".join(kinds) or "none"
        problems.add(node, path, f"has invalid keys: {', '.join(unknown)[:200]} (known are {known})")
    changes = {}
    for key, value in node.values.items():
        if key not in unknown:
            before = getattr(default, key)
            changes[key] = _value(kinds[key], before, value, join(path, key), problems)
    return dataclasses.replace(default, **changes)  # type: ignore[type-var] # a config is a dataclass


def validate(config: Any, node: Node | None, path: str, problems: Problems) -> None:
    """Call `validate()` of a config and of all configs within, innermost first."""
    if isinstance(config, Mapping):
        inside = {str(key): value for key, value in config.items()}
    elif isinstance(config, tuple):
        inside = {str(at): value for at, value in enumerate(config)}
    elif dataclasses.is_dataclass(config):
        inside = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    else:
        return
    for key, value in inside.items():
        below = node.values.get(key, node) if isinstance(node, Table) else node
        validate(value, below, join(path, key), problems)
    check = getattr(config, "validate", None)
    if callable(check):
        try:
            check()
        except (ConfigError, ValueError) as error:
            problems.add(node, path, str(error))


def redacted(value: Any) -> Any:
    """Ordinary values of a config for people's eyes, secrets blacked out."""
    match value:
        case Secret():
            return "[REDACTED]" if value else ""
        case Mapping():
            return {str(key): redacted(item) for key, item in value.items()}
        case tuple() | list():
            return [redacted(item) for item in value]
        case ComponentId():
            return str(value)
    if dataclasses.is_dataclass(value):
        return {field.name: redacted(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


@cache
def hints(kind: Any) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    named = get_type_hints(kind)
    return {field.name: named[field.name] for field in dataclasses.fields(kind)}


def _value(kind: Any, before: Any, node: Node, path: str, problems: Problems) -> Any:
    """`node` as `kind`; `before` where it does not fit, and for a null."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        kind = next(argument for argument in arguments if argument is not type(None))
        return _value(kind, before, node, path, problems)
    if dataclasses.is_dataclass(kind) and kind is not ComponentId:
        return bind(kind() if before is None else before, node, path, problems)  # type: ignore[operator]
    if kind is Any:
        return plain(node)
    if isinstance(node, Scalar) and node.text is None:
        return before
    if origin is tuple:
        return _tuple(arguments[0], before, node, path, problems)
    if origin is not None and origin is not Literal:
        return _mapping(arguments[1], before, node, path, problems)
    try:
        return _scalar(kind, node)
    except _MismatchError as mismatch:
        problems.add(node, path, f"found {node}, expected {mismatch}")
    except (ConfigError, ValueError) as error:
        problems.add(node, path, str(error))
    return before


def _tuple(kind: Any, before: Any, node: Node, path: str, problems: Problems) -> Any:
    if not isinstance(node, Items):
        problems.add(node, path, f"found {node}, expected a list")
        return before
    return tuple(_value(kind, None, item, f"{path}[{at}]", problems) for at, item in enumerate(node.values))


def _mapping(kind: Any, before: Any, node: Node, path: str, problems: Problems) -> Any:
    if not isinstance(node, Table):
        problems.add(node, path, f"found {node}, expected a mapping")
        return before
    below: Mapping[str, Any] = before or {}
    changed = {
        key: _value(kind, below.get(key), value, join(path, key), problems) for key, value in node.values.items()
    }
    return {**below, **changed}


def _scalar(kind: Any, node: Node) -> Any:
    text = node.text if isinstance(node, Scalar) else None
    if text is None:
        raise _MismatchError("one value")
    if kind is bool:
        if text in TRUE or text in FALSE:
            return text in TRUE
        raise _MismatchError("true or false")
    if kind is int:
        if INTEGER.fullmatch(text):
            return integer(text)
        raise _MismatchError("a whole number")
    if kind is float:
        if FLOAT.fullmatch(text):
            return number(text)
        raise _MismatchError("a number")
    if kind is Duration:
        return parse_duration(text)
    if kind is ByteSize:
        return parse_size(text)
    if kind is ComponentId:
        return parse_component(text)
    if get_origin(kind) is Literal:
        if text in get_args(kind):
            return text
        raise _MismatchError(f"one of {', '.join(get_args(kind))}")
    if kind in (str, Secret):
        return kind(text)
    raise TypeError(f"{kind} cannot be a field of a config")
