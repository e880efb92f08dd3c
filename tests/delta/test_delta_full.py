"""Full images: what is compressed comes back, and nothing else is taken for it."""

import itertools
import json
import lzma
import subprocess
import sys

import pytest
from delta_parts import firmware, opened
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesync.delta import full
from edgesync.delta.apply import expand_full
from edgesync.wire.errors import DeltaCorruptError, ResultMismatchError, StorageError
from edgesync.wire.ids import digest_of

IMAGE = firmware(21, 3_000_001)


@pytest.fixture
def expand(tmp_path):
    """Expand a blob that should be `image`; the target afterwards."""

    def call(blob, image):
        (tmp_path / "blob").write_bytes(blob)
        (tmp_path / "target").touch()
        with opened(tmp_path / "blob") as source, opened(tmp_path / "target") as target:
            expand_full(source, target, length=len(image), sha256=digest_of(image), progress=lambda *_: None)
        return (tmp_path / "target").read_bytes()

    return call


@pytest.mark.parametrize("image", [b"", b"x", IMAGE], ids=["empty", "one byte", "3 MB"])
def test_an_image_comes_back_and_a_second_run_changes_nothing(tmp_path, expand, image):
    (tmp_path / "image").write_bytes(image)
    phases = []
    info = full.make_full(str(tmp_path / "image"), str(tmp_path / "out"), lambda *step: phases.append(step))
    blob = (tmp_path / "out").read_bytes()
    assert (info.length, info.result_length, info.result_sha256) == (len(blob), len(image), digest_of(image))
    assert expand(blob, image) == image
    assert expand(blob, image) == image
    assert not phases or phases[-1] == ("compress", len(image), len(image))


def test_a_blob_that_is_cut_or_goes_on_is_refused(expand):
    blob = lzma.compress(b"image" * 100)
    for broken in [blob[:length] for length in range(len(blob))] + [blob + b"\x00", blob * 2, blob + bytes(70_000)]:
        with pytest.raises(DeltaCorruptError, match="full image"):
            expand(broken, b"image" * 100)


def test_a_flipped_bit_is_refused_or_changes_nothing(expand):
    image = b"image" * 10
    blob, harmless = lzma.compress(image), 0
    for bit in range(8 * len(blob)):
        broken = bytearray(blob)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            assert expand(broken, image) == image
            harmless += 1
        except DeltaCorruptError:
            pass
    assert harmless < 8  # so short a stream decodes alike under some other settings


@given(st.binary(max_size=200))
@settings(max_examples=50)
def test_any_bytes_are_refused(expand, blob):
    with pytest.raises(DeltaCorruptError):
        expand(blob, b"image")


def test_a_bomb_stops_at_the_declared_length(expand, tmp_path):
    with pytest.raises(DeltaCorruptError, match="more than 5 bytes"):
        expand(lzma.compress(bytes(20 << 20), preset=0), b"image")
    assert (tmp_path / "target").stat().st_size == 5


def test_a_stream_that_needs_more_memory_than_a_worker_has_is_refused(expand):
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 << 20}]
    with pytest.raises(DeltaCorruptError, match=r"[Mm]emory"):
        expand(lzma.compress(b"image", filters=filters), b"image")


def test_another_image_than_the_wanted_one_is_a_mismatch(expand):
    with pytest.raises(ResultMismatchError):
        expand(lzma.compress(b"imagf"), b"image")


def test_a_shorter_image_than_the_wanted_one_is_refused(expand):
    with pytest.raises(DeltaCorruptError, match="4 bytes"):
        expand(lzma.compress(b"imag"), b"image")


def test_a_missing_image_is_a_named_error_and_leaves_nothing(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        full.make_full(str(tmp_path / "missing"), str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_how_far_it_is_and_what_it_made(tmp_path):
    (tmp_path / "image").write_bytes(IMAGE)
    command = [sys.executable, "-m", "edgesync.delta.full", str(tmp_path / "image"), str(tmp_path / "out")]
    lines = [json.loads(line) for line in subprocess.check_output(command, text=True).splitlines()]
    assert lines[-1]["reply"]["length"] == (tmp_path / "out").stat().st_size
    done = [line["progress"][0] for line in lines[:-1]]
    assert len(done) == 3
    assert all(before < after for before, after in itertools.pairwise(done))
