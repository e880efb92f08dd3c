"""Reading one mapping of a file that a person wrote: each key by its type and unit, and a problem for all the rest.

A section is asked for its keys one after the other and closed: what nobody asked for is unknown. Every reader
returns a usable value even where it reports a problem, so that one mistake never hides the next.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from decimal import Decimal
from functools import lru_cache

from edgesync.control.parse import SHOWN, Items, Node, Place, Problem, Scalar, Table

SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
DURATIONS = {"s": 1, "min": 60, "h": 3600, "d": 86400}

_INTEGER = re.compile(r"[0-9]{1,9}")
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([A-Za-z%/]{0,10})")


class Section:
    """One mapping under `place`. Problems go to the list that all sections of a run share."""

    def __init__(self, table: Table, place: Place, problems: list[Problem]) -> None:
        self._table = table
        self._problems = problems
        self._asked: list[str] = []
        self.place = place

    def __contains__(self, key: str) -> bool:
        return key in self._table.values

    def at(self, key: str) -> Place:
        """Where the key stands, or where the section begins if it is not there."""
        return Place(self.place.file, self._table.lines.get(key, self.place.line), join(self.place.key, key))

    def refuse(self, key: str, found: str, expected: str, hint: str = "") -> None:
        self._problems.append(self.at(key).problem(found, expected, hint))

    def text(self, key: str, expected: str, default: str | None = None, limit: int = 200) -> str:
        """One line of 1 to `limit` characters. Without a default the key must be there."""
        node = self._take(key, expected, required=default is None)
        if node is None:
            return default or ""
        if not isinstance(node, Scalar) or node.text is None:
            self.refuse(key, str(node), expected)
            return default or ""
        if not 0 < len(node.text) <= limit:
            self.refuse(key, f"{len(node.text)} characters", f"{expected} of 1 to {limit} characters")
            return default or ""
        if not node.text.isprintable():
            self.refuse(key, f"{node.text[:SHOWN]!r} with a control character", expected)
            return default or ""
        return node.text

    def matching(self, key: str, pattern: re.Pattern[str], expected: str, default: str | None = None) -> str:
        """Text that has a form. Without a default the key must be there."""
        value = self.text(key, expected, default, 4096)
        if value and value != default and not pattern.fullmatch(value):
            self.refuse(key, repr(value[:SHOWN]), expected)
            return default or ""
        return value

    def quantity(self, key: str, default: float, units: dict[str, int], example: str) -> float:
        """A number with one of the units, in the base unit (bytes, seconds)."""
        text = self.text(key, _measure_text(units, example), "", 40)
        value = self.measure(key, text, units, example) if text else None
        return default if value is None else value

    def measure(self, key: str, text: str, units: dict[str, int], example: str) -> float | None:
        """The same for text that was read already; None, and a problem, for anything else."""
        found = _QUANTITY.fullmatch(text)
        unit = found.group(2) if found else ""
        if found and unit in units:
            return float(Decimal(found.group(1)) * units[unit])
        hint = ""
        if found:
            hint = did_you_mean(unit, units) if unit else "the unit is missing"
        self.refuse(key, repr(text), _measure_text(units, example), hint)
        return None

    def duration(self, key: str, default: float) -> float:
        """Seconds; more than none."""
        value = self.quantity(key, default, DURATIONS, "1 h")
        if value <= 0:
            self.refuse(key, f"{value:g} s", "more than 0 s")
            return default
        return value

    def fraction(self, key: str, default: float) -> float:
        """0 to 1, written in per cent."""
        value = self.quantity(key, default * 100, {"%": 1}, "95 %") / 100
        if not 0 <= value <= 1:
            self.refuse(key, f"{value:.6g} times the whole", "0 % to 100 %")
            return default
        return value

    def integer(self, key: str, default: int, least: int, most: int, unit: str = "") -> int:
        """A whole number; `unit` is what it counts."""
        expected = f"a whole number from {least} to {most}{f' ({unit})' if unit else ''}"
        text = self.text(key, expected, str(default), 20)
        if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
            self.refuse(key, repr(text), expected)
            return default
        return int(text)

    def choice(self, key: str, options: Collection[str], default: str | None = None) -> str:
        expected = f"one of {', '.join(options)}"
        value = self.text(key, expected, default)
        if value and value not in options:
            self.refuse(key, repr(value[:SHOWN]), expected, did_you_mean(value, options))
            return default or ""
        return value

    def texts(self, key: str, expected: str, limit: int) -> dict[str, str]:
        """A mapping of text to text with at most `limit` keys; empty where the key is missing."""
        result: dict[str, str] = {}
        section = self.section(key, expected, required=False)
        if len(section.names()) > limit:
            self.refuse(key, f"{len(section.names())} keys", f"at most {limit}")
        for name in section.names()[:limit]:
            result[name] = section.text(name, expected, limit=64)
        return result

    def strings(self, key: str, expected: str, *, required: bool = True) -> list[tuple[Place, str]]:
        """A list of text with the place of each; where it is required it is not empty either."""
        result = []
        for place, node in self._items(key, expected, required=required):
            if isinstance(node, Scalar) and node.text:
                result.append((place, node.text))
            else:
                self._problems.append(place.problem(str(node), "text"))
        value = self._table.values.get(key)
        if isinstance(value, Items) and not value.values and required:
            self.refuse(key, "an empty list", expected)
        return result

    def section(self, key: str, expected: str, *, required: bool) -> Section:
        """The mapping under a key; an empty one where there is none."""
        node = self._take(key, expected, required=required)
        if node is not None and not isinstance(node, Table):
            self.refuse(key, str(node), expected)
        return Section(node if isinstance(node, Table) else Table(self.at(key).line), self.at(key), self._problems)

    def sections(self, key: str, expected: str, *, required: bool = True) -> Iterator[Section]:
        """The mappings of a list, in order."""
        for place, node in self._items(key, expected, required=required):
            if isinstance(node, Table):
                yield Section(node, place, self._problems)
            else:
                self._problems.append(place.problem(str(node), "a mapping, lines of the form `key: value`"))

    def names(self) -> list[str]:
        """The keys that are there; each still has to be asked for."""
        return list(self._table.values)

    def close(self) -> None:
        """Report every key that was not asked for."""
        for key in self._table.values:
            if key not in self._asked:
                known = tuple(self._asked)
                hint = did_you_mean(key, known) or f"known here: {', '.join(known)}"
                self.refuse(key, f"the unknown key {key[:SHOWN]!r}", "a known key", hint)

    def _take(self, key: str, expected: str, *, required: bool) -> Node | None:
        self._asked.append(key)
        node = self._table.values.get(key)
        if node is None and required:
            self.refuse(key, "nothing", expected)
        return node

    def _items(self, key: str, expected: str, *, required: bool = True) -> Iterator[tuple[Place, Node]]:
        node = self._take(key, expected, required=required)
        if isinstance(node, Items):
            for number, item in enumerate(node.values):
                yield Place(self.place.file, item.line, f"{self.at(key).key}[{number}]"), item
        elif node is not None:
            self.refuse(key, str(node), expected)


def _measure_text(units: dict[str, int], example: str) -> str:
    return f"a number and a unit ({', '.join(units)}) such as {example!r}"


def join(path: str, key: str) -> str:
    return f"{path}.{key[:SHOWN]}" if path else key[:SHOWN]


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A hint that names the known word nearest to this one, or ""."""
    nearest = _nearest(word[:SHOWN], tuple(known))
    return f"did you mean {nearest!r}?" if nearest else ""


@lru_cache(maxsize=1024)
def _nearest(word: str, known: tuple[str, ...]) -> str:
    if same := [name for name in known if name.lower() == word.lower()]:
        return same[0]
    return next(iter(difflib.get_close_matches(word, known, 1)), "")
