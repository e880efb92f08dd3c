"""Finding components by entry point: as importlib.metadata does, and only what is asked for is loaded."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from collector_ext.ids import Kind
from collector_ext.registry import EntryPoints
from edgesync.wire.errors import ConfigError

MODULE = """
from collector_ext.component import ExtensionFactory, Stability
from parts import PlayedConfig
FACTORY = ExtensionFactory("%s", Stability.ALPHA, PlayedConfig, lambda settings, config: None)
OTHER = 5
"""

LINES = """
[console_scripts]
x = y:z

[collector_ext.extensions]
# a comment
lazy = played_lazily:FACTORY [extra]
"""


def install(directory: Path, lines: str, package: str = "some-1.0.dist-info") -> EntryPoints:
    (directory / package).mkdir()
    (directory / package / "entry_points.txt").write_text(lines)
    return EntryPoints([str(directory), "/nowhere", "python.zip"])


def test_it_finds_what_importlib_metadata_finds() -> None:
    for kind in Kind:
        standard = sorted({found.name for found in entry_points(group=f"collector_ext.{kind.value}s")})
        assert EntryPoints().types(kind) == standard
    assert "health_check" in EntryPoints().types(Kind.EXTENSION)


def test_nothing_is_loaded_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "played_lazily.py").write_text(MODULE % "lazy")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = install(
        tmp_path,
        LINES,
    )
    assert found.types(Kind.EXTENSION) == ["lazy"]
    assert "played_lazily" not in sys.modules
    factory = found.factory(Kind.EXTENSION, "lazy")
    assert factory is not None
    assert factory.type == "lazy"
    assert found.factory(Kind.EXTENSION, "other") is None
    assert found.factory(Kind.RECEIVER, "lazy") is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module_here:FACTORY", "extension 'x' cannot be loaded from no_such_module_here:FACTORY"),
        ("played_wrongly:MISSING", "cannot be loaded"),
        ("played_wrongly:OTHER", "is no factory of that kind and type"),
        ("played_wrongly:FACTORY", "is no factory of that kind and type"),
    ],
)
def test_an_entry_point_that_leads_nowhere_is_a_named_error(
    value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "played_wrongly.py").write_text(MODULE % "another_type")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "played_wrongly", raising=False)
    with pytest.raises(ConfigError, match=message):
        install(tmp_path, f"[collector_ext.extensions]\nx = {value}\n").factory(Kind.EXTENSION, "x")


def test_the_first_package_on_the_path_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        (directory / "a.egg-info").mkdir(parents=True)
        text = f"[collector_ext.receivers]\nx = {directory.name}_missing:FACTORY\n"
        (directory / "a.egg-info" / "entry_points.txt").write_text(text)
    with pytest.raises(ConfigError, match="first_missing"):
        EntryPoints([str(first), str(second)]).factory(Kind.RECEIVER, "x")
