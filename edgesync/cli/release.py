"""`edgesync release`: images that boards run, as releases of the fleet repository."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesync.delta.images import Unpacked

_GIB = 1 << 30


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("release", help="make what is flashed a known base", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser(
        "import",
        help="keep an image and print its release",
        description="Put an image into the server's store, where deltas find it as their base, and print the YAML for "
        "releases/. What is packed (gzip, xz, zstd, Android sparse) is kept unpacked: that is what lies in a slot, and "
        "what deltas are made between.",
        epilog="Example: edgesync release import factory.img.xz --config lab/server/server.toml --name factory "
        "> lab/fleet/releases/factory.yaml",
    )
    verb.add_argument("image", type=Path, metavar="IMAGE", help="a file or block device")
    verb.add_argument("--config", type=Path, required=True, metavar="FILE", help="server.toml")
    verb.add_argument("--name", metavar="NAME", help="the release's name (default: from the file's)")
    verb.add_argument("--version", metavar="TEXT", help="the image's version (default: the release's name)")
    verb.add_argument("--component", default="firmware", metavar="NAME", help="default: %(default)s")
    verb.add_argument("--type", action="append", metavar="TYPE", help="a compatible board type; may stand repeatedly")
    verb.add_argument(
        "--max-size", type=int, default=16, metavar="GIB", help="refuse what unpacks to more (default: %(default)s)"
    )
    verb.set_defaults(func=_import)


def _import(args: argparse.Namespace) -> int:
    from edgesync.cli.progress import sigterm_interrupts
    from edgesync.control import config
    from edgesync.control.images import ImageStore

    loaded = config.load(args.config)
    with sigterm_interrupts():
        found = ImageStore(loaded.state / "images").import_packed(args.image, args.max_size * _GIB)
    around = f", unpacked from {' in '.join(reversed(found.packings))}" if found.packings else ""
    print(f"{args.image}: {found.length} bytes{around}, SHA-256 {found.sha256}, is in the store", file=sys.stderr)
    print(_document(args, found), end="")
    return 0


def _document(args: argparse.Namespace, found: Unpacked) -> str:
    import yaml

    # What was around the image is gone, and so should be its suffix.
    stem = re.sub(r"(\.(gz|xz|zst|simg))+$", "", args.image.name)
    name = args.name or re.sub(r"[^a-z0-9-]+", "-", Path(stem).stem.lower()).strip("-") or "imported"
    image = {
        "path": stem,
        "version": args.version or name,
        "sha256": str(found.sha256),
        "compatible": args.type or ["files"],
    }
    return yaml.safe_dump({"name": name, "images": {args.component: image}}, sort_keys=False)
