"""Attributes of OTLP as Prometheus' labels, and whose a series is. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from collector_ext.exporter.prometheus.config import IDENTITY, POSITIONS, PrometheusConfig
from collector_ext.exporter.prometheus.names import label_name
from collector_ext.exporter.prometheus.values import Reason, RefusedError
from collector_ext.pdata import DEVICE, Attributes, Resource, ScopeMetrics, Value
from collector_ext.textformat import inside

SERVICE = ("service.namespace", "service.name", "service.instance.id")
"""What `job` and `instance` are made of."""


class Labeller:
    """Makes the labels of series as one text, by which a series is known."""

    def __init__(self, config: PrometheusConfig) -> None:
        self._const, self._limit = dict(config.const_labels), config.limits.label_bytes
        self._scopes, self._resources = not config.without_scope_info, config.resource_to_telemetry_conversion.enabled

    def fixed(self, resource: Resource, scope: ScopeMetrics) -> dict[str, str]:
        """What all series of a scope have."""
        job, instance = target(resource)
        labels = {"job": job, "instance": instance, **self._const}
        if self._scopes:
            one = scope.scope
            labels |= dict(zip(IDENTITY[2:], (one.name, one.version, scope.schema_url), strict=True))
            labels |= self._renamed(((f"otel_scope_{key}", value) for key, value in one.attributes.items()), labels)
        return labels

    def series(self, fixed: Mapping[str, str], attributes: Attributes, resource: Resource) -> str:
        """Of one series. Raises RefusedError."""
        if self._resources:
            attributes = {**resource.attributes, **attributes}
        return _joined({**fixed, **self._renamed(attributes.items(), fixed)})

    def info(self, resource: Resource) -> str:
        """Of `target_info`; "" where there is nothing to say of the target. Raises RefusedError."""
        job, instance = target(resource)
        own = {"job": job, "instance": instance}
        more = self._renamed(((key, value) for key, value in resource.attributes.items() if key not in SERVICE), own)
        return _joined({**own, **more}) if more and (job or instance) else ""

    def _renamed(self, attributes: Iterable[tuple[str, Value]], own: Mapping[str, str]) -> dict[str, str]:
        """By label. Two attributes that become one label are joined; one that would be a label of our `own` is
        `exported_`, as Prometheus itself does it. Raises RefusedError.
        """
        found: dict[str, str] = {}
        for key, value in sorted(attributes):
            if len(key) > self._limit:
                raise RefusedError(Reason.LABEL_BYTES)
            name = label_name(key)
            while name in own or name in POSITIONS:
                name = f"exported_{name}"
            found[name] = f"{found[name]};{text(value)}" if name in found else text(value)
        return found


def _joined(labels: Mapping[str, str]) -> str:
    """A label without a value is none: to Prometheus both are the same series."""
    return inside(sorted((name, value) for name, value in labels.items() if value))


def target(resource: Resource) -> tuple[str, str]:
    """`job` and `instance`. A board is who its certificate says; a program on it with an id of its own is both, so that
    none can speak as another.
    """
    namespace, name, instance = (text(resource.attributes.get(key)) for key in SERVICE)
    device = text(resource.attributes.get(DEVICE))
    job = f"{namespace}/{name}" if namespace and name else name
    return job, f"{device}/{instance}" if device and instance and device != instance else device or instance


def text(value: Value) -> str:
    """An attribute's value as OpenTelemetry writes it where only text can be."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bytes():
            return base64.b64encode(value).decode()
        case float() | int():  # bool too
            return json.dumps(value)
    return json.dumps(value, default=_plain, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else dict(value)
