"""The container: what is written is read, and nothing past a limit is read at all."""

import dataclasses
import lzma
import re
import struct
import tracemalloc
from pathlib import Path

import pytest
from delta_parts import Bench
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import format as esd2
from edgesync.wire.errors import DeltaCorruptError, UnknownFormatError
from edgesync.wire.ids import Digest, digest_of

DIGESTS = st.binary(min_size=32, max_size=32).map(lambda data: Digest(data.hex()))
LENGTHS = st.integers(0, esd2.LENGTH_LIMIT)
HEADERS = st.builds(esd2.Header, LENGTHS, DIGESTS, LENGTHS, DIGESTS)
STREAMS = esd2.CHAPTER_STREAMS + esd2.SEGMENT_STREAMS
SAMPLE = esd2.Header(5, digest_of(b"a"), 3 * esd2.SEGMENT + 1, digest_of(b"b"))


@given(HEADERS)
def test_a_header_comes_back(header):
    data = header.encode()
    assert len(data) == esd2.HEADER_SIZE
    assert esd2.parse_header(data) == header


@given(HEADERS)
def test_the_segments_of_a_header_make_its_result(header):
    if header.segments:
        assert (header.segments - 1) * esd2.SEGMENT + header.output_length(header.segments - 1) == header.result_length
        assert 1 <= header.output_length(header.segments - 1) <= esd2.SEGMENT
    else:
        assert header.result_length == 0


@given(st.binary(max_size=120) | st.binary(max_size=92).map(lambda data: b"esd2" + data))
def test_any_bytes_are_a_header_or_a_named_error(data):
    try:
        header = esd2.parse_header(data)
    except (DeltaCorruptError, UnknownFormatError):
        return
    assert header.encode() == data[: esd2.HEADER_SIZE]


@pytest.mark.parametrize("change", [(3, b"1"), (4, b"\x01"), (7, b"\x80")])
def test_a_later_version_or_a_flag_is_an_unknown_format(change):
    at, byte = change
    data = bytearray(SAMPLE.encode())
    data[at : at + 1] = byte
    with pytest.raises(UnknownFormatError, match="esd2"):
        esd2.parse_header(bytes(data))


@pytest.mark.parametrize("header", [{"base_length": 1 << 37}, {"result_length": 1 << 37}])
def test_an_image_longer_than_any_storage_is_refused(header):
    with pytest.raises(DeltaCorruptError, match="at most"):
        esd2.parse_header(dataclasses.replace(SAMPLE, **header).encode())


@pytest.mark.parametrize("at", [88, 92])
def test_a_header_whose_segments_do_not_fit_its_result_is_refused(at):
    data = bytearray(SAMPLE.encode())
    data[at] ^= 1
    with pytest.raises(DeltaCorruptError, match="segments"):
        esd2.parse_header(bytes(data))


@given(st.binary(min_size=36, max_size=36), st.integers(1, esd2.SEGMENT))
def test_no_segment_header_asks_for_more_than_a_few_megabytes(data, output):
    try:
        head = esd2.parse_segment_header(0, data, output)
    except DeltaCorruptError:
        return
    assert head.part.body_length < 4 * esd2.SEGMENT
    assert head.words * 4 < output + 4


@given(st.binary(min_size=48, max_size=48) | st.lists(st.integers(0, 1 << 17), min_size=12, max_size=12))
def test_no_chapter_header_asks_for_more_than_a_few_megabytes(data):
    data = data if isinstance(data, bytes) else struct.pack("<12I", *data)
    try:
        head = esd2.parse_chapter_header(0, data, 5)
    except DeltaCorruptError:
        return
    assert head.part.body_length < 5 * esd2.SEGMENT
    assert 1 <= head.counts.segments <= 5


FULL = esd2.Counts(
    5,
    esd2.COPIES_LIMIT,
    esd2.PIECES_LIMIT,
    esd2.PIECES_LIMIT,
    esd2.PIECES_LIMIT,
    esd2.REGIONS_LIMIT,
    esd2.CORRECTIONS_LIMIT,
)


def chapter_header(counts, packed=(0, 0, 0, 0)):
    return bytes(4) + struct.pack("<11I", *dataclasses.astuple(counts), *packed)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(esd2.Counts)])
def test_a_chapter_whose_tables_are_full_is_read_and_one_row_more_is_refused_by_name(field):
    assert esd2.parse_chapter_header(0, chapter_header(FULL), 5).counts == FULL
    more = dataclasses.replace(FULL, **{field: getattr(FULL, field) + 1})
    with pytest.raises(DeltaCorruptError, match=rf"delta, chapter 3, {field}: found"):
        esd2.parse_chapter_header(3, chapter_header(more), 5)


