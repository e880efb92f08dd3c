"""`edgesync agent`: the board's agent, until it is told to stop."""

from __future__ import annotations

import argparse
from typing import Any

EXAMPLE = """\
example:
  edgesync agent --config /etc/edgesync/agent.toml

The log goes to standard error, a line an event. SIGTERM and Ctrl-C stop it at any moment: what is fetched and verified
is on the disk, and the next start goes on from there. SIGUSR1 makes a board that checks in at times do so now.
"""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "agent",
        help="run a board's agent",
        description="Runs the agent of one board.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the board's agent.toml")
    parser.add_argument("--verbose", action="store_true", help="log every detail")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Exit status 0 after a stop that was asked for."""
    import asyncio
    import logging
    import signal
    from pathlib import Path

    from edgesync.agent import config as agent_config
    from edgesync.agent.inhibitors import Inhibitors
    from edgesync.agent.runner import AgentService
    from edgesync.boards import profile
    from edgesync.host.telemetry import TelemetryPort

    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    config = agent_config.load(args.config)
    board = profile.load(config.board_type, Path(config.profiles) if config.profiles else None)
    backend = profile.open_backend(board, Path(config.board_root))
    commands = {name: profile.command(board, name) for name in config.inhibit.commands}
    inhibitors = Inhibitors(
        config.inhibit.files,
        {name: (command.run, command.limit) for name, command in commands.items()},
        fetch=config.inhibit.fetch,
    )

    async def serve() -> None:
        passenger = None
        if config.collector:
            from edgesync.cli.passenger import Passenger

            passenger = await Passenger.make(config.collector)
        port = TelemetryPort()
        obstacles = [inhibitors, *(passenger.obstacles if passenger else ())]
        service = AgentService(config, backend, board, obstacles, port)
        task = asyncio.create_task(service.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        loop.add_signal_handler(signal.SIGUSR1, service.check_in)
        if passenger:
            passenger.board(config.device, port, service)
        try:
            await task
        except asyncio.CancelledError:
            logging.getLogger("edgesync.agent").info("stopped")
        finally:
            if passenger:
                await passenger.leave()

    asyncio.run(serve())
    return 0
