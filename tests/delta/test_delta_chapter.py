"""The tables of a chapter: what is written is read, and no crafted number reaches outside anything."""

from array import array

import numpy as np
import pytest
from delta_parts import NO_TABLES, copies_of, decoded_chapter
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import chapter, plain, plaintables, streams, varint
from edgesync.delta import format as esd4
from edgesync.delta.addresses import NO_STEPS, Regions, Space, Tables
from edgesync.delta.chapter import Chapter
from edgesync.delta.copies import Copies, Steps
from edgesync.delta.format import SEGMENT
from edgesync.delta.kinds import FILE_SHIFT, SYMBOLS_32
from edgesync.delta.tables import Columns, read
from edgesync.delta.varint import fold
from edgesync.wire.errors import DeltaCorruptError

BASE, RESULT = 500, 400
FILE = 1 << FILE_SHIFT


def ints(rows, columns):
    return np.array(rows, np.int64).reshape(-1, columns).T


@st.composite
def spaces(draw, length, pieces, behind, files):
    """So many pieces inside the image, and so many behind it."""
    rows, at = [], 0
    for number in range(pieces + behind):
        at = max(at, length) if number >= pieces else at
        at += draw(st.integers(0, 20))
        size = draw(st.integers(1, 30))
        if number < pieces and at + size > length:
            continue
        rows.append((at, size, draw(st.integers(1, files)) * FILE + draw(st.integers(0, 1 << 38))))
        at += size
    return Space(*ints(rows, 3))


@st.composite
def chapters(draw):
    files, behind = draw(st.integers(1, 3)), draw(st.integers(0, 2))
    base, result = draw(spaces(BASE, 3, behind, files)), draw(spaces(RESULT, 3, behind, files))
    copies = draw(copies_of(RESULT, BASE))
    starts = st.lists(st.integers(0, 1 << 40), unique=True, max_size=5).map(sorted)
    addresses = st.integers(0, 1 << 45)
    regions = Regions(
        *ints(
            [(at, draw(st.integers(0, 5)), draw(addresses), draw(addresses)) for at in draw(starts) if at < 1 << 36], 4
        )
    )
    corrections = Steps(*ints([(at, draw(st.integers(-(1 << 39), 1 << 39))) for at in draw(starts)], 2))
    moves = chapter.moves_between(copies, base, result, BASE, RESULT)
    bias = np.array(draw(st.lists(st.integers(-(1 << 50), 1 << 50), min_size=files, max_size=files)), np.int64)
    return Chapter(copies, Tables(base, result, moves, corrections, regions, bias))


def decoded(data, first=0, base=BASE, result=RESULT):
    return decoded_chapter(data, first, (base, result))


def arrays(known):
    tables = known.tables
    parts = (known.copies, tables.base, tables.result, tables.moves, tables.corrections, tables.regions)
    return [getattr(part, name).tolist() for part in parts for name in part.__slots__] + [tables.bias.tolist()]


@given(chapters())
def test_a_chapter_comes_back(known):
    assert arrays(decoded(chapter.encode(known, 0, [b""], (BASE, RESULT)))) == arrays(known)


@given(chapters(), st.lists(st.integers(0, 1 << 42) | st.integers(FILE - 40, FILE + 600), max_size=20))
def test_both_decoders_read_the_same_tables_and_look_up_the_same(known, addresses):
    data = chapter.encode(known, 0, [b""], (BASE, RESULT))
    head, size = esd4.parse_chapter_header(0, data[: esd4.PART_LIMIT], 9)
    body, lengths = data[size:], (BASE, RESULT)
    rows = plain.rows(head, body, 0, lengths)
    found, arrays = plaintables.tables_of(rows, read(head, body, lengths), lengths), decoded(data).tables
    assert list(found.moves.start) == arrays.moves.start.tolist()
    assert list(found.moves.shift) == arrays.moves.shift.tolist()
    starts = [place for space in (arrays.base, arrays.result) for place in space.address.tolist()]
    for address in (*addresses, *starts, *(start + 90 for start in starts)):
        one = np.array([address], np.int64)
        assert found.base.offset_of(address) == int(arrays.base.offset_of(one)[0])
        for corrected in (False, True):
            assert found.moved(address, corrected=corrected) == int(arrays.moved(one, corrected=corrected)[0])
    for offset in range(-1, BASE + 20):
        assert found.result.address_of(offset) == int(arrays.result.address_of(np.array([offset]))[0])


