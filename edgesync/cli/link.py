"""`edgesync link`: bad links by name, to look at, to put in front of a port, or to run a command behind."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesync.sim.net import LinkCounters
    from edgesync.sim.profiles import Direction, LinkProfile
    from edgesync.sim.proxy import Address, ProxyCounters, TcpProxy

HUB_VARIABLE = "EDGESYNC_HUB"
"""Environment variable with the hub's address, for a command that runs behind a link."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("link", help="bad links: list, show, proxy, run", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)

    verb = verbs.add_parser("list", help="the links that have a name")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(func=_list)

    verb = verbs.add_parser("show", help="one link with its source")
    verb.add_argument("name")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(func=_show)

    verb = verbs.add_parser("proxy", help="a TCP port that is reached over the link; no root, no packet loss")
    verb.add_argument("name")
    verb.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:1884")
    verb.add_argument("--to", metavar="HOST:PORT", default="127.0.0.1:1883")
    verb.add_argument("--without-loss", action="store_true", help="leave out the loss that a proxy cannot have")
    verb.add_argument("--json", action="store_true", help="the counters at the end as JSON on standard output")
    _add_common(verb)
    verb.set_defaults(func=_proxy)

    verb = verbs.add_parser(
        "run",
        help="a command behind an emulated link; needs root",
        description=f"The command sees the hub at the address in ${HUB_VARIABLE}. Its exit status is this one's.",
    )
    verb.add_argument("name")
    verb.add_argument(
        "--loss", type=float, metavar="FRACTION", help="packets lost each way, in place of the link's own"
    )
    verb.add_argument(
        "--forward", type=int, metavar="PORT", action="append", default=[], help="a local TCP port, offered at the hub"
    )
    verb.add_argument("--json", action="store_true", help="the counters at the end as JSON on standard error")
    _add_common(verb)
    verb.add_argument("command", nargs="+", metavar="-- COMMAND")
    verb.set_defaults(func=_run)


def _add_common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--reset-every", type=float, metavar="SECONDS", help="cut all connections again and again")
    verb.add_argument("--seed", type=int, default=1, help="the same seed gives the same jitter and loss")


def _list(args: argparse.Namespace) -> int:
    from edgesync.sim import profiles

    links = [profiles.load(name) for name in profiles.names()]
    if args.json:
        print(json.dumps([link.to_dict() for link in links], indent=2))
        return 0
    print(f"{'NAME':<12} {'DOWN':>12} {'UP':>12} {'ROUND TRIP':>10} {'LOSS':>6}  SUMMARY")
    for link in links:
        print(
            f"{link.name:<12} {_rate(link.down):>12} {_rate(link.up):>12} {link.round_trip * 1000:>7.0f} ms "
            f"{link.down.mean_loss:>6.1%}  {link.summary}"
        )
    return 0


def _show(args: argparse.Namespace) -> int:
    from edgesync.sim import profiles

    link = profiles.load(args.name)
    if args.json:
        print(json.dumps(link.to_dict(), indent=2))
        return 0
    print(f"{link.name}: {link.summary}\nsource: {link.source}")
    for name, way in (("down", link.down), ("up", link.up)):
        print(f"{name:<5} {_way(way)}")
    print(f"MTU {link.mtu} bytes; TCP payload towards the board at most {link.payload_rate():.0f} B/s")
    if link.outage:
        print(f"gone for {link.outage.length:g} s at the end of every {link.outage.period:g} s")
    return 0


def _proxy(args: argparse.Namespace) -> int:
    import asyncio

    from edgesync.sim import profiles
    from edgesync.sim.proxy import TcpProxy
    from edgesync.wire.errors import NotReachableError

    link = _changed(profiles.load(args.name), args)
    if args.without_loss:
        link = link.without_loss()
    target, listen = _address(args.to, "--to"), _address(args.listen, "--listen")
    try:
        proxy = TcpProxy(link, target, listen, seed=args.seed)
    except OSError as error:
        raise NotReachableError(f"--listen {args.listen}: {error.strerror}; choose another port") from error
    print(f"{link.name}: {listen[0]}:{proxy.port} > {args.to}; Ctrl-C ends it", file=sys.stderr, flush=True)
    counters = asyncio.run(_watch(proxy))
    print(file=sys.stderr)
    if args.json:
        from dataclasses import asdict

        print(json.dumps(asdict(counters)))
    return 0


async def _watch(proxy: TcpProxy) -> ProxyCounters:
    """Serve until SIGINT or SIGTERM, with the counters once a second."""
    import asyncio
    import signal

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with proxy:
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), 1.0)
            except asyncio.TimeoutError:
                pass  # a second has gone by
            seen = proxy.counters()
            text = f"down {seen.down:,} B, up {seen.up:,} B, {seen.open} open of {seen.accepted}, {seen.reset} reset"
            print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)
        return proxy.counters()


def _run(args: argparse.Namespace) -> int:
    import os
    import signal
    from contextlib import ExitStack

    from edgesync.sim import profiles
    from edgesync.sim.net import Net
    from edgesync.sim.proxy import ProxyThread

    link = _changed(profiles.load(args.name), args)
    if args.loss is not None:
        link = link.with_loss(args.loss)
    with ExitStack() as stack:
        net = stack.enter_context(Net("link", numbered=True))
        for port in args.forward:
            listener = net.listen(port)
            stack.enter_context(ProxyThread(profiles.load("direct"), ("127.0.0.1", port), listener=listener))
        end = net.add("board", link, args.seed)
        program = net.popen(end.namespace, args.command, env={**os.environ, HUB_VARIABLE: end.hub_address})
        # Ctrl-C reaches the command by itself, SIGTERM does not; both times this waits, to report what it has cost.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: program.terminate())
        status = program.wait()
        _report(net.counters("board"), as_json=args.json)
    return status if status >= 0 else 128 - status


def _report(counters: LinkCounters, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(counters.to_dict()), file=sys.stderr)
        return
    for name, way in (("down", counters.down), ("up", counters.up)):
        print(
            f"{name:<5} {way.delivered.bytes:>12,} B in {way.delivered.packets:>8,} packets of "
            f"{way.offered.bytes:>12,} B offered; lost {way.lost.packets:,}, overflow {way.overflow.packets:,}, "
            f"outage {way.outage.packets:,}, cut {way.cut.packets:,}",
            file=sys.stderr,
        )


def _changed(link: LinkProfile, args: argparse.Namespace) -> LinkProfile:
    return link if args.reset_every is None else link.replace(reset_every=args.reset_every)


def _address(text: str, option: str) -> Address:
    from edgesync.wire.errors import ConfigError

    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{option}: found {text!r}, expected HOST:PORT, as in 127.0.0.1:1883")
    return host.strip("[]"), int(port)


def _rate(way: Direction) -> str:
    return f"{way.rate / 1000:g} kbit/s" if way.rate else "no limit"


def _way(way: Direction) -> str:
    parts = [_rate(way), f"delay {way.delay * 1000:g} ms +- {way.jitter * 1000:g}", f"queue {way.queue} B"]
    if way.burst:
        parts.append(
            f"bursts of {way.burst.length:g} packets every {way.burst.gap:g}, {way.burst.loss:.0%} lost within"
        )
    parts.append(f"loss {way.mean_loss:.1%}")
    return ", ".join(parts)
