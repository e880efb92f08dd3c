"""The core of the mixing coder, through the smallest model: the same bytes come out, and have one stream."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import mixing

TEXT = (Path(__file__).parents[2] / "LICENSE").read_bytes()
REFUSED = "the stream is cut off, damaged, or has bytes behind its end"
LIKELY = st.lists(st.sampled_from([b"\0", b"\xff", b"ab", b"word"]), max_size=400).map(b"".join)


@pytest.fixture(scope="module")
def core(tmp_path_factory, require):
    require(mixing.missing())
    return mixing.load(mixing.build(tmp_path_factory.mktemp("core"), ["-O3"]), "mixing_bytes")


def says(core, stream, size):
    """What a stream unpacks to, or why it does not."""
    try:
        return core.decode_bytes(stream, size)
    except ValueError as error:
        return str(error)


@given(data=st.binary(max_size=2000) | LIKELY)
def test_what_is_packed_unpacks_to_the_same(core, data):
    stream = core.encode_bytes(data, 4 * len(data) + 8)
    assert core.decode_bytes(stream, len(data)) == data


@given(stream=st.binary(max_size=40), size=st.integers(0, 40))
def test_any_bytes_are_refused_or_are_the_one_stream_of_what_they_unpack_to(core, stream, size):
    data = says(core, stream, size)
    assert data == REFUSED or core.encode_bytes(data, len(stream)) == stream


@given(data=LIKELY, behind=st.binary(min_size=1, max_size=6))
def test_a_stream_with_bytes_behind_its_end_is_refused_or_says_something_else(core, data, behind):
    stream = core.encode_bytes(data, 4 * len(data) + 8)
    assert says(core, stream + behind, len(data)) != data


@given(data=LIKELY, damage=st.integers(1, 255), where=st.floats(0, 1, exclude_max=True))
def test_damage_is_refused_or_says_something_else(core, data, damage, where):
    stream = bytearray(core.encode_bytes(data, 4 * len(data) + 8))
    stream[int(where * len(stream))] ^= damage
    assert says(core, bytes(stream), len(data)) != data


def test_a_stream_that_is_cut_off_says_never_the_same_and_hardly_ever_something(core):
    stream = core.encode_bytes(TEXT, len(TEXT))
    said = [says(core, stream[:left], len(TEXT)) for left in range(0, len(stream), 7)]
    assert TEXT not in said
    assert said.count(REFUSED) > 0.99 * len(said)


def test_what_does_not_fit_is_none_and_what_just_fits_is_not(core):
    stream = core.encode_bytes(TEXT, len(TEXT))
    assert core.encode_bytes(TEXT, len(stream)) == stream
    assert core.encode_bytes(TEXT, len(stream) - 1) is None
    assert core.encode_bytes(TEXT, 0) is None
    assert core.decode_bytes(core.encode_bytes(b"", 1), 0) == b""


@pytest.mark.parametrize("name", ["encode_bytes", "decode_bytes"])
def test_sizes_below_nothing_and_things_that_are_no_bytes_are_refused(core, name):
    with pytest.raises(ValueError, match="-1 bytes"):
        getattr(core, name)(b"", -1)
    for wrong in ("text", 7, None, bytearray(b"may change")):
        with pytest.raises(TypeError):
            getattr(core, name)(wrong, 1)


def test_text_takes_less_than_half_and_noise_hardly_more_than_itself(core):
    noise = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(256))
    assert len(core.encode_bytes(TEXT, len(TEXT))) < 0.4 * len(TEXT)
    assert len(noise) <= len(core.encode_bytes(noise, 2 * len(noise))) < 1.05 * len(noise)


def test_each_machine_makes_the_same_bytes(core):
    """A change of the arithmetic is a change of the format: boards in the field would refuse the deltas."""
    stream = core.encode_bytes(TEXT, len(TEXT))
    assert hashlib.sha256(stream).hexdigest()[:16] == "395cab8773f707ba"
