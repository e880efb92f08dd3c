"""`edgesync config`: what config a board gets, before it is pushed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgesync.cli import fleetfiles

if TYPE_CHECKING:
    from edgesync.control.types import Board, ConfigBundle, Fleet
    from edgesync.wire.bundle import Bundle

_DIGITS = 12


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "config",
        help="show what config a board gets",
        description="Put together the config of one board from the layers of the fleet repository, templates rendered: "
        "list its files, where they come from, and the settings; print one file, or write the whole tree.",
        epilog="Examples: edgesync config b01; edgesync config b01 app/site.conf; edgesync config b01 -o /tmp/tree",
    )
    parser.add_argument("board", metavar="BOARD", help="the board's id, or <fleet>.<board>")
    parser.add_argument("path", nargs="?", metavar="PATH", help="print this file of the tree")
    parser.add_argument(
        "-o", dest="output", type=Path, metavar="DIR", help="write the tree into DIR, which is not there"
    )
    parser.add_argument(
        "-C", dest="directory", type=Path, default=Path(), metavar="DIR", help="the fleet repository (default: here)"
    )
    parser.add_argument("--rev", metavar="REV", default="", help="a commit, branch or tag instead of the working tree")
    parser.add_argument("--json", action="store_true", help="the list as JSON")
    fleetfiles.add_profiles(parser)
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    from edgesync.control import layers
    from edgesync.control.repository import FleetInvalidError
    from edgesync.control.source import Repository
    from edgesync.control.trees import origins
    from edgesync.wire.bundle import decode
    from edgesync.wire.errors import ConfigError

    loader = fleetfiles.Loader(Repository(args.directory), args.profiles)
    files = loader.files(args.rev)
    try:
        fleet = loader.load(args.rev, files)
    except FleetInvalidError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    board = _board(fleet, args.board)
    config = fleet.configs[board.device]
    bundle = decode(config.data)
    if args.path is not None:
        if args.path not in bundle.files:
            raise ConfigError(f"{args.path}: no such file in the config of {args.board}, which has {_names(bundle)}")
        sys.stdout.buffer.write(bundle.files[args.path].data)
        sys.stdout.buffer.flush()
    elif args.output:
        _write(args.output, bundle)
    else:
        sources = origins(fleet, layers.read(files, []), board)
        print(json.dumps(_value(config, bundle, sources), indent=2) if args.json else _list(config, bundle, sources))
    return 0


def _board(fleet: Fleet, board: str) -> Board:
    from edgesync.control.section import did_you_mean
    from edgesync.wire.errors import ConfigError
    from edgesync.wire.ids import DeviceId, board_of

    device = DeviceId(board if "." in board else f"{fleet.name}.{board}")
    if device not in fleet.boards:
        hint = did_you_mean(board_of(device), [board_of(known) for known in fleet.boards])
        raise ConfigError(
            f"board: found {board!r}, expected a board of fleet {fleet.name}{f'; {hint}' if hint else ''}"
        )
    if device not in fleet.configs:
        raise ConfigError(f"board {board}: no layer of config/ is for it, so the config on the board is left as it is")
    return fleet.boards[device]


def _names(bundle: Bundle) -> str:
    names = sorted(bundle.files)
    return f"{', '.join(names[:8]) or 'none'}{' ...' if len(names) > 8 else ''}"


def _write(directory: Path, bundle: Bundle) -> None:
    from edgesync.host.files import storage_errors

    with storage_errors(str(directory)):
        directory.mkdir(parents=True)
        for path, file in bundle.files.items():
            place = directory / path
            place.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as out:
                out.write(file.data)
                os.fchmod(fd, file.mode)
    print(f"wrote {len(bundle.files)} files to {directory}")


def _list(config: ConfigBundle, bundle: Bundle, sources: Mapping[str, str]) -> str:
    width = max(map(len, bundle.files), default=0)
    rows = [
        f"{file.mode:04o}  {len(file.data):8}  {path:{width}}  {sources[path]}"
        for path, file in sorted(bundle.files.items())
    ]
    settings = bundle.settings
    said = {
        "requires": config.requires,
        "check": ", ".join(settings.check),
        "reload": ", ".join(settings.reload),
        "probe": f"{', '.join(settings.probe)} for {settings.probe_seconds} s" if settings.probe else "",
        "drift": settings.drift,
    }
    lines = [f"{name}: {text}" for name, text in said.items() if text]
    return "\n".join([*rows, "", *lines, f"bundle {config.sha256[:_DIGITS]}, {config.length} bytes"])


def _value(config: ConfigBundle, bundle: Bundle, sources: Mapping[str, str]) -> dict[str, object]:
    from dataclasses import asdict

    from edgesync.wire.ids import digest_of

    files = [
        {
            "path": path,
            "mode": f"{file.mode:04o}",
            "size": len(file.data),
            "sha256": digest_of(file.data),
            "source": sources[path],
        }
        for path, file in sorted(bundle.files.items())
    ]
    settings = {**asdict(bundle.settings), "requires": config.requires}
    return {"sha256": config.sha256, "length": config.length, "settings": settings, "files": files}
