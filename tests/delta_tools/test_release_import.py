"""`edgesync release import`: what is flashed becomes a known base, kept as it lies in a slot."""

from __future__ import annotations

import gzip
import lzma
import os
import random
from pathlib import Path

import pytest
import yaml

from edgesync.cli.main import main
from edgesync.control.images import ImageStore
from edgesync.wire.errors import ConfigError, ImageUnreadableError
from edgesync.wire.ids import digest_of

IMAGE = random.Random(9).randbytes(100_000)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A fleet as `edgesync init` writes it."""
    assert main(["init", str(tmp_path / "lab"), "--boards", "1"]) == 0
    return tmp_path / "lab"


def test_an_image_is_kept_unpacked_and_its_release_is_valid(lab: Path, capsys: pytest.CaptureFixture[str]):
    (lab / "Factory_2.img.xz").write_bytes(lzma.compress(IMAGE))
    config = ["--config", str(lab / "server/server.toml")]
    capsys.readouterr()
    assert main(["release", "import", str(lab / "Factory_2.img.xz"), *config, "--version", "2.0"]) == 0
    said = capsys.readouterr()
    assert f"100000 bytes, unpacked from xz, SHA-256 {digest_of(IMAGE)}" in said.err
    store = lab / "server/state/images"
    assert [path.name for path in store.iterdir()] == [digest_of(IMAGE)]
    assert (store / digest_of(IMAGE)).read_bytes() == IMAGE
    assert not os.stat(store / digest_of(IMAGE)).st_mode & 0o222
    assert yaml.safe_load(said.out) == {
        "name": "factory-2",
        "images": {
            "firmware": {
                "path": "Factory_2.img",
                "version": "2.0",
                "sha256": digest_of(IMAGE),
                "compatible": ["files"],
            }
        },
    }
    (lab / "fleet/releases/factory-2.yaml").write_text(said.out)
    assert main(["validate", str(lab / "fleet")]) == 0
    store.rename(lab / "elsewhere")
    assert main(["validate", str(lab / "fleet")]) == 1
    assert main(["validate", str(lab / "fleet"), "--store", str(lab / "elsewhere")]) == 0


def test_an_import_that_fails_leaves_the_store_as_it_was(tmp_path: Path):
    store = ImageStore(tmp_path / "store")
    (tmp_path / "image.gz").write_bytes(gzip.compress(IMAGE))
    store.import_packed(tmp_path / "image.gz", 1 << 20)
    with pytest.raises(ImageUnreadableError, match=r"image\.gz: unpacks to more than 99999 bytes"):
        store.import_packed(tmp_path / "image.gz", 99_999)
    (tmp_path / "image.gz").write_bytes(gzip.compress(IMAGE)[:-9])
    with pytest.raises(ImageUnreadableError, match=r"image\.gz: the gzip file is cut off"):
        store.import_packed(tmp_path / "image.gz", 1 << 20)
    assert os.listdir(tmp_path / "store") == [digest_of(IMAGE)]


def test_what_is_imported_twice_is_there_once_and_is_the_same_as_its_plain_image(tmp_path: Path):
    store = ImageStore(tmp_path / "store")
    (tmp_path / "image").write_bytes(IMAGE)
    (tmp_path / "image.gz").write_bytes(gzip.compress(IMAGE))
    kept = store.import_image(tmp_path / "image", digest_of(IMAGE))
    for name in ("image", "image.gz"):
        assert store.import_packed(tmp_path / name, 1 << 20).sha256 == digest_of(IMAGE)
    assert store.path_of(digest_of(IMAGE)) == kept


@pytest.mark.parametrize("data", [b"", gzip.compress(b"")], ids=["empty", "empty in gzip"])
def test_an_image_of_nothing_is_refused(tmp_path: Path, data: bytes):
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(ConfigError, match="image: found 0 bytes, expected an image"):
        ImageStore(tmp_path / "store").import_packed(tmp_path / "image", 1 << 20)
    assert os.listdir(tmp_path / "store") == []


def test_a_missing_image_and_a_missing_configuration_are_named(lab: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["release", "import", "absent.img", "--config", str(lab / "server/server.toml")]) == 1
    assert "absent.img: No such file or directory" in capsys.readouterr().err
    assert main(["release", "import", "absent.img", "--config", "absent.toml"]) == 1
    assert "absent.toml" in capsys.readouterr().err
