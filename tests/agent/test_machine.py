"""The board's decider in a world that breaks: kills before any effect, power cuts, repeated and late events, bad
images. `Life` is the search; each invariant is one sentence.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from model_board import BROKEN, COMPONENTS, FACTORY, KINDS, Board, image, on

from edgesync.agent import effects, events
from edgesync.agent.machine import State
from edgesync.boards.bootenv import BootEnv, other
from edgesync.wire.errors import (
    BlobMissingError,
    ClockJumpedError,
    ForgedMessageError,
)
from edgesync.wire.ids import Digest
from edgesync.wire.messages import Desired, Phase

LOCKED = (Phase.ACTIVATING, Phase.CONFIRMING)
DECIDES = (events.Booted, events.ProbePassed, events.ProbeFailed, events.ActivateFailed, events.PutOff)


class Life(RuleBasedStateMachine):
    """One board's life, as bad as the rules can make it."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Board(judge=self._judge)
        self.older: list[Desired] = []
        self.kept: set[Digest] = set(FACTORY.values())
        self.proved = False  # this boot, by the loader's word or by its probe

    @initialize()
    def power_on(self) -> None:
        self.board.boot()

    # --- what goes well -----------------------------------------------------------------------------------------

    @rule(steps=st.integers(1, 12))
    def life_goes_on(self, steps: int) -> None:
        for _ in range(steps):
            self.board.go_on()

    @rule(
        kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
        numbers=st.tuples(st.integers(0, 2), st.integers(0, 2)),
        retry=st.integers(0, 1),
        full=st.booleans(),
    )
    def the_server_wants(self, kinds: tuple[str, str], numbers: tuple[int, int], retry: int, full: bool) -> None:
        images = {c: image(k if n else "good", n, c) for c, k, n in zip(COMPONENTS, kinds, numbers, strict=True)}
        self._say(self.board.want(images, retry=retry, full=full))

    def _say(self, desired: Desired) -> None:
        self.older.append(desired)
        self.board.queue.append(events.Wanted(desired))

    # --- what goes badly ----------------------------------------------------------------------------------------

    @rule(what=st.sampled_from(["hold", "clear", "older", "forged", "clock"]), data=st.data())
    def the_broker_brings(self, what: str, data: st.DataObject) -> None:
        queue = self.board.queue
        match what:
            case "hold":
                self._say(self.board.want({}, hold="aborted"))
            case "clear":
                queue.append(events.Cleared())
            case "older" if self.older:
                queue.append(events.Wanted(data.draw(st.sampled_from(self.older))))
            case "forged":
                queue.append(events.Noticed(ForgedMessageError("x")))
            case "clock":
                queue.append(events.Noticed(ClockJumpedError("y")))

    @precondition(lambda self: self.board.told)
    @rule(data=st.data())
    def an_event_comes_again(self, data: st.DataObject) -> None:
        event = data.draw(st.sampled_from(self.board.told))
        # The queue is first in, first out, so what an apply says is true when it is heard.
        untrue = isinstance(event, events.Applied) and self.board.content.get(event.component) != event.sha256
        if not untrue and not isinstance(event, events.Booted):
            self.board.decide(event)

    @precondition(lambda self: self.board.queue)
    @rule(effect=st.integers(0, 4))
    def the_agent_is_killed_between_the_journal_and_an_effect(self, effect: int) -> None:
        self.board.decide(self.board.queue.popleft(), crash_before=effect)

    @rule(power=st.booleans())
    def the_agent_is_killed(self, power: bool) -> None:
        if power:
            self.board.boot()
        else:
            self.board.start()

    @precondition(lambda self: self.board.fetching)
    @rule(how=st.sampled_from(["full", "gone", "disk", "starves"]))
    def the_fetch_fails(self, how: str) -> None:
        board = self.board
        assert board.fetching
        if how != "starves":
            board.fetch_ends(how)
        elif not board.starved:
            board.starved = True
            board.queue.append(events.FetchStarved(board.fetching.blob, BlobMissingError("model")))

    @precondition(lambda self: self.board.applying)
    @rule(how=st.sampled_from(["full", "died", "corrupt"]))
    def the_apply_fails(self, how: str) -> None:
        self.board.apply_ends(how)

    @precondition(lambda self: self.board.fetching or self.board.rebooting == "activate")
    @rule()
    def something_says_not_now(self) -> None:
        self.board.not_now()

    @precondition(lambda self: self.board.leaving or self.board.put_off)
    @rule()
    def it_is_gone(self) -> None:
        self.board.now()

    @precondition(lambda self: self.board.rebooting)
    @rule(how=st.sampled_from(["fails", "late"]))
    def the_reboot_fails(self, how: str) -> None:
        self.board.reboot_ends(how)

    @precondition(lambda self: self.board.probing)
    @rule()
    def the_probe_fails(self) -> None:
        self.board.probe_ends(passes=False)

    @rule(what=st.sampled_from(["write", "repair", "flash"]), component=st.sampled_from(COMPONENTS))
    def someone_writes_to_a_slot(self, what: str, component: str) -> None:
        board = self.board
        if what != "flash":
            board.slots[board.slot][component] = BROKEN if what == "write" else FACTORY[component]
        elif not board.rebooting and not board.queue:  # by hand, while the agent is up
            board.slots[other(board.slot)] = {c: image("good", 9, c) for c in COMPONENTS}
            board.env = BootEnv(other(board.slot))
            board.boot()

    # --- what must hold at each decision ------------------------------------------------------------------------

    def _judge(self, before: State, event: events.Event, asked: tuple[effects.Effect, ...]) -> None:
        board, after = self.board, self.board.state
        if before.phase in LOCKED and not isinstance(event, DECIDES):
            assert after.phase is before.phase, "activating and confirming are left only by a boot or the probe"
        new = set(after.quarantine) - set(before.quarantine)
        assert not new & self.kept, "an unchanged component of a failed release is not quarantined"
        if isinstance(event, events.Booted):
            self.proved = not event.trial
        elif isinstance(event, events.ProbePassed):
            self.proved |= board.probed
        assert self.proved or not after.confirmed, "confirmed without evidence of this boot"
        for effect in asked:
            match effect:
                case effects.Fetch(source):
                    wanted = {t.sha256 for t in after.desired.targets if t.source == source} if after.desired else set()
                    assert wanted, "only what is desired is fetched"
                    assert not wanted & set(after.quarantine), "a quarantined image is never fetched"
                    assert source.base in (None, *after.images.values()), "nothing is fetched when the base differs"
                case effects.Apply(target):
                    assert target.sha256 not in after.quarantine, "a quarantined image is never applied"
                case effects.Activate():
                    trial = {t.component: t.sha256 for t in after.trial}
                    assert trial, "something is activated"
                    assert board.content.items() >= trial.items(), "every component is verified before the activation"
                    assert not set(trial.values()) & set(before.quarantine), "a quarantined image is never activated"
                    if before.phase is not Phase.ACTIVATING:
                        self.kept = set(after.images.values())
        if isinstance(event, events.Wanted) and event.desired.hold and after.phase not in LOCKED:
            held = before.desired is None or event.desired.version > before.desired.version
            assert not held or (after.phase is Phase.IDLE and effects.Stop() in asked), "a hold stops work"

    @invariant()
    def a_phase_that_waits_is_waited_for(self) -> None:
        board, phase = self.board, self.board.state.phase
        if board.queue:
            return
        under_way = {
            Phase.FETCHING: board.fetching,
            Phase.APPLYING: board.applying,
            Phase.ACTIVATING: board.rebooting,
            Phase.CONFIRMING: board.probing or board.rebooting or board.timer,
            Phase.WAITING: board.timer
            or (board.fetching and (board.state.missing or board.state.held))
            or (board.leaving and board.state.held),
        }
        assert under_way.get(phase, True), f"{phase} with nothing under way: {board.state}"

    def teardown(self) -> None:
        """When all faults have stopped and the server offers a good image, the board ends confirmed on it."""
        board = self.board
        board.settle()
        if not on(board, dict(board.state.images)):
            assert board.state.phase in (Phase.IDLE, Phase.FAILED), board.state
        final = {component: image("good", 77, component) for component in COMPONENTS}
        board.queue.append(events.Wanted(board.want(final)))
        board.settle()
        if board.state.phase is Phase.FAILED:  # the base was written to in between, so the server sends full images
            board.queue.append(events.Wanted(board.want(final, full=True)))
            board.settle()
        assert on(board, final), board.state


TestLife = pytest.mark.timeout(900)(Life.TestCase)  # a failure takes minutes to be told in few steps
TestLife.settings = settings(max_examples=max(300, settings().max_examples), stateful_step_count=30)
