"""The demo's firmware: the same bytes everywhere, nothing left half done, and errors that name the wheel."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.boards.bootloader import MARKER, tar_has
from edgesync.sim import firmware, ustar
from edgesync.sim.pins import Image, Pins, Wheel, load_pins
from edgesync.wire.errors import ConfigError, NotReachableError, StorageError


def quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total, what


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(directory: Path, name: str, files: dict[str, bytes]) -> Wheel:
    """A wheel with these members; unlike a real one it has no metadata."""
    path = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in files.items():
            archive.writestr(member, data)
    return Wheel(name, "1.0", path.name, path.stat().st_size, sha256(path.read_bytes()))


MEMBERS = (  # path, content, executable: in the order of the archive
    ("opt/edge/bin/one", b"#!", True),
    ("opt/edge/data/etc/two", b"c", False),
    ("opt/edge/site-packages/One.py", b"2\n" * 400, False),
    ("opt/edge/site-packages/one/__init__.py", b"1\n", False),
    ("opt/edge/site-packages/one/x.so", b"\x7fELF", True),
    ("opt/edge/site-packages/two.libs/liba.so.1", b"", True),
)
MTIME = 1_700_000_000


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pins:
    """An image `small` of two generated wheels, in the place of the pinned ones; pip has no index for them."""
    one = wheel(tmp_path, "one", {"one/__init__.py": b"1\n", "one/x.so": b"\x7fELF", "one-1.0.data/scripts/one": b"#!"})
    two = wheel(tmp_path, "two", {"One.py": b"2\n" * 400, "two.libs/liba.so.1": b"", "two-1.0.data/data/etc/two": b"c"})
    image = b"".join(
        ustar.header(path, len(data), MTIME, executable=x) + data + ustar.padding(len(data))
        for path, data, x in MEMBERS
    )
    image += bytes(1024)
    pins = Pins(
        {"small": Image("small", len(image), sha256(image), {"one": "1.0", "two": "1.0"})},
        {(w.name, w.version): w for w in (one, two)},
        ("--no-index",),
        "opt/edge/",
        MTIME,
    )
    monkeypatch.setattr(firmware, "load_pins", lambda: pins)
    return pins


def test_the_pinned_images_come_out_with_their_digests(tmp_path: Path, require: Callable[[str], None]) -> None:
    name = "demo-v1"
    try:
        path = firmware.prepare(tmp_path, [name], quiet)[name]
    except NotReachableError as error:
        require(f"the package index cannot be reached: {error}")
    pin = load_pins().images[name]
    assert (path.stat().st_size, sha256(path.read_bytes())) == (pin.size, pin.sha256)
    assert not tar_has(path, MARKER)


def test_every_package_of_every_image_has_a_wheel_and_every_wheel_an_image() -> None:
    pins = load_pins()
    assert sorted(pins.images) == ["demo-v1", "demo-v2", "demo-v3"]
    assert {(w.name, w.version) for w in pins.wheels_of(pins.images)} == set(pins.wheels)
    for key, pinned in pins.wheels.items():
        assert pinned.file.startswith(f"{key[0].replace('-', '_')}-{key[1]}-")
        assert "aarch64" in pinned.file or pinned.file.endswith("-none-any.whl")


def test_an_image_holds_the_files_of_its_wheels_where_an_installer_puts_them(small: Pins, tmp_path: Path) -> None:
    path = firmware.build("small", tmp_path, tmp_path / "out", quiet)
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert [(m.name, archive.extractfile(m).read(), m.mode) for m in members] == [
            (name, data, 0o755 if executable else 0o644) for name, data, executable in MEMBERS
        ]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", MTIME)}


def test_an_image_that_is_there_and_right_is_not_built_again(small: Pins, tmp_path: Path) -> None:
    path = firmware.build("small", tmp_path, tmp_path, quiet)
    before = path.stat().st_mtime_ns
    for name in tmp_path.glob("*.whl"):
        name.unlink()
    assert firmware.prepare(tmp_path, ["small"], quiet) == {"small": path}
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"spoilt")
    with pytest.raises(StorageError, match=r"one-1\.0-py3-none-any\.whl: sha256 of no file, expected"):
        firmware.build("small", tmp_path, tmp_path, quiet)


def test_a_spoilt_wheel_is_named_with_both_digests(small: Pins, tmp_path: Path) -> None:
    two = small.wheels["two", "1.0"]
    (tmp_path / two.file).write_bytes(b"spoilt")
    with pytest.raises(StorageError, match=rf"{two.file}: sha256 {sha256(b'spoilt')}, expected {two.sha256}"):
        firmware.build("small", tmp_path, tmp_path, quiet)


def test_an_image_with_another_digest_is_never_put_into_place(
    small: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(small, images={"small": replace(small.images["small"], sha256="0" * 64)})
    monkeypatch.setattr(firmware, "load_pins", lambda: wrong)
    with pytest.raises(
        StorageError, match=rf"small\.tar as built: sha256 {small.images['small'].sha256}, expected 0000"
    ):
        firmware.build("small", tmp_path, tmp_path / "out", quiet)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_wheel_that_pip_cannot_get_is_named_and_those_that_are_right_are_kept(small: Pins, tmp_path: Path) -> None:
    firmware.fetch(tmp_path, quiet)  # both are there: pip is not asked
    (tmp_path / small.wheels["two", "1.0"].file).unlink()
    with pytest.raises(NotReachableError, match=r"pip cannot fetch two 1\.0; run it again to go on\. It said: "):
        firmware.fetch(tmp_path, quiet)
    assert [path.name for path in tmp_path.iterdir()] == [small.wheels["one", "1.0"].file]


def test_pip_is_never_given_two_versions_of_one_package() -> None:
    wheels = [Wheel(name, version, "", 1, "") for name in "abcdefgh" for version in "123"]
    batches = list(firmware._batches(wheels))
    assert sorted(w.name + w.version for batch in batches for w in batch) == sorted(w.name + w.version for w in wheels)
    for batch in batches:
        assert len({w.name for w in batch}) == len(batch) <= firmware.BATCH


def test_an_unknown_image_lists_the_pinned_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found 'demo-v9', expected one of demo-v1, demo-v2, demo-v3"):
        firmware.prepare(tmp_path, ["demo-v9"], quiet)


@pytest.mark.parametrize("member", ["../../etc/passwd", "x/../../y", "one/__init__.py"])
def test_a_wheel_cannot_write_outside_of_the_image_nor_over_another(
    small: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str
) -> None:
    two = wheel(tmp_path, "two", {member: b"x"})
    pins = replace(small, wheels=small.wheels | {("two", "1.0"): two})
    monkeypatch.setattr(firmware, "load_pins", lambda: pins)
    with pytest.raises(StorageError, match=r"two-1\.0-py3-none-any\.whl: member "):
        firmware.build("small", tmp_path, tmp_path, quiet)


def test_a_marked_image_differs_by_one_file_at_its_end(small: Pins, tmp_path: Path) -> None:
    plain = firmware.build("small", tmp_path, tmp_path, quiet)
    marked = firmware.with_marker(plain, tmp_path / "marked.tar")
    assert marked.read_bytes().startswith(plain.read_bytes()[:-1024])
    with tarfile.open(plain) as before, tarfile.open(marked) as after:
        assert after.getnames() == [*before.getnames(), f"opt/edge/{MARKER}"]
    assert tar_has(marked, MARKER)
    assert not tar_has(plain, MARKER)


@pytest.mark.parametrize("content", [b"", b"x" * 1023, b"x" * 5000])
def test_what_is_no_archive_cannot_be_marked(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(StorageError, match=r"x\.tar: does not end like a tar archive"):
        firmware.with_marker(tmp_path / "x.tar", tmp_path / "y.tar")
    assert not (tmp_path / "y.tar").exists()


def test_the_program_builds_and_prints_digests_or_names_the_error(
    small: Pins, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wheels").mkdir()
    for pinned in small.wheels.values():
        (tmp_path / pinned.file).rename(tmp_path / "wheels" / pinned.file)
    assert firmware.main([str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{small.images['small'].sha256}  {tmp_path}/small.tar\n"
    assert "100 %  small is at" in err
    assert firmware.main([str(tmp_path), "nothing"]) == 1
    assert "Config: image: found 'nothing'" in capsys.readouterr().err


_PART = st.text("abc-_.", min_size=1, max_size=60).filter(lambda part: part.strip("."))


@given(parts=st.lists(_PART, min_size=1, max_size=6), size=st.integers(0, 1 << 30), executable=st.booleans())
def test_any_reader_of_ustar_finds_what_was_written(parts: list[str], size: int, executable: bool) -> None:
    path = "/".join(parts)
    try:
        block = ustar.header(path, size, MTIME, executable=executable)
    except ConfigError:
        assert len(path) > 100
        return
    member = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    assert (member.name, member.size, member.mtime, member.mode & 0o100) == (path, size, MTIME, 0o100 * executable)


def test_a_name_that_is_not_ascii_is_refused() -> None:
    with pytest.raises(ConfigError, match="ASCII names only"):
        ustar.header("ä", 1, MTIME)
