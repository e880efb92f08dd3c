"""Board types are read strictly: a mistake in one names file, key, what was found and what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgesync.boards import profile
from edgesync.boards.files import FilesBackend
from edgesync.wire.errors import ConfigError

GOOD = Path(profile.__file__).with_name("files.toml").read_text()


@pytest.mark.parametrize("name", profile.names())
def test_every_type_that_ships_can_be_loaded(name: str, tmp_path: Path) -> None:
    loaded = profile.load(name)
    assert loaded.name == name
    assert isinstance(profile.open_backend(loaded, tmp_path), FilesBackend)


def test_an_unknown_type_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"found 'jetsen', expected one of files"):
        profile.load("jetsen")


@pytest.mark.parametrize("name", ["../files", "files.toml", ""])
def test_a_type_is_not_a_path(name: str) -> None:
    with pytest.raises(ConfigError, match="board type: found"):
        profile.load(name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tries = 3", "tries = 0", "key boot.tries: found '0', expected 1 to 10 boots"),
        ("tries = 3", "tries = true", "key boot.tries: found 'True', expected a whole number"),
        ("tries = 3", "", "key boot.tries is missing"),
        ("tries = 3", "tries = 3\ntrys = 3", "unknown key boot.trys, expected tries, confirm_seconds"),
        ("confirm_seconds = 120", "confirm_seconds = 1e3", "key boot.confirm_seconds: found '1000.0'"),
        ("worker_memory_mib = 64", "worker_memory_mib = 1", "found '1', expected 32 to 4096 MiB"),
        ('backend = "files"', 'backend = "grub"', "key backend: found 'grub', expected 'files'"),
        ("components = []", 'components = ["a/b"]', "key components: found 'a/b'"),
        ("components = []", "components = [1]", "key components: found '1'"),
        ("format = 1", "format = 2", "key format: found '2', expected 1"),
        ("format = 1", "format 1", "not TOML"),
        ("[limits]", "[limit]", "unknown key limit"),
    ],
)
def test_a_wrong_profile_names_the_key(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=re.escape(message)):
        profile.parse("files", GOOD.replace(old, new, 1).encode())


def test_bytes_that_are_not_text_are_a_named_error() -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        profile.parse("files", b"\xff\xfe")
