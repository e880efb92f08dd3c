"""Hears what boards tell, and acknowledges each message when the pipeline has taken it: synced in the lake, say.

What the pipeline cannot take now is offered to it again, and stays at the broker if the collector ends meanwhile. What
no pipeline will ever take (malformed, say) is acknowledged too, counted and logged: it would come again for ever. The
same message may come twice after a broken connection: the newest few hundred are remembered and not told twice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from collector_ext.component import Consumers, Host, Settings
from collector_ext.consumererror import RetryableError
from collector_ext.firsts import REST, Firsts
from collector_ext.otlp.compact import PACKED_LIMIT, unpack
from collector_ext.otlp.decode import decode
from collector_ext.pdata import DEVICE, Data, Logs, Metrics, Resource, Traces
from collector_ext.receiver.mqtt.config import MqttReceiverConfig
from collector_ext.status import Status
from collector_ext.tasks import Background
from edgesync.host.mqtt import Down, LinkOptions, Message, MqttLink, Tls, Up
from edgesync.wire import topics
from edgesync.wire.blob import short_hash
from edgesync.wire.errors import EdgesyncError

PACKET_LIMIT = PACKED_LIMIT + 1024
REMEMBERED = 500
"""Messages that are known when they come again: more than a broker keeps in flight to one client."""
AGAIN_FIRST, AGAIN_LIMIT = 0.5, 30.0
"""Seconds until data that were refused for now are offered again, doubled each time up to the limit."""


class MqttReceiver:
    """One connection to one broker. `connect` makes the link, which tests replace."""

    def __init__(
        self,
        settings: Settings,
        config: MqttReceiverConfig,
        consumers: Consumers,
        connect: Callable[[LinkOptions], MqttLink] = MqttLink,
    ) -> None:
        self._config, self._consumers, self._log = config, consumers, settings.logger
        self._connect = connect
        self._link: MqttLink | None = None
        self._tasks, self._places = Background(), asyncio.Semaphore(config.max_in_flight)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._refused = Firsts()
        self._host: Host | None = None
        meter = settings.meter
        self._taken = meter.counter("collector_mqtt_messages", "Messages from boards, by what became of them")

    async def start(self, host: Host) -> None:
        """Raises NotReachableError for certificates that cannot be read."""
        self._host = host
        name, port = self._config.address
        tls = self._config.tls
        self._link = self._connect(
            LinkOptions(
                name,
                port,
                self._config.client,
                Tls(tls.ca_file, tls.cert_file, tls.key_file) if tls.ca_file else None,
                packet_limit=PACKET_LIMIT,
                inbox=self._config.max_in_flight,
                backoff_limit=30.0,
                session=True,
            )
        )
        self._link.start()
        self._tasks.spawn(host, self._hear(host, self._link))

    async def shutdown(self) -> None:
        await self._tasks.end()
        if self._link:
            link, self._link = self._link, None
            await link.stop()

    async def _hear(self, host: Host, link: MqttLink) -> None:
        told = ""
        while True:
            match await link.next():
                case Up():
                    link.subscribe(topics.all_telemetry(self._config.fleet), qos=1)
                    told = ""
                    self._log.info("connected to %s", self._config.endpoint)
                    host.report_status(Status.OK)
                case Down(reason):
                    if reason != told:  # on change only, however often it is tried
                        host.report_status(Status.RECOVERABLE_ERROR, ConnectionError(reason))
                    told = reason
                case Message() as message:
                    await self._places.acquire()
                    self._tasks.spawn(host, self._take(link, message))

    async def _take(self, link: MqttLink, message: Message) -> None:
        try:
            digest = short_hash(message.topic.encode() + message.payload)
            if digest in self._known:
                outcome = "again"
            else:
                outcome = await self._give(message)
                self._remember(digest)
            self._taken.add(1, outcome=outcome)
            link.acknowledge(message)
        finally:
            self._places.release()

    async def _give(self, message: Message) -> str:
        """Until the pipeline has taken it, or never will."""
        wait = AGAIN_FIRST
        while True:
            try:
                return await self._offer(message)
            except RetryableError as error:
                self._log.info("offered again in %.1f s: %s", max(wait, error.delay), error)
                delay = max(wait, error.delay)
            # What waits is the packed message: it is read anew for each offer, for its data may be a hundred times it.
            await asyncio.sleep(delay)
            wait = min(AGAIN_LIMIT, 2 * wait)

    async def _offer(self, message: Message) -> str:
        """Raises RetryableError."""
        try:
            data = read(message)
        except EdgesyncError as error:
            self._refuse("refused", message, error)
            return "malformed"
        try:
            await self._consumers.consume(data)
        except RetryableError:
            raise
        except LookupError:
            return "no pipeline"
        except EdgesyncError as error:
            self._refuse("dropped", message, error)
            return "dropped"
        return "taken"

    def _refuse(self, word: str, message: Message, error: EdgesyncError) -> None:
        topic = message.topic[:100]
        if self._refused.is_new(word, topic, error.name):
            self._log.warning("%s %s: %s: %s; %s", word, topic, error.name, error, REST)

    def _remember(self, digest: bytes) -> None:
        self._known[digest] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def read(message: Message) -> Data:
    """What a board's message says, with the board named. Raises what `topics.parse`, `unpack` and `decode` raise."""
    topic = topics.parse(message.topic)
    data = decode(*unpack(message.payload))
    return named(data, topic.device or "")


def named(data: Data, device: str) -> Data:
    """The same data, each resource with the board that told it."""

    def of(resource: Resource) -> Resource:
        return replace(resource, attributes={**resource.attributes, DEVICE: device})

    match data:
        case Metrics(resources):
            return Metrics(tuple(replace(r, resource=of(r.resource)) for r in resources))
        case Traces(resources):
            return Traces(tuple(replace(r, resource=of(r.resource)) for r in resources))
        case Logs(resources):
            return Logs(tuple(replace(r, resource=of(r.resource)) for r in resources))
