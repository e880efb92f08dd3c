"""Packs each batch (`otlp.compact`) and sends it over the connection of the agent in whose process this runs.

`consume` never waits for the link: a batch that is taken waits in a spool, which outlives an outage and a restart. What
was sent is gone from it when the broker has acknowledged.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from collector_ext.component import Host, Settings, signal_of
from collector_ext.consumererror import PermanentError
from collector_ext.exporter.mqtt.config import KIB, MqttExporterConfig
from collector_ext.otlp.compact import pack
from collector_ext.otlp.encode import encode
from collector_ext.pdata import Data
from collector_ext.selfmetrics import queue_bytes, queue_dropped
from collector_ext.spool import Spool
from collector_ext.status import Status
from collector_ext.tasks import Background
from edgesync.host.telemetry import TelemetryPort, Uplink
from edgesync.wire.errors import ConfigError, EdgesyncError, LinkError

SEND_LIMIT = 120.0
"""Seconds until a message counts as lost: a link that carries nothing for so long is as good as away."""
AGAIN_FIRST, AGAIN_LIMIT = 5.0, 300.0
"""Seconds between two tries without a connection, doubled each time up to the limit."""
TOLD = 2
"""Tries that fail in a row until it is an error: the last words of every agent that ends find no connection."""


class MqttExporter:
    """One board's. See the module."""

    def __init__(self, settings: Settings, config: MqttExporterConfig) -> None:
        self._config, self._log = config.sending_queue, settings.logger
        self._spool: Spool | None = None
        self._uplink: Uplink | None = None
        self._tasks = Background()
        self._news = asyncio.Event()
        meter = settings.meter
        self._sent = meter.counter("collector_mqtt_sent_bytes", "Telemetry that the broker has acknowledged")
        self._waiting = queue_bytes(meter)
        self._dropped = queue_dropped(meter)
        self._name = str(settings.id)

    def ride(self, _device: str, _port: TelemetryPort, uplink: Uplink) -> None:
        self._uplink = uplink

    async def start(self, host: Host) -> None:
        """Raises ConfigError outside of an agent, StorageError."""
        if self._uplink is None:
            raise ConfigError("it sends over an agent's connection: name this file in agent.toml, table [collector]")
        directory = Path(self._config.directory) if self._config.directory else None
        self._spool = Spool(directory, self._config.size_kib * KIB)
        self._tasks.spawn(host, self._send(host, self._uplink, self._spool))

    async def shutdown(self) -> None:
        await self._tasks.end()
        if self._spool:
            spool, self._spool = self._spool, None
            spool.close()

    async def consume(self, data: Data) -> None:
        """Kept when this returns, in memory or on the disk. Raises PermanentError for a batch that is too large."""
        if self._spool is None:
            raise PermanentError("the exporter does not run")
        try:
            packed = pack(signal_of(data), encode(data))
        except EdgesyncError as error:
            raise PermanentError(str(error)) from error
        self._spool.put(packed)
        self._tell(self._spool)
        self._news.set()

    def _tell(self, spool: Spool) -> None:
        self._waiting.set(spool.waiting, queue=self._name)
        self._dropped.set(spool.dropped, queue=self._name)

    async def _send(self, host: Host, uplink: Uplink, spool: Spool) -> None:
        wait, failed = AGAIN_FIRST, 0
        while True:
            message = spool.oldest()
            if message is None:
                await self._news.wait()
                self._news.clear()
                continue
            try:
                await asyncio.wait_for(uplink.send(message), SEND_LIMIT)
            except (LinkError, asyncio.TimeoutError) as error:
                failed += 1
                if failed == TOLD:
                    slow = LinkError(f"the broker has not acknowledged a message within {SEND_LIMIT:g} s")
                    host.report_status(Status.RECOVERABLE_ERROR, error if isinstance(error, LinkError) else slow)
                if isinstance(error, LinkError):  # the other has waited long enough, for a connection that comes seldom
                    await asyncio.sleep(wait)
                    wait = min(AGAIN_LIMIT, 2 * wait)
            else:
                if failed >= TOLD:
                    host.report_status(Status.OK)
                wait, failed = AGAIN_FIRST, 0
                spool.done(message)
                self._tell(spool)
                self._sent.add(len(message))
