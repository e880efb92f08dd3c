"""The decider of the config in a world that breaks: kills before any effect, power cuts, repeated and late events, bad
bundles, rot on the disk, firmware that comes and goes. `Life` is the search; each invariant is one sentence.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from model_config import KINDS, Board, bundle, kind_of, on

from edgesync.agent.effects import Fetch, Stop
from edgesync.agent.events import Cleared, FetchStarved, Wanted
from edgesync.agent.tree import effects, events
from edgesync.agent.tree.state import State, companion
from edgesync.wire.errors import BlobMissingError
from edgesync.wire.ids import Digest
from edgesync.wire.messages import ConfigPhase, Desired

DECIDES = (
    events.Started,
    events.Proved,
    events.Disproved,
    events.SwitchFailed,
    events.WentBack,
    events.GoBackFailed,
)
REQUIRES = ("", "fw >= 1", "fw >= 2")


class Life(RuleBasedStateMachine):
    """One board's life with its config, as bad as the rules can make it."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Board(judge=self._judge)
        self.older: list[Desired] = []
        self.checked: set[Digest] = set()  # what the checks have passed
        self.rotten = False  # someone wrote to the bundles behind our back

    @initialize()
    def power_on(self) -> None:
        self.board.boot()

    # --- what goes well ---------------------------------------------------------------------------------------------

    @rule(steps=st.integers(1, 4))
    def life_goes_on(self, steps: int) -> None:
        for _ in range(steps):
            self.board.go_on()

    @rule(
        kind=st.sampled_from(KINDS),
        number=st.integers(0, 2),
        requires=st.sampled_from(REQUIRES),
        retry=st.integers(0, 1),
        full=st.booleans(),
    )
    def the_server_wants(self, kind: str, number: int, requires: str, retry: int, full: bool) -> None:
        self._say(self.board.want(bundle(kind, number), requires=requires, retry=retry, full=full))

    def _say(self, desired: Desired) -> None:
        self.older.append(desired)
        self.board.queue.append(Wanted(desired))

    @rule(kind=st.sampled_from(["good", "sick"]), number=st.integers(0, 4), requires=st.sampled_from(REQUIRES))
    def a_bundle_comes_as_far_as_its_trial(self, kind: str, number: int, requires: str) -> None:
        """What a search would reach too seldom by itself."""
        self.the_server_wants(kind, number, requires, retry=0, full=False)
        for _ in range(20):
            if self.board.state.phase is ConfigPhase.PROBING or not self.board.go_on():
                return

    @rule(number=st.integers(1, 2), slot=st.integers(0, 1), trial=st.booleans())
    def firmware_comes_and_goes(self, number: int, slot: int, trial: bool) -> None:
        board = self.board
        if slot != board.slot:
            board.slots[slot] = number
        board.boot(slot, trial=trial)

    # --- what goes badly --------------------------------------------------------------------------------------------

    @rule(what=st.sampled_from(["hold", "clear", "older", "unmanaged"]), data=st.data())
    def the_broker_brings(self, what: str, data: st.DataObject) -> None:
        match what:
            case "hold":
                self._say(self.board.want(None, hold="aborted"))
            case "clear":
                self.board.queue.append(Cleared())
            case "older" if self.older:
                self.board.queue.append(Wanted(data.draw(st.sampled_from(self.older))))
            case "unmanaged":
                self._say(self.board.want(None))

    @precondition(lambda self: self.board.told)
    @rule(data=st.data())
    def an_event_comes_again(self, data: st.DataObject) -> None:
        board, event = self.board, data.draw(st.sampled_from(self.board.told))
        # The queue is first in, first out, so what an installer says is true when it is heard.
        untrue = isinstance(event, events.Confirmed) and board.trial
        if isinstance(event, Wanted | Cleared | events.Confirmed | FetchStarved) and not untrue:
            board.decide(event)

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
            board.queue.append(FetchStarved(board.fetching.blob, BlobMissingError("model")))

    @precondition(lambda self: self.board.preparing)
    @rule(how=st.sampled_from(["full", "died", "corrupt"]))
    def the_preparing_fails(self, how: str) -> None:
        self.board.prepare_ends(how)

    @precondition(lambda self: self.board.ready or (self.board.fetching and not self.board.starved))
    @rule()
    def something_says_not_now(self) -> None:
        if self.board.ready:
            self.board.gate_ends(opens=False)
        else:
            self.board.fetch_is_put_off()

    @precondition(lambda self: self.board.attempting)
    @rule()
    def the_trial_fails(self) -> None:
        board = self.board
        if board.switched:
            board.attempt_ends(passes=False)
        else:
            board.attempt_switches("full")

    @precondition(lambda self: self.board.returning)
    @rule()
    def the_way_back_fails(self) -> None:
        self.board.return_ends("full")

    @precondition(lambda self: self.board.healing)
    @rule()
    def the_healing_fails(self) -> None:
        self.board.heal_ends("full")

    @rule(what=st.sampled_from(["file", "bundle", "link", "look"]))
    def someone_writes_to_the_config(self, what: str) -> None:
        board = self.board
        match what:
            case "file":
                board.drifted = bool(board.link)
            case "bundle" if board.link:
                board.bundles.discard(Digest(board.link))
                self.rotten = True
            case "link" if not board.attempting and not board.returning and board.link and not board.queue:
                board.link = ""
                board.look()
            case "look" if not board.attempting and not board.returning:
                board.look()

    # --- what must hold at each decision ----------------------------------------------------------------------------

    def _judge(self, before: State, event: events.Event, asked: tuple[effects.Effect, ...]) -> None:
        after = self.board.state
        if before.phase is ConfigPhase.PROBING and not isinstance(event, DECIDES):
            assert (after.phase, after.trial, after.back) == (before.phase, before.trial, before.back), (
                "a trial is left only by its outcome or a start"
            )
        if isinstance(event, events.Prepared):
            self.checked.add(event.config)
        for effect in asked:
            match effect:
                case Fetch(source):
                    assert after.target, "only what is wanted is fetched"
                    assert after.target.source == source, "only what is wanted is fetched"
                    assert after.target.sha256 not in after.quarantine, "what failed is never fetched"
                    assert source.base is None or source.base in after.kept, "nothing is fetched without its base"
                case effects.Prepare(target):
                    assert target.sha256 not in after.quarantine, "what failed is never prepared"
                    assert after.confirmed, "config waits for firmware to prove itself"
                case effects.Try(config):
                    assert config in self.checked, "nothing is switched to that no check has passed"
                    assert config not in after.quarantine, "what failed is never tried"
                case effects.Heal(config):
                    assert config not in after.quarantine, "what failed is never healed towards"
                    assert config == after.current
                case effects.Prune(keep):
                    assert {after.current, after.good, after.trial} <= {*keep, "", *after.quarantine}
                    assert self.board.link in (*keep, ""), "what is in force is never removed"
        if isinstance(event, Wanted) and event.desired.hold and after.phase is not ConfigPhase.PROBING:
            held = event.desired.version > before.version
            assert not held or (after.phase is ConfigPhase.IDLE and Stop() in asked), "a hold stops work"

    @invariant()
    def a_phase_that_waits_is_waited_for(self) -> None:
        board, state = self.board, self.board.state
        if board.queue:
            return
        firmware = not state.confirmed or (state.error is not None and state.error.name == "Requirement")
        asked = state.missing or state.held
        put_off = board.timer or firmware or (board.fetching and asked) or (board.ready and state.held)
        under_way = {
            ConfigPhase.FETCHING: board.fetching,
            ConfigPhase.APPLYING: board.preparing or board.ready,
            ConfigPhase.PROBING: board.attempting or board.returning is not None or board.timer,
            ConfigPhase.WAITING: put_off,
        }
        assert under_way.get(state.phase, True), f"{state.phase} with nothing under way: {state}"

    @invariant()
    def what_a_check_refused_is_never_in_force(self) -> None:
        assert not self.board.link or kind_of(Digest(self.board.link)) != "refused"

    @invariant()
    def a_board_that_has_config_always_has_some(self) -> None:
        state = self.board.state
        if state.good and not self.rotten and state.phase is not ConfigPhase.PROBING and not self.board.queue:
            assert self.board.link, f"no config in force: {state}"

    def teardown(self) -> None:
        """When all faults have stopped, what is in force has proved itself; and the next good config is taken."""
        board = self.board
        if board.desired:
            board.queue.append(Wanted(board.desired))  # the broker has it still
        board.settle()
        assert companion(board.state) in (None, board.state.current), "firmware has its config"
        if not self.rotten:
            assert not board.link or kind_of(Digest(board.link)) == "good", board.state
            wanted = board.state.target
            if wanted and not board.state.hold and kind_of(wanted.sha256) == "good":
                waits = board.state.phase in (ConfigPhase.WAITING, ConfigPhase.FAILED)
                assert on(board, wanted.sha256) or waits, board.state
        board.boot(trial=False)
        final = bundle("good", 77)
        board.queue.append(Wanted(board.want(final)))
        board.settle()
        if board.state.phase is ConfigPhase.FAILED:  # the base is gone, so the server sends the whole bundle
            board.queue.append(Wanted(board.want(final, full=True)))
            board.settle()
        assert on(board, final), board.state


TestLife = pytest.mark.timeout(900)(Life.TestCase)  # a failure takes minutes to be told in few steps
TestLife.settings = settings(max_examples=max(300, settings().max_examples), stateful_step_count=30)
