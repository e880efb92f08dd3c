"""The container: what is written is read, and nothing past a limit is read at all."""

import dataclasses
import re
from pathlib import Path

import pytest
from delta_parts import Bench
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import format as esd4
from edgesync.delta import leb128
from edgesync.wire.errors import DeltaCorruptError, UnknownFormatError
from edgesync.wire.ids import digest_of

HASHES = st.binary(min_size=16, max_size=16).map(bytes.hex)
SHORT_HASHES = HASHES.map(lambda digits: digits[:16])
LENGTHS = st.integers(0, esd4.LENGTH_LIMIT)
HEADERS = st.builds(esd4.Header, LENGTHS, SHORT_HASHES, LENGTHS, HASHES)
SAMPLE = esd4.header_of(5, digest_of(b"a"), 3 * esd4.SEGMENT + 1, digest_of(b"b"))


@given(HEADERS)
def test_a_header_comes_back(header):
    data = header.encode()
    assert len(data) <= esd4.HEADER_LIMIT
    assert esd4.parse_header(data) == (header, len(data))


@given(HEADERS)
def test_the_segments_of_a_header_make_its_result(header):
    if header.segments:
        assert (header.segments - 1) * esd4.SEGMENT + header.output_length(header.segments - 1) == header.result_length
        assert 1 <= header.output_length(header.segments - 1) <= esd4.SEGMENT
    else:
        assert header.result_length == 0


@given(st.binary(max_size=60) | st.binary(max_size=50).map(lambda data: esd4.MAGIC + data))
def test_any_bytes_are_a_header_or_a_named_error(data):
    try:
        header, size = esd4.parse_header(data)
    except (DeltaCorruptError, UnknownFormatError):
        return
    assert header.encode() == data[:size]


@pytest.mark.parametrize("version", [b"esd2", b"esd3", b"esd5"])
def test_another_version_is_an_unknown_format(version):
    with pytest.raises(UnknownFormatError, match=f"found {version!r}, expected b'esd4'"):
        esd4.parse_header(version + SAMPLE.encode()[4:])


@pytest.mark.parametrize("header", [{"base_length": 1 << 37}, {"result_length": 1 << 37}, {"result_length": -1}])
def test_an_image_longer_than_any_storage_is_refused(header):
    with pytest.raises(DeltaCorruptError, match="at most"):
        esd4.parse_header(dataclasses.replace(SAMPLE, **header).encode())


def test_a_header_that_is_cut_off_is_refused():
    whole = SAMPLE.encode()
    for length in range(4, len(whole)):
        with pytest.raises(DeltaCorruptError, match="delta, header"):
            esd4.parse_header(whole[:length])


@given(st.binary(max_size=esd4.PART_LIMIT), st.integers(1, esd4.SEGMENT), st.integers(0, 9))
def test_no_segment_header_asks_for_more_than_a_few_megabytes(data, output, quiet):
    header = dataclasses.replace(SAMPLE, result_length=20 * esd4.SEGMENT + output)
    try:
        head, size = esd4.parse_segment_header(11, data, header, quiet, alone=quiet == 0)
    except DeltaCorruptError:
        return
    assert size <= len(data)
    assert 11 <= head.number <= 11 + quiet
    assert head.part.body_length < 4 * esd4.SEGMENT
    assert (head.words or 0) * 4 < header.output_length(head.number) + 4


@given(st.binary(max_size=72) | st.lists(st.integers(0, 1 << 17), min_size=21, max_size=21).map(leb128.encode))
def test_no_chapter_header_asks_for_more_than_a_few_megabytes(data):
    try:
        head, size = esd4.parse_chapter_header(0, data, 5)
    except DeltaCorruptError:
        return
    assert size <= len(data)
    assert head.part.body_length < 24 * esd4.SEGMENT
    assert 0 <= head.counts.loud <= head.counts.segments <= 5


FULL = dataclasses.replace(esd4._MOST, segments=5, loud=5)
"""All tables of a chapter are full, and it has all that a chapter may have."""


def chapter_header(counts, **packed):
    """As an attacker writes it: encoded without a check."""
    flags = esd4._flags(counts)
    rows = [getattr(counts, field) for flag, names in esd4._FIELDS.items() for field in names if flags & flag]
    shape = (counts.segments, 4 * counts.loud + flags, counts.copies + 1)
    return leb128.encode((*shape, *rows, *(packed.get(name, 0) for name in esd4._streams(counts))))


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(esd4.Counts)])
def test_a_chapter_whose_tables_are_full_is_read_and_one_row_more_is_refused_by_name(field):
    assert esd4.parse_chapter_header(0, chapter_header(FULL), 5)[0].counts == FULL
    more = dataclasses.replace(FULL, **{field: getattr(FULL, field) + 1})
    with pytest.raises(DeltaCorruptError, match=rf"delta, chapter 3, {field}: found"):
        esd4.parse_chapter_header(3, chapter_header(more), 5)


