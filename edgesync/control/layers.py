"""The layers of config in a fleet repository, each read and checked by itself. Pure.

config/fleet/              the layer of every board
config/groups/<group>/     the layer of a group of fleet.yaml
config/boards/<board>/     the layer of one board
    config.yaml            how boards treat the tree: requires, check, reload, probe, drift, modes
    files/**               the tree's files; the name of a template ends in .j2, which the tree's does not
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesync.control.parse import Place, Problem, compose
from edgesync.control.section import DURATIONS, Section
from edgesync.control.types import EXECUTABLE, SourceFile
from edgesync.wire import versions
from edgesync.wire.bundle import COMMANDS_LIMIT, FILES_LIMIT, PROBE_LIMIT, mode_problem, path_problem
from edgesync.wire.errors import MalformedMessageError

FOLDER = "config/"
SETTINGS_FILE = "config.yaml"
TEMPLATE = ".j2"
KEYS = ("requires", "check", "reload", "probe", "drift")
"""What a layer may set; a later layer's value replaces an earlier one's whole."""

_MODE = re.compile(r"0?[0-7]{3}")
_COMMANDS = "a list of commands of the board type"
_LAYERS = "config/fleet, config/groups/<group> or config/boards/<board>"


@dataclass(frozen=True, slots=True)
class LayerFile:
    """One file that a layer puts into the tree: where it lies in the repository, its bytes, its permission bits, and
    whether it is a template.
    """

    file: str
    data: bytes
    mode: int
    template: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """Commands that must succeed again and again for `seconds`."""

    commands: tuple[str, ...] = ()
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a config.yaml, and where it stands."""

    value: str | tuple[str, ...] | Probe
    place: Place


@dataclass(slots=True)
class Layer:
    """`name` is its directory, `group` the group's name where it is one's. Files by their path in the tree, settings
    by key.
    """

    name: str
    group: str = ""
    files: dict[str, LayerFile] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)


@dataclass(slots=True)
class Layers:
    fleet: Layer | None = None
    groups: dict[str, Layer] = field(default_factory=dict)
    boards: dict[str, Layer] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.fleet or self.groups or self.boards)


def read(files: Mapping[str, SourceFile], problems: list[Problem]) -> Layers:
    """The layers that the files below config/ make; others are passed over. Problems are added to the list."""
    layers = Layers()
    settings: dict[str, tuple[Layer, SourceFile]] = {}
    for path, file in sorted(files.items()):
        if not path.startswith(FOLDER):
            continue
        layer, inside = _layer(layers, path.removeprefix(FOLDER))
        if layer is not None and inside == SETTINGS_FILE:
            settings[path] = layer, file
        elif layer is not None and inside.startswith("files/"):
            _file(layer, inside.removeprefix("files/"), path, file, problems)
        else:
            expected = f"{SETTINGS_FILE} or files/ in {_LAYERS}"
            problems.append(Problem(path, 0, "", "a file that no layer has", expected))
    for path, (layer, file) in settings.items():
        _settings(layer, path, file.data, problems)
    return layers


def _layer(layers: Layers, path: str) -> tuple[Layer | None, str]:
    """The layer that a path belongs to, and the rest of the path."""
    match path.split("/", 2):
        case ["fleet", *rest]:
            if layers.fleet is None:
                layers.fleet = Layer(f"{FOLDER}fleet")
            return layers.fleet, "/".join(rest)
        case ["groups" | "boards" as kind, name, inside]:
            of_group = kind == "groups"
            known = layers.groups if of_group else layers.boards
            return known.setdefault(name, Layer(f"{FOLDER}{kind}/{name}", name if of_group else "")), inside
    return None, ""


def _file(layer: Layer, name: str, path: str, file: SourceFile, problems: list[Problem]) -> None:
    template = name.endswith(TEMPLATE)
    target = name.removesuffix(TEMPLATE)
    if problem := path_problem(target):
        problems.append(Problem(path, 0, "", problem, "a path that a tree may hold"))
    elif target in layer.files:
        found = f"{target!r} twice, here and in {layer.files[target].file}"
        problems.append(Problem(path, 0, "", found, "each file once", "remove the file or the template"))
    elif template and not _is_text(file.data):
        problems.append(Problem(path, 0, "", "bytes that are no text", "a template in UTF-8"))
    else:
        mode = 0o755 if file.mode == EXECUTABLE else 0o644
        layer.files[target] = LayerFile(path, file.data, mode, template)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _settings(layer: Layer, path: str, data: bytes, problems: list[Problem]) -> None:
    table, found = compose(path, data)
    problems += found
    section = Section(table, Place(path, table.line, ""), problems)
    requires = section.text("requires", versions.EXPECTED, "", versions.LIMIT)
    try:
        if requires:
            layer.settings["requires"] = Setting(str(versions.parse(requires)), section.at("requires"))
    except MalformedMessageError:
        section.refuse("requires", repr(requires), versions.EXPECTED)
    for key in ("check", "reload"):
        commands = _commands(section, key, required=False)
        if key in section:
            layer.settings[key] = Setting(commands, section.at(key))
    probe = section.section("probe", "a mapping with commands and for, or {} for no probe", required=False)
    if "probe" in section:
        layer.settings["probe"] = Setting(_probe(probe), section.at("probe"))
    drift = section.choice("drift", ("heal", "report"), "")
    if drift:
        layer.settings["drift"] = Setting(drift, section.at("drift"))
    modes = section.section("modes", 'a mapping of file to mode such as `app/secret.conf: "0600"`', required=False)
    for name in modes.names()[:FILES_LIMIT]:
        _mode(layer, modes, name)
    modes.close()
    section.close()


def _commands(section: Section, key: str, *, required: bool) -> tuple[str, ...]:
    names = tuple(name for _, name in section.strings(key, _COMMANDS, required=required))
    if len(names) > COMMANDS_LIMIT:
        section.refuse(key, f"{len(names)} commands", f"at most {COMMANDS_LIMIT}")
    return names[:COMMANDS_LIMIT]


def _probe(section: Section) -> Probe:
    if not section.names():
        return Probe()
    commands = _commands(section, "commands", required=True)
    seconds = section.quantity("for", 0, DURATIONS, "30 s")
    if "for" not in section:
        section.refuse("for", "nothing", "how long the commands must succeed, such as '30 s'")
    elif not 1 <= seconds <= PROBE_LIMIT or seconds != int(seconds):
        section.refuse("for", f"{seconds:g} s", f"whole seconds, 1 to {PROBE_LIMIT}")
        seconds = 0
    section.close()
    return Probe(commands, int(seconds))


def _mode(layer: Layer, modes: Section, name: str) -> None:
    expected = 'permission bits as text, such as "0600"'
    text = modes.text(name, expected, limit=8)
    if not text:
        return
    if name not in layer.files:
        hint = "a template's name is that of its text, without .j2"
        modes.refuse(name, repr(name), f"a file of this layer, below {layer.name}/files", hint)
    elif not _MODE.fullmatch(text):
        modes.refuse(name, repr(text), expected)
    elif problem := mode_problem(int(text, 8)):
        modes.refuse(name, problem, "a mode that lets the owner read: anything else would lock us out")
    else:
        file = layer.files[name]
        layer.files[name] = LayerFile(file.file, file.data, int(text, 8), file.template)
