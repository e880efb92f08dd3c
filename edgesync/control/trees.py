"""The config of each board, put together from its layers: fleet, then its groups, then its own. Pure but for `render`.

The rules:
1. A later layer's file, or key of config.yaml, replaces an earlier one's whole.
2. Two groups of one board must not set the same file or the same key, unless the board's own layer sets it.
3. What a tree holds is what the board type allows: its paths, and the names of its commands.
4. A board that no layer is for has no config, which is not the same as an empty one: it is left as it is.

Boards with the same layers and values share the work and the bundle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from edgesync.boards.allow import allows
from edgesync.control.desired import release_of
from edgesync.control.draft import Draft
from edgesync.control.layers import KEYS, Layer, LayerFile, Layers, Probe, Setting
from edgesync.control.parse import Place, Problem
from edgesync.control.rendering import Fault, Render, Template, Values
from edgesync.control.section import did_you_mean
from edgesync.control.types import Board, ConfigBundle, Fleet, Group
from edgesync.wire import versions
from edgesync.wire.bundle import Bundle, BundleFile, Settings, clashes, encode
from edgesync.wire.errors import MalformedMessageError
from edgesync.wire.ids import DeviceId, Digest, board_of, digest_of

BUNDLES_LIMIT = 256 * 1024 * 1024
"""Bytes of all different bundles of one commit: the server holds them in memory."""

HINTS_LIMIT = 10
"""Unknown names that are compared with all that are known: each takes a while where these are 10,000."""

Texts = Mapping[str, Mapping[int, str | Fault]]
"""What became of each template, by its file and the number of the board."""


@dataclass(slots=True)
class _Tree:
    """What some layers make, before templates are rendered; `boards` have it, by their number."""

    layers: tuple[Layer, ...]
    boards: dict[int, Board] = field(default_factory=dict)
    files: dict[str, LayerFile] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)

    @property
    def requires(self) -> str:
        return str(self.settings["requires"].value) if "requires" in self.settings else ""


class _Complaints:
    """Problems that boards share, gathered so that each is told once, with the boards that it is about if it is about
    some and not about all. No board is added twice to the same problem.
    """

    def __init__(self) -> None:
        self._boards: dict[tuple[Place, str, str, str], tuple[DeviceId | None, int]] = {}

    def add(self, place: Place, found: str, expected: str, hint: str, boards: Collection[Board]) -> None:
        key = (place, found, expected, hint)
        first, count = self._boards.get(key, (None, 0))
        self._boards[key] = first or next((board.device for board in boards), None), count + len(boards)

    def problems(self) -> list[Problem]:
        return [
            place.problem(f"{found}{_for(first, count)}", expected, hint)
            for (place, found, expected, hint), (first, count) in self._boards.items()
        ]


def _for(first: DeviceId | None, count: int) -> str:
    if first is None:
        return ""
    return f" for board {board_of(first)}{f' and {count - 1} more' if count > 1 else ''}"


def compile_trees(draft: Draft, layers: Layers, render: Render) -> dict[DeviceId, ConfigBundle]:
    """The config of each board that has any. Problems are added to the draft's; the result is then not whole."""
    _unknown(draft, layers)
    complaints = _Complaints()
    boards = [board for board in draft.boards.values() if board.type]
    trees = _trees(draft, layers, boards)
    for tree in trees:
        _merge(tree, complaints)
        _check(draft, tree, complaints)
    texts = _render(draft, trees, boards, render)
    bundles = _bundles(trees, texts, complaints)
    draft.problems += complaints.problems()
    return bundles


def origins(fleet: Fleet, layers: Layers, board: Board) -> Mapping[str, str]:
    """For each file of a board's tree the file of the repository that it comes from."""
    stack = _stack(_with_layers(fleet.groups, layers), layers, board)
    return {path: file.file for layer in stack for path, file in layer.files.items()}


def _with_layers(groups: Iterable[Group], layers: Layers) -> list[tuple[Group, Layer]]:
    return [(group, layers.groups[group.name]) for group in groups if group.name in layers.groups]


