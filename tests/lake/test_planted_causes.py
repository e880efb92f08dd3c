"""Findings follow what befalls the fleet: another board or another cause is another answer, and no trouble is none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from analysis_parts import fill
from hypothesis import given, settings
from hypothesis import strategies as st

from collector_ext.analysis import health, incident, links, memory, rollouts
from collector_ext.lake.reader import Lake
from collector_ext.receiver.mqtt.receiver import named
from notebooks.sample.__main__ import told, told_by_server
from notebooks.sample.story import CANARIES, TRIED, Story, planted

DAY = 1_772_409_600.0
BEGIN, END = datetime(2026, 3, 2), datetime(2026, 3, 3)  # noqa: DTZ001 - the lake's times are UTC without saying so
COUNT = 11
TARIFF = links.Tariff(base=2.0, included_mb=100.0, per_mb=0.08)

Answer = tuple[str, str]


@dataclass(frozen=True)
class Answers:
    """Subject and cause of each notebook's finding."""

    health: Answer
    rollout: Answer
    links: Answer
    memory: Answer
    incident: Answer


def found(lake: Lake, story: Story) -> Answers:
    """What the analyses say, asked as the notebooks ask."""
    carried = links.by_purpose(lake, BEGIN, END)
    bill = links.bill(carried, (END - BEGIN).total_seconds(), 200.0, TARIFF)
    trends = memory.trends(lake, "r-000042", BEGIN.replace(hour=9), END)
    window = BEGIN.replace(hour=12, minute=30), BEGIN.replace(hour=14, minute=45)
    findings = (
        health.worst(health.now(lake)),
        rollouts.cause(lake, "r-000041"),
        links.cause(carried, bill),
        memory.cause(trends, "r-000042"),
        incident.cause(story.held, incident.beginnings(lake, story.held, *window)),
    )
    return Answers(*((finding.subject, finding.cause) for finding in findings))


def expected(story: Story) -> Answers:
    """What was planted."""
    failed = (story.broken, "update failed") if story.broken else ("", "")
    return Answers(
        (story.silent, "silent") if story.silent else failed,
        (story.broken, "BootFailed") if story.broken else ("", ""),
        story.spending or ("", ""),
        ("r-000042", "a release leaks") if story.leaking else ("", ""),
        (story.held, story.cause) if story.cause else ("", ""),
    )


def asked(story: Story, place: Path, seed: int) -> Answers:
    boards = (named(data, device) for device, several in told(story, DAY, seed) for data in several)
    with Lake(fill(place, *boards, *told_by_server(story, DAY, seed))) as lake:
        return found(lake, story)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Troubles on boards that are no canaries, some of them left out."""
    silent, broken, spender, held, *_ = draw(st.permutations(range(CANARIES + 1, COUNT + 1)))
    purpose = draw(st.sampled_from(["refetched", "telemetry", "config", "reported"]))
    return planted(
        COUNT,
        silent=silent * draw(st.booleans()),
        broken=broken * draw(st.booleans()),
        spending=(spender * draw(st.booleans()), purpose),
        leaking=draw(st.sampled_from([TRIED, None])),
        held=held,
        cause=draw(st.sampled_from(["link", "memory", None])),
    )


@given(story=stories(), seed=st.integers(0, 1000))
@settings(max_examples=8)
def test_each_finding_names_what_was_planted_on_whichever_board(
    tmp_path_factory: pytest.TempPathFactory, story: Story, seed: int
) -> None:
    assert asked(story, tmp_path_factory.mktemp("lake"), seed) == expected(story)


@pytest.mark.parametrize("seed", range(3))
def test_a_day_without_trouble_has_no_finding(tmp_path: Path, seed: int) -> None:
    story = planted(COUNT, silent=0, broken=0, spending=(0, ""), leaking=None, cause=None)
    assert asked(story, tmp_path, seed) == Answers(*[("", "")] * 5)
