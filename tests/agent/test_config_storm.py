"""Real boards in a storm of changes, power cuts, outages and failing probes; `make bench` has a larger one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.storm import storm


@pytest.mark.broker
def test_every_board_ends_at_the_last_good_revision_and_no_reader_ever_saw_two_at_once(tmp_path: Path) -> None:
    outcome = storm(tmp_path, 4, 15, print)
    assert outcome.astray == {}
    assert outcome.mixed == ()
    assert outcome.reads > 100
    assert outcome.kills
    assert outcome.outages
    assert outcome.switches >= 4
    assert outcome.returns >= 4
