"""`edgesync serve`: the server, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from pathlib import Path

_QUIET = ("asyncio", "uvicorn", "uvicorn.error", "sqlalchemy")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "serve",
        help="follow the fleet repository and roll out what it says",
        description="Run the server of one fleet in the foreground: it follows the git repository, makes deltas, signs "
        "and publishes, and keeps what the boards report. Ctrl-C or SIGTERM ends it; a kill loses nothing.",
        epilog="Example: edgesync serve --config lab/server/server.toml",
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="server.toml")
    parser.add_argument("--log-json", action="store_true", help="log lines as JSON objects")
    parser.set_defaults(func=_run)


def _run(args: argparse.Namespace) -> int:
    from edgesync.control import config
    from edgesync.control.service import only_server

    loaded = config.load(args.config)
    _log(as_json=args.log_json)
    with only_server(loaded):
        asyncio.run(_serve(loaded))
    return 0


async def _serve(config: object) -> None:
    from edgesync.control.config import ServerConfig
    from edgesync.control.service import Service

    assert isinstance(config, ServerConfig)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await Service(config).run(stop)


def _log(*, as_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else _Line())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Line(logging.Formatter):
    """`2026-11-23T18:32:07Z INFO edgesync.rollout demo.b01 confirmed ...`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        value = {
            "time": round(record.created, 3),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            value["traceback"] = self.formatException(record.exc_info)
        return json.dumps(value)
