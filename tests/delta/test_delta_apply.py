"""Applying: the declared image or a named error, whatever is cut, flipped, swapped, full or killed."""

import errno
import os

import pytest
from delta_parts import Bench, delta_of, firmware, linked, rebuilt, streams_of
from hypothesis import example, given
from hypothesis import strategies as st

from edgesync.delta import apply
from edgesync.delta import format as esd4
from edgesync.delta.format import SEGMENT
from edgesync.wire.errors import (
    BaseModifiedError,
    DeltaCorruptError,
    DiskFullError,
    EdgesyncError,
    ResultMismatchError,
    StorageError,
    UnknownFormatError,
)
from edgesync.wire.ids import digest_of

OLD = firmware(1, 4000)
NEW = rebuilt(2, OLD)
SMALL = delta_of(OLD, NEW)
START = esd4.parse_header(SMALL[: esd4.HEADER_LIMIT])[1]
PROGRAM = linked({}, 40)
MOVED = linked({3: 2, 20: 5}, 40)
CODE = delta_of(PROGRAM, MOVED)
BEFORE = b"what the slot held before"


@pytest.fixture(scope="module")
def large():
    """Three segments and a bit; the first and the last of them hardly change."""
    old = firmware(3, SEGMENT) + firmware(4, SEGMENT) + bytes(SEGMENT) + firmware(5, 5001)
    new = b"new start" + old[9:SEGMENT] + rebuilt(6, old[SEGMENT : 2 * SEGMENT]) + old[2 * SEGMENT :] + b"end"
    return old, new, delta_of(old, new)


