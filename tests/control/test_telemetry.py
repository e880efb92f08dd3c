"""The server's spans at a real OTLP/HTTP endpoint: the right ids, and nothing lost but spans where there is none."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from pathlib import Path

import pytest
import serverlab
from serverlab import Boards, Lab, open_broker, serving, statuses, until

from collector_ext.pdata import SpanCode
from edgesync.control.service import Service
from edgesync.control.telemetry import Telemetry
from edgesync.sim.broker import free_port
from edgesync.wire import trace
from edgesync.wire.errors import ConfigError
from edgesync.wire.messages import ErrorReport
from edgesync.wire.trace import Span
from tests.otlp_endpoint import Backend, backend

SPAN = Span(trace.rollout_trace("r1"), trace.span_id(trace.rollout_trace("r1"), "make"), "", "make", 1.0, 2.5)


async def roll_out(place: Path, url: str) -> str:
    """One release for two boards, of which the second fails; the rollout's id."""
    one, two = serverlab.images(2)
    with open_broker(place / "broker") as broker:
        lab = Lab(place, 2, broker.port)
        lab.file.write_text(lab.file.read_text() + f'[telemetry]\notlp = "{url}/"\n')
        base = lab.release("v1", one)
        async with Boards(lab, base).connected() as boards, serving(lab) as service:
            await boards.report_all()
            await until(lambda: statuses(service) == {"confirmed": 2})
            boards.outcome[lab.devices[1]] = ErrorReport("BootFailed", "tried b")
            lab.release("v2", two, abort_at="100 %")
            await until(lambda: statuses(service) == {"confirmed": 1, "failed": 1} and service._driver.idle)
            return service._driver.state.rollout


def rolled_out(place: Path, url: str) -> str:
    return asyncio.run(asyncio.wait_for(roll_out(place, url), 90))


@pytest.mark.broker
def test_a_rollout_to_two_boards_is_a_trace_of_its_own_and_one_for_each_tied_by_links(tmp_path: Path) -> None:
    with backend() as kept:
        rollout = rolled_out(tmp_path, kept.url)
    own = bytes.fromhex(trace.rollout_trace(rollout))
    root = bytes.fromhex(trace.span_id(trace.rollout_trace(rollout), trace.ROLLOUT))
    (whole,) = (span for span in kept.spans(trace.ROLLOUT) if span.trace_id == own)
    assert (whole.span_id, whole.parent_span_id, whole.attributes["edgesync.subject"]) == (root, b"", "Ship v2")
    (blob,) = kept.spans("make")
    assert (blob.trace_id, blob.parent_span_id, blob.code) == (own, root, SpanCode.UNSET)
    assert str(blob.attributes["edgesync.blob"]).startswith("delta ")
    assert whole.start <= blob.start <= blob.end <= whole.end
    boards = {str(span.attributes["edgesync.device"]): span for span in kept.spans(trace.BOARD)}
    for device, code, message in (("demo.b0000", SpanCode.UNSET, ""), ("demo.b0001", SpanCode.ERROR, "BootFailed")):
        span, own_trace = boards[device], trace.board_trace(rollout, serverlab.device_id("demo", device[5:]))
        assert span.trace_id == bytes.fromhex(own_trace)
        assert span.span_id == bytes.fromhex(trace.span_id(own_trace, trace.BOARD))
        assert (span.code, span.message, span.parent_span_id) == (code, message, b"")
        assert [(link.trace_id, link.span_id) for link in span.links] == [(own, root)]
    assert {head["Content-Encoding"] for head in kept.heads} == {"gzip"}


@pytest.mark.broker
@pytest.mark.parametrize("away", [True, False])
def test_a_backend_that_is_away_or_fails_costs_the_rollout_nothing_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, away: bool
) -> None:
    with backend() as kept:
        kept.always = 500
        rolled_out(tmp_path, f"http://127.0.0.1:{free_port()}" if away else kept.url)
    assert not kept.taken
    told = [r for r in caplog.records if r.name == "edgesync.telemetry" or r.name.startswith("opentelemetry")]
    assert [record.levelno for record in told] == [logging.WARNING]


def tell(kept: Backend, *spans: Span) -> None:
    async def whole() -> None:
        telemetry = Telemetry(kept.url, "demo")
        telemetry.tell(spans)
        await telemetry.close()

    asyncio.run(whole())


def test_times_error_and_whose_they_are_arrive_and_text_that_no_backend_could_keep_does_not_hinder() -> None:
    with backend() as kept:
        tell(kept, Span(SPAN.trace, SPAN.span, "", "make", 1.0, 2.5, "no \ud800", {"n": 3}))
    (span,) = kept.spans()
    assert (span.start, span.end, span.attributes) == (1_000_000_000, 2_500_000_000, {"n": 3})
    assert (span.code, span.message) == (SpanCode.ERROR, "no ?")
    resource = kept.taken[0].resources[0].resource.attributes  # type: ignore[union-attr]
    assert (resource["service.name"], resource["edgesync.fleet"]) == ("edgesync", "demo")


def test_what_was_dropped_is_told_when_the_backend_takes_spans_again(caplog: pytest.LogCaptureFixture) -> None:
    async def whole(kept: Backend) -> None:
        telemetry = Telemetry(kept.url, "demo")
        telemetry.tell([SPAN, SPAN])
        await asyncio.to_thread(telemetry._provider.force_flush)
        telemetry.tell([SPAN])
        await telemetry.close()

    with backend() as kept:
        kept.answers.append((400, {}, b""))
        asyncio.run(whole(kept))
    assert len(kept.spans()) == 1
    assert [record.getMessage().partition(" takes ")[2][:32] for record in caplog.records] == [
        "no spans, they are dropped: Fail",
        "spans again; 2 were dropped",
    ]


def test_a_backend_that_says_nothing_does_not_keep_the_server_from_ending(caplog: pytest.LogCaptureFixture) -> None:
    async def whole(url: str) -> None:
        telemetry = Telemetry(url, "demo")
        telemetry.tell([SPAN])
        await telemetry.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        asyncio.run(whole(f"http://127.0.0.1:{server.getsockname()[1]}"))
    assert "not sent within 2 s" in caplog.text


def test_a_server_without_the_sdk_says_which_extra_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edgesync.control.telemetry", None)
    lab = Lab(tmp_path, 1, 1)
    Service(lab.config())._store.close()
    lab.file.write_text(lab.file.read_text() + '[telemetry]\notlp = "http://localhost:4318"\n')
    with pytest.raises(ConfigError, match=r"server\.toml: telemetry\.otlp: .*edgesync\[collector\]"):
        Service(lab.config())
