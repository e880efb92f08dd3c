"""A small fleet with layers of config, for tests: its files by their path, and how they are read in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgesync.boards import profile
from edgesync.boards.profile import Command, ConfigProfile
from edgesync.control import jinja
from edgesync.control.parse import Problem
from edgesync.control.rendering import Rendered, Template, Values
from edgesync.control.repository import FleetInvalidError, load
from edgesync.control.types import Fleet, SourceFile
from edgesync.wire.bundle import Bundle, decode
from edgesync.wire.ids import board_of

FILES = profile.load("files")
COMMANDS = {name: Command(("/bin/true",), 10) for name in ("app-check", "app-reload", "ping")}
TYPES = {
    "files": replace(FILES, config=ConfigProfile(("app/**", "net/*.conf"), COMMANDS)),
    "bare": replace(FILES, name="bare", config=ConfigProfile(("app/**",), {})),
}

FLEET = """\
format: 1
fleet: demo
defaults:
  release: v1
groups:
  canary:
    select: {ring: canary}
  north:
    select: {site: north}
waves:
  - name: everyone
    select: {}
"""
BOARDS = f"""\
boards:
  - id: b01
    type: files
    labels: {{ring: canary, site: north}}
    key: {"1" * 64}
  - id: b02
    type: files
    labels: {{ring: canary, site: south}}
    key: {"2" * 64}
  - id: b03
    type: files
    labels: {{ring: field, site: north}}
    key: {"3" * 64}
"""
RELEASE = f"""\
name: v1
images:
  firmware:
    path: firmware.img
    version: "1.9"
    sha256: {"a" * 64}
    compatible: [files, bare]
"""
BASE = {"fleet.yaml": FLEET, "boards/all.yaml": BOARDS, "releases/v1.yaml": RELEASE}

Files = Mapping[str, str | bytes | SourceFile]


def read(files: Files) -> Fleet:
    """BASE with these files, which may replace some of it. Raises FleetInvalidError."""
    return load({path: _source(content) for path, content in {**BASE, **files}.items()}, "rev", TYPES, here)


def bundles(files: Files) -> dict[str, Bundle]:
    """What each board gets, by its name."""
    return {board_of(device): decode(config.data) for device, config in read(files).configs.items()}


def problems(files: Files) -> list[Problem]:
    try:
        read(files)
    except FleetInvalidError as error:
        return list(error.problems)
    return []


def here(templates: Sequence[Template], boards: Sequence[Values]) -> list[Rendered]:
    """Render in this process, which is faster and as good for templates that end."""
    return list(jinja.render(templates, boards))


def _source(content: str | bytes | SourceFile) -> SourceFile:
    if isinstance(content, SourceFile):
        return content
    return SourceFile(content.encode() if isinstance(content, str) else content)
