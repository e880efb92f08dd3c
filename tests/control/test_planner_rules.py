"""One board's way from what it holds to what it shall run."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgesync.control.means import Means
from edgesync.control.planner import BlobKey, Built, Plan, Stock, Unbuildable, plan, weigh
from edgesync.control.types import FailurePolicy, Image
from edgesync.wire.ids import BlobId, Digest, digest_of
from edgesync.wire.messages import ErrorReport

OLD, NEW, STRANGE = (digest_of(name) for name in (b"old", b"new", b"strange"))
IMAGE = Image("root", "new.img", "2", NEW, ("files",))
SIZES = {OLD: 1000, NEW: 1000}
DELTA, MIXED, FULL = BlobKey(NEW, OLD), BlobKey(NEW, OLD, mixed=True), BlobKey(NEW)
MIXES = Means(unmixed="")
BAD_BASE = ErrorReport("BaseModified", "slot a was written to")


def built(length: int) -> Built:
    return Built(BlobId(f"{length:032x}"), length)


def one(
    held: Digest | None,
    blobs: dict[BlobKey, Built | Unbuildable],
    policy: FailurePolicy | None = None,
    failed: ErrorReport | None = None,
    *,
    url: str = "",
    means: Means | None = None,
    mixing: bool = True,
) -> Plan:
    stock = Stock(SIZES, blobs, policy or FailurePolicy(), url, mixing)
    return plan({"root": IMAGE}, {"root": held} if held else {}, stock, means or Means(), failed)


def test_a_board_that_holds_the_image_needs_no_source() -> None:
    assert one(NEW, {}).targets[0].source is None


def test_a_known_base_asks_for_the_delta_and_then_names_it() -> None:
    assert one(OLD, {}).missing == (DELTA,)
    source = one(OLD, {DELTA: built(10)}, url="http://files/").targets[0].source
    assert source is not None
    assert (source.kind, source.base, source.length) == ("delta", OLD, 10)
    assert source.url == f"http://files/{source.blob}"


def test_an_unknown_base_and_no_base_at_all_ask_for_the_full_image() -> None:
    assert one(STRANGE, {}).missing == (FULL,)
    assert one(None, {}).missing == (FULL,)


def test_a_large_delta_is_compared_with_the_full_image_and_the_smaller_is_sent() -> None:
    assert one(OLD, {DELTA: built(251)}).missing == (FULL,)
    for full, kind in ((200, "full"), (251, "full"), (252, "delta")):
        source = one(OLD, {DELTA: built(251), FULL: built(full)}).targets[0].source
        assert source is not None
        assert source.kind == kind
    unmade = one(OLD, {DELTA: built(251), FULL: Unbuildable(ErrorReport("BuildFailed"))}).targets[0].source
    assert unmade is not None
    assert unmade.kind == "delta"


def test_a_delta_that_failed_on_the_board_follows_the_policy() -> None:
    blobs: dict[BlobKey, Built | Unbuildable] = {DELTA: built(10), FULL: built(400)}
    for policy in ("wait", "fail"):
        assert one(OLD, blobs, FailurePolicy(policy), BAD_BASE).refusal == BAD_BASE  # type: ignore[arg-type]
    source = one(OLD, blobs, FailurePolicy("full", 400), BAD_BASE).targets[0].source
    assert source is not None
    assert source.kind == "full"
    refusal = one(OLD, blobs, FailurePolicy("full", 399), BAD_BASE).refusal
    assert refusal is not None
    assert refusal.name == "BaseModified"
    assert "400 bytes" in refusal.detail
    assert "399" in refusal.detail


def test_a_blob_that_could_not_be_made_is_told_in_its_own_words() -> None:
    broken = ErrorReport("BuildFailed", "no memory")
    assert one(OLD, {DELTA: Unbuildable(broken)}).refusal == broken
    assert one(None, {FULL: Unbuildable(broken)}).refusal == broken


COMPONENTS = ("boot", "dtb", "root")
DIGESTS = [digest_of(bytes([n])) for n in range(5)]
POLICIES = st.sampled_from([FailurePolicy("wait"), FailurePolicy("fail"), FailurePolicy("full", 500)])
MADE = st.integers(1, 2000).map(built) | st.just(Unbuildable(ErrorReport("BuildFailed", "no memory")))
MEANS = st.builds(
    Means,
    st.sampled_from([32 << 20, 64 << 20]),
    st.sampled_from([300, 1 << 30]),
    st.sampled_from([0.00004, 0.001, 7200.0]),
    st.just(1.0),
    st.booleans(),
    st.sampled_from(["", "no coder"]),
)
KEYS = [BlobKey(a, b, m) for a in DIGESTS for b in ["", *DIGESTS] for m in (False, True) if b or not m]


@given(
    st.lists(st.sampled_from(DIGESTS), min_size=3, max_size=3),
    st.lists(st.sampled_from([*DIGESTS, STRANGE, None]), min_size=3, max_size=3),
    st.dictionaries(st.sampled_from(KEYS), st.integers(1, 2000)),
    st.sampled_from([None, BAD_BASE]),
    st.tuples(POLICIES, MEANS, st.booleans()),
)
def test_a_plan_is_whole_missing_or_refused_and_its_sources_fit_what_the_board_holds(
    wanted: list[Digest],
    held: list[Digest | None],
    lengths: dict[BlobKey, int],
    failed: ErrorReport | None,
    rules: tuple[FailurePolicy, Means, bool],
) -> None:
    policy, means, mixing = rules
    images = {c: Image(c, c, "1", d, ()) for c, d in zip(COMPONENTS, wanted, strict=True)}
    holds = {c: d for c, d in zip(COMPONENTS, held, strict=True) if d}
    blobs = {key: Built(BlobId(f"{number:032x}"), lengths[key]) for number, key in enumerate(lengths)}
    stock = Stock(dict.fromkeys(DIGESTS, 1000), blobs, policy, mixing=mixing)
    result = plan(images, holds, stock, means, failed)
    assert sum(map(bool, (result.targets, result.missing, result.refusal))) == 1
    assert not set(result.missing) & lengths.keys()
    keys = {made.blob: key for key, made in blobs.items()}
    sent = [keys[target.source.blob] for target in result.targets if target.source]
    assert result.mixed == any(key.mixed for key in sent)
    for key in (*sent, *result.missing):
        assert not key.mixed or (mixing and not means.unmixed)
    assert not result.targets or [t.component for t in result.targets] == sorted(images)
    for target in result.targets:
        if target.source is None:
            assert holds.get(target.component) == target.sha256
        elif target.source.kind == "delta":
            assert failed is None
            assert target.source.base == holds[target.component]
        else:
            assert lengths[BlobKey(target.sha256)] == target.source.length
        if target.source:
            assert not means.obstacle(keys[target.source.blob].kind, target.length, target.source.length)


@given(
    st.sampled_from([OLD, STRANGE, None]),
    st.dictionaries(st.sampled_from([DELTA, MIXED, FULL]), MADE),
    st.sampled_from([None, BAD_BASE]),
    st.tuples(POLICIES, MEANS, st.booleans()),
)
def test_nothing_speaks_against_the_way_that_is_taken_and_something_against_every_other(
    held: Digest | None,
    blobs: dict[BlobKey, Built | Unbuildable],
    failed: ErrorReport | None,
    rules: tuple[FailurePolicy, Means, bool],
) -> None:
    policy, means, mixing = rules
    choice = weigh(IMAGE, held, Stock(SIZES, blobs, policy, mixing=mixing), means, failed)
    assert {way.key for way in choice.ways} == ({DELTA, MIXED, FULL} if held == OLD else {FULL})
    free = [way for way in choice.ways if not way.against]
    if isinstance(choice.take, ErrorReport):
        assert free == []
        assert choice.take.name
        return
    (way,) = free
    assert choice.best == way
    if isinstance(choice.take, BlobKey):
        assert (way.key, way.length) == (choice.take, None)
    else:
        assert (bool(way.key.base), way.length) == (choice.take.kind == "delta", choice.take.length)
        smaller = [other for other in choice.ways if other.length is not None and other.length < choice.take.length]
        for other in smaller:  # the cheapest, unless that one does not work
            assert (
                failed
                or isinstance(blobs[other.key], Unbuildable)
                or (other.key.mixed and not mixing)
                or means.obstacle(other.key.kind, SIZES[NEW], other.length)
            )


def test_a_delta_beyond_the_board_s_means_follows_the_policy_and_names_memory_or_time_or_disk() -> None:
    blobs: dict[BlobKey, Built | Unbuildable] = {DELTA: built(10), FULL: built(400)}
    for means, words in (
        (Means(memory=16 << 20), "MiB of memory"),
        (Means(seconds=0.0001, slowness=1000), "the board's limit is"),
        (Means(seconds=0.0001, numpy=False), "without numpy"),
        (Means(disk=9), "it has 10 bytes, the board has room for 9"),
    ):
        refusal = one(OLD, blobs, means=means).refusal
        assert refusal is not None
        assert refusal.name == "BeyondMeans"
        assert words in refusal.detail
    source = one(OLD, blobs, FailurePolicy("full", 400), means=Means(seconds=0.0001, numpy=False)).targets[0].source
    assert source is not None
    assert source.kind == "full"
    both = one(OLD, blobs, FailurePolicy("full", 400), means=Means(memory=16 << 20)).refusal
    assert both is not None
    assert both.detail.count("MiB of memory") == 2
    whole = one(None, blobs, means=Means(disk=399)).refusal
    assert whole is not None
    assert whole.name == "BeyondMeans"


def test_boards_on_the_same_base_need_the_same_one_blob() -> None:
    assert len({one(OLD, {}).missing for _ in range(1200)}) == 1


def test_a_mixed_delta_is_made_and_sent_only_where_server_and_board_have_its_coder() -> None:
    made: dict[BlobKey, Built | Unbuildable] = {DELTA: built(11), MIXED: built(10)}
    for blobs, missing, length in (({}, MIXED, 10), (made, None, 10)):
        planned = one(OLD, blobs, means=MIXES)  # type: ignore[arg-type]
        assert planned.missing == ((missing,) if missing else ())
        assert planned.mixed == (not missing)
        assert [target.source and target.source.length for target in planned.targets] == ([] if missing else [length])
    for other in (one(OLD, {}, mixing=False, means=MIXES), one(OLD, {})):
        assert other.missing == (DELTA,)
    for other in (one(OLD, made, mixing=False, means=MIXES), one(OLD, made)):
        assert (other.mixed, other.targets[0].source and other.targets[0].source.length) == (False, 11)


def test_a_mixed_delta_that_is_not_smaller_gives_way_to_the_one_that_every_board_can_apply() -> None:
    for mixed, sent in ((10, 10), (11, 11), (12, 11)):
        planned = one(OLD, {DELTA: built(11), MIXED: built(mixed)}, means=MIXES)
        assert (planned.mixed, planned.targets[0].source and planned.targets[0].source.length) == (mixed < 11, sent)


def test_a_mixed_delta_that_could_not_be_made_or_takes_too_long_gives_way_whatever_the_policy_says() -> None:
    broken = Unbuildable(ErrorReport("BuildFailed", "no memory"))
    assert one(OLD, {MIXED: broken}, means=MIXES).missing == (DELTA,)
    slow = replace(MIXES, seconds=SIZES[NEW] / 11e6)
    assert one(OLD, {}, means=slow).missing == (DELTA,)
    assert one(OLD, {MIXED: broken, DELTA: broken}, means=MIXES).refusal == broken.error


def test_every_way_says_in_words_why_it_is_not_taken() -> None:
    said = [
        {way.key.kind: way.against for way in weigh(IMAGE, OLD, Stock(SIZES, {}, mixing=mixing), means).ways}
        for mixing, means in ((True, MIXES), (True, Means()), (False, MIXES))
    ]
    assert said[0] == {
        "mixed": "",
        "delta": "a mixed delta is smaller as a rule",
        "full": "not looked at before the delta is made",
    }
    assert [ways["mixed"] for ways in said[1:]] == [
        "the board has no context-mixing coder",
        "the server has no context-mixing coder",
    ]