@given(copies_of(RESULT, 2 * BASE, 12))
def test_both_decoders_move_alike_what_is_copied_and_not_what_is_derived_behind_the_base(copies):
    rows = plain.Rows(*(array("q", column.tolist()) for column in (copies.at, copies.base, copies.length)))
    nothing = array("q")
    columns = Columns((nothing,) * 3, (nothing,) * 3, (nothing,) * 4, (nothing,) * 2, nothing)
    found = plaintables.tables_of(rows, columns, (BASE, RESULT)).moves
    expected = chapter.moves_between(copies, NO_TABLES.base, NO_TABLES.result, BASE, RESULT)
    assert (list(found.start), list(found.shift)) == (expected.start.tolist(), expected.shift.tolist())


@given(copies_of(300, BASE))
def test_copies_of_a_later_chapter_are_counted_from_its_own_start(copies):
    moved = type(copies)(copies.at + 5 * SEGMENT, copies.base, copies.length)
    data = chapter.encode(Chapter(moved, NO_TABLES), 5, [b""], (BASE, 5 * SEGMENT + RESULT))
    assert decoded(data, 5, result=5 * SEGMENT + RESULT).copies.at.tolist() == moved.at.tolist()


@pytest.mark.parametrize(
    ("first", "base", "length"), [(0, 300, 300), (0, 900, 400), (2, 2 * SEGMENT + 7, 7), (2, 9, 0)]
)
def test_the_same_place_of_the_base_takes_no_row(first, base, length):
    result, start = first * SEGMENT + RESULT, first * SEGMENT
    same = ints([(start, start, length)] if length else [], 3)
    data = chapter.encode(Chapter(Copies(*same), NO_TABLES), first, [b""], (base, result))
    assert data == bytes([1, 0, 0])
    found = decoded(data, first, base, result).copies
    assert [found.at.tolist(), found.base.tolist(), found.length.tolist()] == [column.tolist() for column in same]


