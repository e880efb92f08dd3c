"""Packed images: unpacked whole and streaming, or refused by name and within a limit."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import images, unpackers
from edgesync.wire.errors import EdgesyncError, ImageUnreadableError, NotReachableError
from edgesync.wire.ids import digest_of
from tests.delta_tools.sparse_parts import simg

MIB = 1 << 20
TEXT = b"a root file system, more or less. " * 5000


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "xz": lzma.compress, "zstd": zst, "sparse": simg}


def unpack(data: bytes, limit: int = 64 * MIB) -> tuple[bytes, tuple[str, ...]]:
    sink = io.BytesIO()
    found = images.unpack(io.BytesIO(data), sink, "image", limit)
    assert (found.length, found.sha256) == (len(sink.getvalue()), digest_of(sink.getvalue()))
    return sink.getvalue(), found.packings


@given(st.binary(max_size=3000), st.lists(st.sampled_from(["gzip", "xz", "zstd"]), max_size=3))
def test_what_was_packed_comes_out_again_and_is_told(data: bytes, packers: list[str]):
    if images.packing_of(data[: images.HEAD]):
        data = b"." + data
    packed = data
    for name in packers:
        packed = PACKERS[name](packed)
    assert unpack(packed) == (data, tuple(reversed(packers)))


def test_a_sparse_image_in_gzip_becomes_the_partition():
    image = TEXT[:8192] + bytes(1 * MIB) + b"abcd" * 4096 + TEXT[:4096]
    assert unpack(gzip.compress(simg(image))) == (image, ("gzip", "sparse"))


def test_sparse_images_of_the_android_tools_are_read(tmp_path: Path, require: Callable[[str], None]):
    require("" if shutil.which("img2simg") else "img2simg is not installed (android-sdk-libsparse-utils)")
    image = random.Random(3).randbytes(40 * 4096) + bytes(100 * 4096) + b"wxyz" * 2048 + TEXT[:4096]
    (tmp_path / "raw").write_bytes(image)
    subprocess.run(["img2simg", "raw", "sparse"], cwd=tmp_path, check=True)
    assert unpack((tmp_path / "sparse").read_bytes()) == (image, ("sparse",))


@pytest.mark.parametrize("packer", ["gzip", "xz", "zstd"])
def test_members_follow_one_another_and_zeros_may_fill_the_last_block(packer: str):
    packed = PACKERS[packer](TEXT) + PACKERS[packer](b"and more")
    assert unpack(packed + bytes(5000))[0] == TEXT + b"and more"


@pytest.mark.parametrize("packer", PACKERS)
def test_a_file_that_is_cut_off_or_followed_by_something_is_refused(packer: str):
    packed = PACKERS[packer](TEXT)
    for wrong in (packed[:-1], packed[: len(packed) // 2], packed + bytes(100) + b"x"):
        with pytest.raises(ImageUnreadableError, match="image: "):
            unpack(wrong)


@pytest.mark.parametrize("packer", PACKERS)
@given(st.data())
def test_damage_gives_bytes_within_the_limit_or_a_named_error(packer: str, data: st.DataObject):
    packed = bytearray(PACKERS[packer](TEXT[:9000]))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        image, _ = unpack(bytes(packed), 1 * MIB)
    except EdgesyncError:
        return
    assert len(image) <= 1 * MIB


BOMB = """
import io, resource, sys
from edgesync.delta import images
from edgesync.wire.errors import ImageUnreadableError
class Sink(io.RawIOBase):
    def write(self, data): return len(data)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    images.unpack(open(sys.argv[1], "rb"), Sink(), "bomb", 100 << 20)
except ImageUnreadableError as error:
    assert "at most" in str(error), error
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_is_refused_in_bounded_memory(packer: str, tmp_path: Path):
    if packer == "sparse":  # declares a terabyte
        bomb = struct.pack("<IHHHHIIII", 0xED26FF3A, 1, 0, 28, 12, 4096, 1 << 28, 1, 0)
    else:
        once = PACKERS[packer](bytes(16 * MIB))
        bomb = once * 8
    (tmp_path / "bomb").write_bytes(bomb)
    run = subprocess.run([sys.executable, "-c", BOMB, "bomb"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 60


def test_packings_are_not_unpacked_for_ever():
    packed = TEXT
    for _ in range(images.LAYERS + 1):
        packed = gzip.compress(packed)
    with pytest.raises(ImageUnreadableError, match="more than 3 times"):
        unpack(packed)


def test_without_the_package_zstd_files_say_what_to_install(monkeypatch: pytest.MonkeyPatch):
    if sys.version_info >= (3, 14):
        return
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(NotReachableError, match=r"install edgesync\[zstd\]"):
        unpackers.decoder("zstd")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (4, struct.pack("<H", 2), "version 2"),
        (12, struct.pack("<I", 0), "blocks of 0 bytes"),
        (12, struct.pack("<I", 1 << 30), "blocks of 1073741824 bytes"),
        (16, struct.pack("<I", 0xFFFFFFFF), "declares 17592186040320 bytes"),
        (16, struct.pack("<I", 7), "7"),
        (28, struct.pack("<H", 0xCAC9), "chunk 0xcac9"),
        (32, struct.pack("<I", 0xFFFFFFF), "of 268435455 blocks"),
        (36, struct.pack("<I", 13), "with 1 bytes"),
    ],
)
def test_each_field_of_a_sparse_image_is_checked(field: int, value: bytes, reason: str):
    packed = bytearray(simg(TEXT[:8192]))
    packed[field : field + len(value)] = value
    with pytest.raises(ImageUnreadableError, match=reason):
        unpack(bytes(packed))


def test_a_full_disk_is_named(require: Callable[[str], None]):
    require("" if os.path.exists("/dev/full") else "/dev/full is missing")
    with pytest.raises(EdgesyncError) as caught, open("/dev/full", "wb", buffering=0) as full:
        images.unpack(io.BytesIO(gzip.compress(TEXT)), full, "image")
    assert caught.value.name == "DiskFull"
