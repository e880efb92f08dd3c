"""Compressed parts of images: found by what they are, priced on the very pair, and never invented."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesync.cli.main import main
from edgesync.delta import advice, inside
from tests.delta_tools.sparse_parts import simg

KIB = 1024


def text(seed: int, size: int) -> bytes:
    """Compresses to about half."""
    return random.Random(seed).randbytes(size // 2).hex().encode()


def edited(data: bytes) -> bytes:
    """The same with one word changed near its beginning."""
    return data[:1000] + b"another word" + data[1012:]


def cpio(data: bytes) -> bytes:
    """Begins as an archive of the kernel's initrd does."""
    return b"070701" + b"0" * 104 + data


def test_parts_are_found_where_they_begin_and_end(tmp_path: Path):
    parts = [gzip.compress(cpio(text(1, 300 * KIB)), mtime=0), lzma.compress(text(2, 300 * KIB))]
    image = text(3, 4096) + parts[0] + bytes(-len(parts[0]) % 4096) + text(4, 8192) + parts[1] + text(5, 100)
    (tmp_path / "image").write_bytes(image)
    found = inside.find(tmp_path / "image")
    assert [(part.kind, part.compression, part.length) for part in found] == [
        ("initrd", "gzip", len(parts[0])),
        ("data", "xz", len(parts[1])),
    ]
    assert [image[part.offset : part.offset + part.length] for part in found] == parts


def test_magic_without_a_stream_behind_it_is_no_part(tmp_path: Path):
    noise = b"".join(b"\x1f\x8b\x08\0" + b"hsqs" + b"\x28\xb5\x2f\xfd" + text(n, 400) for n in range(300))
    (tmp_path / "image").write_bytes(noise + lzma.compress(text(1, 300 * KIB))[:-20])
    assert inside.find(tmp_path / "image") == ()
    (tmp_path / "image").write_bytes(b"")
    assert inside.find(tmp_path / "image") == ()


def test_small_parts_are_passed_over(tmp_path: Path):
    (tmp_path / "image").write_bytes(bytes(4096) + gzip.compress(text(1, 60 * KIB)))
    assert inside.find(tmp_path / "image") == ()


@pytest.mark.parametrize("field", ["version", "compressor", "block", "length", "plain"])
def test_a_superblock_that_makes_no_sense_or_no_compression_is_no_part(tmp_path: Path, field: str):
    numbers = [b"hsqs", 9, 0, 1 << 17, 1, 4, 17, 0, 1, 4, 0, 0, 200 * KIB]
    index, value = {
        "version": (9, 3),
        "compressor": (5, 9),
        "block": (6, 16),
        "length": (12, 1 << 40),
        "plain": (7, 3),
    }[field]
    for changed in (False, True):
        if changed:
            numbers[index] = value
        (tmp_path / "image").write_bytes(struct.pack("<4sIIIIHHHHHHQQ", *numbers).ljust(256 * KIB, b"x"))
        assert len(inside.find(tmp_path / "image")) == (not changed)


def test_an_unchanged_part_costs_nothing_and_is_not_mentioned(tmp_path: Path):
    initrd = gzip.compress(cpio(text(1, 300 * KIB)), mtime=0)
    (tmp_path / "old").write_bytes(initrd.rjust(1 << 20, b"\0"))
    (tmp_path / "new").write_bytes(text(2, 4096) + initrd)
    assert advice.advise(tmp_path / "old", tmp_path / "new") == ()


def test_the_price_is_measured_on_the_pair(tmp_path: Path):
    plain = cpio(text(1, 300 * KIB))
    sides = [gzip.compress(plain, mtime=0), gzip.compress(edited(plain), mtime=0)]
    for name, side in zip(("old", "new"), sides, strict=True):
        (tmp_path / name).write_bytes(bytes(512) + side)
    (cost,) = advice.advise(tmp_path / "old", tmp_path / "new")
    assert cost.part.length == len(sides[1])
    assert cost.plain_delta is not None
    assert cost.plain_delta < 1000
    said = str(cost)
    assert f"holds an initrd in gzip at byte 512: {len(sides[1])} bytes, most of which travel again" in said
    assert f"its delta has {cost.plain_delta} bytes" in said
    assert "Better: build it without compression" in said