def crafted(copies=(), pieces=(), regions=(), corrections=(), **counts):
    """A chapter as an attacker writes it: every checksum is right, what it says is not."""
    rows = {"segments": 1, "loud": 0, "copies": len(copies) // 3, "files": 1, "base_pieces": 0, "result_pieces": 0}
    rows |= {"regions": len(regions) // 4, "corrections": len(corrections) // 2}
    if not pieces:
        pieces = (0,) * (counts.get("files", 1))
    columns = {"copies": copies, "pieces": pieces, "regions": regions, "corrections": corrections}
    packed = {
        name: streams.pack(name, varint.encode(np.array([int(number) for number in numbers], np.int64)))
        for name, numbers in columns.items()
    }
    return esd4.encode_chapter(esd4.Counts(**(rows | counts)), packed, [b""])


def signed(number):
    return int(fold(np.int64(number)))


def test_an_empty_chapter_is_none_of_the_errors_below():
    assert decoded(crafted()).copies.at.tolist() == []


@pytest.mark.parametrize(
    "copies",
    [
        (20, 0, signed(BASE - 19)),  # ends one byte behind the base
        (20, 0, signed(-1)),  # begins one byte before it
        (20, 0, (1 << 42) - 1),
        (20, 0, (1 << 42) - 2),
        (RESULT + 1, 0, 0),  # longer than the result
        (20, RESULT - 19, 0),
        (0, 0, 0),
        (1 << 41, 0, 0),
        (20, 1 << 41, 0),
        (20, 20, 0, 0, 0, 1 << 41),
        (20, 1 << 41, 0, 0, 0, 0),
    ],
)
def test_copies_that_reach_outside_base_or_result_are_refused(copies):
    with pytest.raises(DeltaCorruptError, match="chapter 0, copies: "):
        decoded(crafted(copies))


def test_the_largest_step_of_every_copy_does_not_overflow():
    count = esd4.COPIES_LIMIT
    copies = np.concatenate([np.ones(count, np.int64), np.zeros(count, np.int64), np.full(count, (1 << 42) - 2)])
    with pytest.raises(DeltaCorruptError, match="outside the base"):
        decoded(crafted(copies), result=SEGMENT)


@pytest.mark.parametrize(
    "rows",
    [
        (0, 0, signed(FILE)),  # empty
        (0, 1 << 37, signed(FILE)),  # longer than any image
        (1 << 62, 9, signed(FILE)),  # wraps around
        (0, 9, signed(0)),  # in no file
        (0, 9, signed(-FILE)),
        (0, 9, signed(2 * FILE)),  # in a file that is not there
        (0, 9, signed(2 * FILE - 5)),  # reaches into the next
    ],
)
def test_pieces_outside_images_and_files_are_refused(rows):
    with pytest.raises(DeltaCorruptError, match="chapter 0, pieces: a piece is"):
        decoded(crafted(pieces=(*rows, 0), base_pieces=1))
    with pytest.raises(DeltaCorruptError, match="chapter 0, pieces: a piece is"):
        decoded(crafted(pieces=(*rows, 0), result_pieces=1))


def test_memory_without_a_twin_in_the_other_image_is_refused():
    with pytest.raises(DeltaCorruptError, match="pieces: base and result have different numbers"):
        decoded(crafted(pieces=(BASE, 9, signed(FILE), 0), base_pieces=1))


@pytest.mark.parametrize(
    "regions",
    [
        (0, 0, 1, 1, 0, 0, 0, 0),  # two that start at one place
        (5, (1 << 62), 1, 1, 0, 0, 0, 0),
        (1 << 36, 1, 0, 0),
        (0, SYMBOLS_32 + 1, 0, 0),  # holds what nobody knows
    ],
)
def test_regions_that_do_not_ascend_or_hold_something_unknown_are_refused(regions):
    with pytest.raises(DeltaCorruptError, match="chapter 0, regions: "):
        decoded(crafted(regions=regions))


@pytest.mark.parametrize("corrections", [(3, 0, 0, 0), (1 << 60, 0), (1, 1 << 62, 0, 0)])
def test_corrections_that_do_not_ascend_are_refused(corrections):
    with pytest.raises(DeltaCorruptError, match="chapter 0, corrections: "):
        decoded(crafted(corrections=corrections))


@pytest.mark.parametrize(
    ("stream", "numbers"),
    [("copies", (9, 0, 0, 0)), ("pieces", (0, 0)), ("regions", (1,) * 5), ("corrections", (1,) * 3)],
)
def test_a_table_with_more_numbers_than_its_rows_is_refused(stream, numbers):
    with pytest.raises(
        DeltaCorruptError, match=rf"chapter 0, {stream}: found {len(numbers)} numbers in \d+ bytes, expected"
    ):
        decoded(crafted(**{stream: numbers}))


WIDE = st.integers(0, (1 << 62) - 1) | st.integers(0, 80)


@given(
    st.lists(st.integers(0, (1 << 42) - 1) | st.integers(0, 80), max_size=3).map(lambda row: row * 3),
    st.lists(WIDE, min_size=7, max_size=7),
    st.lists(WIDE, max_size=3).map(lambda row: row * 4),
    st.lists(WIDE, max_size=3).map(lambda row: row * 2),
)
def test_whatever_an_attacker_writes_every_copy_stays_inside(copies, pieces, regions, corrections):
    try:
        known = decoded(crafted(copies, pieces, regions, corrections, base_pieces=1, result_pieces=1))
    except DeltaCorruptError:
        return
    assert (known.copies.base >= 0).all()
    assert (known.copies.base + known.copies.length <= BASE).all()
    assert (known.copies.at + known.copies.length <= RESULT).all()
    assert (np.diff(known.tables.regions.start) > 0).all()
    probes = np.array([0, 1, FILE, 2 * FILE - 1, 1 << 62, -1])
    for space in (known.tables.base, known.tables.result, NO_TABLES.base):
        assert (space.offset_of(probes) >= -1).all()
        assert (space.address_of(probes) >= 0).all()
    assert (known.tables.moved(probes) < 1 << 62).all()
    assert NO_STEPS(probes).tolist() == probes.tolist()
