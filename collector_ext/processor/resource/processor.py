"""Applies the actions, in their order, to every resource that passes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from collector_ext.component import Consumer, Host, Settings
from collector_ext.pdata import Attributes, Data, Logs, Metrics, ResourceLogs, ResourceMetrics, ResourceSpans, Traces
from collector_ext.processor.resource.config import Action, ResourceConfig

R = TypeVar("R", ResourceMetrics, ResourceSpans, ResourceLogs)


class ResourceProcessor:
    """Keeps nothing."""

    def __init__(self, _settings: Settings, config: ResourceConfig, consumer: Consumer) -> None:
        self._actions, self._consumer = config.attributes, consumer

    async def start(self, host: Host) -> None:
        """Nothing to begin."""

    async def shutdown(self) -> None:
        """Nothing to end."""

    async def consume(self, data: Data) -> None:
        match data:
            case Metrics(resources):
                changed: Data = Metrics(self._all(resources))
            case Traces(spans):
                changed = Traces(self._all(spans))
            case Logs(logs):
                changed = Logs(self._all(logs))
        await self._consumer.consume(changed)

    def _all(self, resources: Iterable[R]) -> tuple[R, ...]:
        return tuple(
            replace(one, resource=replace(one.resource, attributes=applied(self._actions, one.resource.attributes)))
            for one in resources
        )


def applied(actions: Iterable[Action], attributes: Attributes) -> Attributes:
    """A new mapping; the given one stays as it is."""
    result = dict(attributes)
    for one in actions:
        if one.action == "delete":
            result.pop(one.key, None)
            continue
        if one.from_attribute and one.from_attribute not in result:
            continue
        value = result[one.from_attribute] if one.from_attribute else one.value
        if one.action == "upsert" or (one.key in result) == (one.action == "update"):
            result[one.key] = value
    return result
