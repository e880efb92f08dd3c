"""References: a program that only moved is predicted to the last word, and wrong tables are only a wrong guess."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from delta_parts import NO_TABLES, decoded_chapter, delta_of, linked, on_disk, program
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import align, chapter, corrections, elf, layout, rewrite
from edgesync.delta.addresses import NO_STEPS, Tables
from edgesync.delta.copies import Copies
from edgesync.delta.kinds import CODE, FILE_SHIFT, NONE, POINTERS_32, RELATIVE_31, SYMBOLS_32
from edgesync.delta.layout import Layout
from edgesync.delta.segment import source_of
from tests.delta.golden import program_32

GROWN = {30: 3, 170: 9}
OLD, NEW = linked({}, 300), linked(GROWN, 300)
PAIRS = {"AArch64": (OLD, NEW), "A32": (program_32({}, 0, 400), program_32(GROWN, 0, 400))}


@dataclass(frozen=True)
class Moved:
    """A program before and after, copies and tables between them with absolute references and corrections, and what is
    known of it.
    """

    old: bytes
    new: bytes
    copies: Copies
    tables: Tables
    known: Layout

    def wrong(self, tables):
        """Words of the new one that are in a copy, and how many of them are not predicted."""
        return wrong(self.old, self.new, self.copies, tables)


@pytest.fixture(scope="module", params=PAIRS)
def moved(request):
    old, new = PAIRS[request.param]
    copies = align.align(old, new)
    known = layout.layout(old, new, copies)
    copies = align.realign(old, new, copies, known)
    moves = chapter.moves_between(copies, known.base, known.result, len(old), len(new))
    tables = Tables(known.base, known.result, moves, NO_STEPS, known.base_regions, known.bias)
    with on_disk(old, new) as pair:
        return Moved(old, new, copies, corrections.correct(pair, copies, tables, known), known)


def wrong(before, after, copies, tables):
    source = source_of(copies, len(after) // 4)
    old, new = np.frombuffer(before, "<u4", len(before) // 4), np.frombuffer(after, "<u4", len(after) // 4)
    draft = np.where(source >= 0, old[np.maximum(source, 0) // 4], 0).astype(np.uint32)
    predicted, _ = rewrite.predict(draft, source, 0, tables)
    return int((source >= 0).sum()), int(((predicted != new) & (source >= 0)).sum())


def test_calls_data_and_pointers_of_a_program_that_moved_are_predicted(moved):
    words, missed = moved.wrong(moved.tables)
    _, plain = moved.wrong(dataclasses.replace(moved.tables, regions=NO_TABLES.regions))
    assert words > 0.95 * len(moved.new) / 4
    assert plain > 900
    assert missed < 0.02 * plain


def test_without_corrections_what_was_aligned_wrongly_is_missed(moved):
    assert moved.wrong(dataclasses.replace(moved.tables, corrections=NO_STEPS)) >= moved.wrong(moved.tables)


def test_with_absolute_references_code_that_moved_is_equal(moved):
    old, new = align.absolute(moved.old, moved.tables), align.absolute(moved.new, align.itself(moved.known))
    same = total = 0
    for at, base, length in moved.copies.rows():
        same += sum(a == b for a, b in zip(old[base : base + length], new[at : at + length], strict=True))
        total += length
    assert same > 0.99 * total
    assert len(old) == len(moved.old)


def test_words_of_unknown_origin_are_left_alone(moved):
    words = np.frombuffer(moved.new, "<u4", 4096)
    predicted, found = rewrite.predict(words, np.full(4096, -1, np.int64), 0, moved.tables)
    assert predicted.tolist() == words.tolist()
    assert not found.kind.any()


@given(st.data())
def test_any_words_anywhere_under_any_regions_are_predicted_without_an_error(moved, data):
    tables = moved.tables
    count = data.draw(st.integers(1, 40))
    words = np.array(data.draw(st.lists(st.integers(0, (1 << 32) - 1), min_size=count, max_size=count)), np.uint32)
    start = data.draw(st.integers(0, len(moved.old) // 4 - 50)) * 4
    source = np.where(
        data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), start + 4 * np.arange(count), -1
    )
    kinds = np.array(data.draw(st.lists(st.integers(0, SYMBOLS_32), min_size=1, max_size=6)), np.int64)
    anchor = np.full(len(kinds), (1 << FILE_SHIFT) + data.draw(st.integers(0, 1 << 39)))
    starts = start + 24 * np.arange(len(kinds))
    regions = dataclasses.replace(tables.regions, start=starts, kind=kinds, anchor=anchor, result_anchor=anchor)
    predicted, found = rewrite.predict(words, source, start, dataclasses.replace(tables, regions=regions))
    assert len(predicted) == count
    assert (found.target[found.kind > 0] > 0).all()
    assert not found.kind[source < 0].any()


def test_a_program_in_the_middle_of_an_image_is_found_and_paired_with_itself():
    old = b"tar header".ljust(512, b"\0") + OLD + bytes(99) + linked({}, 50)
    new = bytes(1024) + linked({7: 2}, 50).ljust(1 << 16, b"\0") + NEW
    known = layout.layout(old, new, align.align(old, new))
    assert len(known.bias) == 2
    assert (known.base.address >> FILE_SHIFT).min() == 1
    assert known.base_regions.kind.tolist().count(CODE) == 2
    assert len(delta_of(old, new)) < 0.2 * len(delta_of(OLD, bytes(len(NEW))[::-1] + NEW)) + 60_000


@given(
    st.binary(max_size=400)
    | st.binary(max_size=300).map(lambda tail: OLD[:80] + tail)
    | st.binary(max_size=300).map(lambda tail: PAIRS["A32"][0][:90] + tail)
)
def test_any_bytes_are_programs_or_none(image):
    for found in elf.programs(image):
        assert 0 <= found.start < found.start + found.length <= len(image) + 1


@given(st.integers(0, 8 * 4096), st.integers(0, 8 * 400))
def test_a_program_with_flipped_bits_still_gives_tables_that_can_be_sent(moved, bit, other):
    broken, copies, lengths = bytearray(moved.old), moved.copies, (len(moved.old), len(moved.new))
    for place in (bit % (8 * 176), 8 * len(broken) - 8 * 256 + other % (8 * 256)):
        broken[place // 8] ^= 1 << place % 8
    known = layout.layout(bytes(broken), moved.new, copies)
    moves = chapter.moves_between(copies, known.base, known.result, *lengths)
    tables = Tables(known.base, known.result, moves, NO_STEPS, known.base_regions, known.bias)
    decoded_chapter(chapter.encode(chapter.Chapter(copies, tables), 0, [b""], lengths), 0, lengths)


def test_an_x86_program_is_no_program():
    other = bytearray(program(bytes(64)))
    other[18] = 62
    assert elf.programs(bytes(other)) == []
    assert len(elf.programs(program(bytes(64)))) == 1
    short = bytearray(program_32({}, 0, 9))
    assert len(elf.programs(bytes(short))) == 1
    short[18] = 3
    assert elf.programs(bytes(short)) == []


def test_what_has_few_instructions_under_any_condition_is_thumb_and_no_a32():
    old, new = (bytearray(image) for image in PAIRS["A32"])
    for image in (old, new):
        size = elf.programs(bytes(image))[0].sections[0].size
        image[0x1003 : 0x1000 + size : 4] = bytes(at % 256 for at in range(size // 4))
    known = layout.layout(bytes(old), bytes(new), align.align(bytes(old), bytes(new)))
    assert known.base_regions.kind.tolist() == [NONE, POINTERS_32, RELATIVE_31, SYMBOLS_32, NONE]
