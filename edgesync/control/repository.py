"""The fleet repository's files to one checked Fleet, or to the list of everything that is wrong with them.

fleet.yaml               format, name, default release, groups, waves, failure policy, limits
boards/**.yaml           boards: a list of id, type, labels, key, and a release of its own if need be
releases/**.yaml         one release a file: name, images: component -> path, version, sha256, compatible
config/**                the layers of config (`layers`), of which each board's bundle is made (`trees`)

All other files are the operator's own and are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgesync.boards import profile
from edgesync.control import checks, layers, policies
from edgesync.control.draft import BoardTypes, Draft
from edgesync.control.parse import Place, Problem, compose
from edgesync.control.rendering import Render, render
from edgesync.control.section import SIZES, Section, did_you_mean
from edgesync.control.trees import compile_trees
from edgesync.control.types import (
    EXECUTABLE,
    LINK,
    REGULAR,
    Board,
    FailurePolicy,
    Fleet,
    Group,
    Image,
    Release,
    Selector,
    SourceFile,
    Wave,
    Window,
)
from edgesync.wire.errors import ConfigError, MalformedMessageError
from edgesync.wire.ids import COLLECTOR, SERVER, DeviceId, Digest, device_id
from edgesync.wire.messages import COMPONENT_LIMIT

FLEET_FILE = "fleet.yaml"
FOLDERS = ("boards/", "releases/")
RESERVED = (SERVER, COLLECTOR, "broker")
"""Names of certificates that are not boards'."""
PROBLEMS_LIMIT = 500
"""Problems that are told: one mistake can be one of every board's."""
LABELS_LIMIT = 32
URL_LIMIT = 160
"""Characters: the blob's id still has to fit into the 200 of a source on the wire."""

_KINDS = {LINK: "a symbolic link", 0o160000: "a submodule"}
_FORMAT = re.compile(r"1")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COMPONENT = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_HEX = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(rf"(https?://[!-~]{{1,{URL_LIMIT - 8}}})?")

_NAME_TEXT = "a name of letters, digits, `.`, `_`, `-`, at most 64"
_POLICY_TEXT = "wait, fail, or full-if-under and a size such as `full-if-under 4 MB`"
_LABELS_TEXT = "labels such as `ring: canary`"


class FleetInvalidError(ConfigError):
    """The fleet repository is wrong. `problems` has each mistake, sorted by file and line."""

    hint = "`edgesync validate` lists every problem"

    def __init__(self, problems: Sequence[Problem]) -> None:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}")
        self.problems = tuple(problems)


def known_types(directory: Path | None = None) -> BoardTypes:
    """The board types that this version has a profile for, and an operator's own in `directory`.

    Raises ConfigError for a profile that is wrong, StorageError for one that cannot be read.
    """
    return {name: profile.load(name, directory) for name in profile.names(directory)}


def load(files: Mapping[str, SourceFile], revision: str, types: BoardTypes, render: Render = render) -> Fleet:
    """The fleet that the files declare. Raises FleetInvalidError with every problem."""
    draft = Draft(types)
    for path, file in files.items():
        if file.mode not in (REGULAR, EXECUTABLE):
            draft.problems.append(
                Problem(path, 0, "", _KINDS.get(file.mode, "something else"), "a file of this repository")
            )
            draft.incomplete.add(path.partition("/")[0])
    files = {path: file for path, file in files.items() if file.mode in (REGULAR, EXECUTABLE)}
    if FLEET_FILE in files:
        _fleet(draft, _open(draft, FLEET_FILE, files[FLEET_FILE].data))
    elif FLEET_FILE not in draft.incomplete:
        draft.problems.append(
            Problem(FLEET_FILE, 0, "", "no such file", "a fleet repository", "`edgesync init` writes one")
        )
    for path in sorted(files):
        if path.startswith(FOLDERS) and not path.endswith(".yaml"):
            draft.problems.append(
                Problem(path, 0, "", "another ending", "a name that ends in .yaml", "rename the file")
            )
            draft.incomplete.add(path.partition("/")[0])
        elif path.startswith(FOLDERS):
            section = _open(draft, path, files[path].data)
            if not section.names():
                draft.incomplete.add(path.partition("/")[0])
            elif path.startswith("boards/"):
                _boards(draft, section)
            else:
                _release(draft, section)
    checks.check(draft)
    found = layers.read(files, draft.problems)
    # What builds on something that could not be read would report what is no mistake.
    whole = draft.name and not draft.incomplete
    configs = compile_trees(draft, found, render) if found and whole else {}
    if draft.problems:
        raise FleetInvalidError(_first(draft.problems))
    return replace(
        draft.settings,
        name=draft.name,
        revision=revision,
        boards=draft.boards,
        groups=tuple(draft.groups),
        releases=draft.releases,
        waves=tuple(draft.waves),
        default_release=draft.default_release,
        configs=configs,
    )