def _stack(groups: Iterable[tuple[Group, Layer]], layers: Layers, board: Board) -> tuple[Layer, ...]:
    """The layers of a board in the order in which they apply."""
    of_groups = (layer for group, layer in groups if group.select.matches(board.labels))
    all_three = (layers.fleet, *of_groups, layers.boards.get(board_of(board.device)))
    return tuple(layer for layer in all_three if layer is not None)


def _unknown(draft: Draft, layers: Layers) -> None:
    """Layers of groups and boards that the fleet has not got."""
    groups = dict.fromkeys(group.name for group in draft.groups)
    boards = dict.fromkeys(board_of(device) for device in draft.boards)
    for kind, known, found in (("group", groups, layers.groups), ("board", boards, layers.boards)):
        unknown = [name for name in found if name not in known]
        for number, name in enumerate(unknown):
            hint = did_you_mean(name, known) if number < HINTS_LIMIT else ""
            expected = f"the name of a {kind} of this fleet"
            draft.problems.append(Problem(found[name].name, 0, "", repr(name), expected, hint))


def _trees(draft: Draft, layers: Layers, boards: Sequence[Board]) -> list[_Tree]:
    trees: dict[tuple[str, ...], _Tree] = {}
    groups = _with_layers(draft.groups, layers)
    for number, board in enumerate(boards):
        if stack := _stack(groups, layers, board):
            names = tuple(layer.name for layer in stack)
            trees.setdefault(names, _Tree(stack)).boards[number] = board
    return list(trees.values())


def _merge(tree: _Tree, complaints: _Complaints) -> None:
    for name in sorted({name for layer in tree.layers for name in layer.files}):
        holders = [layer for layer in tree.layers if name in layer.files]
        tree.files[name] = holders[-1].files[name]
        if rivals := _rivals(holders):
            place = Place(tree.files[name].file, 0, "")
            _conflict(tree, complaints, place, f"{name!r} from group {rivals}", "one group that sets the file")
    for key in KEYS:
        holders = [layer for layer in tree.layers if key in layer.settings]
        if holders:
            tree.settings[key] = holders[-1].settings[key]
        if rivals := _rivals(holders):
            place = tree.settings[key].place
            _conflict(tree, complaints, place, f"{key!r} from group {rivals}", "one group that sets the key")


def _rivals(holders: Sequence[Layer]) -> str:
    """The names of the groups that disagree, "" for none: the board's own layer settles it."""
    groups = [layer.group for layer in holders if layer.group]
    return " and ".join(groups) if len(groups) > 1 and holders[-1].group else ""


def _conflict(tree: _Tree, complaints: _Complaints, place: Place, found: str, expected: str) -> None:
    hint = "narrow one group's select, or set it in the board's own layer"
    complaints.add(place, found, expected, hint, tree.boards.values())


def _check(draft: Draft, tree: _Tree, complaints: _Complaints) -> None:
    """What the tree holds, against what its boards' types allow and their releases bring."""
    for above, path in tuple(clashes(tree.files)):
        if file := tree.files.pop(above, None):
            found = f"{above!r} as a directory, which {file.file} makes a file,"
            complaints.add(Place(tree.files[path].file, 0, ""), found, "one of the two", "", tree.boards.values())
    kinds: dict[str, list[Board]] = {}
    releases: dict[str | None, list[Board]] = {}
    for board in tree.boards.values():
        kinds.setdefault(board.type, []).append(board)
        releases.setdefault(release_of(board, draft.groups, draft.default_release), []).append(board)
    for kind, boards in kinds.items():
        _check_type(draft, tree, kind, boards, complaints)
    if tree.requires:
        component = versions.parse(tree.requires).component
        place = tree.settings["requires"].place
        for release, boards in releases.items():
            if release in draft.releases and component not in draft.releases[release].images:
                known = ", ".join(draft.releases[release].images)
                expected = f"a component of release {release!r} ({known})"
                complaints.add(place, f"the component {component!r}", expected, "", boards)


