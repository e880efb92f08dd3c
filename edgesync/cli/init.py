"""`edgesync init`: write a first fleet."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "init",
        help="write a first fleet: repository, keys, server, broker, boards",
        description="Write a small fleet for development into DIR: a commented fleet repository with its first commit, "
        "a certificate authority and keys, and the configuration of server, broker (mosquitto) and boards.",
        epilog="Nothing that exists is touched: DIR must be absent or empty. Example: edgesync init lab --boards 4 "
        "--image build/firmware-1.img",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="where to write")
    parser.add_argument("--fleet", default="demo", metavar="NAME", help="the fleet's name (default: %(default)s)")
    parser.add_argument("--boards", type=int, default=3, metavar="N", help="number of boards (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="the broker as boards reach it (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8883, help="its port (default: %(default)s)")
    parser.add_argument("--image", type=Path, metavar="FILE", help="becomes release v1, which every board then runs")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    import time

    from edgesync.control.scaffold import Setup, write

    setup = Setup(args.fleet, args.boards, args.host, args.port, args.image)
    write(args.directory, setup, time.time())
    print(_next(args.directory, setup.names()[0], len(setup.names()), with_image=args.image is not None))
    return 0


def _next(directory: Path, board: str, boards: int, *, with_image: bool) -> str:
    at = directory
    image = "" if with_image else f"\nThere is no release yet: see {at}/fleet/releases/v1.yaml.example.\n"
    return f"""\
Wrote a fleet of {boards} to {at}: repository in {at}/fleet, images in {at}/images.
{image}
Start each of these in a terminal of its own:
  OPENSSL_CONF={at}/broker/openssl.cnf mosquitto -c {at}/broker/mosquitto.conf
  edgesync serve --config {at}/server/server.toml
  edgesync-collector --config {at}/collector/collector.yaml
  edgesync board run --root {at}/boards/{board}/slots --config {at}/boards/{board}/agent.toml
  edgesync status --config {at}/server/server.toml --watch

Then push firmware: put an image into {at}/images, describe it in {at}/fleet/releases, name that release in
{at}/fleet/fleet.yaml, look at it with `edgesync validate {at}/fleet` and `edgesync diff -C {at}/fleet`, and commit.

Boards tell the collector of their health and updates once `[collector]` in their agent.toml is uncommented; it keeps
all of it in a lake beside its file, for `edgesync report ROLLOUT --lake LAKE` and the notebooks.

Keys: {at}/ca holds the authority and the root key. Move it to another machine before anything is real."""