def _first(problems: Sequence[Problem]) -> list[Problem]:
    """The problems once each, sorted by file and line, with a last one that counts what is cut off."""
    found = sorted(set(problems))
    if len(found) <= PROBLEMS_LIMIT:
        return found
    more = Problem(found[-1].file, 0, "", f"{len(found) - PROBLEMS_LIMIT} more problems", "none", "mend these first")
    return [*found[:PROBLEMS_LIMIT], more]


def _open(draft: Draft, path: str, data: bytes) -> Section:
    table, problems = compose(path, data)
    draft.problems += problems
    return Section(table, Place(path, table.line, ""), draft.problems)


def _fleet(draft: Draft, section: Section) -> None:
    if not section.names():
        return
    section.matching("format", _FORMAT, "1, the format that this edgesync reads")
    draft.name = section.matching("fleet", _LABEL, "a name of [a-z0-9-]")
    defaults = section.section("defaults", "a mapping such as `release: v1`", required=False)
    draft.default_release = _reference(draft, defaults, "default", "")
    defaults.close()
    before = len(draft.problems)
    groups = section.section("groups", "a mapping of group names", required=False)
    for name in groups.names():
        _group(draft, name, groups)
    if len(draft.problems) > before:
        draft.incomplete.add("groups")
    before = len(draft.problems)
    for wave in section.sections("waves", "a list of waves, each with name and select"):
        _wave(draft, wave)
    if len(draft.problems) > before:
        draft.incomplete.add("waves")
    windows = _windows(draft, section)
    failure = section.section("failure", f"a mapping with on_delta_failure: {_POLICY_TEXT}", required=False)
    settings = draft.settings
    draft.settings = replace(
        settings,
        failure=_failure(failure),
        abort_at=section.fraction("abort_at", settings.abort_at),
        lost_after=section.duration("lost_after", settings.lost_after),
        manners=policies.fleet_manners(section),
        http_source=section.matching("http_source", _URL, f"an http or https URL of at most {URL_LIMIT}", ""),
        windows=windows,
    )
    section.close()


def _group(draft: Draft, name: str, groups: Section) -> None:
    section = groups.section(name, "a mapping with `select`", required=True)
    if not _NAME.fullmatch(name):
        groups.refuse(name, f"the name {name!r}", _NAME_TEXT)
    draft.places["group select", name] = section.at("select")
    release = _reference(draft, section, "group", name)
    draft.groups.append(Group(name, _selector(section), release, policies.manners(section, budget=True)))
    section.close()


def _wave(draft: Draft, section: Section) -> None:
    name = section.matching("name", _NAME, _NAME_TEXT)
    wave = Wave(name, _selector(section), section.fraction("success", 1.0))
    section.close()
    if _new(draft, section, "name", ("wave", name)):
        draft.places["wave select", name] = section.at("select")
        draft.waves.append(wave)


def _windows(draft: Draft, fleet: Section) -> tuple[Window, ...]:
    windows = []
    for section in fleet.sections(
        "windows", "a list of windows, each with name, select, days, from, to", required=False
    ):
        window = policies.window(section, _selector(section))
        if window.name and _new(draft, section, "name", ("window", window.name)):
            draft.places["window select", window.name] = section.at("select")
            windows.append(window)
    if len(windows) > policies.WINDOWS_LIMIT:
        fleet.refuse("windows", f"{len(windows)} windows", f"at most {policies.WINDOWS_LIMIT}")
    return tuple(windows)


def _failure(section: Section) -> FailurePolicy:
    text = section.text("on_delta_failure", _POLICY_TEXT, "wait")
    section.close()
    word, _, size = text.partition(" ")
    if word == "full-if-under" and size:
        return FailurePolicy("full", int(section.measure("on_delta_failure", size, SIZES, "4 MB") or 0))
    if text == "fail":
        return FailurePolicy("fail")
    if text != "wait":
        hint = did_you_mean(word, ("wait", "fail", "full-if-under"))
        section.refuse("on_delta_failure", repr(text), _POLICY_TEXT, hint)
    return FailurePolicy()


def _boards(draft: Draft, file: Section) -> None:
    before = len(draft.problems)
    sections = list(file.sections("boards", "a list of boards, each with id, type and key"))
    if len(draft.problems) > before:
        draft.incomplete.add("boards")
    for section in sections:
        _board(draft, section)
    file.close()


