"""Board types are read strictly: a mistake in one names file, key, what was found and what was expected."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgesync.boards import profile
from edgesync.boards.files import FilesBackend
from edgesync.boards.profile import Command, ConfigProfile
from edgesync.wire.errors import ConfigError, StorageError

GOOD = Path(profile.__file__).with_name("files.toml").read_text()
COMMAND = "[config.commands.check]\nrun = {}\nlimit = '{}'"


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
        ("staging_mib = 1024", "staging_mib = 0", "found '0', expected 1 to 65536 MiB"),
        ("apply_seconds = 7200", "apply_seconds = 0", "found '0', expected 1 to 604800 seconds"),
        ("slowness = 1", "slowness = 0", "found '0', expected 1 to 1000 times"),
        ('backend = "files"', 'backend = "grub"', "key backend: found 'grub', expected 'files'"),
        ("components = []", 'components = ["a/b"]', "key components: found 'a/b'"),
        ("components = []", "components = [1]", "key components: found '1'"),
        ("format = 1", "format = 2", "key format: found '2', expected 1"),
        ("format = 1", "format 1", "not TOML"),
        ("[limits]", "[limit]", "unknown key limit"),
        ('allow = ["**"]', 'allow = ["../**"]', "key config.allow: found '../**', expected a path below the tree"),
        ('allow = ["**"]', 'allow = ["app**"]', "key config.allow: found 'app**', expected `**` as a whole name"),
        ('allow = ["**"]', "allow = [1]", "key config.allow: found '1', expected patterns"),
        ('allow = ["**"]', f"allow = {['a'] * 101}", "key config.allow: found '101', expected at most 100"),
        ("[config.commands]", "[config.command]", "unknown key config.command"),
        ("[config.commands]", "[config.commands.Check]", "key config.commands: found 'Check'"),
        ("[config.commands]", "[config.commands]\ncheck = 1", "key config.commands.check: found '1', expected a table"),
        ("[config.commands]", COMMAND.format('["app"]', "10 s"), "key config.commands.check.run: found"),
        ("[config.commands]", COMMAND.format('["/{tree}/a"]', "10 s"), "the absolute path of a program"),
        ("[config.commands]", COMMAND.format("[]", "10 s"), "the absolute path of a program"),
        ("[config.commands]", COMMAND.format('["/a", "\\u0000"]', "10 s"), "check.run: found"),
        ("[config.commands]", COMMAND.format('["/a"]', "10"), "key config.commands.check.limit: found '10'"),
        ("[config.commands]", COMMAND.format('["/a"]', "2 h"), "a time from 1 s to 1 h such as '10 s'"),
    ],
)
def test_a_wrong_profile_names_the_key(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=re.escape(message)):
        profile.parse("files", GOOD.replace(old, new, 1).encode(), "files.toml")


def test_bytes_that_are_not_text_are_a_named_error() -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        profile.parse("files", b"\xff\xfe", "files.toml")


def test_a_command_has_its_arguments_as_they_are_and_its_limit_in_seconds() -> None:
    text = GOOD.replace("[config.commands]", COMMAND.format('["/bin/app", "--check", "{tree}/x"]', "2 min"))
    loaded = profile.parse("files", text.encode(), "files.toml")
    assert loaded.config == ConfigProfile(("**",), {"check": Command(("/bin/app", "--check", "{tree}/x"), 120)})


def test_an_operators_own_types_stand_beside_those_of_the_package_and_before_them(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(GOOD.replace("tries = 3", "tries = 5"))
    (tmp_path / "files.toml").write_text(GOOD.replace("tries = 3", "tries = 7"))
    assert set(profile.names(tmp_path)) == {*profile.names(), "gateway"}
    assert [profile.load(name, tmp_path).tries for name in ("gateway", "files")] == [5, 7]
    assert profile.load("files").tries == 3


def test_a_mistake_in_an_own_type_names_the_file_where_it_lies(tmp_path: Path) -> None:
    place = tmp_path / "gateway.toml"
    place.write_text(GOOD.replace("tries = 3", "tries = 0"))
    with pytest.raises(ConfigError, match=re.escape(f"{place}: key boot.tries: found '0'")):
        profile.load("gateway", tmp_path)
    place.write_bytes(b"#" * (profile.FILE_LIMIT + 1))
    with pytest.raises(StorageError, match="more than 65536 bytes"):
        profile.load("gateway", tmp_path)


def test_a_directory_of_types_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: no such directory"):
        profile.names(tmp_path / "nowhere")


def test_a_command_that_needs_no_tree_is_found_by_its_name_and_others_are_refused() -> None:
    text = GOOD.replace("[config.commands]", COMMAND.format('["/bin/idle"]', "5 s"))
    board = profile.parse("files", text.encode(), "files.toml")
    assert profile.command(board, "check") == Command(("/bin/idle",), 5)
    with pytest.raises(ConfigError, match="'idel': board type files has check"):
        profile.command(board, "idel")
    text = GOOD.replace("[config.commands]", COMMAND.format('["/bin/app", "{tree}"]', "5 s"))
    with pytest.raises(ConfigError, match="asks for a config tree"):
        profile.command(profile.parse("files", text.encode(), "files.toml"), "check")


def test_a_file_whose_name_is_none_of_a_type_is_named_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "My_Board.toml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"My_Board\.toml: found the name 'My_Board', expected a board type"):
        profile.names(tmp_path)
