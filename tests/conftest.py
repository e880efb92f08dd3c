"""What every test shares: how properties are searched, and what happens when a part of the machine is missing.

A test that needs a part carries its marker (`broker`, `root`, `mixing`) or asks the fixture `require`. A missing part
skips the test with the exact reason; with EDGESYNC_REQUIRE_ALL=1, as in CI, it is a failure, so that no green run
hides a gap.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

from edgesync.sim.broker import find_mosquitto

settings.register_profile(
    "repeatable",  # the same examples in each run: a red test stays red until it is mended
    derandomize=True,
    deadline=None,  # two cores are shared by all tests, time proves nothing
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("search", settings.get_profile("repeatable"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("EDGESYNC_HYPOTHESIS", "repeatable"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs with Ctrl-C ignored, and what tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _no_broker() -> str:
    return "" if find_mosquitto() else "mosquitto is not installed (apt-get install mosquitto)"


def _no_root() -> str:
    if os.geteuid() != 0:
        return "not root: network namespaces cannot be made"
    return "" if os.path.exists("/dev/net/tun") else "/dev/net/tun is missing: links cannot be played"


def _no_mixing() -> str:
    if find_spec("edgesync.delta._mixing"):
        return ""
    return "edgesync.delta._mixing is not built (gcc and Python's headers are needed; then install edgesync again)"


PARTS: dict[str, Callable[[], str]] = {"broker": _no_broker, "root": _no_root, "mixing": _no_mixing}
"""Marker -> what is missing for it, "" for nothing."""


def refuse(missing: str) -> None:
    """Skip the running test for this reason, unless it is ""."""
    if missing:
        pytest.skip(missing)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, missing in PARTS.items():
        if item.get_closest_marker(marker):
            refuse(missing())


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes after their parameter: what they hold may tell the time (gzip), and every worker must see one name."""
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("EDGESYNC_REQUIRE_ALL") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: everything is required here, but this was skipped: {reason}"
    return report


@pytest.fixture(scope="session")
def require() -> Callable[[str], None]:
    """`require(missing)`: goes on when `missing` is "", else the test is skipped with it as the reason."""
    return refuse