def _board(draft: Draft, section: Section) -> None:
    before = len(draft.problems)
    name = section.matching("id", _LABEL, "a name of [a-z0-9-]")
    if name in RESERVED:
        section.refuse("id", repr(name), "another name", f"{' and '.join(RESERVED)} are reserved")
    labels = section.texts("labels", _LABELS_TEXT, LABELS_LIMIT)
    device = _device(draft, section, name)
    if len(draft.problems) > before:
        draft.incomplete.add("boards")
    kind = section.choice("type", draft.types)
    key = section.matching("key", _HEX, "the board's public Ed25519 key, 64 lower-case hex digits")
    release = _reference(draft, section, "board", name)
    manners = policies.manners(section, budget=True)
    section.close()
    if not device:
        return
    if _new(draft, section, "id", ("board", name)):
        draft.boards[device] = Board(device, kind, labels, key, release, manners)
        if key:
            _new(draft, section, "key", ("key", key))
    else:
        draft.incomplete.add("boards")


def _device(draft: Draft, section: Section, name: str) -> DeviceId | None:
    if not name or not draft.name:
        return None
    try:
        return device_id(draft.name, name)
    except MalformedMessageError:
        length = len(draft.name) + 1 + len(name)
        section.refuse("id", f"{length} characters in {draft.name}.{name}", "at most 64 with the fleet's name")
        return None


def _release(draft: Draft, section: Section) -> None:
    name = section.matching("name", _NAME, _NAME_TEXT)
    components = section.section("images", "a mapping of component to image", required=True)
    images = {}
    for component in components.names():
        image = components.section(component, "an image with path, version, sha256, compatible", required=True)
        images[component] = _image(draft, name, component, image)
    section.close()
    if len(images) > COMPONENT_LIMIT:
        section.refuse("images", f"{len(images)} components", f"at most {COMPONENT_LIMIT}")
    if "images" in section and not images:
        section.refuse("images", "no image", "at least one")
    if name and _new(draft, section, "name", ("release", name)):
        draft.releases[name] = Release(name, images)
    else:
        draft.incomplete.add("releases")


def _image(draft: Draft, release: str, component: str, section: Section) -> Image:
    path = section.text("path", "a path within the images directory")
    if path and (path.startswith("/") or not set(path.split("/")).isdisjoint({"", ".", ".."})):
        section.refuse("path", repr(path), "a path within the images directory", "relative, without `..`")
    version = section.text("version", "a version", limit=64)
    digest = section.matching("sha256", _HEX, "64 lower-case hex digits", "")
    if "sha256" not in section:
        section.refuse("sha256", "nothing", "64 lower-case hex digits", "`sha256sum FILE` prints it")
    compatible = section.strings("compatible", "a list of board types")
    section.close()
    if not _COMPONENT.fullmatch(component):
        draft.problems.append(section.place.problem(f"the component {component!r}", "a name of [a-z0-9-], at most 32"))
    draft.places["image", release, component] = section.place
    for place, kind in compatible:
        if kind not in draft.types:
            hint = did_you_mean(kind, draft.types)
            draft.problems.append(place.problem(repr(kind), f"one of {', '.join(draft.types)}", hint))
        elif (components := draft.types[kind].components) and component not in components:
            known = ", ".join(components)
            hint = did_you_mean(component, components)
            draft.problems.append(
                place.problem(f"the component {component!r} for a board of type {kind}", f"one of {known}", hint)
            )
    kinds = tuple(kind for _, kind in compatible)
    return Image(component, path, version, Digest(digest), kinds, section.place.file, section.place.line)


def _selector(section: Section) -> Selector:
    expected = f"{_LABELS_TEXT}, or {{}} for every board"
    if "select" not in section:
        section.refuse("select", "nothing", expected)
    return Selector(section.texts("select", expected, LABELS_LIMIT))


def _reference(draft: Draft, section: Section, kind: str, name: str) -> str | None:
    """The release that a section names, and a note of where, so that a wrong one is reported there."""
    release = section.text("release", "the name of a release", "")
    draft.places[f"{kind} release", name] = section.at("release")
    return release or None


def _new(draft: Draft, section: Section, key: str, identity: tuple[str, str]) -> bool:
    """Note where a name is declared; False, and a problem, for one that was declared before."""
    kind, name = identity
    place = section.at(key)
    first = draft.places.setdefault(identity, place)
    if first == place:
        return True
    section.refuse(key, f"{name!r} again", f"each {kind} once", f"the first is in {first.file}:{first.line}")
    return False