def test_a_part_without_a_twin_is_told_without_a_measure(tmp_path: Path):
    (tmp_path / "old").write_bytes(text(1, 4096))
    (tmp_path / "new").write_bytes(gzip.compress(text(2, 300 * KIB)))
    (cost,) = advice.advise(tmp_path / "old", tmp_path / "new")
    assert (cost.part.kind, cost.plain_delta) == ("file", None)
    assert "release import" in str(cost)


@pytest.mark.parametrize("compressor", ["gzip", "xz", "zstd"])
def test_a_real_squashfs_is_found_and_measured(tmp_path: Path, compressor: str, require: Callable[[str], None]):
    require("" if shutil.which("mksquashfs") else "mksquashfs is not installed (squashfs-tools)")
    data = text(1, 400 * KIB)
    for name, content in (("old", data), ("new", edited(data))):
        (tmp_path / f"{name}.d").mkdir()
        (tmp_path / f"{name}.d" / "program").write_bytes(content)
        command = ["mksquashfs", f"{name}.d", name, "-comp", compressor, "-quiet", "-no-progress", "-all-root"]
        subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    (cost,) = advice.advise(tmp_path / "old", tmp_path / "new")
    assert (cost.part.kind, cost.part.compression, cost.part.offset) == ("squashfs", compressor, 0)
    assert cost.plain_delta is not None
    assert cost.plain_delta < 4000
    assert "-noI -noD -noF -noX" in str(cost)
    subprocess.run(
        ["mksquashfs", "new.d", "plain", "-noI", "-noD", "-noF", "-noX", "-quiet", "-no-progress"],
        cwd=tmp_path,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert inside.find(tmp_path / "plain") == ()


def test_a_sparse_image_is_named_with_its_partition_and_measured_unpacked(tmp_path: Path):
    data = text(1, 400 * KIB)
    for name, content in (("old", data), ("new", edited(data))):
        (tmp_path / name).write_bytes(simg(content + bytes(400 * KIB)))
    (cost,) = advice.advise(tmp_path / "old", tmp_path / "new")
    assert (cost.part.kind, cost.part.compression, cost.part.unpacked) == ("file", "sparse", 800 * KIB)
    assert cost.plain_delta is not None
    assert cost.plain_delta < 1000
    assert f"an Android sparse file: {cost.part.length} bytes for a partition of {800 * KIB}, which" in str(cost)
    assert "release import" in str(cost)


def test_what_is_compressed_inside_a_sparse_image_is_found_too(tmp_path: Path):
    (tmp_path / "image").write_bytes(simg(gzip.compress(text(1, 300 * KIB)), 512 * KIB))
    assert [(part.kind, part.compression) for part in inside.find(tmp_path / "image")] == [
        ("file", "sparse"),
        ("data", "gzip"),
    ]


def test_validate_tells_it_of_every_image_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "v1.img.gz").write_bytes(gzip.compress(text(1, 300 * KIB)))
    assert main(["init", str(tmp_path / "lab"), "--boards", "1", "--image", str(tmp_path / "v1.img.gz")]) == 0
    capsys.readouterr()
    assert main(["validate", str(tmp_path / "lab" / "fleet")]) == 0
    assert "images.firmware.path: the image is compressed with gzip: " in capsys.readouterr().out
    assert main(["validate", str(tmp_path / "lab" / "fleet"), "--json"]) == 0
    (note,) = json.loads(capsys.readouterr().out)["notes"]
    assert note.startswith("releases/v1.yaml:")


def test_the_command_tells_it_with_the_delta(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plain = text(1, 300 * KIB)
    for name, content in (("old.gz", plain), ("new.gz", edited(plain))):
        (tmp_path / name).write_bytes(gzip.compress(content, mtime=0))
    arguments = ["delta", "make", str(tmp_path / "old.gz"), str(tmp_path / "new.gz"), "-o", str(tmp_path / "d")]
    assert main(arguments) == 0
    assert capsys.readouterr().err.startswith("note: the image is compressed with gzip: ")
    assert main([*arguments, "--json"]) == 0
    (cost,) = json.loads(capsys.readouterr().out)["compressed"]
    assert (cost["kind"], cost["compression"], cost["offset"]) == ("file", "gzip", 0)
    assert cost["plain_delta"] < 1000
    assert main([*arguments, "--json", "--no-measure"]) == 0
    assert json.loads(capsys.readouterr().out)["compressed"] == [{**cost, "plain_delta": None}]
