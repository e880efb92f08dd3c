"""Type information: a kernel's types in another order are derived from those before, and no order is believed."""

import random
import struct
import tracemalloc

import numpy as np
import pytest
from delta_kernels import kernels
from delta_parts import Bench, delta_of
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import btf, btf_derive, btf_order, make
from edgesync.delta.btf_records import (
    CONST,
    HEADER,
    MAGIC,
    STRINGS_LIMIT,
    BtfError,
)
from edgesync.delta.format import DERIVED_LIMIT

NOTHING = np.zeros(0, np.int64)
NO_ORDER = btf.Order(NOTHING, NOTHING, NOTHING)


def how(**changed):
    known = {"base_at": 0, "base_length": 0, "length": DERIVED_LIMIT, "types": NO_ORDER, "records": b""}
    return btf.Derivation(**(known | {"names": NO_ORDER, "strings": b""} | changed))


def order(*rows):
    return btf.Order(*np.array(rows, np.int64).reshape(-1, 3).T)


def derived(data, changed):
    return btf_derive.derive(bytearray(data), changed.orders(), changed.length)


@given(st.integers(0, 1 << 20), st.data())
def test_damaged_types_and_orders_give_no_more_than_declared_or_a_refusal(seed, data):
    old, new = kernels(seed)
    known = btf_order.types(old, new).how
    broken = bytearray(old)
    broken[data.draw(st.integers(0, len(old) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    column = data.draw(st.sampled_from([known.types, known.names])), data.draw(st.sampled_from(["fresh", "count"]))
    getattr(*column)[0] += data.draw(st.integers(0, 2))
    try:
        assert len(derived(broken, known)) <= known.length
    except BtfError:
        pass


@given(st.integers(0, 1 << 20), st.data())
def test_damaged_types_are_searched_or_left_alone(seed, data):
    sides = [bytearray(side) for side in kernels(seed)]
    for _ in range(data.draw(st.integers(1, 4))):
        side = data.draw(st.sampled_from(sides))
        at = data.draw(st.integers(0, HEADER.size - 1) | st.integers(0, len(side) - 1))
        side[at] = data.draw(st.integers(0, 255))
    found = btf_order.types(*map(bytes, sides))
    assert found is None or len(found.data) <= DERIVED_LIMIT


def test_a_module_that_names_names_of_its_kernel_is_searched_too():
    old, new = kernels(1)
    behind = struct.pack("<I", 1 << 20)
    sides = [side[: HEADER.size] + behind + side[HEADER.size + 4 :] for side in (old, new)]
    assert btf_order.types(*sides) is not None


@given(st.integers(0, 1 << 20))
def test_types_in_another_order_are_derived_to_the_last_byte(seed):
    old, new = kernels(seed)
    found = btf_order.types(b"code" + old, new + b"code")
    assert found is not None
    assert (found.how.base_at, found.result_at) == (4, 0)
    assert found.data == new
    assert len(found.how.records) < 0.05 * len(new)


def test_types_that_did_not_change_are_one_run():
    old, _ = kernels(1)
    found = btf_order.types(old, old)
    assert found.data == old
    assert [len(found.how.types.first), len(found.how.names.first)] == [1, 1]
    assert found.how.records == found.how.strings == b""


def test_a_delta_derives_them_and_is_smaller_for_it(tmp_path):
    old, new = kernels(7, 3000)
    chance = random.Random(8)
    base = chance.randbytes(5003) + old + chance.randbytes(3000)
    result = base[:5003] + b"!" + new + base[5003 + len(old) :]
    for name, data in (("base", base), ("result", result)):
        (tmp_path / name).write_bytes(data)
    info = make.make_delta(str(tmp_path / "base"), str(tmp_path / "result"), str(tmp_path / "out"))
    delta = (tmp_path / "out").read_bytes()
    assert Bench(tmp_path, base, result, delta).apply() == result
    assert info.length < 0.5 * len(delta_of(base, result))


@pytest.mark.parametrize(
    "changed",
    [
        {"types": order((0, 0, 1))},
        {"types": order((0, 600, 3))},
        {"names": order((0, -1, 1))},
        {"names": order((0, 1, 1 << 40))},
        {"names": order((1, 0, 1))},
        {"strings": b"x\0"},
        {"types": order((1, 1, 1)), "records": b"12345"},
        {"types": order((1, 1, 1)), "records": bytes(12)},
        {"records": struct.pack("<3I", 0, CONST << 24, 0)},
        {"length": 23},
    ],
)
def test_an_order_that_does_not_fit_is_refused(changed):
    old, _ = kernels(1)
    with pytest.raises(BtfError):
        derived(old, how(**changed))


def test_an_order_that_says_the_same_for_ever_ends_at_the_limit():
    old, _ = kernels(1)
    for changed in ({"types": order(*[(0, 1, 601)] * 60_000)}, {"names": order(*[(0, 0, 500)] * 60_000)}):
        tracemalloc.start()
        try:
            with pytest.raises(BtfError, match="there is room for"):
                derived(old, how(length=100_000, **changed))
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


def test_more_names_than_memory_has_room_for_are_refused():
    text = bytes(STRINGS_LIMIT + 1)
    with pytest.raises(BtfError, match="names"):
        btf.read(bytearray(HEADER.pack(MAGIC, 1, 0, HEADER.size, 0, 0, 0, len(text)) + text))
    with pytest.raises(BtfError, match="names"):
        derived(HEADER.pack(MAGIC, 1, 0, HEADER.size, 0, 0, 0, len(text)) + text, how())


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: kernels(1)[0][:400] + tail), st.data())
def test_any_bytes_are_a_section_or_refused(data, draws):
    broken = bytearray(data)
    if broken:
        broken[draws.draw(st.integers(0, len(broken) - 1))] ^= draws.draw(st.integers(0, 255))
    try:
        old = btf.read(broken)
    except BtfError:
        return
    types = order((0, 1, len(old.start) - 1)) if len(old.start) > 1 else NO_ORDER
    names = order((0, 0, len(old.names) - 1)) if len(old.names) > 1 else NO_ORDER
    assert len(derived(broken, how(types=types, names=names))) <= len(data) + HEADER.size