@pytest.mark.parametrize("field", ["files", "derived"])
def test_tables_of_nothing_are_refused(field):
    empty = leb128.encode((5, {"files": 21, "derived": 22}[field], 1, 0, *[0] * 8))
    with pytest.raises(DeltaCorruptError, match="chapter 0, loud: found 5 of 5 segments, with flags"):
        esd4.parse_chapter_header(0, empty, 5)


def test_a_chapter_without_a_segment_is_refused():
    with pytest.raises(DeltaCorruptError, match="found 0 of 0 segments"):
        esd4.parse_chapter_header(0, chapter_header(dataclasses.replace(FULL, segments=0, loud=0)), 5)


def test_a_chapter_without_files_and_types_has_no_tables_but_copies():
    head, size = esd4.parse_chapter_header(0, leb128.encode((2, 4, 10, 44)), 5)
    assert head.counts == esd4.Counts(2, 1, 9)
    assert head.part.packed == {"copies": 44}
    assert size == 4


@pytest.mark.parametrize(
    ("form", "stream"),
    [
        *((esd4.BYTES, name) for name in ("differences", "extra")),
        *((esd4.SPARSE, name) for name in ("gaps", "changes", "extra")),
        *((esd4.WORDS + 1, name) for name in ("gaps", "values", "extra")),
    ],
)
def test_a_stream_of_a_segment_longer_than_what_it_may_unpack_to_is_refused_before_it_is_read(form, stream):
    head = leb128.encode([0]) + bytes(esd4.CHECK) + leb128.encode([form])
    names = list(esd4.parse_segment_header(0, head + bytes(3), SAMPLE, 0, alone=False)[0].part.packed)
    packed = [2 * esd4.SEGMENT if name == stream else 0 for name in names]
    with pytest.raises(DeltaCorruptError, match=rf"segment 0, {stream}: found 2097152, at most"):
        esd4.parse_segment_header(0, head + leb128.encode(packed), SAMPLE, 0, alone=False)


@pytest.mark.parametrize("stream", esd4._streams(FULL))
def test_a_stream_of_a_chapter_longer_than_what_it_may_unpack_to_is_refused_before_it_is_read(stream):
    with pytest.raises(DeltaCorruptError, match=rf"{stream}: found 16777216, at most"):
        esd4.parse_chapter_header(0, chapter_header(FULL, **{stream: 1 << 24}), 5)


def test_an_error_in_a_segment_names_the_segment_and_the_field():
    with pytest.raises(DeltaCorruptError, match=r"segment 2, form: found 300000, at most 262147"):
        esd4.parse_segment_header(1, leb128.encode((1, 300_000)), SAMPLE, 1, alone=True)
    with pytest.raises(DeltaCorruptError, match=r"segment 2, mixed: found \d+, at most \d+"):
        esd4.parse_segment_header(1, leb128.encode((1, esd4.MIXED, 1 << 24)), SAMPLE, 1, alone=True)
    with pytest.raises(DeltaCorruptError, match=r"segment 1, quiet: found 2, at most 1"):
        esd4.parse_segment_header(1, leb128.encode((2, 0)), SAMPLE, 1, alone=True)


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_segments_that_are_not_there_are_counted_and_the_only_one_has_no_check(loud):
    header = dataclasses.replace(SAMPLE, result_length=len(loud) * esd4.SEGMENT)
    segment = esd4.encode_segment(esd4.BYTES, b"check!", [b"", b"12"])
    data = esd4.encode_chapter(esd4.Counts(0, 0, 0), {"copies": b""}, [segment if here else b"" for here in loud])
    head, at = esd4.parse_chapter_header(0, data, len(loud))
    assert (head.counts.segments, head.counts.loud) == (len(loud), sum(loud))
    found, number = [], 0
    for left in range(head.counts.loud, 0, -1):
        quiet, alone = len(loud) - number - left, sum(loud) == 1
        part, size = esd4.parse_segment_header(number, data[at:], header, quiet, alone=alone)
        assert part.check == (b"" if alone else b"check!")
        at += size + part.part.body_length
        found.append(part.number)
        number = part.number + 1
    assert found == [number for number, here in enumerate(loud) if here]
    assert at == len(data)


def test_the_example_in_the_format_description_is_a_delta(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "delta-format.md").read_text()
    example = text.split("## Example")[1]
    base, result = (match.encode() for match in re.findall(r"^    (?:base|result) +\"(.*)\"$", example, re.MULTILINE))
    dump = "".join(re.findall(r"^    [0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)", example, re.MULTILINE))
    assert Bench(tmp_path, base, result, bytes.fromhex(dump)).apply() == result
