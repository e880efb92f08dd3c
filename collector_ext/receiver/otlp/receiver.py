"""Listens where the configuration names a protocol. gRPC is loaded only where it is named."""

from __future__ import annotations

from typing import Protocol

from collector_ext.component import Consumers, Host, Settings
from collector_ext.receiver.otlp.config import OtlpReceiverConfig
from collector_ext.receiver.otlp.http import HttpReceiver
from collector_ext.receiver.otlp.intake import Intake


class Listener(Protocol):
    """One protocol at one endpoint."""

    @property
    def port(self) -> int: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...


class OtlpReceiver:
    """`listeners` by the protocol's name."""

    def __init__(self, settings: Settings, config: OtlpReceiverConfig, consumers: Consumers) -> None:
        self._log = settings.logger
        self._endpoints: dict[str, str] = {}
        self.listeners: dict[str, Listener] = {}
        intake, protocols = Intake(settings, consumers), config.protocols
        if protocols.grpc:
            from collector_ext.receiver.otlp.grpc import GrpcReceiver  # noqa: PLC0415 - weighs 17 MiB

            self.listeners["grpc"] = GrpcReceiver(protocols.grpc, intake)
            self._endpoints["grpc"] = protocols.grpc.endpoint
        if protocols.http:
            self.listeners["http"] = HttpReceiver(protocols.http, intake)
            self._endpoints["http"] = protocols.http.endpoint

    async def start(self, _host: Host) -> None:
        """Raises NotReachableError where an endpoint cannot be had."""
        for name, listener in self.listeners.items():
            await listener.start()
            self._log.info("takes OTLP over %s at %s", name, self._endpoints[name])

    async def shutdown(self) -> None:
        for listener in self.listeners.values():
            await listener.close()
