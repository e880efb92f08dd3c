"""Small images: a delta from memory to memory, that a board applies without numpy."""

import json
import subprocess
import sys

import pytest
from delta_parts import Bench
from hypothesis import given
from hypothesis import strategies as st

from edgesync.delta import small
from edgesync.wire.errors import ConfigError

BUNDLE = json.dumps(
    {
        f"service-{number}": {"port": 8000 + number * 37, "level": "debug" if number % 3 else "info"}
        for number in range(160)
    },
    indent=1,
).encode()
TEXTS = st.lists(st.sampled_from([b"interval: 60\n", b"level: info\n", b"port: 8883\n", b"x"]) | st.binary(max_size=9))


@given(TEXTS.map(b"".join), TEXTS.map(b"".join), st.integers(0, 60))
def test_any_small_image_is_built_from_any_other(tmp_path, base, more, cut):
    result = base[cut:] + more + base[: cut // 2]
    assert Bench(tmp_path, base, result, small.make_bytes(base, result)).apply() == result


def test_a_line_that_changed_in_8_kib_costs_less_than_100_bytes(tmp_path):
    result = BUNDLE.replace(b'"port": 9887', b'"port": 1883')
    assert 8000 < len(BUNDLE) == len(result)
    assert result != BUNDLE
    delta = small.make_bytes(BUNDLE, result)
    assert len(delta) < 100
    assert Bench(tmp_path, BUNDLE, result, delta).apply() == result


def test_bytes_that_change_everywhere_are_differences(tmp_path):
    result = bytes(byte + (at % 8 == 0) & 0xFF for at, byte in enumerate(BUNDLE))
    delta = small.make_bytes(BUNDLE, result)
    assert len(delta) < 150
    assert Bench(tmp_path, BUNDLE, result, delta).apply() == result


def test_a_board_applies_it_without_numpy(tmp_path):
    result = BUNDLE.replace(b"debug", b"trace") + b"\n"
    bench = Bench(tmp_path, BUNDLE, result, small.make_bytes(BUNDLE, result))
    code = f"""
import sys
sys.modules["numpy"] = None
from edgesync.delta import api
api.apply({str(bench.base)!r}, {str(bench.blob)!r}, {str(bench.target)!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert bench.target.read_bytes() == result


@pytest.mark.parametrize("name", ["base", "result"])
def test_an_image_that_is_not_small_is_a_named_error(name):
    images = {"base": b"", "result": b"", name: bytes(small.SMALL_LIMIT + 1)}
    with pytest.raises(ConfigError, match=rf"{name} of 1048577 bytes, at most 1048576 here"):
        small.make_bytes(**images)
