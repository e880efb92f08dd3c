"""Watches every component's status and answers for all of them.

    GET /                       200 {"start_time", "healthy", "status", "error", "status_time"}
    GET /?verbose               the same with "components", down to each
    GET /?pipeline=traces       of one pipeline, or of `extensions`; 404 for one that is not there

500 is fatal, and what `component_health` includes; 503 is starting, stopping and stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

from collector_ext.component import Host, Settings
from collector_ext.extension.health_check.config import HealthCheckConfig
from collector_ext.health import Aggregator, rfc3339
from collector_ext.ids import InstanceId
from collector_ext.status import Event
from edgesync.host.http import Answer, HttpServer, not_found, parse_endpoint


class HealthCheck:
    """A StatusWatcher with an HTTP server."""

    def __init__(self, settings: Settings, config: HealthCheckConfig, now: Callable[[], float] = time.time) -> None:
        self._config, self._now, self._log = config, now, settings.logger
        self._policy = config.component_health.policy()
        self._aggregator = Aggregator(self._policy)
        self._server = HttpServer(parse_endpoint(config.endpoint), self.answer)
        self._began = now()

    @property
    def port(self) -> int:
        """The TCP port that is really listened on."""
        return self._server.port

    async def start(self, _host: Host) -> None:
        """Raises NotReachableError where the endpoint cannot be had."""
        await self._server.start()
        self._log.info("answers at %s", self._config.endpoint)

    async def shutdown(self) -> None:
        await self._server.close()

    def component_status_changed(self, source: InstanceId, event: Event) -> None:
        self._aggregator.record(source, event)

    def answer(self, path: str, query: Mapping[str, str]) -> Answer:
        if path != self._config.path:
            return not_found()
        pipeline = query.get("pipeline", "")
        health = self._aggregator.pipeline(pipeline) if pipeline else self._aggregator.health()
        if health is None:
            return not_found()
        now = self._now()
        verbose = query.get("verbose", "false") not in ("false", "0")
        body = {"start_time": rfc3339(self._began), **health.body(self._policy, now, verbose=verbose)}
        return Answer(json.dumps(body).encode() + b"\n", self._policy.http_status(health.event, now))
