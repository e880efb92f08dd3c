"""Tables under the context-mixing coder: what is packed comes back, and any other bytes are refused by name."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from importlib import import_module

import pytest
import tables_by_the_book
from delta_parts import NO_TABLES, decoded_chapter
from hypothesis import given
from hypothesis import strategies as st
from test_delta_chapter import BASE, RESULT, arrays, chapters, decoded, ints

from edgesync.delta import chapter, leb128, mixing, streams
from edgesync.delta.chapter import Chapter
from edgesync.delta.copies import Copies
from edgesync.delta.format import SEGMENT, Counts, parse_chapter_header
from edgesync.wire.errors import DeltaCorruptError, UnknownFormatError

pytestmark = pytest.mark.mixing
ONE = Counts(segments=1, loud=1, copies=1, base_pieces=2, result_pieces=2, files=1, regions=1, corrections=1)
ROWS = replace(ONE, type_runs=1, name_runs=1).limits()
"""Limit of each stream for one row, or for two pieces of each image and a file."""
MODELS = range(5)


@pytest.fixture(scope="module")
def core():
    return import_module("edgesync.delta._mixing")


@st.composite
def tables(draw):
    """The name of a table, its limit, and numbers that it may have: some alike, some of any length."""
    name = draw(st.sampled_from(sorted(filter(mixing.is_table, ROWS))))
    most = 6 if name in ("copies", "types", "names") else 9
    rows = draw(st.integers(1, 12))
    limit = rows * ROWS[name]
    numbers = st.sampled_from((0, 1, 16, 4080)) | st.integers(0, 7 * most - 2).flatmap(lambda n: st.integers(0, 1 << n))
    return name, limit, draw(st.lists(numbers, min_size=limit // most, max_size=limit // most))


def firmware_copies(rows, seed=1):
    """Copies as programs have them, in columns: most on the way, some from elsewhere and back."""
    chance = random.Random(seed)
    size, gap, step, shift, last = [], [], [], 4096, 0
    for _ in range(rows):
        elsewhere = chance.random() < 0.3
        size.append(chance.randrange(16, 64) if elsewhere else 4 * chance.randrange(4, 4000))
        gap.append(chance.choice((0, 0, 0, 4, 12, chance.randrange(40))))
        shift += 0 if elsewhere else 4 * chance.randrange(-8, 9)
        to = chance.randrange(1 << 20) if elsewhere else shift
        step.append(leb128.fold(to - last))
        last = to
    return [*size, *gap, *step]


@given(tables())
def test_any_table_comes_back_and_takes_no_more_than_without_the_coder(table):
    name, limit, numbers = table
    data = leb128.encode(numbers)
    packed = streams.pack(name, data, mixed=limit)
    assert streams.unpack("here", name, packed, limit) == data
    assert len(packed) <= len(streams.pack(name, data))


@given(tables())
def test_the_coder_itself_brings_back_each_table_that_it_takes(table):
    name, limit, numbers = table
    data = leb128.encode(numbers)
    packed = mixing.pack_table(name, data, limit, 4 * len(data) + 64)
    assert packed is not None
    assert mixing.unpack_table(name, packed, limit) == data


@given(tables())
def test_a_decoder_written_from_the_documents_reads_the_same(core, table):
    name, limit, numbers = table
    model, width = mixing._TABLES[name]
    packed = mixing.pack_table(name, leb128.encode(numbers), limit, 16 * limit)
    assert tables_by_the_book.decode(model, packed, limit // width) == numbers


@given(st.sampled_from(MODELS), st.binary(max_size=16), st.integers(0, 4))
def test_a_decoder_written_from_the_documents_refuses_the_same(core, model, stream, rows):
    try:
        said = tables_by_the_book.decode(model, stream, 3 * rows)
    except tables_by_the_book.RefusedError:
        with pytest.raises(ValueError, match="cut off, damaged, or has bytes behind its end"):
            core.decode_table(model, stream, 3 * rows)
    else:
        assert list(leb128.decode(core.decode_table(model, stream, 3 * rows), 3 * rows, 9)) == said


def test_a_decoder_written_from_the_documents_reads_copies_of_firmware(core):
    numbers = firmware_copies(150)
    for model in (tables_by_the_book.COPIES, tables_by_the_book.RUNS):
        packed = core.encode_table(model, leb128.encode(numbers), len(numbers), 1 << 16)
        assert tables_by_the_book.decode(model, packed, len(numbers)) == numbers


@given(st.sampled_from(MODELS), st.binary(max_size=60), st.integers(0, 40))
def test_any_bytes_are_refused_or_are_the_one_stream_of_the_table_that_they_unpack_to(core, model, stream, count):
    try:
        data = core.decode_table(model, stream, count)
    except ValueError:
        return
    assert len(leb128.decode(data, count, 9)) == count
    assert core.encode_table(model, data, count, len(stream)) == stream


@given(st.sampled_from(sorted(ROWS)), st.binary(max_size=60), st.integers(0, 400))
def test_any_bytes_as_a_mixed_stream_stay_within_the_limit_or_are_refused_by_name(name, stream, limit):
    try:
        size, said = len(streams.unpack("chapter 7", name, bytes([streams.MIXED]) + stream, limit)), ""
    except DeltaCorruptError as error:
        size, said = 0, str(error)
    assert size <= limit
    assert not said or f"chapter 7, {name}: " in said


def test_no_damage_of_a_stream_gives_its_table():
    data = leb128.encode(firmware_copies(60))
    limit = 60 * ROWS["copies"]
    stream = mixing.pack_table("copies", data, limit, len(data))
    flipped = [stream[:at] + bytes([stream[at] ^ 1 << at % 8]) + stream[at + 1 :] for at in range(len(stream))]
    refused = 0
    for damaged in (*flipped, *(stream[:cut] for cut in range(len(stream))), stream + b"\0", stream + b"\1"):
        try:
            assert mixing.unpack_table("copies", damaged, limit) != data
        except ValueError:
            refused += 1
    assert refused > len(stream)


def test_numbers_of_more_than_62_bits_are_left_to_the_other_methods(core):
    whole, too_long = leb128.encode([1 << 61, 1, 1]), leb128.encode([(1 << 63) - 1, 1, 1])
    for model in MODELS:
        assert core.decode_table(model, core.encode_table(model, whole, 3, 999), 3) == whole
        assert core.encode_table(model, too_long, 3, 999) is None


@pytest.mark.parametrize("data", [b"\1\2", b"\1\2\3\4", b"\1\2\x83", b"\1\2\x83\0", b"\1\2" + b"\xff" * 9 + b"\1"])
def test_bytes_that_are_not_the_numbers_are_not_coded(core, data):
    assert core.encode_table(0, b"\1\2\3", 3, 99) is not None
    assert core.encode_table(0, data, 3, 99) is None


@pytest.mark.parametrize(("model", "count"), [(-1, 3), (5, 3), (0, -1), (0, (1 << 20) + 1)])
def test_tables_that_do_not_exist_are_refused(core, model, count):
    for call in (lambda: core.encode_table(model, b"", count, 99), lambda: core.decode_table(model, b"", count)):
        with pytest.raises(ValueError, match=f"no table {model} of {count} numbers"):
            call()


def test_tables_of_firmware_take_less_than_without_the_coder():
    data = leb128.encode(firmware_copies(400))
    packed = streams.pack("copies", data, mixed=400 * ROWS["copies"])
    assert packed[0] == streams.MIXED
    assert len(packed) < 0.9 * len(streams.pack("copies", data))


@given(chapters())
def test_a_chapter_with_mixed_tables_comes_back(known):
    data = chapter.encode(known, 0, [b""], (BASE, RESULT), mixing=True)
    assert arrays(decoded(data)) == arrays(known)
    assert len(data) <= len(chapter.encode(known, 0, [b""], (BASE, RESULT)))


@given(chapters(), st.data())
def test_bits_flipped_in_mixed_tables_give_tables_or_are_refused(known, data):
    broken = bytearray(chapter.encode(known, 0, [b""], (BASE, RESULT), mixing=True))
    _, body = parse_chapter_header(0, bytes(broken), 1)
    for bit in data.draw(st.lists(st.integers(8 * body, 8 * len(broken) - 1), min_size=1, max_size=3)):
        broken[bit // 8] ^= 1 << bit % 8
    try:
        copied, said = sum(decoded(bytes(broken)).copies.length), ""
    except DeltaCorruptError as error:
        copied, said = 0, str(error)
    assert copied <= RESULT
    assert not said or "chapter 0, " in said


def test_copies_of_a_later_chapter_may_come_from_before_its_start():
    chance = random.Random(5)
    rows = [(5 * SEGMENT + 100 * row, chance.randrange(4 * SEGMENT), chance.randrange(16, 99)) for row in range(200)]
    known = Chapter(Copies(*ints(rows, 3)), NO_TABLES)
    lengths = (5 * SEGMENT, 6 * SEGMENT)
    data = chapter.encode(known, 5, [b""], lengths, mixing=True)
    assert len(data) < len(chapter.encode(known, 5, [b""], lengths))
    assert list(decoded_chapter(data, 5, lengths).copies.rows()) == rows


def test_a_mixed_table_is_refused_by_name_where_the_coder_is_not(monkeypatch):
    packed = streams.pack("copies", leb128.encode(firmware_copies(400)), mixed=400 * ROWS["copies"])
    monkeypatch.setenv(mixing.VARIABLE, "1")
    with pytest.raises(UnknownFormatError, match=r"chapter 3, copies: only the context-mixing coder unpacks it"):
        streams.unpack("chapter 3", "copies", packed, 400 * ROWS["copies"])


def test_each_machine_makes_the_same_streams(core):
    """A change of the models is a change of the format: boards in the field would refuse the deltas."""
    numbers = firmware_copies(300)
    made = hashlib.sha256()
    for model in MODELS:
        made.update(core.encode_table(model, leb128.encode(numbers), len(numbers), 1 << 16))
    assert made.hexdigest()[:16] == "1dd0b98b2ccf78fb"
