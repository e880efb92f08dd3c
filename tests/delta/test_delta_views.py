"""Programs wherever they lie: in several places of a file system, without ELF headers, without sections."""

import random
import struct

import numpy as np
import pytest
from delta_kernels import kernels, raw_kernel
from delta_parts import Bench, linked, opened
from delta_trees import missing, small_scale, squashfs, tar, written
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import contents, elf, kernel, make, views
from edgesync.delta.ranges import HOLE, Ranges, ranges

GROWN = {500: 3, 1700: 9}


def made(directory, old, new):
    for name, data in (("base", old), ("result", new)):
        (directory / name).write_bytes(data)
    make.make_delta(*(str(directory / name) for name in ("base", "result", "out")))
    delta = (directory / "out").read_bytes()
    assert Bench(directory, old, new, delta).apply() == new
    return len(delta)


def whole(fd):
    return ranges([(0, views.size_of(fd))])


@pytest.fixture(scope="module")
def scattered(tmp_path_factory, require):
    """Two file systems in which the ends of files lie together in other places, and programs among them."""
    require(missing("mksquashfs"))
    images = []
    for number, grown in enumerate(({}, GROWN)):
        tree = {f"bin/{name}": linked(grown if name == "c" else {}, 3000) for name in "abc"}
        tree |= {f"etc/{index}": random.Random(index).randbytes(3000) for index in range(40)}
        root = written(tmp_path_factory.mktemp(str(number)), tree)
        plain = ("-noI", "-noD", "-noF", "-noX", "-b", "131072", "-tailends", "-mkfs-time", "0", "-all-time", "0")
        images.append(squashfs(root, *plain))
    return images


def test_a_view_has_all_of_the_image_and_each_program_in_one_piece(tmp_path, scattered):
    (tmp_path / "image").write_bytes(scattered[0])
    with opened(tmp_path / "image") as fd:
        view = views.view(fd)
        seen = view.read(fd, "image")
    order = np.argsort(view.offset)
    assert view.offset[order].tolist() == [0, *(view.offset + view.length)[order].tolist()[:-1]]
    assert len(view.offset) > 3
    assert linked({}, 3000) in seen
    assert linked({}, 3000) not in scattered[0]


def test_a_program_in_several_places_is_followed_as_one_in_a_single_place(tmp_path, scattered, monkeypatch):
    together = made(tmp_path, *scattered)
    monkeypatch.setattr(views, "view", whole)
    assert together < made(tmp_path, *scattered)


def test_an_image_whose_programs_are_whole_is_its_own_view(tmp_path):
    (tmp_path / "image").write_bytes(tar({"a": linked({}, 50), "b": b"text"}))
    with opened(tmp_path / "image") as fd:
        view = views.view(fd)
        assert view.offset.tolist() == [0]
        assert view.total == views.size_of(fd)


@pytest.mark.parametrize("place", [0, 512])
def test_a_kernel_without_elf_headers_is_followed(tmp_path, place, monkeypatch):
    old, new = (bytes(place) + raw_kernel(linked(grown)) for grown in ({}, GROWN))
    (found,) = kernel.kernels(old)
    assert (found.start, found.length, found.bias) == (place, len(old) - place, 0xFFFF800008000000)
    followed = made(tmp_path, old, new)
    monkeypatch.setattr("edgesync.delta.layout.kernels", lambda _: [])
    assert followed < 0.3 * made(tmp_path, old, new)


@given(st.binary(max_size=300), st.integers(0, 8 * 200))
def test_any_bytes_are_kernels_or_none(tail, bit):
    broken = bytearray(raw_kernel(linked({}, 20))[:2000] + tail)
    broken[bit // 8] ^= 1 << bit % 8
    for found in kernel.kernels(bytes(broken)):
        assert found.start + found.length <= len(broken)
        assert found.kinds is not None
        assert len(found.kinds) == -(-(found.length // 4) // (contents.BLOCK // 4))


def test_a_program_that_lost_its_sections_is_still_followed(tmp_path, monkeypatch):
    old, new = (stripped(linked(grown)) for grown in ({}, GROWN))
    (found,) = elf.programs(old)
    assert not found.sections
    followed = made(tmp_path, old, new)
    monkeypatch.setattr("edgesync.delta.elf.programs", lambda _: [])
    assert followed < 0.3 * made(tmp_path, old, new)


def stripped(program):
    """Without the table of sections, as `sstrip` leaves it."""
    return program[:40] + struct.pack("<Q", 0) + program[48:60] + struct.pack("<HH", 0, 0) + program[64:]


@pytest.mark.parametrize("copies", [1, 2])
def test_type_information_in_an_image_of_any_size_is_derived(tmp_path, copies, monkeypatch):
    """Of two kernels with type information the second travels without, as a chapter derives one section at most."""
    code, pairs = random.Random(8).randbytes(5003), [kernels(7 + number, 3000) for number in range(copies)]
    olds, news = ({f"boot/{n}": code[n:] + pair[side] for n, pair in enumerate(pairs)} for side in (0, 1))
    with small_scale():
        for limit in ("WHOLE", "BATCH"):
            monkeypatch.setattr(f"edgesync.delta.groups.{limit}", len(pairs[0][1]) + 8000)
        size = made(tmp_path, tar(olds), tar(news))
        monkeypatch.setattr("edgesync.delta.btf_order.types", lambda *_: None)
        plain = made(tmp_path, tar(olds), tar(news))
    assert size < plain * (1 - 0.7 / copies)


def test_a_view_with_holes_places_what_it_found_where_the_image_has_it():
    view = Ranges(np.array([100, HOLE, 300]), np.array([50, 10, 20]))
    _, done, offset, size = view.spread(np.array([40]), np.array([30]))
    assert (done.tolist(), offset.tolist(), size.tolist()) == ([0, 20], [140, 300], [10, 10])
