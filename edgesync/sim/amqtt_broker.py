"""amqtt as a program: `python -m edgesync.sim.amqtt_broker HOST PORT [CA CERT KEY]`, until SIGTERM or SIGINT.

Known gaps of amqtt 0.12: MQTT 3.1.1 only, no redelivery of unacknowledged messages to a session, nothing on disk.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from edgesync.sim.broker import AMQTT_NOTICE


class Anyone(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Lets every client in. amqtt's own plugin does too, but calls them anonymous and then drops their sessions."""

    async def authenticate(self, *, session: Session) -> bool:  # noqa: ARG002 - the name is amqtt's interface
        return True


class Sparing(Broker):  # type: ignore[misc]  # amqtt has no types
    """amqtt without a costly fault: at each connect it sends a client the retained messages of every filter that any
    client has ever subscribed. Over 32 kbit/s that is minutes of firmware that nobody asked for.
    """

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        holders = self._subscriptions.get(subscription[0], ())
        if any(holder.client_id == session.client_id for holder, _ in holders):
            await super()._publish_retained_messages_for_subscription(subscription, session)


async def serve(arguments: list[str]) -> None:
    host, port, *files = arguments
    listener: dict[str, object] = {"type": "tcp", "bind": f"{host}:{port}"}
    if files:
        listener |= dict(zip(("cafile", "certfile", "keyfile"), files, strict=True)) | {"ssl": True}
    plugins: dict[str, object] = {f"edgesync.sim.amqtt_broker.{Anyone.__name__}": {}}
    broker = Sparing({"listeners": {"default": listener}, "plugins": plugins})
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await broker.start()
    await ended.wait()
    await broker.shutdown()


if __name__ == "__main__":
    print(AMQTT_NOTICE, file=sys.stderr, flush=True)
    asyncio.run(serve(sys.argv[1:]))
