"""`edgesync demo`: a push that brings new firmware to twelve boards on bad links, on this machine, with real parts."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

LIMIT = 420.0
"""Seconds from the push until the demo gives up."""
CONFIG_LIMIT = 120.0
"""The same for the push of config."""
SETTLE_LIMIT = 60.0
"""Seconds until every board has reported its first firmware."""
LOOK_EVERY = 0.5

EXAMPLE = """\
It builds real ARM64 firmware images from pinned packages, starts a broker, the server, and twelve agents, and pushes a
release. Four boards sit behind 32 kbit/s with 600 ms round trips. On the way one loses its power in mid-download, one
in mid-apply, one its link, and one is sent firmware that does not boot. Then one line of config is pushed: one board's
probe does not like it, and the board goes back; on another somebody edits the file by hand, and the board heals it.

As root the links are emulated packet by packet; without, by a TCP proxy. The files stay in DIR; summary.json says
where every board ended. Exit status 1 if one is not where it should be.
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="twelve boards on bad links, a push, and what goes wrong on the way",
        description="Shows the whole path on this machine: from a git push to firmware confirmed by evidence.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--directory", type=Path, default=Path("build/demo"), metavar="DIR", help="where its files go (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON instead of a table")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Exit status 0 if every board is where it should be."""
    import shutil

    from rich.console import Console

    from edgesync.cli import demoview
    from edgesync.control.scaffold import Setup
    from edgesync.sim import demo, demo_config, profiles
    from edgesync.sim.lab import Lab

    console = Console(stderr=args.json)
    place = args.directory.absolute()
    place.mkdir(parents=True, exist_ok=True)
    images = _images(place / "images", console)
    lab_place = place / "fleet"
    shutil.rmtree(lab_place, ignore_errors=True)
    expected = dict.fromkeys(demo.BOARDS, images["v2"].release)
    expected[demo.BAD_IMAGE] = "v1"
    setup = Setup(fleet=demo.FLEET, boards=len(demo.BOARDS), image=images["v1"].path)
    links = {name: profiles.load(profile) for name, profile in demo.BOARDS.items()}
    with Lab(lab_place, setup, links) as lab:
        console.print(f"Broker: {lab.broker_name}. Links: {_links(lab.emulated)}.")
        if not lab.broker.identity:
            console.print("[yellow]amqtt does not check who a client is: broker identity is off in this demo.[/yellow]")
        demo.declare(lab)
        for image in (images["v2"], images["v3"]):
            shutil.copyfile(image.path, lab_place / "images" / image.path.name)
        lab.start_server()
        for name in demo.BOARDS:
            lab.start_board(name)
        ask = _asker(lab.directory / "server" / "state" / "edgesync.sock")
        _settle(ask, console)
        console.print("All boards run v1 and have proved it. Now the push: [bold]git commit[/bold] of release v2.")
        story = demo.Story(lab, ask, images, expected)
        demo.push(lab, images["v2"], images["v3"])
        demoview.watch(story, console, LIMIT)
        summary, good = story.summary(), story.good
        if story.over:
            console.print("Firmware is done. Now config: one line changes on every board. The second push.")
            demo.end_experiment(lab, images["v2"], images["v1"].release)
            act = demo_config.Act(lab, ask, demo.BOARDS, lambda: demo.commit(lab.repository, "Ask twice as often"))
            demoview.watch(act, console, CONFIG_LIMIT)
            summary["config"], good = act.rows(), good and act.good
    (place / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    if args.json:
        print(json.dumps(summary, indent=2))
    demoview.conclude(summary, console, place, good=good)
    return 0 if good else 1


def _images(place: Path, console: Any) -> dict[str, Any]:
    from edgesync.sim import firmware
    from edgesync.sim.demo import Image
    from edgesync.wire.ids import Digest

    console.print("Building the demo's firmware from pinned ARM64 packages ...")
    told = [""]

    def progress(what: str, _done: int, _total: int) -> None:
        if what != told[0]:
            told[0] = what
            console.print(f"  {what}", highlight=False)

    paths = firmware.prepare(place, ("demo-v1", "demo-v2", "demo-v3"), progress)
    bad = firmware.with_marker(paths["demo-v3"], place / "demo-v3-bad.tar")
    files = {"v1": paths["demo-v1"], "v2": paths["demo-v2"], "v3": bad}
    return {name: Image(name, path, Digest(_sha256(path)), path.stat().st_size) for name, path in files.items()}


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def _links(emulated: bool) -> str:
    if emulated:
        return "emulated packet by packet in network namespaces, counted at IP level"
    return "a TCP proxy (no packet loss), counted at TCP level; run as root for emulated packets"


def _asker(socket: Path) -> Any:
    from edgesync.cli.client import Client

    return Client(socket).get


def _settle(ask: Any, console: Any) -> None:
    """Wait until every board has reported."""
    from edgesync.wire.errors import NotReachableError

    end = time.monotonic() + SETTLE_LIMIT
    with console.status("Starting the server and twelve boards ..."):
        while time.monotonic() < end:
            try:
                boards = ask("/v1/status")["boards"]
            except NotReachableError:
                boards = []  # the server is still starting
            if boards and all(board["status"] == "confirmed" for board in boards):
                return
            time.sleep(LOOK_EVERY)
    raise NotReachableError(f"not every board reported within {SETTLE_LIMIT:.0f} s; see the logs of server and boards")
