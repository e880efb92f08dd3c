"""A fleet of simulated boards, honest, silent and lying, against the rollout's rules, in any order of events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edgesync.control import rollout
from edgesync.control.planner import BlobKey, Built
from edgesync.control.standing import (
    Abort,
    BlobFailed,
    BlobReady,
    BoardReported,
    EnsureBlob,
    Event,
    Forget,
    Hold,
    Listening,
    NewRevision,
    Offer,
    Pause,
    Resume,
    Retry,
    Spec,
    State,
    Status,
    Tick,
    tally,
)
from edgesync.control.types import ConfigBundle, FailurePolicy, Fleet, Image, Selector, Wanted, Wave
from edgesync.wire.ids import BlobId, DeviceId, Digest, digest_of
from edgesync.wire.messages import ConfigPhase, ConfigReport, Desired, ErrorReport, Phase, Reported

DEVICES = tuple(DeviceId(f"demo.b{n}") for n in range(6))
IMAGES = {name: digest_of(name.encode()) for name in "ABCD"}
CONFIGS = {name: ConfigBundle(digest_of(name.encode()), 100, "", b"") for name in "XYZ"}
SIZES = dict.fromkeys(IMAGES.values(), 1_000_000)
LOST_AFTER = 3600.0


@dataclass
class Played:
    """A board as it is, not as the server believes."""

    boot: int = 0
    image: Digest = IMAGES["A"]
    counter: int = 0
    version: int = 0
    retry: int = 0
    phase: Phase = Phase.IDLE
    error: ErrorReport | None = None
    quarantine: set[Digest] = field(default_factory=set)
    booted: set[tuple[int, Digest]] = field(default_factory=lambda: {(0, IMAGES["A"])})
    trial: Digest | None = None
    config: Digest | str = ""
    config_before: Digest | str = ""
    config_phase: ConfigPhase | None = None
    config_error: ErrorReport | None = None
    held: set[Digest | str] = field(default_factory=set)
    mixing: bool = False
    plain: bool = False


class Rollouts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1e9
        self.state = State()
        self.boards = {device: Played() for device in DEVICES}
        self.broker: dict[DeviceId, Desired] = {}
        self.wanted_blobs: list[BlobKey] = []
        self.mixed: set[BlobId] = set()
        self.revisions = 0
        self.do(Listening(on=True))

    def do(self, event: Event) -> None:
        before = self.state
        self.state, effects = rollout.step(before, event, self.now)
        for effect in effects:
            match effect:
                case Offer(offered):
                    desired = offered.desired
                    assert not self.state.paused
                    standing = self.state.boards[desired.device]
                    in_force = self.broker.get(desired.device)
                    renewed = in_force is not None and (in_force.targets, in_force.config) == (
                        desired.targets,
                        desired.config,
                    )
                    assert renewed or self.state.phase in ("running", "done")
                    assert renewed or standing.wanted.wave < self.state.open_waves
                    bad = standing.quarantine | self.state.quarantine
                    lacking = {t.sha256 for t in desired.targets if t.source} | {offered.new_config} - {""}
                    assert renewed or not lacking & bad
                    mixed = {t.source.blob for t in desired.targets if t.source} & self.mixed
                    assert offered.mixed == bool(mixed)
                    if mixed and not renewed:
                        assert self.spec.mixing
                        assert standing.reported
                        assert standing.reported.mixing
                        assert not standing.mixed_failed
                    assert desired.config is None or desired.config.source is None
                    assert desired.version > max(
                        in_force.version if in_force else 0,
                        self.boards[desired.device].version if standing.reported else 0,
                    )
                    self.broker[desired.device] = desired
                case Hold(offered):
                    assert offered.desired.hold
                    self.broker[offered.desired.device] = offered.desired
                case EnsureBlob(key):
                    assert self.spec.mixing or not key.mixed
                    self.wanted_blobs.append(key)
                case Forget(device):
                    self.broker.pop(device, None)
        if not isinstance(event, Retry):
            # The same event again does nothing: no message is sent twice, no board is judged twice.
            again, more = rollout.step(self.state, event, self.now)
            assert [e for e in more if isinstance(e, Offer | Hold | Forget)] == []
            assert {d: b.status for d, b in again.boards.items()} == {d: b.status for d, b in self.state.boards.items()}

    # --- operators

    @rule(
        choice=st.lists(st.tuples(st.sampled_from("ABCD"), st.sampled_from([None, *CONFIGS])), min_size=6, max_size=6),
        count=st.integers(1, 6),
        canaries=st.integers(0, 3),
        success=st.sampled_from([0.5, 1.0]),
        rules=st.tuples(st.sampled_from(["wait", "fail", "full"]), st.booleans()),
    )
    def push(
        self,
        choice: list[tuple[str, str | None]],
        count: int,
        canaries: int,
        success: float,
        rules: tuple[str, bool],
    ) -> None:
        policy, mixing = rules
        self.revisions += 1
        wanted = {
            device: Wanted(
                device,
                name,
                {"root": Image("root", f"{name}.img", name, IMAGES[name], ("files",))},
                0 if number < canaries else 1,
                CONFIGS[config] if config else None,
            )
            for number, (device, (name, config)) in enumerate(zip(DEVICES[:count], choice, strict=False))
        }
        fleet = Fleet(
            "demo",
            f"{self.revisions:040x}",
            {},
            (),
            {},
            (Wave("canary", Selector(), success), Wave("rest", Selector(), success)),
            failure=FailurePolicy(policy, 500_000),  # type: ignore[arg-type]
            abort_at=0.5,
            lost_after=LOST_AFTER,
        )
        self.spec = Spec(fleet, wanted, SIZES, mixing=mixing)
        self.do(NewRevision(self.spec))

    @rule()
    def pause(self) -> None:
        self.do(Pause())

    @rule()
    def resume(self) -> None:
        self.do(Resume())

    @rule()
    def abort(self) -> None:
        was = self.state.phase
        self.do(Abort("by hand"))
        if was in ("running", "failed"):
            assert self.state.phase == "aborted"
            assert not [b for b in self.state.boards.values() if b.status in (Status.OFFERED, Status.ACTING)]

    @rule(device=st.sampled_from([None, *DEVICES]))
    def retry(self, device: DeviceId | None) -> None:
        self.do(Retry(device))

    # --- server and time

    @precondition(lambda self: self.wanted_blobs)
    @rule(good=st.integers(0, 4))
    def blob(self, good: int) -> None:
        key = self.wanted_blobs.pop(0)
        blob = BlobId(digest_of(str(key).encode())[:32])
        if key.mixed:
            self.mixed.add(blob)
        self.do(BlobReady(key, Built(blob, 1000)) if good else BlobFailed(key, ErrorReport("BuildFailed", "no")))

    @rule(seconds=st.sampled_from([1.0, 600.0, 1000.0, 4000.0, 25 * 86400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.do(Tick())

    @rule(on=st.booleans())
    def link(self, on: bool) -> None:
        self.now += 1
        self.do(Listening(on))

    @rule()
    def restart(self) -> None:
        """Nothing but what is saved survives; the same revision is read again."""
        if self.state.spec is None:
            return
        kept = {key: blob for key, blob in self.state.blobs.items() if isinstance(blob, Built)}
        self.state = replace(self.state, spec=None, listening=None, blobs=kept)
        self.wanted_blobs.clear()
        self.do(NewRevision(self.spec))

    # --- boards

    @rule(
        device=st.sampled_from(DEVICES),
        outcome=st.sampled_from(["on", "on", "fail", "delta", "mixed", "silent-reboot"]),
    )
    def board_acts(self, device: DeviceId, outcome: str) -> None:
        board = self.boards[device]
        desired = self.broker.get(device)
        if outcome == "silent-reboot":
            board.boot += 1
            board.booted.add((board.boot, board.image))
            return
        if desired and desired.version > board.version:
            board.version, board.error, board.trial = desired.version, None, None
            if desired.retry > board.retry:
                board.retry = desired.retry
                board.quarantine.clear()
            board.phase = Phase.IDLE if desired.hold or desired.targets[0].sha256 == board.image else Phase.FETCHING
            if not desired.hold and desired.targets[0].sha256 in board.quarantine:
                board.phase, board.error = Phase.FAILED, ErrorReport("Quarantined")
            self.config_wanted(board, desired)
        elif desired and not desired.hold and board.phase is Phase.FETCHING:
            target = desired.targets[0]
            mixed = target.source is not None and target.source.blob in self.mixed
            if mixed and (not board.mixing or outcome == "mixed"):
                name = "DeltaCorrupt" if outcome == "mixed" else "UnknownFormat"
                board.phase, board.error = Phase.FAILED, ErrorReport(name)
            elif outcome == "delta":
                board.phase, board.error = Phase.FAILED, ErrorReport("BaseModified")
            else:
                board.phase, board.trial = Phase.ACTIVATING, target.sha256
        elif board.phase is Phase.ACTIVATING and board.trial:
            board.boot += 1
            if outcome == "fail":
                board.quarantine.add(board.trial)
                board.phase, board.error = Phase.FAILED, ErrorReport("BootFailed")
            else:
                board.image, board.phase = board.trial, Phase.CONFIRMING
            board.booted.add((board.boot, board.image))
        elif board.phase is Phase.CONFIRMING:
            board.phase = Phase.IDLE

    @rule(device=st.sampled_from(DEVICES), mixing=st.booleans(), plain=st.booleans())
    def another_agent_runs(self, device: DeviceId, mixing: bool, plain: bool) -> None:
        self.boards[device].mixing, self.boards[device].plain = mixing, plain

    def config_wanted(self, board: Played, desired: Desired) -> None:
        if board.config_phase is ConfigPhase.PROBING:
            return
        if desired.config is None:
            if board.config_phase is not None:
                board.config_phase, board.config_error = ConfigPhase.IDLE, None
            return
        digest = desired.config.sha256
        board.config_phase = ConfigPhase.IDLE if digest == board.config else ConfigPhase.FETCHING
        board.config_error = None
        if digest in board.quarantine and digest != board.config:
            board.config_phase, board.config_error = ConfigPhase.FAILED, ErrorReport("Quarantined")

    @rule(device=st.sampled_from(DEVICES), outcome=st.sampled_from(["on", "on", "fail", "delta", "lost tree"]))
    def config_acts(self, device: DeviceId, outcome: str) -> None:
        """The board's other decider: fetch, switch, probe, and back again by itself."""
        board, desired = self.boards[device], self.broker.get(device)
        if outcome == "lost tree" and board.config_phase is ConfigPhase.IDLE:
            board.config = ""
        elif board.config_phase is ConfigPhase.FETCHING and desired and desired.config:
            if outcome == "delta":
                board.config_phase, board.config_error = ConfigPhase.FAILED, ErrorReport("BaseModified")
            elif desired.version == board.version:
                board.config_before, board.config = board.config, desired.config.sha256
                board.config_phase = ConfigPhase.PROBING
        elif board.config_phase is ConfigPhase.PROBING:
            if outcome == "on":
                board.config_phase = ConfigPhase.IDLE
                board.held.add(board.config)
            else:
                board.quarantine.add(Digest(board.config))
                board.config, board.config_phase = board.config_before, ConfigPhase.FAILED
                board.config_error = ErrorReport("ProbeFailed")
            if desired and desired.version == board.version and desired.config:
                last = board.config_phase, board.config_error
                self.config_wanted(board, desired)
                if desired.config.sha256 in board.quarantine:
                    board.config_phase, board.config_error = last

    def report(self, device: DeviceId) -> Reported:
        board = self.boards[device]
        board.counter += 1
        return Reported(
            device,
            board.counter,
            f"boot-{board.boot}",
            "a",
            board.phase is not Phase.CONFIRMING,
            {"root": board.image},
            board.phase,
            board.version,
            error=board.error,
            quarantine=tuple(sorted(board.quarantine)),
            plain=board.plain,
            mixing=board.mixing,
            config=ConfigReport(board.config, board.config_phase, board.config_error) if board.config_phase else None,
        )

    @rule(device=st.sampled_from(DEVICES))
    def board_reports(self, device: DeviceId) -> None:
        self.now += 1
        self.do(BoardReported(self.report(device)))

    @rule(
        device=st.sampled_from(DEVICES),
        outcomes=st.lists(st.sampled_from(["on", "fail", "delta", "mixed"]), max_size=4),
    )
    def board_lives(self, device: DeviceId, outcomes: list[str]) -> None:
        """Several steps of a board, each one told, while the server makes what it was asked for."""
        for outcome in outcomes:
            while self.wanted_blobs:
                self.blob(1)
            self.board_acts(device, outcome)
            self.config_acts(device, outcome)
            self.board_reports(device)

    @rule(device=st.sampled_from(DEVICES))
    def board_claims_without_booting(self, device: DeviceId) -> None:
        """The right digests and `confirmed`, in the boot in which the offer was made."""
        standing = self.state.boards.get(device)
        if standing is None or standing.offered is None or standing.reported is None:
            return
        if standing.status is Status.CONFIRMED or standing.offered.base == standing.wants:
            return
        self.now += 1
        lie = replace(
            self.report(device),
            boot_id=standing.offered.boot_id,
            images=standing.wants,
            confirmed=True,
            phase=Phase.IDLE,
            version=standing.offered.desired.version,
        )
        self.do(BoardReported(lie))
        assert self.state.boards[device].status is not Status.CONFIRMED
        self.do(BoardReported(self.report(device)))

    # --- what always holds

    @invariant()
    def confirmed_boards_reported_the_wanted_images_from_a_confirmed_slot(self) -> None:
        for board in self.state.boards.values():
            if board.status is Status.CONFIRMED:
                assert board.reported is not None
                assert board.reported.confirmed
                assert board.holds == board.wants

    @invariant()
    def confirmed_boards_reported_the_wanted_config_as_in_force(self) -> None:
        for board in self.state.boards.values():
            if board.status is Status.CONFIRMED and board.wants_config:
                assert board.reported is not None
                assert board.reported.config is not None
                assert board.reported.config.sha256 == board.wants_config.sha256
                assert board.reported.config.phase is not ConfigPhase.FAILED

    @invariant()
    def a_config_that_failed_on_a_board_is_not_offered_to_it_again(self) -> None:
        for device, board in self.state.boards.items():
            offered, desired = board.offered, self.broker.get(device)
            if not (offered and desired and board.reported and desired.config == board.wants_config):
                continue
            if offered.digests != board.wants:
                continue  # of an older revision, in force until the board's turn comes
            if board.reported.version >= offered.first and offered.new_config in board.quarantine:
                assert board.status in (Status.FAILED, Status.LOST, Status.ACTIVATED)

    @invariant()
    def a_board_that_is_silent_before_activation_counts_nowhere(self) -> None:
        for board in self.state.boards.values():
            if board.status is Status.LOST:
                assert board.reported is not None
                switched = board.reported.config and board.reported.config.phase is ConfigPhase.PROBING
                booted = board.offered and board.reported.boot_id != board.offered.boot_id
                assert board.reported.phase in (Phase.ACTIVATING, Phase.CONFIRMING) or switched or booted

    @invariant()
    def the_tally_is_what_counting_all_boards_gives(self) -> None:
        assert self.state.tally == tally(self.state.boards.values())

    @invariant()
    def what_is_in_force_is_on_the_broker(self) -> None:
        in_force = {d: b.offered.desired for d, b in self.state.boards.items() if b.offered}
        assert in_force == self.broker


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