@given(st.binary(max_size=300), st.lists(st.binary(max_size=40), max_size=4), st.integers(0, 300))
@example(b"", [], 0)
@example(b"", [b"first image"], 0)
@example(b"last image", [], 300)
def test_any_image_is_built_from_any_other(tmp_path, base, pieces, cut):
    result = base[cut:] + b"".join(pieces) + base[: cut // 2]
    assert Bench(tmp_path, base, result, delta_of(base, result)).apply() == result


@pytest.mark.parametrize("length", [1, 3, 4, 15, 16, 17, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT])
def test_any_length_around_a_segment_works(tmp_path, length):
    base = firmware(8, length + 1)
    result = b"x" + base[: length - 1]
    bench = Bench(tmp_path, base, result, delta_of(base, result))
    assert bench.apply() == result
    assert bench.steps[-1][0] == bench.steps[-1][1] == len(base) + 2 * length


def test_every_single_flipped_bit_gives_the_declared_image_or_a_named_error(tmp_path):
    bench = Bench(tmp_path, OLD, NEW, SMALL)
    for bit in range(8 * len(SMALL)):
        data = bytearray(SMALL)
        data[bit // 8] ^= 1 << bit % 8
        bench.blob.write_bytes(data)
        try:
            assert bench.apply() == NEW
        except (DeltaCorruptError, UnknownFormatError, BaseModifiedError, ResultMismatchError):
            pass


@given(st.data())
def test_several_flipped_bits_give_the_declared_image_or_a_named_error(tmp_path, data):
    broken = bytearray(SMALL)
    for bit in data.draw(st.lists(st.integers(8 * START, 8 * len(SMALL) - 1), min_size=1, max_size=3)):
        broken[bit // 8] ^= 1 << bit % 8
    bench = Bench(tmp_path, OLD, NEW, broken)
    try:
        assert bench.apply() == NEW
    except (DeltaCorruptError, ResultMismatchError):
        pass


@given(st.data())
def test_bits_flipped_in_the_tables_of_a_program_give_the_declared_image_or_a_named_error(tmp_path, data):
    broken = bytearray(CODE)
    for bit in data.draw(st.lists(st.integers(8 * START, 8 * streams_of(CODE, 0) - 1), min_size=1, max_size=3)):
        broken[bit // 8] ^= 1 << bit % 8
    bench = Bench(tmp_path, PROGRAM, MOVED, broken)
    try:
        assert bench.apply() == MOVED
    except (DeltaCorruptError, ResultMismatchError):
        pass


def test_a_delta_that_is_cut_anywhere_or_goes_on_is_refused_and_nothing_is_written(tmp_path):
    bench = Bench(tmp_path, OLD, NEW, SMALL, BEFORE)
    for blob in [SMALL[:length] for length in range(len(SMALL))] + [SMALL + b"\x00", SMALL * 2]:
        bench.blob.write_bytes(blob)
        with pytest.raises(DeltaCorruptError):
            bench.apply()
    assert bench.target.read_bytes() == BEFORE


@given(st.binary(max_size=400) | st.binary(max_size=300).map(lambda tail: SMALL[:START] + tail))
def test_any_bytes_are_refused_by_name_and_nothing_is_written(tmp_path, blob):
    bench = Bench(tmp_path, OLD, NEW, blob, BEFORE)
    with pytest.raises((DeltaCorruptError, UnknownFormatError)):
        bench.apply()
    assert bench.target.read_bytes() == BEFORE


@pytest.mark.parametrize("change", [lambda old: old[:-1] + b"!", lambda old: old[:-1], lambda old: b""])
def test_a_base_that_was_written_to_is_found_before_anything_is_written(tmp_path, change):
    bench = Bench(tmp_path, OLD, NEW, SMALL, BEFORE)
    bench.base.write_bytes(change(OLD))
    with pytest.raises(BaseModifiedError, match=r"SHA-256 of its first 4000 bytes|base image has (3999|0) bytes"):
        bench.apply()
    assert bench.target.read_bytes() == BEFORE


@pytest.mark.parametrize(
    "other", [{"base_sha256": digest_of(b"x")}, {"sha256": digest_of(b"x")}, {"length": len(NEW) + 1}]
)
def test_another_delta_than_the_wanted_one_is_refused_before_anything_is_written(tmp_path, other):
    bench = Bench(tmp_path, OLD, NEW, SMALL, BEFORE)
    bench.wanted |= other
    with pytest.raises(DeltaCorruptError, match="another delta"):
        bench.apply()
    assert bench.target.read_bytes() == BEFORE


def test_a_delta_whose_last_segment_is_broken_in_shape_writes_nothing(tmp_path, large):
    old, new, blob = large
    bench = Bench(tmp_path, old, new, blob[:-1], BEFORE)
    with pytest.raises(DeltaCorruptError, match="segment 3: ends at byte"):
        bench.apply()
    assert bench.target.read_bytes() == BEFORE


def test_a_header_that_promises_another_result_is_refused(tmp_path):
    wrong = digest_of(b"something else")
    header = esd4.header_of(len(OLD), digest_of(OLD), len(NEW), wrong).encode()
    bench = Bench(tmp_path, OLD, NEW, header + SMALL[START:])
    bench.wanted["sha256"] = wrong
    with pytest.raises(ResultMismatchError, match=str(wrong)):
        bench.apply()


def test_base_and_target_may_be_longer_than_the_images(tmp_path):
    bench = Bench(tmp_path, OLD, NEW, SMALL, bytes(9 * SEGMENT))
    with bench.base.open("ab") as file:
        file.write(b"the rest of the partition")
    assert bench.apply() == NEW


def test_segments_that_the_target_holds_are_neither_unpacked_nor_written_again(tmp_path, large, monkeypatch):
    old, new, blob = large
    bench = Bench(tmp_path, old, new, blob, new[: 2 * SEGMENT] + bytes(SEGMENT) + b"x" * 8000)
    written = []
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: (written.append(at), pwrite(fd, data, at))[1])
    broken = bytearray(blob)
    broken[streams_of(blob, 0) + 5] ^= 1  # segment 0, which is held
    bench.blob.write_bytes(broken)
    assert bench.apply() == new
    assert set(written) == {2 * SEGMENT, 3 * SEGMENT}
    written.clear()
    assert bench.apply() == new
    assert written == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["ftruncate", "pwrite", "fsync"])
def test_any_failing_write_has_a_name_and_the_next_run_finishes(tmp_path, large, monkeypatch, call, code):
    old, new, blob = large
    bench = Bench(tmp_path, old, new, blob)
    monkeypatch.setattr(apply.Target.put.__globals__["os"], call, failing := Failing(getattr(os, call), code))
    monkeypatch.setattr("edgesync.delta.disk.SYNC_EVERY", SEGMENT)
    expected = StorageError if code == errno.EIO else DiskFullError
    failures = 0
    for _attempt in range(20):
        failing.fail_at = failures
        failing.calls = 0
        try:
            assert bench.apply() == new
            break
        except expected as error:
            assert "target slot" in str(error)  # noqa: PT017 - the run that does not fail ends the loop
            failures += 1
    assert 1 <= failures < 19


def test_what_is_written_is_synced_on_the_way_and_not_only_at_the_end(tmp_path, monkeypatch):
    image = os.urandom(3 * SEGMENT)
    bench = Bench(tmp_path, b"", image, delta_of(b"", image))
    calls, pwrite, fsync = [], os.pwrite, os.fsync
    monkeypatch.setattr("edgesync.delta.disk.SYNC_EVERY", SEGMENT)
    monkeypatch.setattr(os, "pwrite", lambda *args: (calls.append("write"), pwrite(*args))[1])
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("sync"), fsync(fd))[1])
    assert bench.apply() == image
    assert calls == ["write", "sync"] * 3 + ["sync"]


class Failing:
    """The n-th call fails as the kernel would say it."""

    def __init__(self, function, code):
        self.function, self.code, self.fail_at, self.calls = function, code, 0, 0

    def __call__(self, *args):
        self.calls += 1
        if self.calls - 1 == self.fail_at:
            raise OSError(self.code, os.strerror(self.code))
        return self.function(*args)


def test_short_reads_and_writes_are_gone_on_with(tmp_path, large, monkeypatch):
    old, new, blob = large
    pwrite, preadv = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:100_001], at))
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: preadv(fd, [views[0][:200_003]], at))
    assert Bench(tmp_path, old, new, blob).apply() == new


def test_a_failing_read_of_the_base_is_a_storage_error(tmp_path):
    bench = Bench(tmp_path, OLD, NEW, SMALL)
    bench.base.unlink()
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        with bench.blob.open("rb") as blob, bench.target.open("r+b") as target, pytest.raises(StorageError):
            apply.apply_delta(directory, blob.fileno(), target.fileno(), **bench.wanted, progress=print)
    finally:
        os.close(directory)


def test_every_refusal_is_an_error_that_a_board_can_report():
    for kind in (UnknownFormatError, DeltaCorruptError, BaseModifiedError, ResultMismatchError, DiskFullError):
        assert issubclass(kind, EdgesyncError)
