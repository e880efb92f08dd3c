"""The server's spans of a rollout: one for the whole, one for each board's part, tied by ids that both sides know."""

from __future__ import annotations

from typing import Any

from story import Story

from edgesync.control import spans
from edgesync.control.standing import Abort, Event, State
from edgesync.wire import trace
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import ErrorReport, Phase
from edgesync.wire.trace import Span


class Traced(Story):
    """A story whose spans are kept."""

    def __init__(self, *boards: str, **settings: Any) -> None:
        self.spans: list[Span] = []
        self.state = State()
        super().__init__(*boards, **settings)
        self.spans.clear()

    def do(self, event: Event) -> Any:
        before = self.state
        effects = super().do(event)
        self.spans += spans.ended(before, self.state, self.now)
        return effects

    def of(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


def test_a_rollout_ends_with_a_span_for_each_board_and_one_for_all() -> None:
    story = Traced("b1", "b2")
    story.build(story.push("B"))
    rollout = story.state.rollout
    began = story.state.started
    story.wait(60)
    story.confirms("b1", "B")
    story.confirms("b2", "B")
    (whole,) = story.of(trace.ROLLOUT)
    assert (whole.trace, whole.parent, whole.error) == (trace.rollout_trace(rollout), "", "")
    assert (whole.start, whole.end) == (began, story.now)
    boards = story.of(trace.BOARD)
    assert [span.trace for span in boards] == [trace.board_trace(rollout, DeviceId(f"demo.{b}")) for b in ("b1", "b2")]
    assert all(span.links == (trace.Link(whole.trace, whole.span),) for span in boards)
    assert all(span.end - span.start >= 60 for span in boards)
    assert [span.attributes["edgesync.status"] for span in boards] == ["confirmed", "confirmed"]


def test_the_span_that_a_board_hangs_its_own_below_is_the_one_that_the_server_writes() -> None:
    story = Traced("b1", "b2")
    story.build(story.push("B"))
    story.confirms("b1", "B")
    (board,) = story.of(trace.BOARD)
    assert board.span == trace.span_id(trace.board_trace(story.state.rollout, DeviceId("demo.b1")), trace.BOARD)


def test_a_board_that_fails_says_of_what_and_a_rollout_that_is_aborted_why() -> None:
    story = Traced("b1", "b2")
    story.build(story.push("B"))
    story.says("b2", phase=Phase.FETCHING)
    story.says("b1", phase=Phase.FAILED, error=ErrorReport("ResultMismatch", "x"))
    story.do(Abort("enough"))
    (board,) = story.of(trace.BOARD)
    assert board.error == "ResultMismatch"
    failed, aborted = story.of(trace.ROLLOUT)
    assert aborted.error == "enough"
    assert (failed.span, failed.trace) == (aborted.span, aborted.trace), "the same span, told anew"


def test_a_newer_revision_ends_the_trace_of_the_one_before() -> None:
    story = Traced("b1")
    story.build(story.push("B"))
    first = story.state.rollout
    story.push("C")
    (whole,) = story.of(trace.ROLLOUT)
    assert (whole.trace, whole.error) == (trace.rollout_trace(first), "superseded")


def test_boards_that_take_no_part_have_no_span() -> None:
    story = Traced("b1")
    story.push("A")
    assert story.of(trace.BOARD) == []
    assert [span.error for span in story.of(trace.ROLLOUT)] == [""]


def test_a_blob_that_was_made_hangs_below_the_rollout() -> None:
    span = spans.made("r1", "delta a..b", 2, 10.0, 22.0, length=300)
    assert span.parent == trace.span_id(trace.rollout_trace("r1"), trace.ROLLOUT)
    assert (span.name, span.end - span.start, span.attributes["edgesync.bytes"], span.error) == ("make", 12, 300, "")
