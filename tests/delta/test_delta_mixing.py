"""Whether the context-mixing coder is there: by its file or a variable, and nobody loads it to find out."""

from __future__ import annotations

import sys

import pytest

import edgesync.delta
from edgesync.delta.mixing import VARIABLE, available


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
