"""Whether the context-mixing coder is there, which nobody loads to find out, and whether a delta needs it."""

from __future__ import annotations

import sys
from typing import get_args

import pytest
from delta_parts import linked

import edgesync.delta
from edgesync.delta import api
from edgesync.delta.mixing import VARIABLE, available
from edgesync.wire.errors import UnknownFormatError


def only_in(directory, monkeypatch):
    """Look for the extension in this directory alone, as a process does that has not loaded it."""
    monkeypatch.setattr(edgesync.delta, "__path__", [str(directory)])
    monkeypatch.delitem(sys.modules, "edgesync.delta._mixing", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An extension that whoever loads it would notice."""
    (tmp_path / "_mixing.py").write_text("raise AssertionError('loaded')")
    only_in(tmp_path, monkeypatch)


@pytest.mark.usefixtures("installed")
def test_the_coder_is_there_where_its_extension_is_and_the_variable_is_not(monkeypatch):
    assert available()
    monkeypatch.setenv(VARIABLE, "1")
    assert not available()


def test_the_coder_is_not_there_without_its_extension(tmp_path, monkeypatch):
    only_in(tmp_path, monkeypatch)
    assert not available()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A directory with `old`, `new`, and the deltas `mixing` and `lzma` of a program whose functions have moved."""
    place = tmp_path_factory.mktemp("mixed")
    (place / "old").write_bytes(linked({}, 3000))
    (place / "new").write_bytes(linked({5: 3, 40: 7, 700: 2, 1500: 9, 2222: 4}, 3000))
    for coder in get_args(api.Coder):
        api.make(place / "old", place / "new", place / coder, coder=coder)
    return place


@pytest.mark.mixing
def test_a_delta_says_which_coder_it_needs_and_the_mixed_one_is_smaller(mixed):
    found = {coder: api.verify(mixed / "old", mixed / coder) for coder in get_args(api.Coder)}
    assert {coder: told.coder for coder, told in found.items()} == {"mixing": "mixing", "lzma": "lzma"}
    assert found["mixing"].length < found["lzma"].length
    assert found["mixing"].to_dict()["coder"] == "mixing"


@pytest.mark.mixing
def test_a_mixed_delta_is_refused_without_its_coder_before_anything_is_read_or_written(mixed, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")
    other = tmp_path / "other"
    other.write_bytes(b"an image that is not the base")
    with pytest.raises(UnknownFormatError, match="mixing: delta: only the context-mixing coder"):
        api.apply(other, mixed / "mixing", tmp_path / "built")
    assert list(tmp_path.iterdir()) == [other]
    assert api.info(mixed / "mixing").coder == "mixing"
    api.apply(mixed / "old", mixed / "lzma", tmp_path / "built")
    assert (tmp_path / "built").read_bytes() == (mixed / "new").read_bytes()
