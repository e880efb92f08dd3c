"""OTLP over gRPC in the command as a user types it: collectors in real processes that forward, reload and stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from telemetry_parts import gauge

from collector_ext.ids import Signal
from collector_ext.otlp.encode import encode
from collector_ext.otlp.rpc import METHOD, SERVICES
from collector_ext.pdata import Gauge, Metrics
from edgesync.sim.broker import free_port
from tests.grpc_endpoint import GrpcBackend, grpc_backend

COMMAND = [str(Path(sys.executable).with_name("edgesync-collector"))]
FORWARD = """\
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "localhost:{port}"}}}}}}}}
processors: {{resource: {{attributes: [{{key: seen, value: "{seen}", action: upsert}}]}}}}
exporters:
  otlp:
    endpoint: localhost:{backend}
    tls: {{insecure: true}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 100ms}}
service: {{pipelines: {{metrics: {{receivers: [otlp], processors: [resource], exporters: [otlp]}}}}}}
"""


class Collector:
    """A collector in a process of its own that forwards from `port` to `backend`, with what it said."""

    def __init__(self, place: Path) -> None:
        self.config, self.port, self.backend = place / "forward.yaml", free_port(), free_port()
        self.configure("first")
        # The tests' own gRPC has set variables, which a user has not.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
        self.child = subprocess.Popen(
            [*COMMAND, "--config", str(self.config)], stderr=subprocess.PIPE, text=True, env=environment
        )
        self.said = ""

    def configure(self, seen: str) -> None:
        self.config.write_text(FORWARD.format(port=self.port, backend=self.backend, seen=seen))

    def until(self, text: str) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.said += line
            if text in line:
                return
        raise AssertionError(f"never said {text!r}: {self.said}")

    def send(self, value: float) -> None:
        """Taken when this returns."""
        with grpc.insecure_channel(f"localhost:{self.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            export = channel.unary_unary(f"/{SERVICES[Signal.METRICS]}/{METHOD}")
            export(encode(gauge([value])), timeout=60, wait_for_ready=True)

    def end(self, number: signal.Signals) -> None:
        """Cleanly."""
        self.child.send_signal(number)
        _, rest = self.child.communicate(timeout=120)
        self.said += rest
        assert (self.child.returncode, "stopped" in rest, "Traceback" in self.said) == (0, True, False), self.said


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    started = Collector(tmp_path)
    try:
        started.until("everything is ready")
        yield started
    finally:
        if started.child.poll() is None:
            started.child.kill()
            started.child.communicate()


def values(kept: GrpcBackend) -> list[tuple[float, str]]:
    """What arrived, and which configuration it went through."""
    found = []
    for data in kept.taken:
        assert isinstance(data, Metrics)
        (resource,) = data.resources
        gauged = resource.scopes[0].metrics[0].data
        assert isinstance(gauged, Gauge)
        found.append((gauged.points[0].value, resource.resource.attributes["seen"]))
    return found  # type: ignore[return-value]


def wait(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("nothing happened for a minute")


def test_a_hangup_reads_the_file_anew_while_grpc_runs(collector: Collector) -> None:
    """The file is read in a process of its own, which is started beside gRPC's threads."""
    with grpc_backend(collector.backend) as kept:
        collector.send(1)
        wait(lambda: len(kept.taken) == 1)
        for seen in ("second", "third"):
            collector.configure(seen)
            collector.child.send_signal(signal.SIGHUP)
            collector.until("everything is ready")
            collector.send(2)
        collector.config.write_text("x: ")
        collector.child.send_signal(signal.SIGHUP)
        collector.until("the old configuration stays")
        collector.send(3)
        wait(lambda: len(kept.taken) == 4)
        assert values(kept) == [(1, "first"), (2, "second"), (2, "third"), (3, "third")]
    collector.end(signal.SIGTERM)


def test_a_backend_that_is_stopped_and_started_gets_what_waited_and_an_interruption_ends_the_rest(
    collector: Collector,
) -> None:
    collector.send(1)
    collector.until("Failed to connect")
    for value in (2, 3):
        with grpc_backend(collector.backend) as kept:
            wait(lambda kept=kept: len(kept.taken) == 1)  # type: ignore[misc]
        assert values(kept) == [(value - 1, "first")]
        collector.send(value)
    collector.until("Failed to connect")
    collector.end(signal.SIGINT)
    assert "bytes were not sent within 3 s" in collector.said
