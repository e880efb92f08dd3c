"""The command `edgesync`: reads the arguments, calls one module, and turns errors into a line and an exit status."""

from __future__ import annotations

import argparse
import importlib
import sys

import edgesync
from edgesync.wire.errors import EdgesyncError

COMMANDS = (
    "init",
    "validate",
    "diff",
    "config",
    "rollback",
    "release",
    "delta",
    "serve",
    "status",
    "commands",
    "report",
    "agent",
    "board",
    "link",
    "demo",
)
"""Modules of this package, in the order of their help. Each has `add_parser(subparsers)`."""

EPILOG = """\
A first look:       edgesync demo
A fleet of yours:   edgesync init DIR, then what it prints
What is going on:   edgesync status --watch
"""


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 for done, 1 for an error that is told, 2 for wrong arguments, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="edgesync",
        description="Firmware for fleets of ARM boards on bad links: from a git push to a confirmed boot.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgesync {edgesync.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    # A board loads one command and nothing else: each module costs memory.
    wanted = [name for name in COMMANDS if arguments[:1] == [name]] or COMMANDS
    for name in wanted:
        importlib.import_module(f"edgesync.cli.{name}").add_parser(subparsers)
    args = parser.parse_args(arguments)
    try:
        return int(args.func(args))
    except EdgesyncError as error:
        print(f"edgesync: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
