"""Tables of programs that come from parts of two images: put together and cut down, they still say the same."""

import numpy as np
from delta_parts import linked
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import atlas, elf
from edgesync.delta.align import align
from edgesync.delta.kinds import FILE_SHIFT, NONE
from edgesync.delta.layout import layout
from edgesync.delta.ranges import ranges

OLDS = [linked({}, 60), linked({3: 1}, 40)]
NEWS = [linked({9: 2}, 60), linked({3: 2, 7: 5}, 40)]
KNOWN = [layout(old, new, align(old, new)) for old, new in zip(OLDS, NEWS, strict=True)]


def cut(data, size):
    """A view in several ranges of an image, and the image."""
    places = data.draw(st.lists(st.integers(1, size - 1), max_size=3, unique=True))
    edges = [0, *sorted(places), size]
    order = data.draw(st.permutations(range(len(edges) - 1)))
    rows, at = {}, data.draw(st.integers(0, 50)) * 8
    for part in order:
        rows[part] = (at, edges[part + 1] - edges[part])
        at += rows[part][1] + data.draw(st.integers(0, 4))
    return ranges([rows[part] for part in sorted(rows)]), at


def said(regions, space, offsets):
    """What is known of the words at these offsets: kind, address, and the addresses that numbers are counted from."""
    row = regions.of(offsets)
    return np.stack((regions.kind[row], space.address_of(offsets), regions.anchor[row], regions.result_anchor[row]))


@given(st.data())
def test_what_is_said_of_a_byte_of_a_view_is_said_of_it_in_the_image(data):
    known, old, new = KNOWN[0], OLDS[0], NEWS[0]
    (base, base_length), (result, result_length) = cut(data, len(old)), cut(data, len(new))
    placed = atlas.placed(known, base, result, (base_length, result_length))
    every = np.arange(len(old))
    _, _, offset, length = base.spread(np.zeros(1, np.int64), np.array([len(old)]))
    there = np.concatenate([np.arange(a, a + n) for a, n in zip(offset, length, strict=True)])
    assert (said(placed.base_regions, placed.base, there) == said(known.base_regions, known.base, every)).all()
    behind = [space.offset >= length for space, length in ((placed.base, base_length), (placed.result, result_length))]
    assert behind[0].sum() == behind[1].sum() == (known.base.offset >= len(old)).sum()


@given(st.permutations(range(2)))
def test_parts_put_together_say_of_each_program_what_the_part_said(order):
    lengths = tuple(sum(len(image) for image in images) for images in (OLDS, NEWS))
    parts, views, at = [], [], [0, 0]
    for number in order:
        pair = [ranges([(at[side], len(images[number]))]) for side, images in enumerate((OLDS, NEWS))]
        parts.append(atlas.placed(KNOWN[number], *pair, lengths))
        views.append(pair)
        at = [at[side] + pair[side].total for side in range(2)]
    joined = atlas.joined(parts, lengths)
    assert len(joined.bias) == 2
    for space in (joined.base, joined.result):
        assert (space.offset[1:] >= (space.offset + space.length)[:-1]).all()
    for file, (number, (base, _)) in enumerate(zip(order, views, strict=True)):
        here = np.arange(len(OLDS[number]))
        before = said(KNOWN[number].base_regions, KNOWN[number].base, here)
        after = said(joined.base_regions, joined.base, base.offset[0] + here)
        before[1:] += np.where(before[1:] > 0, file << FILE_SHIFT, 0)
        assert (before == after).all()
        alone = atlas.chosen(joined, np.arange(2) == file)
        after = said(alone.base_regions, alone.base, base.offset[0] + here)
        after[1:] += np.where(after[1:] > 0, file << FILE_SHIFT, 0)
        assert (before == after).all()


def test_of_programs_in_the_same_bytes_the_first_is_kept():
    pair = ranges([(0, len(OLDS[0]))]), ranges([(0, len(NEWS[0]))])
    lengths = (len(OLDS[0]), len(NEWS[0]))
    part = atlas.placed(KNOWN[0], *pair, lengths)
    joined = atlas.joined([part, part], lengths)
    assert len(joined.bias) == 1
    assert (joined.base.offset == part.base.offset).all()


def test_without_programs_nothing_is_known():
    joined = atlas.joined([], (5, 7))
    assert not len(joined.base.offset)
    assert not len(joined.bias)
    assert (joined.base_regions.kind == NONE).all()


def test_only_programs_in_a_part_of_the_result_reach_it():
    lengths = tuple(sum(map(len, images)) for images in (OLDS, NEWS))
    first = ranges([(0, len(OLDS[0]))]), ranges([(0, len(NEWS[0]))])
    second = ranges([(len(OLDS[0]), len(OLDS[1]))]), ranges([(len(NEWS[0]), len(NEWS[1]))])
    known = atlas.joined([atlas.placed(KNOWN[0], *first, lengths), atlas.placed(KNOWN[1], *second, lengths)], lengths)
    assert len(atlas.reaching(known, 0, len(NEWS[0])).bias) == 1
    assert len(atlas.reaching(known, 0, len(NEWS[0]) + 1).bias) == 2
    assert len(atlas.reaching(known, len(NEWS[0]), lengths[1]).bias) == 1
    start, end = atlas.spans(known, lengths[1])
    assert (start.tolist(), end.tolist()) == ([0, len(NEWS[0])], [len(NEWS[0]), lengths[1]])


def test_the_programs_of_the_tests_are_programs():
    assert all(len(elf.programs(image)) == 1 for image in (*OLDS, *NEWS))