def _check_type(draft: Draft, tree: _Tree, kind: str, boards: list[Board], complaints: _Complaints) -> None:
    profile = draft.types[kind].config
    for path, file in tree.files.items():
        if not _allows(profile.allow, path):
            expected = f"a path that boards of type {kind} allow"
            hint = f"allowed: {', '.join(profile.allow) or 'nothing'}"
            complaints.add(Place(file.file, 0, ""), f"the path {path!r}", expected, hint, boards)
    for setting in tree.settings.values():
        value = setting.value.commands if isinstance(setting.value, Probe) else setting.value
        for command in dict.fromkeys(value) if isinstance(value, tuple) else ():
            if command not in profile.commands:
                known = ", ".join(profile.commands)
                others = f"known: {known}" if known else "it has none; your own board types are read from `profiles`"
                hint = did_you_mean(command, profile.commands) or others
                expected = f"a command of boards of type {kind}"
                complaints.add(setting.place, f"{command[:60]!r}", expected, hint, boards)


_allows = lru_cache(maxsize=1 << 16)(allows)
"""Most trees hold the same paths."""


def _render(draft: Draft, trees: Sequence[_Tree], boards: Sequence[Board], render: Render) -> Texts:
    wanted: dict[str, tuple[LayerFile, list[int]]] = {}
    for tree in trees:
        for file in tree.files.values():
            if file.template:
                wanted.setdefault(file.file, (file, []))[1].extend(tree.boards)
    if not wanted:
        return {}
    templates = [Template(name, file.data.decode(), numbers) for name, (file, numbers) in wanted.items()]
    values = [
        Values(
            board_of(board.device),
            board.device,
            draft.name,
            board.type,
            tuple(sorted(board.labels.items())),
            release_of(board, draft.groups, draft.default_release) or "",
        )
        for board in boards
    ]
    results = zip(templates, render(templates, values), strict=True)
    return {
        template.file: {board: result.texts[text] for board, text in zip(template.boards, result.of, strict=True)}
        for template, result in results
    }


def _bundles(trees: Sequence[_Tree], texts: Texts, complaints: _Complaints) -> dict[DeviceId, ConfigBundle]:
    made: dict[tuple[Digest, str], ConfigBundle] = {}
    result: dict[DeviceId, ConfigBundle] = {}
    total = 0
    for tree in trees:
        settings = _settings(tree)
        templates = [file.file for file in tree.files.values() if file.template]
        known: dict[tuple[str, ...], ConfigBundle] = {}
        for number, board in tree.boards.items():
            own = [texts[name][number] for name in templates]
            if not _good(zip(templates, own, strict=True), board, complaints):
                continue
            key = tuple(str(text) for text in own)
            if key not in known:
                bundle = _bundle(tree, settings, dict(zip(templates, key, strict=True)), complaints, board)
                if bundle is None:
                    continue
                known[key] = made.setdefault((bundle.sha256, bundle.requires), bundle)
                total += bundle.length if known[key] is bundle else 0
                if total > BUNDLES_LIMIT:
                    found = f"more than {BUNDLES_LIMIT} bytes of different bundles"
                    complaints.add(Place("config", 0, ""), found, f"at most {BUNDLES_LIMIT}", "", [])
                    return result
            result[board.device] = known[key]
    return result


def _good(texts: Iterable[tuple[str, str | Fault]], board: Board, complaints: _Complaints) -> bool:
    """Whether every template of a board became text; what did not is told."""
    faults = [(file, text) for file, text in texts if isinstance(text, Fault)]
    for file, fault in faults:
        boards = [] if fault.everywhere else [board]
        complaints.add(Place(file, fault.line, ""), fault.found, fault.expected, fault.hint, boards)
    return not faults


def _settings(tree: _Tree) -> Settings:
    values = {key: setting.value for key, setting in tree.settings.items() if key != "requires"}
    probe = values.pop("probe", Probe())
    assert isinstance(probe, Probe)
    return Settings(probe=probe.commands, probe_seconds=probe.seconds, **values)  # type: ignore[arg-type]


def _bundle(
    tree: _Tree, settings: Settings, texts: Mapping[str, str], complaints: _Complaints, board: Board
) -> ConfigBundle | None:
    files = {
        path: BundleFile(texts[file.file].encode() if file.template else file.data, file.mode)
        for path, file in tree.files.items()
    }
    try:
        data = encode(Bundle(files, settings))
    except MalformedMessageError as error:
        place = Place(tree.layers[-1].name, 0, "")
        complaints.add(place, str(error), "a bundle within the limits of config", "", [board])
        return None
    return ConfigBundle(digest_of(data), len(data), tree.requires, data)
