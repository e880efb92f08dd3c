"""References: a program that only moved is predicted to the last word, and wrong tables are only a wrong guess."""

import dataclasses

import numpy as np
import pytest
from delta_parts import NO_TABLES, decoded_chapter, delta_of, linked, on_disk, program
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import align, chapter, corrections, elf, layout, rewrite
from edgesync.delta.addresses import NO_STEPS, Tables
from edgesync.delta.kinds import CODE, FILE_SHIFT
from edgesync.delta.segment import source_of

GROWN = {30: 3, 170: 9}
OLD, NEW = linked({}, 300), linked(GROWN, 300)
LENGTHS = len(OLD), len(NEW)


@pytest.fixture(scope="module")
def moved():
    """Copies and tables between OLD and NEW, with absolute references and corrections."""
    copies = align.align(OLD, NEW)
    known = layout.layout(OLD, NEW, copies)
    copies = align.realign(OLD, NEW, copies, known)
    moves = chapter.moves_between(copies, known.base, known.result, len(OLD), len(NEW))
    tables = Tables(known.base, known.result, moves, NO_STEPS, known.base_regions, known.bias)
    with on_disk(OLD, NEW) as pair:
        return copies, corrections.correct(pair, copies, tables, known), known


def wrong(copies, tables):
    """Words of NEW that are in a copy, and how many of them are not predicted."""
    source = source_of(copies, len(NEW) // 4)
    old, new = np.frombuffer(OLD, "<u4", len(OLD) // 4), np.frombuffer(NEW, "<u4", len(NEW) // 4)
    draft = np.where(source >= 0, old[np.maximum(source, 0) // 4], 0).astype(np.uint32)
    predicted, _ = rewrite.predict(draft, source, 0, tables)
    return int((source >= 0).sum()), int(((predicted != new) & (source >= 0)).sum())


def test_calls_data_and_pointers_of_a_program_that_moved_are_predicted(moved):
    copies, tables, _ = moved
    words, missed = wrong(copies, tables)
    _, plain = wrong(copies, dataclasses.replace(tables, regions=NO_TABLES.regions))
    assert words > 0.95 * len(NEW) / 4
    assert plain > 900
    assert missed < 0.02 * plain


def test_without_corrections_what_was_aligned_wrongly_is_missed(moved):
    copies, tables, _ = moved
    assert wrong(copies, dataclasses.replace(tables, corrections=NO_STEPS)) >= wrong(copies, tables)


def test_with_absolute_references_code_that_moved_is_equal(moved):
    copies, tables, known = moved
    old, new = align.absolute(OLD, tables), align.absolute(NEW, align.itself(known))
    same = total = 0
    for at, base, length in copies.rows():
        same += sum(a == b for a, b in zip(old[base : base + length], new[at : at + length], strict=True))
        total += length
    assert same > 0.99 * total
    assert len(old) == len(OLD)


def test_words_of_unknown_origin_are_left_alone(moved):
    _, tables, _ = moved
    words = np.frombuffer(NEW, "<u4", 4096)
    predicted, found = rewrite.predict(words, np.full(4096, -1, np.int64), 0, tables)
    assert predicted.tolist() == words.tolist()
    assert not found.kind.any()


@given(st.data())
def test_any_words_anywhere_under_any_regions_are_predicted_without_an_error(moved, data):
    _, tables, _ = moved
    count = data.draw(st.integers(1, 40))
    words = np.array(data.draw(st.lists(st.integers(0, (1 << 32) - 1), min_size=count, max_size=count)), np.uint32)
    start = data.draw(st.integers(0, len(OLD) // 4 - 50)) * 4
    source = np.where(
        data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), start + 4 * np.arange(count), -1
    )
    kinds = np.array(data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=6)), np.int64)
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


@given(st.binary(max_size=400) | st.binary(max_size=300).map(lambda tail: OLD[:80] + tail))
def test_any_bytes_are_programs_or_none(image):
    for found in elf.programs(image):
        assert 0 <= found.start < found.start + found.length <= len(image) + 1


@given(st.integers(0, 8 * 4096), st.integers(0, 8 * 400))
def test_a_program_with_flipped_bits_still_gives_tables_that_can_be_sent(moved, bit, other):
    copies, _, _ = moved
    broken = bytearray(OLD)
    for place in (bit % (8 * 176), 8 * len(OLD) - 8 * 256 + other % (8 * 256)):
        broken[place // 8] ^= 1 << place % 8
    known = layout.layout(bytes(broken), NEW, copies)
    moves = chapter.moves_between(copies, known.base, known.result, len(OLD), len(NEW))
    tables = Tables(known.base, known.result, moves, NO_STEPS, known.base_regions, known.bias)
    decoded_chapter(chapter.encode(chapter.Chapter(copies, tables), 0, [b""], LENGTHS), 0, LENGTHS)


def test_an_x86_program_is_no_program():
    other = bytearray(program(bytes(64)))
    other[18] = 62
    assert elf.programs(bytes(other)) == []
    assert len(elf.programs(program(bytes(64)))) == 1
