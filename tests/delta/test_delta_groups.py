"""Pairing the files of two images, and what is left between them."""

import numpy as np
import pytest
from delta_trees import small_scale
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import groups
from edgesync.delta.copies import Copies
from edgesync.delta.groups import Side, divide
from edgesync.delta.ranges import ranges, together, union
from edgesync.delta.trees import File

NO_COPIES = Copies(*np.zeros((3, 0), np.int64))
NOTHING = ranges([])


def side(*files, length=10_000):
    """An image with files of these paths and sizes, one behind the other."""
    at, there = 0, []
    for path, size in files:
        there.append(File(path, ranges([(at, size)])))
        at += size
    return Side(length, there, NOTHING)


def copies(*rows):
    return Copies(*np.array(sorted(rows), np.int64).reshape(-1, 3).T)


def pairs(base, result, equal=NO_COPIES):
    """Paths that were paired, one to a group: the rest is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "BATCH", 0)
        _, found = divide(base, result, equal, lambda _: False)
    names = [{int(file.ranges.offset[0]): file.path for file in image.files} for image in (base, result)]
    return {
        (names[0].get(int(group.base.offset[0])), names[1].get(int(group.result.offset[0])))
        for group in found
        if group.result.total < 1000
    }


def test_a_file_is_paired_with_the_one_of_the_same_path():
    assert pairs(side(("a", 10), ("b", 10)), side(("b", 10), ("a", 10))) == {("a", "a"), ("b", "b")}


def test_a_file_whose_version_changed_is_paired_with_the_older_one():
    base = side(("lib/6.1.0-50/usb/a.ko", 10), ("lib/6.1.0-50/usb/b.ko", 20))
    result = side(("lib/6.1.0-56/usb/b.ko", 20), ("lib/6.1.0-56/usb/a.ko", 10))
    assert pairs(base, result) == {
        ("lib/6.1.0-50/usb/a.ko", "lib/6.1.0-56/usb/a.ko"),
        ("lib/6.1.0-50/usb/b.ko", "lib/6.1.0-56/usb/b.ko"),
    }


def test_a_file_that_was_renamed_is_paired_with_the_one_that_has_its_chunks():
    base, result = side(("old", 100), ("else", 300)), side(("new", 110), ("thing", 50))
    assert pairs(base, result, copies((0, 150, 20), (20, 10, 30))) == {("old", "new")}


def test_a_file_that_moved_is_paired_by_its_name():
    assert pairs(side(("usr/bin/tool-1.2", 10)), side(("bin/tool-1.3", 12))) == {("usr/bin/tool-1.2", "bin/tool-1.3")}


def test_a_file_that_did_not_change_is_in_no_group():
    base = side(("a", 10), ("b", 20), length=30)
    equal = copies((0, 0, 10))
    kept, found = divide(base, base, equal, lambda _: False)
    assert list(kept.rows()) == [(0, 0, 10)]
    assert [(group.base.offset.tolist(), group.result.offset.tolist()) for group in found] == [([10], [10])]


def test_chunks_inside_a_file_that_is_searched_do_not_stay():
    base = side(("a", 100), length=130)
    kept, _ = divide(base, base, copies((20, 20, 30), (100, 100, 20)), lambda _: False)
    assert list(kept.rows()) == [(100, 100, 20)]


def test_a_file_too_long_to_be_aligned_as_a_whole_is_searched_around_its_chunks(monkeypatch):
    monkeypatch.setattr(groups, "WHOLE", 50)
    base = side(("a", 100), length=100)
    kept, found = divide(base, base, copies((20, 20, 60)), lambda _: False)
    assert list(kept.rows()) == [(20, 20, 60)]
    assert [group.result.offset.tolist() for group in found] == [[0, 80]]


@given(st.data())
def test_groups_and_chunks_share_no_byte_and_leave_out_only_what_is_blank(data):
    sizes = st.lists(st.integers(1, 400), max_size=6)
    base, result = (
        side(*((f"{number % 4}", size) for number, size in enumerate(data.draw(sizes))), length=3000) for _ in "ab"
    )
    rows, at = [], 0
    for _ in range(data.draw(st.integers(0, 8))):
        at += data.draw(st.integers(0, 200))
        length = data.draw(st.integers(1, 300))
        rows.append((at, data.draw(st.integers(0, 3000 - length)), length))
        at += length
    edges = {int(file.ranges.offset[0]) for file in result.files} | {sum(f.ranges.total for f in result.files)}
    equal = copies(
        *(row for row in rows if row[0] + row[2] <= 3000 and not edges & {*range(row[0] + 1, sum(row[::2]))})
    )
    blank = union(np.array([data.draw(st.integers(0, 2900))]), np.array([100])).minus(union(equal.at, equal.length))
    with small_scale():
        kept, found = divide(base, Side(3000, result.files, blank), equal, lambda file: file.path > "1")
    covered = together([*(group.result for group in found), ranges((at, length) for at, _, length in kept.rows())])
    assert covered.total == union(covered.offset, covered.length).total
    if found and any(group.base.total for group in found):
        left = union(np.zeros(1, np.int64), np.array([3000])).minus(union(covered.offset, covered.length))
        assert left.minus(blank).total == 0 or not _unused(base, kept, found)


def _unused(base, kept, found):
    """Bytes of the base with which the rest could be compared."""
    used = together([ranges((place, length) for _, place, length in kept.rows()), *(group.base for group in found)])
    return union(np.zeros(1, np.int64), np.array([base.length])).minus(union(used.offset, used.length)).total
