"""The command `edgesync-collector`: one collector in the foreground, until Ctrl-C or SIGTERM. SIGHUP reads the
configuration anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Sequence

import edgesync
from collector_ext.component import BuildInfo, Factory
from collector_ext.config import CollectorConfig, parse
from collector_ext.registry import EntryPoints, Registry, default_configs
from collector_ext.service import CollectorService
from collector_ext.settings.bind import redacted
from collector_ext.settings.load import load
from edgesync.wire.errors import EdgesyncError

EPILOG = """\
examples:
  edgesync-collector --config collector.yaml
  edgesync-collector --config base.yaml --config plant-7.yaml   later files are merged over earlier ones
  edgesync-collector validate --config collector.yaml
  edgesync-collector components

The log goes to standard error. Ctrl-C and SIGTERM stop it cleanly; SIGHUP reads the files anew and goes on with the old
configuration where the new one is wrong.
"""
COMMANDS = ("run", "validate", "components")

log = logging.getLogger("collector")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 for a stop that was asked for, 1 for an error that is told, 2 for wrong arguments."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parser().parse_args(arguments if arguments[:1] and arguments[0] in COMMANDS else _with_run(arguments))
    try:
        if args.command == "components":
            return _components(as_json=args.json)
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        if args.command == "validate":
            asyncio.run(_configure(args.config, EntryPoints()))
            return 0
        asyncio.run(_serve(args.config))
    except EdgesyncError as error:
        print(f"edgesync-collector: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    return 0


def _with_run(arguments: list[str]) -> list[str]:
    """Without a command it runs, as the Collector does."""
    return arguments if set(arguments) & {"-h", "--help", "--version"} else ["run", *arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgesync-collector",
        description="Telemetry in the style of the OpenTelemetry Collector.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgesync-collector {edgesync.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in (("run", "run a collector (the default)"), ("validate", "check configuration files")):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", action="append", required=True, metavar="FILE", help="may be repeated")
    command = commands.add_parser("components", help="list the component types that are installed")
    command.add_argument("--json", action="store_true", help="with default configurations, for scripts")
    return parser


async def _configure(paths: Sequence[str], registry: Registry) -> CollectorConfig:
    return parse(await load(paths), registry)


async def _serve(paths: Sequence[str]) -> None:
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    registry, build = EntryPoints(), BuildInfo(version=edgesync.__version__)
    config = await _configure(paths, registry)
    while not stop.is_set():
        reload.clear()
        end = asyncio.Event()
        running = asyncio.create_task(CollectorService(config, build=build).run(end))
        config = await _watch(paths, registry, config, running, stop=stop, reload=reload)
        end.set()
        await running
    log.info("stopped")


async def _watch(
    paths: Sequence[str],
    registry: Registry,
    config: CollectorConfig,
    running: asyncio.Task[None],
    *,
    stop: asyncio.Event,
    reload: asyncio.Event,
) -> CollectorConfig:
    """Until the service has to end: the configuration to go on with. Raises what the service raises."""
    while True:
        waits = [asyncio.create_task(event.wait()) for event in (stop, reload)]
        try:
            await asyncio.wait([running, *waits], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        if running.done() or stop.is_set():
            return config
        reload.clear()
        try:
            return await _configure(paths, registry)
        except EdgesyncError as error:
            log.warning("the old configuration stays: %s", error)


def _components(*, as_json: bool) -> int:
    found = default_configs(EntryPoints())
    if as_json:
        print(json.dumps({section: [_described(one) for one in factories] for section, factories in found.items()}))
        return 0
    for section, factories in found.items():
        print(f"{section}:")
        for one in factories:
            signals = " ".join(sorted(signal.value for signal in getattr(one, "signals", ())))
            print(f"  {one.type:24} {one.stability.name.lower():12} {signals}".rstrip())
    return 0


def _described(factory: Factory) -> dict[str, object]:
    return {
        "type": factory.type,
        "stability": factory.stability.name.lower(),
        "signals": sorted(signal.value for signal in getattr(factory, "signals", ())),
        "default_config": redacted(factory.create_default_config()),
    }


if __name__ == "__main__":
    sys.exit(main())
