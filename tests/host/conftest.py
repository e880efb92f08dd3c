"""A plain mosquitto for the tests of the MQTT link."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgesync.sim.broker import MosquittoBroker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MosquittoBroker]:
    with MosquittoBroker(tmp_path_factory.mktemp("plain")) as running:
        yield running
