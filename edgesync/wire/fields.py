"""Reading values out of a JSON object from outside: each reader names the field, what it found and what it expected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgesync.wire.errors import MalformedMessageError

INTEGER_LIMIT = 1 << 53
"""Past this, JSON readers of other languages disagree."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""JSON can say them, but neither UTF-8 nor a database can hold them."""


def text(source: Mapping[str, Any], key: str, limit: int = 200, default: str | None = None) -> str:
    value = source.get(key, default)
    if not isinstance(value, str) or len(value) > limit or _UNSTORABLE.search(value):
        raise _wrong(key, value, f"text of at most {limit} characters, without NUL or half a surrogate pair")
    return value


def storable(value: str) -> str:
    """The same text with a question mark for each character that `text` refuses."""
    return _UNSTORABLE.sub("?", value)


def integer(source: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = source.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < INTEGER_LIMIT:
        raise _wrong(key, value, "a whole number from 0")
    return value


def number(source: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """A number from 0, whole or not. JSON as Python reads it also knows infinity, which nothing here means."""
    value = source.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < INTEGER_LIMIT:
        raise _wrong(key, value, "a number from 0")
    return float(value)


def mapping(source: Mapping[str, Any], key: str, limit: int = 64) -> Mapping[str, Any]:
    value = source.get(key, {})
    if not isinstance(value, dict) or len(value) > limit or any(_UNSTORABLE.search(name) for name in value):
        raise _wrong(key, value, f"an object of at most {limit} members with storable names")
    return value


def array(source: Mapping[str, Any], key: str, limit: int = 64) -> list[Any]:
    value = source.get(key, [])
    if not isinstance(value, list) or len(value) > limit:
        raise _wrong(key, value, f"an array of at most {limit} members")
    return value


def _wrong(key: str, value: object, expected: str) -> MalformedMessageError:
    return MalformedMessageError(f"field {key!r}: found {str(value)[:60]!r}, expected {expected}")
