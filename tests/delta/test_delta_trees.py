"""Finding files in an image: all of them, with their bytes; and nothing breaks on what lies or is cut off."""

import itertools
import os
import random
import struct

import pytest
from delta_parts import opened
from delta_trees import ext4, missing, raw, squashfs, tar, written
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta.ranges import HOLE
from edgesync.delta.trees import files

CHANCE = random.Random(3)
TREE = {
    "boot/kernel": CHANCE.randbytes(60_000),
    "empty": b"",
    "etc/one": b"1",
    "etc/two": CHANCE.randbytes(5000),
    "holes": CHANCE.randbytes(2048) + bytes(200_000) + CHANCE.randbytes(2048) + bytes(70_000),
    **{f"many/{'long' * 30}{number}": CHANCE.randbytes(number) for number in range(120)},
    "deep/er/and/deeper/file": CHANCE.randbytes(1024),
}
MAKERS = {"tar": lambda _: tar(TREE), "ext4": ext4, "squashfs": squashfs}


@pytest.fixture(params=MAKERS, scope="module")
def image(request, tmp_path_factory, require):
    require(missing(*{"ext4": ["mke2fs"], "squashfs": ["mksquashfs"], "tar": []}[request.param]))
    return MAKERS[request.param](written(tmp_path_factory.mktemp("image"), TREE))


def found(path, data):
    path.write_bytes(data)
    with opened(path) as fd:
        return {file.path: file.ranges.read(fd, "image") for file in files(fd)}


def test_all_files_are_found_with_their_contents(tmp_path, image):
    there = found(tmp_path / "image", image)
    assert {path: data for path, data in there.items() if not path.startswith("lost+found")} == {
        path: data for path, data in TREE.items() if data
    }


def test_no_file_shares_a_byte_with_another(tmp_path, image):
    (tmp_path / "image").write_bytes(image)
    with opened(tmp_path / "image") as fd:
        rows = sorted(
            (offset, length)
            for file in files(fd)
            for offset, length in zip(file.ranges.offset.tolist(), file.ranges.length.tolist(), strict=True)
            if offset != HOLE
        )
    assert all(offset + length <= after for (offset, length), (after, _) in itertools.pairwise(rows))
    assert rows[-1][0] + rows[-1][1] <= len(image)


def test_two_names_of_one_file_are_one_file(tmp_path, require):
    require(missing("mke2fs"))
    root = written(tmp_path, {"a": b"a" * 3000})
    os.link(root / "a", root / "b")
    assert len(found(tmp_path / "image", ext4(root))) == 1


def test_two_files_in_the_same_blocks_are_one_file(tmp_path, require):
    require(missing("mksquashfs"))
    root = written(tmp_path, {"a": b"a" * 3000, "b": b"a" * 3000, "c": b"c"})
    assert len(found(tmp_path / "image", squashfs(root))) == 2


@pytest.mark.parametrize("image", [b"", b"x", bytes(100_000), raw(TREE)], ids=["empty", "a byte", "zeros", "raw"])
def test_an_image_without_a_tree_has_no_files(tmp_path, image):
    assert found(tmp_path / "image", image) == {}


@given(cut=st.floats(0, 1))
def test_what_is_cut_off_has_only_files_that_are_whole(tmp_path, image, cut):
    there = found(tmp_path / "image", image[: int(cut * len(image))])
    assert all(TREE.get(path, data) == data for path, data in there.items())


@given(
    at=st.integers(0, 40_000), value=st.sampled_from((0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFFFFFF, 1 << 31)), data=st.data()
)
def test_a_header_that_lies_breaks_nothing(tmp_path, image, at, value, data):
    """Numbers are put where superblocks, inodes, extents and directories are."""
    broken = bytearray(image)
    for place in (at, data.draw(st.integers(0, len(image) - 4)), data.draw(st.integers(1024, 1400))):
        struct.pack_into("<I", broken, min(place, len(broken) - 4), value)
    there = found(tmp_path / "image", bytes(broken))
    assert sum(map(len, there.values())) < 1 << 30


def test_a_compressed_squashfs_is_one_piece(tmp_path, require):
    require(missing("mksquashfs"))
    root = written(tmp_path, {"file": b"text " * 9000})
    assert found(tmp_path / "image", squashfs(root, "-comp", "gzip")) == {}
