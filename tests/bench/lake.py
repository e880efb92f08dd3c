"""What a point costs the collector: boards' minutes from mosquitto into synced rows, and in files of an hour.

The collector is a process of its own with the mqtt receiver and the parquet exporter; its CPU seconds count, from the
first message to the last acknowledgement, threads and the writing of files included. What the boards send is packed
before.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import paho.mqtt.client as mqtt

from collector_ext.component import signal_of
from collector_ext.lake.compact import compact
from collector_ext.lake.reader import Lake
from collector_ext.otlp.compact import pack
from collector_ext.otlp.encode import encode
from edgesync.sim.broker import MosquittoBroker, find_mosquitto
from edgesync.wire import topics
from edgesync.wire.ids import device_id
from tests.bench.measure import BenchError, Figure, MissingPart, Workshop
from tests.bench.played_host import PlayedHost

FLEET = "bench"
BOARDS, MINUTES = 100, 60
IN_FLIGHT = 300
"""Messages that the broker holds for the collector at most: fewer than its queue, so that it drops none."""
RATE_LIMIT = 30_000
"""Points a CPU second."""
POINT_LIMIT = 5.0
"""Bytes of a compacted point."""
LATER = 2 * 3600.0
"""Seconds after which every hour of arrival is over."""

COLLECTOR = """\
import asyncio, logging, sys, time
from pathlib import Path
from collector_ext.component import Consumers
from collector_ext.exporter.parquet.config import ParquetConfig
from collector_ext.exporter.parquet.exporter import ParquetExporter
from collector_ext.receiver.mqtt.config import MqttReceiverConfig
from collector_ext.receiver.mqtt.receiver import MqttReceiver
from collector_ext.status import Status
from collector_ext.testing.doubles import Host, settings

class Counting:
    def __init__(self, exporter):
        self.exporter, self.taken = exporter, 0

    async def consume(self, data):
        await self.exporter.consume(data)
        self.taken += 1
        if self.taken % 50 == 0:
            print(self.taken, flush=True)

async def main(lake, endpoint, fleet, expected):
    host = Host()
    exporter = ParquetExporter(settings("parquet"), ParquetConfig(lake, compaction=False))
    counting = Counting(exporter)
    receiver = MqttReceiver(
        settings("mqtt"), MqttReceiverConfig(endpoint, fleet), Consumers(counting, counting, counting))
    await exporter.start(host)
    await receiver.start(host)
    while host.status is not Status.OK:
        await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    print(0, flush=True)
    began = time.process_time()
    while counting.taken < int(expected):
        await asyncio.sleep(0.05)
    await receiver.shutdown()
    await exporter.shutdown()
    print("took", time.process_time() - began, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def run(workshop: Workshop) -> Iterator[Figure]:
    if not find_mosquitto():
        raise MissingPart("mosquitto is not installed (apt-get install mosquitto)")
    room = workshop.room("lake")
    workshop.say(f"packing {BOARDS} boards, {MINUTES} minutes")
    messages, points = _messages(room)
    lake = room / "lake"
    with MosquittoBroker(room / "broker") as broker:
        cpu = _collect(lake, (broker.host, broker.port), messages)
    before = _size(lake)
    for _ in compact(lake, time.time() + LATER):
        pass
    with Lake(lake) as reader:
        ((rows,),) = reader.rows("SELECT count(*) FROM metrics")
    if rows != points:
        raise BenchError(f"the lake has {rows} of {points} points")
    where = f"{points} points of {BOARDS} made-up boards, {len(messages)} messages, QoS 1, one broker"
    yield Figure("points a CPU second, from MQTT into Parquet", points / cpu, "", where, RATE_LIMIT, "at least")
    where = "2 ms of jitter in the boards' minutes"
    yield Figure("a point as it arrived", before / points, "bytes", where)
    yield Figure("a point after compaction", _size(lake) / points, "bytes", where, POINT_LIMIT)


def _messages(room: Path) -> tuple[list[tuple[str, bytes]], int]:
    """What the boards send, in the order of time: topic and payload; and how many points that is."""
    hosts = []
    for number in range(BOARDS):
        (place := room / f"host-{number}").mkdir()
        hosts.append((topics.telemetry(FLEET, device_id(FLEET, f"b{number:03}")), PlayedHost(place, number)))
    messages, points = [], 0
    for _ in range(MINUTES):
        for topic, host in hosts:
            metrics = host.minute()
            points += len(metrics)
            messages.append((topic, pack(signal_of(metrics), encode(metrics))))
    return messages, points


def _collect(lake: Path, address: tuple[str, int], messages: Sequence[tuple[str, bytes]]) -> float:
    """CPU seconds that the collector took."""
    arguments = [str(lake), f"{address[0]}:{address[1]}", FLEET, str(len(messages))]
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "boards")
    client.max_inflight_messages_set(IN_FLIGHT)
    with subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, *arguments], stdout=subprocess.PIPE, text=True
    ) as collector:
        assert collector.stdout is not None
        try:
            client.connect(*address)
            client.loop_start()
            sent = 0
            for line in collector.stdout:  # ends with the process, whatever happens
                if line.startswith("took"):
                    return float(line.split()[1])
                until = min(len(messages), int(line) + IN_FLIGHT)
                while sent < until:
                    client.publish(*messages[sent], qos=1)
                    sent += 1
        finally:
            collector.kill()
            client.disconnect()
            client.loop_stop()
    raise BenchError("the collector ended before it had taken everything")


def _size(lake: Path) -> int:
    return sum(path.stat().st_size for path in lake.rglob("*.parquet"))