def test_a_chapter_without_a_segment_is_refused():
    with pytest.raises(DeltaCorruptError, match="segments: found 0, expected 1 to 5"):
        esd2.parse_chapter_header(0, chapter_header(dataclasses.replace(FULL, segments=0)), 5)


@pytest.mark.parametrize("stream", range(3))
def test_a_stream_of_a_segment_longer_than_what_it_may_unpack_to_is_refused_before_it_is_read(stream):
    packed = [0, 0, 0]
    packed[stream] = 2 * esd2.SEGMENT
    data = bytes(4) + esd2._SEGMENT.pack(bytes(16), 1, *packed)
    with pytest.raises(DeltaCorruptError, match=rf"{esd2.SEGMENT_STREAMS[stream]}: found 2097152 bytes, at most"):
        esd2.parse_segment_header(0, data, esd2.SEGMENT)


@pytest.mark.parametrize("stream", range(4))
def test_a_stream_of_a_chapter_longer_than_what_it_may_unpack_to_is_refused_before_it_is_read(stream):
    packed = [0, 0, 0, 0]
    packed[stream] = 1 << 24
    with pytest.raises(DeltaCorruptError, match=rf"{esd2.CHAPTER_STREAMS[stream]}: found 16777216 bytes, at most"):
        esd2.parse_chapter_header(0, chapter_header(FULL, packed), 5)


def test_an_error_in_a_segment_names_the_segment_and_the_field():
    data = bytearray(36)
    data[20:24] = b"\xff" * 4
    with pytest.raises(DeltaCorruptError, match=r"segment 17, words: found 4294967295 in 1048576 bytes"):
        esd2.parse_segment_header(17, bytes(data), esd2.SEGMENT)


@given(st.sampled_from(STREAMS), st.binary(max_size=300))
def test_any_stream_comes_back(name, data):
    assert esd2.unpack_stream("here", name, esd2.pack_stream(name, data), len(data)) == data


@given(st.sampled_from(STREAMS), st.binary(min_size=1, max_size=300), st.integers(0, 400))
def test_any_bytes_as_a_stream_stay_within_the_limit_or_are_refused(name, data, limit):
    try:
        assert len(esd2.unpack_stream("here", name, data, limit)) <= limit
    except DeltaCorruptError:
        pass


@pytest.mark.parametrize("name", STREAMS)
def test_a_bomb_stops_at_the_limit(name):
    packed = esd2.pack_stream(name, bytes(8 << 20))
    assert len(packed) < 3000
    tracemalloc.start()
    try:
        with pytest.raises(DeltaCorruptError, match=rf"segment 3, {name}: unpacks to more than 1048576"):
            esd2.unpack_stream("segment 3", name, packed, esd2.SEGMENT)
        assert tracemalloc.get_traced_memory()[1] < 4 * esd2.SEGMENT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("cut", [lambda data: data[:-1], lambda data: data + b"\x00", lambda data: data * 2])
def test_a_stream_that_is_cut_or_has_more_behind_it_is_refused(cut):
    packed = esd2.pack_stream("extra", b"some new bytes")
    with pytest.raises(DeltaCorruptError, match="segment 0, extra"):
        esd2.unpack_stream("segment 0", "extra", cut(packed), 1000)


def test_settings_that_no_xz_stream_has_are_refused():
    for settings in range(256):
        lc, lp, pb = settings % 9, settings // 9 % 5, settings // 45
        packed = bytes([settings]) + esd2.pack_stream("extra", b"some new bytes")[1:]
        if lc + lp <= 4 and pb <= 4:
            continue
        with pytest.raises(DeltaCorruptError, match="segment 0, extra: settings"):
            esd2.unpack_stream("segment 0", "extra", packed, 1000)


def test_the_worst_stream_fits_the_limit_for_its_packed_bytes():
    noise = bytes(range(256)) * 4096
    packed = lzma.compress(noise, format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    assert esd2.packed_limit(len(noise)) > len(noise) + len(noise) // 65536 * 3 + 1 > len(packed)


def test_the_example_in_the_format_description_is_a_delta(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "delta-format.md").read_text()
    example = text.split("## Example")[1]
    base, result = (match.encode() for match in re.findall(r"^    (?:base|result) +\"(.*)\"$", example, re.MULTILINE))
    dump = "".join(re.findall(r"^    [0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)", example, re.MULTILINE))
    assert Bench(tmp_path, base, result, bytes.fromhex(dump)).apply() == result
