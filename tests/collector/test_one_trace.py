"""A rollout as any OTLP backend sees it, from a real server, board and collector, read with OpenTelemetry's protobuf.

The server sends its spans itself; the board's come over the broker and through the collector's otlphttp exporter.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from telemetry_lab import collector, ending, ship, telling, until

from edgesync.sim.broker import free_port
from edgesync.sim.lab import Lab

ROOT = Path(__file__).parents[2]
PHASES = ("fetching", "applying", "activating", "confirming")


@dataclass(frozen=True)
class Seen:
    """A span in its own words, with the attributes of its resource."""

    span: Any
    resource: dict[str, str]

    @property
    def attributes(self) -> dict[str, str]:
        return {one.key: one.value.string_value for one in self.span.attributes}


def documented(lab: Lab, port: int) -> Path:
    """The configuration that the manual shows, with this backend's port."""
    blocks = re.findall(r"(?:^    .*\n)+", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    own, more = (
        next(dedent(block).replace("4318", str(port)) for block in blocks if block.lstrip().startswith(first))
        for first in ("[telemetry]", "exporters:")
    )
    lab.server_config.write_text(lab.server_config.read_text() + own)
    (lab.directory / "traces.yaml").write_text(more)
    return lab.directory / "traces.yaml"


def seen(place: Path) -> list[Seen]:
    found = []
    for path in sorted(place.glob("traces-*.pb")):
        request = ExportTraceServiceRequest.FromString(path.read_bytes())
        for resource in request.resource_spans:
            whose = {one.key: one.value.string_value for one in resource.resource.attributes}
            found += [Seen(span, whose) for scope in resource.scope_spans for span in scope.spans]
    return found


def of_rollout(several: Sequence[Seen], subject: str) -> list[Seen]:
    """All spans that say that they belong to the rollout of this commit; none before it is over."""
    names = {one.attributes["edgesync.rollout"] for one in several if one.attributes.get("edgesync.subject") == subject}
    return [one for one in several if one.attributes.get("edgesync.rollout") in names]


@pytest.mark.broker
def test_a_backend_shows_one_trace_a_board_over_its_reboot_linked_to_the_rollouts(tmp_path: Path) -> None:
    kept, port = tmp_path / "kept", free_port()
    kept.mkdir()
    with telling(tmp_path) as lab, ExitStack() as stack:
        more = documented(lab, port)
        stack.enter_context(
            ending(lab.popen([sys.executable, "-m", "tests.otlp_backend", str(kept), str(port)], cwd=ROOT))
        )
        stack.enter_context(ending(collector(lab, more)))
        lab.start_server()
        lab.start_board("b01")
        until(lambda: "phase" in lab.log("b01").read_text(), "the board")
        ship(lab)

        def whole() -> list[Seen]:
            spans = of_rollout(seen(kept), "Ship v2")
            return spans if {"update", "board", "rollout"} <= {one.span.name for one in spans} else []

        spans = until(whole, "server's and board's spans")
    by_trace: dict[bytes, dict[str, Seen]] = {}
    for one in spans:
        by_trace.setdefault(one.span.trace_id, {})[one.span.name] = one
    assert len(by_trace) == 2, "the rollout's, and the board's"
    rollout = next(found for found in by_trace.values() if "rollout" in found)
    board = next(found for found in by_trace.values() if "board" in found)
    # Whose spans they are: the server's and the board's are in one trace, though neither asked the other.
    assert {one.resource["service.name"] for one in rollout.values()} == {"edgesync"}
    assert board.keys() >= {"board", "update", *PHASES}
    assert board["board"].resource["service.name"] == "edgesync"
    for name in ("update", *PHASES):
        whose = board[name].resource
        assert (whose["service.name"], whose["edgesync.device"]) == ("edgesync-agent", "demo.b01")
    # How they hang together.
    assert not rollout["rollout"].span.parent_span_id
    assert rollout["make"].span.parent_span_id == rollout["rollout"].span.span_id
    assert not board["board"].span.parent_span_id
    assert board["update"].span.parent_span_id == board["board"].span.span_id
    assert {board[name].span.parent_span_id for name in PHASES} == {board["update"].span.span_id}
    whole_rollout = (rollout["rollout"].span.trace_id, rollout["rollout"].span.span_id)
    for name in ("board", "update"):
        assert [(link.trace_id, link.span_id) for link in board[name].span.links] == [whole_rollout]
    # In the order in which it happened, in real time; `activating` lasts over the reboot and is told by the new boot.
    boots = [board[name].attributes["edgesync.boot_id"] for name in PHASES]
    slots = [board[name].attributes["edgesync.slot"] for name in PHASES]
    assert boots[0] == boots[1] != boots[2] == boots[3]
    assert slots[0] == slots[1] != slots[2] == slots[3]
    times = [(board[name].span.start_time_unix_nano, board[name].span.end_time_unix_nano) for name in PHASES]
    assert times == sorted(times)
    assert all(end <= start for (_, end), (start, _) in pairwise(times))
    offered = board["board"].span.start_time_unix_nano
    assert rollout["rollout"].span.start_time_unix_nano <= offered <= times[0][0]
    assert times[-1][0] <= board["board"].span.end_time_unix_nano <= rollout["rollout"].span.end_time_unix_nano
    assert offered % 1_000_000_000, "not a whole second"
