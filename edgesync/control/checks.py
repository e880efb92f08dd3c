"""What only the whole fleet shows: releases that are not there, selectors that match nothing, boards in no wave.

A check that builds on something that could not be read is left out: it would report what is no mistake.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from edgesync.control.desired import group_manners, group_releases, release_of, wave_of
from edgesync.control.draft import Draft
from edgesync.control.parse import Place
from edgesync.control.section import did_you_mean
from edgesync.control.types import Board, Selector
from edgesync.wire.ids import board_of


def check(draft: Draft) -> None:
    """Add every problem to the draft's."""
    if draft.name and not draft.boards and "boards" not in draft.incomplete:
        place = draft.places["default release", ""]
        draft.problems.append(place.problem("no board in boards/*.yaml", "at least one"))
        draft.incomplete.add("boards")
    if "releases" not in draft.incomplete:
        _unknown_releases(draft)
    if "groups" not in draft.incomplete:
        _groups(draft)
        _compatibility(draft)
    if draft.waves and "waves" not in draft.incomplete:
        _waves(draft)


def _unknown_releases(draft: Draft) -> None:
    named = [("default release", "", draft.default_release)]
    named += [("group release", group.name, group.release) for group in draft.groups]
    named += [("board release", board_of(board.device), board.release) for board in draft.boards.values()]
    for kind, name, release in named:
        if release is not None and release not in draft.releases:
            known = ", ".join(sorted(draft.releases)[:8]) or "none: releases/ is empty"
            hint = did_you_mean(release, draft.releases) or f"known: {known}"
            draft.problems.append(
                draft.places[kind, name].problem(repr(release), "the name of a release in releases/*.yaml", hint)
            )


def _groups(draft: Draft) -> None:
    """Each group and window matches a board, and no board gets two releases or manners from its groups."""
    if "boards" not in draft.incomplete:
        selects = [(draft.places["group select", group.name], group.select) for group in draft.groups]
        selects += [(draft.places["window select", window.name], window.select) for window in draft.settings.windows]
        for place, select in selects:
            if not any(select.matches(board.labels) for board in draft.boards.values()):
                _matches_nothing(draft, place, select)
    for board in draft.boards.values():
        releases = group_releases(draft.groups, board)
        if board.release is None and len(set(releases.values())) > 1:
            found = " and ".join(f"{release!r} from group {group}" for group, release in releases.items())
            hint = "narrow one group's select, or set the board's own release"
            draft.problems.append(_place_of(draft, board, "board release").problem(found, "one release", hint))
        for name, rivals in group_manners(draft.groups, board).items():
            if len(rivals) > 1 and name not in board.manners:
                found = f"{name!r} of manners from groups {' and '.join(group.name for group in rivals)}"
                hint = "narrow one group's select, or set the board's own manners"
                draft.problems.append(_place_of(draft, board, "board").problem(found, "one group that sets it", hint))


def _compatibility(draft: Draft) -> None:
    """Every image of a board's release is made for the board's type. Reported once for each release and type."""
    boards: defaultdict[tuple[str, str], list[Board]] = defaultdict(list)
    for board in draft.boards.values():
        release = release_of(board, draft.groups, draft.default_release)
        if release in draft.releases and board.type:
            boards[release, board.type].append(board)
    for (release, kind), affected in boards.items():
        for image in draft.releases[release].images.values():
            if not image.compatible or kind in image.compatible:
                continue
            others = f" and {len(affected) - 1} more" if len(affected) > 1 else ""
            found = f"release {release!r} for board {board_of(affected[0].device)}{others}"
            hint = f"{image.component} in {image.file}:{image.line} is compatible with {', '.join(image.compatible)}"
            draft.problems.append(
                _place_of(draft, affected[0], "board").problem(found, f"a release for boards of type {kind}", hint)
            )


def _waves(draft: Draft) -> None:
    """Each board is in a wave, and each wave takes a board that no earlier one took."""
    taken: Counter[int] = Counter()
    for board in draft.boards.values():
        number = wave_of(board, draft.waves)
        if number is None:
            found = f"labels {dict(board.labels)} that no wave selects"
            hint = "add a last wave with `select: {}`"
            draft.problems.append(_place_of(draft, board, "board").problem(found, "a wave for each board", hint))
        else:
            taken[number] += 1
    if "boards" in draft.incomplete:
        return
    for number, wave in enumerate(draft.waves):
        if taken[number]:
            continue
        if any(wave.select.matches(board.labels) for board in draft.boards.values()):
            place = draft.places["wave select", wave.name]
            found = "only boards that an earlier wave takes"
            draft.problems.append(place.problem(found, "boards of its own", "put the narrower wave first"))
        else:
            _matches_nothing(draft, draft.places["wave select", wave.name], wave.select)


def _matches_nothing(draft: Draft, place: Place, select: Selector) -> None:
    labels = sorted({f"{key}: {value}" for board in draft.boards.values() for key, value in board.labels.items()})
    wanted = ", ".join(f"{key}: {value}" for key, value in select.labels.items())
    hint = did_you_mean(wanted, labels)
    draft.problems.append(place.problem(f"{{{wanted}}}, which matches no board", "labels of at least one board", hint))


def _place_of(draft: Draft, board: Board, kind: str) -> Place:
    return draft.places[kind, board_of(board.device)]
