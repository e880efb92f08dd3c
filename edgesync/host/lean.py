"""Modules of the standard library that a dependency imports and hardly ever uses: they are loaded when they are used.

A board's resident agent has 30 MiB, and these weigh up to one each.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class _Postponed(ModuleType):
    """Stands in a module's place until someone asks it for something."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def postpone(name: str) -> None:
    """Let the first use of a module of a package load it, not its import. Nothing for one that is loaded already."""
    if name in sys.modules:
        return
    package, _, last = name.rpartition(".")
    module = _Postponed(name)
    module.__spec__ = importlib.util.find_spec(name)
    sys.modules[name] = module
    setattr(importlib.import_module(package), last, module)
