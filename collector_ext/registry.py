"""Which component types there are: by entry point, and none is loaded that nobody names.

The groups are `collector_ext.receivers`, `.processors`, `.exporters` and `.extensions`; the name is the type, the value
is `module:FACTORY`. Installed packages are read by hand: importlib.metadata costs 2.9 MiB for good (email and zip
parsers), and a board has 4 for all of its telemetry.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Protocol

from collector_ext.component import ExporterFactory, ExtensionFactory, Factory, ProcessorFactory, ReceiverFactory
from collector_ext.ids import Kind
from edgesync.host.files import read_limited
from edgesync.wire.errors import ConfigError, EdgesyncError

FILE_LIMIT = 1 << 20
"""Bytes of an entry_points.txt."""
_GROUPS = {f"collector_ext.{kind.value}s": kind for kind in Kind}
_FACTORIES = (ExtensionFactory, ReceiverFactory, ProcessorFactory, ExporterFactory)


class Registry(Protocol):
    def types(self, kind: Kind) -> list[str]:
        """The types of a kind that are there, sorted."""
        ...

    def factory(self, kind: Kind, name: str) -> Factory | None:
        """The factory of a type, None for one that is not there. Raises ConfigError for one that cannot be used."""
        ...


class Fixed:
    """Factories that were given: for tests, and for programs that bring their own."""

    def __init__(self, factories: Iterable[Factory]) -> None:
        self._factories = {(factory.kind, factory.type): factory for factory in factories}

    def types(self, kind: Kind) -> list[str]:
        return sorted(name for found, name in self._factories if found is kind)

    def factory(self, kind: Kind, name: str) -> Factory | None:
        return self._factories.get((kind, name))


class EntryPoints:
    """What is installed where Python looks for modules; of two packages with one type, the first on the path wins."""

    def __init__(self, path: Iterable[str] | None = None) -> None:
        self._found: dict[tuple[Kind, str], str] = {}
        for directory in sys.path if path is None else path:
            for text in _entry_point_files(directory or "."):
                for key, value in _parse(text):
                    self._found.setdefault(key, value)

    def types(self, kind: Kind) -> list[str]:
        return sorted(name for found, name in self._found if found is kind)

    def factory(self, kind: Kind, name: str) -> Factory | None:
        value = self._found.get((kind, name))
        if value is None:
            return None
        module, _, attribute = value.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{kind.value} {name!r} cannot be loaded from {value}: {error}") from error
        if not isinstance(found, _FACTORIES) or found.kind is not kind or found.type != name:
            raise ConfigError(f"{kind.value} {name!r}: {value} is no factory of that kind and type")
        return found


def default_configs(registry: Registry) -> Mapping[str, list[Factory]]:
    """Every factory by kind, for a list of what there is. Loads them all."""
    return {
        f"{kind.value}s": [found for name in registry.types(kind) if (found := registry.factory(kind, name))]
        for kind in Kind
    }


def _entry_point_files(directory: str) -> Iterable[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:  # a zip file, or a directory that is not there: both are usual on sys.path
        return
    for name in names:
        if name.endswith((".dist-info", ".egg-info")):
            path = os.path.join(directory, name, "entry_points.txt")
            if os.path.isfile(path):
                try:
                    yield read_limited(path, FILE_LIMIT).decode(errors="replace")
                except EdgesyncError:
                    continue  # another package's damage is not ours to tell


def _parse(text: str) -> Iterable[tuple[tuple[Kind, str], str]]:
    kind = None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            kind = _GROUPS.get(line.strip("[]").strip())
        elif kind is not None and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            # `module:attribute [extra]`
            yield (kind, name.strip()), value.partition("[")[0].strip()
