"""Images by content: nothing enters the store that is not what its name says, and looking twice reads once."""

from __future__ import annotations

import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgesync.control import images
from edgesync.control.images import HashCache, ImageStore, check
from edgesync.control.types import Fleet, Image, Release
from edgesync.wire.errors import ConfigError, DiskFullError, StorageError
from edgesync.wire.ids import Digest, digest_of

DATA = os.urandom(images.CHUNK + 1000)
OTHER = Digest("0" * 64)


def fleet_of(*declared: Image) -> Fleet:
    release = Release("v1", {image.component: image for image in declared})
    return Fleet("demo", "rev", {}, (), {"v1": release}, ())


def image(path: str, sha256: str = digest_of(DATA), component: str = "root") -> Image:
    return Image(component, path, "1", Digest(sha256), ("files",), "releases/v1.yaml", 3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "images"
    place.mkdir()
    (place / "root.img").write_bytes(DATA)
    return place / "root.img"


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def test_an_imported_image_lies_under_its_digest_and_cannot_be_written(source: Path, store: ImageStore):
    assert store.path_of(digest_of(DATA)) is None
    stored = store.import_image(source, digest_of(DATA))
    assert stored == store.path_of(digest_of(DATA))
    assert stored.read_bytes() == DATA
    assert stat.S_IMODE(stored.stat().st_mode) == 0o444


def test_a_build_that_writes_its_output_in_place_does_not_change_what_is_stored(source: Path, store: ImageStore):
    stored = store.import_image(source, digest_of(DATA))
    with source.open("r+b") as file:
        file.write(b"changed")
    assert stored.read_bytes() == DATA
    assert store.import_image(source, digest_of(DATA)) == stored, "what is there needs no source"


def test_a_wrong_digest_names_both_and_where_it_was_declared(source: Path, store: ImageStore, tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        store.import_image(source, OTHER, "releases/v1.yaml:6: images.root.sha256")
    for part in ("releases/v1.yaml:6: images.root.sha256", str(source), digest_of(DATA), OTHER):
        assert part in str(caught.value)
    assert not list((tmp_path / "store").iterdir())


def test_a_missing_image_is_named(store: ImageStore, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"releases/v1\.yaml: .*gone\.img: No such file"):
        store.import_image(tmp_path / "gone.img", OTHER, "releases/v1.yaml")


@pytest.mark.parametrize("step", ["write", "fchmod", "fsync", "rename"])
def test_an_import_that_breaks_off_leaves_the_store_as_it_was(
    step: str, source: Path, store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "rename":
            patch.setattr(Path, "replace", fail)
        elif step == "write":
            patch.setattr(images, "_digest", fail)
        else:
            patch.setattr(images.os, step, fail)
        with pytest.raises((DiskFullError, StorageError)):
            store.import_image(source, digest_of(DATA))
    assert not list((tmp_path / "store").iterdir())
    assert store.import_image(source, digest_of(DATA)).read_bytes() == DATA


def test_what_a_killed_import_left_behind_does_not_count_and_is_replaced(
    source: Path, store: ImageStore, tmp_path: Path
):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / f"{digest_of(DATA)}.tmp").write_bytes(DATA[:10])
    assert store.path_of(digest_of(DATA)) is None
    assert store.import_image(source, digest_of(DATA)).read_bytes() == DATA
    assert len(list((tmp_path / "store").iterdir())) == 1


def test_the_same_image_may_be_imported_by_several_threads_at_once(source: Path, store: ImageStore, tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: store.import_image(source, digest_of(DATA)).read_bytes(), range(32)))
    assert set(found) == {DATA}
    assert [path.name for path in (tmp_path / "store").iterdir()] == [digest_of(DATA)]


def test_missing_and_wrong_images_are_all_reported_with_release_file_and_key(source: Path):
    found = check(
        fleet_of(image("root.img"), image("gone.img", component="boot"), image("root.img", OTHER, "kernel")),
        source.parent,
    )
    assert [(p.file, p.line, p.key) for p in found] == [
        ("releases/v1.yaml", 3, "images.boot.path"),
        ("releases/v1.yaml", 3, "images.kernel.sha256"),
    ]
    assert (found[1].found, found[1].expected) == (digest_of(DATA), OTHER)


def test_an_image_that_is_in_the_store_need_not_be_in_the_directory(source: Path, store: ImageStore):
    store.import_image(source, digest_of(DATA))
    source.unlink()
    assert check(fleet_of(image("root.img")), source.parent, store) == []
    assert len(check(fleet_of(image("root.img")), source.parent)) == 1


def settled(path: Path) -> None:
    os.utime(path, (time.time() - 60, time.time() - 60))


def test_an_unchanged_file_is_read_once_and_a_changed_one_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    reads: list[int] = []
    settled(source)
    for _ in range(2):
        cache = HashCache(tmp_path / "cache/digests.json")
        assert cache.digest(source, reads.append) == digest_of(DATA)
        cache.save()
    assert sum(reads) == len(DATA)
    source.write_bytes(b"other")
    assert HashCache(tmp_path / "cache/digests.json").digest(source) == digest_of(b"other")


def test_a_change_that_keeps_size_and_time_is_seen_while_the_file_is_young(source: Path):
    cache = HashCache()
    cache.digest(source)
    status = source.stat()
    source.write_bytes(DATA[::-1])
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert cache.digest(source) == digest_of(DATA[::-1])


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff", b'{"x": 1}'])
def test_a_spoilt_cache_is_computed_again(content: bytes, source: Path, tmp_path: Path):
    place = tmp_path / "digests.json"
    place.write_bytes(content.replace(b"x", str(source).encode()))
    settled(source)
    cache = HashCache(place)
    assert cache.digest(source) == digest_of(DATA)
    cache.save()
    assert HashCache(place).digest(source, lambda _: pytest.fail("read again")) == digest_of(DATA)


def test_a_cache_that_cannot_be_written_is_no_error(source: Path, tmp_path: Path):
    (tmp_path / "file").write_text("")
    settled(source)
    cache = HashCache(tmp_path / "file/digests.json")
    assert cache.digest(source) == digest_of(DATA)
    cache.save()
