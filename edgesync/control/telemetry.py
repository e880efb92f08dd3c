"""Sends the rollouts' spans to an OpenTelemetry backend: the official SDK and exporter, with ids known before.

Nothing here holds a rollout up: spans wait in a bounded queue and are sent by a thread of the SDK's. A backend that is
away or refuses costs the spans that it did not take, and one line of the log until it takes some again. Headers, keys
and certificates come from the variables that every exporter reads (`OTEL_EXPORTER_OTLP_HEADERS` and its friends).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http import trace_exporter as otlp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from edgesync import __version__
from edgesync.host import threads
from edgesync.wire import fields
from edgesync.wire.trace import Span, SpanId, TraceId

log = logging.getLogger("edgesync.telemetry")

QUEUE_LIMIT = 20_000
"""Spans that wait, then the oldest are dropped: those of two rollouts to 10,000 boards."""
BATCH_LIMIT = 512
SEND_EVERY = 2.0
"""Seconds until a span is sent that no full batch takes along."""
SEND_LIMIT = 5.0
"""Seconds for one batch, tries included; then it is lost."""
STOP_LIMIT = 2.0
"""Seconds for what waits when the server ends."""
NANO = 1_000_000_000


class Telemetry:
    """One backend at the base URL `url`. Starts a thread."""

    def __init__(self, url: str, fleet: str) -> None:
        self._exporter = Exporter(f"{url}/v1/traces")
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource.create(
                {"service.name": "edgesync", "service.version": __version__, "edgesync.fleet": fleet}
            ),
            shutdown_on_exit=False,  # it would wait for a silent backend
            id_generator=self._ids,
        )
        processor = BatchSpanProcessor(self._exporter, QUEUE_LIMIT, SEND_EVERY * 1000, BATCH_LIMIT)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("edgesync.control", __version__)

    def tell(self, spans: Iterable[Span]) -> None:
        """These have ended. Never waits. From one thread at a time."""
        for span in spans:
            self._ids.next = span
            told = self._tracer.start_span(
                span.name,
                set_span_in_context(NonRecordingSpan(_context(span.trace, span.parent)), Context())
                if span.parent
                else Context(),
                attributes=span.attributes,
                links=[Link(_context(link.trace, link.span)) for link in span.links],
                start_time=round(span.start * NANO),
            )
            if span.error:
                told.set_status(Status(StatusCode.ERROR, fields.storable(span.error)))
            told.end(round(span.end * NANO))

    async def close(self) -> None:
        """Send what waits, for STOP_LIMIT at most."""
        try:
            await asyncio.wait_for(threads.run(self._provider.shutdown), STOP_LIMIT)
        except asyncio.TimeoutError:
            if not self._exporter.lost:
                log.warning("the last spans were not sent within %.0f s", STOP_LIMIT)
        finally:
            self._exporter.shutdown()


class Exporter(SpanExporter):
    """The official one, which tells changes only of whether the backend takes spans; `lost` since it does not."""

    def __init__(self, url: str) -> None:
        self._url, self._over = url, False
        self.lost = 0
        otlp._logger.addFilter(_REASON)  # noqa: SLF001 - its words are told below, once instead of once a batch
        self._official = otlp.OTLPSpanExporter(url, timeout=SEND_LIMIT, compression=Compression.Gzip)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._over:
            return SpanExportResult.FAILURE
        result = self._official.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self.lost and not self._over:
                log.warning("%s takes no spans, they are dropped: %s", self._url, _REASON.last)
            self.lost += len(spans)
        elif self.lost:
            log.warning("%s takes spans again; %d were dropped", self._url, self.lost)
            self.lost = 0
        return result

    def shutdown(self) -> None:
        """Also a second time, and while a batch is being sent."""
        if not self._over:
            self._over = True
            self._official.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._official.force_flush(timeout_millis)


class _Reason(logging.Filter):
    """Keeps the last record instead of letting it through."""

    last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.last = record.getMessage()
        return False


_REASON = _Reason()


class _Ids(IdGenerator):
    """Gives the ids of the span that is told next."""

    next: Span

    def generate_trace_id(self) -> int:
        return int(self.next.trace, 16)

    def generate_span_id(self) -> int:
        return int(self.next.span, 16)


def _context(trace: TraceId, span: SpanId | str) -> SpanContext:
    return SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
