"""Views of an image made of ranges: they read, cut and map as sets of bytes do."""

import numpy as np
import pytest
from delta_parts import opened
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta.copies import Copies
from edgesync.delta.ranges import HOLE, Ranges, in_images, joined, ranges, shared, together, union
from edgesync.wire.errors import StorageError

SIZE = 200
IMAGE = bytes(np.random.default_rng(5).integers(0, 256, SIZE, np.uint8))
ROW = st.tuples(st.integers(0, SIZE - 1), st.integers(1, 40)).map(lambda row: (row[0], min(row[1], SIZE - row[0])))
ROWS = st.lists(ROW, max_size=8)
VIEW = st.lists(st.one_of(ROW, st.tuples(st.just(HOLE), st.integers(1, 9))), max_size=8)


def bytes_in(some: Ranges) -> set[int]:
    return {at for start, size in zip(some.offset, some.length, strict=True) for at in range(start, start + size)}


def places(view: Ranges) -> list[int]:
    """For each byte of the view where it is in the image, -1 in a hole."""
    return [
        offset + at if offset != HOLE else HOLE
        for offset, length in zip(view.offset.tolist(), view.length.tolist(), strict=True)
        for at in range(length)
    ]


def sorted_columns(rows):
    return union(*np.array(rows, np.int64).reshape(-1, 2).T)


@given(VIEW)
def test_a_view_reads_its_ranges_in_their_order_and_zeros_from_holes(tmp_path, rows):
    (tmp_path / "image").write_bytes(IMAGE)
    view = ranges(rows)
    with opened(tmp_path / "image") as fd:
        assert view.read(fd, "image") == bytes(IMAGE[at] if at != HOLE else 0 for at in places(view))


def test_a_view_of_an_image_that_shrank_is_a_named_error(tmp_path):
    (tmp_path / "image").write_bytes(IMAGE)
    with opened(tmp_path / "image") as fd, pytest.raises(StorageError, match="image: ends before byte 210"):
        ranges([(190, 20)]).read(fd, "image")


@given(VIEW, st.lists(st.tuples(st.integers(0, 150), st.integers(0, 60)), max_size=5))
def test_rows_of_a_view_are_the_same_bytes_of_the_image(rows, wanted):
    view = ranges(rows)
    wanted = [(start, min(size, view.total - start)) for start, size in wanted if start < view.total]
    start, length = np.array(wanted, np.int64).reshape(-1, 2).T
    row, before, offset, size = view.spread(start, length)
    assert (size > 0).all()
    spread = {
        (number, done + at): place + at
        for number, done, place, count in zip(*(a.tolist() for a in (row, before, offset, size)), strict=True)
        for at in range(count)
    }
    every = places(view)
    assert spread == {
        (number, at): every[first + at]
        for number, (first, count) in enumerate(wanted)
        for at in range(count)
        if every[first + at] != HOLE
    }


@given(ROWS, ROWS)
def test_ranges_are_added_and_taken_away_as_sets_of_bytes(some, others):
    first, second = sorted_columns(some), sorted_columns(others)
    assert bytes_in(first) == {at for start, size in some for at in range(start, start + size)}
    left = first.minus(second)
    assert bytes_in(left) == bytes_in(first) - bytes_in(second)
    assert (left.offset[1:] > (left.offset + left.length)[:-1]).all()
    assert first.holds(np.arange(SIZE)).nonzero()[0].tolist() == sorted(bytes_in(first))


@given(st.lists(st.tuples(st.integers(0, 3), ROW), max_size=8))
def test_of_owners_that_share_bytes_those_that_stay_share_none(rows):
    owner = np.array([number for number, _ in rows], np.int64)
    wrong = shared(owner, together([ranges([row]) for _, row in rows]))
    left = [at for number, (start, size) in rows if number not in wrong for at in range(start, start + size)]
    assert len(left) == len(set(left))
    if len({at for _, (start, size) in rows for at in range(start, start + size)}) == sum(s for _, (_, s) in rows):
        assert not wrong


@given(VIEW, VIEW, st.data())
def test_copies_between_views_are_copies_of_the_same_bytes_between_images(base_rows, result_rows, data):
    base = ranges(base_rows)
    apart = sorted_columns([row for row in result_rows if row[0] != HOLE])
    result = together([apart, ranges([row for row in result_rows if row[0] == HOLE])])
    rows, at = [], 0
    while base.total and at < result.total:
        at += data.draw(st.integers(0, 9))
        length = data.draw(st.integers(1, 30))
        if at + length > result.total or length > base.total:
            break
        rows.append((at, data.draw(st.integers(0, base.total - length)), length))
        at += length
    copies = in_images(Copies(*np.array(rows, np.int64).reshape(-1, 3).T), base, result)
    old, new = places(base), places(result)
    assert {(a + n, b + n) for a, b, length in copies.rows() for n in range(length)} == {
        (new[a + n], old[b + n]) for a, b, length in rows for n in range(length) if HOLE not in (new[a + n], old[b + n])
    }
    assert (copies.at[1:] >= (copies.at + copies.length)[:-1]).all()


def test_ranges_that_touch_become_one():
    found = joined(np.array([0, 5, 20]), np.array([5, 5, 1]))
    assert (found.offset.tolist(), found.length.tolist()) == ([0, 20], [10, 1])
