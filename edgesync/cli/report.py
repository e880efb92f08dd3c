"""`edgesync report`: what a rollout was, as an executed notebook and an HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgesync.wire.errors import ConfigError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "report",
        help="write down how a rollout went, from the lake",
        description="Run a notebook on one rollout in the lake (the collector's `parquet` exporter) and write it with "
        "its results, and as an HTML page that needs no network. Needs the extras `lake` and `notebooks`.",
        epilog="Example: edgesync report 757d3ff0d58e --lake /var/lib/edgesync/lake -o reports",
    )
    parser.add_argument("rollout", metavar="ROLLOUT", help="its id, as in `edgesync history`")
    parser.add_argument("--lake", type=Path, required=True, metavar="DIR", help="the lake")
    parser.add_argument("-o", dest="output", type=Path, default=Path(), metavar="DIR", help="where to (default: here)")
    parser.add_argument(
        "--notebook", type=Path, metavar="FILE", help="another .ipynb with the parameters `lake` and `rollout`"
    )
    parser.set_defaults(func=_report)


def _report(args: argparse.Namespace) -> int:
    try:
        from collector_ext.analysis import report
    except ImportError as error:
        raise ConfigError(f"{error.name} is missing: pip install 'edgesync[lake,notebooks]'") from error
    for path in report.make(args.rollout, args.lake, args.output, args.notebook or report.NOTEBOOK):
        print(path)
    return 0
