"""What becomes of a request, whatever brought it: inflated and parsed within limits, and given to its pipeline."""

from __future__ import annotations

import asyncio
from functools import partial

from collector_ext.component import Consumers, Settings
from collector_ext.consumererror import RetryableError
from collector_ext.firsts import REST, Firsts
from collector_ext.ids import Signal
from collector_ext.otlp.decode import decode
from collector_ext.otlp.inflate import gunzip
from collector_ext.pdata import Data
from edgesync.host import threads
from edgesync.wire.errors import EdgesyncError, MessageTooLargeError

PARSERS = 2
"""Requests that are parsed at once: more are no faster, and 4 MiB of the worst bytes take 255 MiB meanwhile."""


class Intake:
    """The way from the protocols to the pipelines."""

    def __init__(self, settings: Settings, consumers: Consumers) -> None:
        self._consumers, self._log = consumers, settings.logger
        self._refused = Firsts()
        self._parsers = asyncio.Semaphore(PARSERS)
        self._requests = settings.meter.counter("collector_otlp_requests", "OTLP requests, by what became of them")

    def carries(self, signal: Signal) -> bool:
        """Whether there is a pipeline of it."""
        return self._consumers.of(signal) is not None

    async def take(self, signal: Signal, body: bytes, limit: int, *, gzip: bool) -> None:
        """Taken when this returns. Raises MessageTooLargeError, RetryableError; any other EdgesyncError is for good."""
        try:
            async with self._parsers:
                # In a thread: megabytes take long, and the others in this loop shall not wait for them.
                data = await threads.run(partial(_read, signal, body, limit, gzip=gzip))
            await self._consumers.consume(data)
        except (MessageTooLargeError, RetryableError):
            raise
        except EdgesyncError as error:
            if self._refused.is_new(signal.value, error.name):
                self._log.warning("refused %s: %s: %s; %s", signal.value, error.name, error, REST)
            raise

    def count(self, protocol: str, status: str) -> None:
        self._requests.add(1, protocol=protocol, status=status)


def _read(signal: Signal, body: bytes, limit: int, *, gzip: bool) -> Data:
    """Raises MessageTooLargeError, MalformedMessageError."""
    return decode(signal, gunzip(body, limit) if gzip else body)
