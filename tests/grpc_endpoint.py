"""An OTLP/gRPC backend on loopback, of the official servicers: it keeps what it gets, or answers what it is told to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from collector_ext.otlp.decode import of_logs, of_metrics, of_traces
from collector_ext.pdata import Data

Refusal = tuple[grpc.StatusCode, bytes]
"""A status, and the google.rpc.Status beside it."""


@dataclass
class GrpcBackend:
    """`answers` are given first, each a refusal or a response; after them `always`, None for an empty response."""

    endpoint: str = ""
    taken: list[Data] = field(default_factory=list)
    heads: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Refusal | Any] = field(default_factory=list)
    always: Refusal | None = None

    def take(self, data: Data, context: grpc.ServicerContext, response: Any) -> Any:
        self.heads.append(dict(context.invocation_metadata()))
        answer = self.answers.pop(0) if self.answers else self.always
        if isinstance(answer, tuple):
            context.set_trailing_metadata((("grpc-status-details-bin", answer[1]),))
            context.abort(answer[0], "told to")
        self.taken.append(data)
        return answer or response


@contextlib.contextmanager
def grpc_backend(
    port: int = 0,
    credentials: grpc.ServerCredentials | None = None,
    compression: grpc.Compression = grpc.Compression.NoCompression,
) -> Iterator[GrpcBackend]:
    kept = GrpcBackend()

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
            return kept.take(of_metrics(request), context, metrics_service_pb2.ExportMetricsServiceResponse())

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
            return kept.take(of_traces(request), context, trace_service_pb2.ExportTraceServiceResponse())

    class Logs(logs_service_pb2_grpc.LogsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's name
            return kept.take(of_logs(request), context, logs_service_pb2.ExportLogsServiceResponse())

    server = grpc.server(futures.ThreadPoolExecutor(8), compression=compression)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(), server)
    address = f"127.0.0.1:{port}"
    found = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    kept.endpoint = f"localhost:{found}"
    try:
        yield kept
    finally:
        server.stop(None).wait()
