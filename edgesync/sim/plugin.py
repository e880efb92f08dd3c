"""The pytest plugin: bad links as fixtures. Importing it imports nothing heavy; the fixtures do, when they are used.

def test_upload_survives_a_reset(slow_link, broker_port):
    port = slow_link("narrow-32k", broker_port)      # no root needed; no packet loss
    ...
    slow_link.proxy(port).reset_all()

def test_update_at_five_per_cent_loss(link_net):      # root; skipped with the reason elsewhere
    end = link_net.add("b1", profiles.load("narrow-32k").with_loss(0.05))
"""
# ruff: noqa: PLC0415 - every pytest run of a user loads this file, so heavy imports stand inside the fixtures

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from edgesync.sim.net import Net
    from edgesync.sim.profiles import LinkProfile
    from edgesync.sim.proxy import ProxyThread

REQUIRE_ALL = "EDGESYNC_REQUIRE_ALL"
"""Environment variable: "1" turns the skipping of tests that cannot run here into failures, so that CI cannot pass by
skipping."""


def require(missing: str) -> None:
    """Skip the test with `missing` as the reason, or fail it where everything is required; nothing if it is empty."""
    if missing and os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(f"{REQUIRE_ALL}=1, but {missing}")
    if missing:
        pytest.skip(missing)


class SlowLinks:
    """A factory of links in front of local TCP ports; all end with the test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._proxies: dict[int, ProxyThread] = {}

    def __call__(self, link: str | LinkProfile, port: int, seed: int = 1) -> int:
        """The local port at which `port` of this machine is reached over the link, given by name or as a profile.

        Raises ConfigError for a link that loses packets: a TCP proxy cannot.
        """
        from edgesync.sim import profiles
        from edgesync.sim.proxy import ProxyThread

        profile = profiles.load(link) if isinstance(link, str) else link
        proxy = self._stack.enter_context(ProxyThread(profile, ("127.0.0.1", port), seed=seed))
        self._proxies[proxy.port] = proxy
        return proxy.port

    def proxy(self, port: int) -> ProxyThread:
        """The proxy behind a port that this factory gave out: for its faults and its counters."""
        return self._proxies[port]


@pytest.fixture
def slow_link() -> Iterator[SlowLinks]:
    """Bad links without root: `slow_link("narrow-32k", port) -> local port`."""
    with ExitStack() as stack:
        yield SlowLinks(stack)


@pytest.fixture
def link_net() -> Iterator[Net]:
    """An empty `edgesync.sim.net.Net`, gone after the test. Skips with the exact reason where it cannot run."""
    from edgesync.sim.net import Net

    require(Net.unavailable())
    with Net("test", numbered=True) as net:
        yield net
