"""The notebooks' data: small enough to be committed, and what the real pipeline makes of the model fleet."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from collector_ext.analysis import health
from collector_ext.lake.reader import Lake
from notebooks.sample import __main__ as sample
from notebooks.sample import readings
from notebooks.sample.story import planted

LIMIT = 2 << 20
DAY = 1_772_409_600.0


def test_what_is_committed_is_small() -> None:
    files = [file for file in sample.DATA.rglob("*") if file.is_file()]
    assert files
    assert sum(file.stat().st_size for file in files) <= LIMIT


def test_the_same_seed_makes_the_same_readings() -> None:
    story = planted()

    def made(seed: int) -> list[object]:
        return list(readings.metrics(story, story.boards[0], DAY, [], random.Random(seed)))

    assert made(1) == made(1) != made(2)


@pytest.mark.broker
def test_what_is_committed_is_what_the_pipeline_makes_today(tmp_path: Path) -> None:
    sample.make(tmp_path / "lake", DAY, 7)
    questions = [f"SELECT * FROM {table} ORDER BY ALL" for table in ("metrics", "traces", "logs")]
    with Lake(tmp_path / "lake") as new, Lake(sample.DATA) as committed:
        for question in questions:
            assert new.rows(question) == committed.rows(question)
        assert health.worst(health.now(new)).subject == planted().silent
