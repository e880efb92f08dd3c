"""A board's /proc and /sys, made up: they walk at random from minute to minute, as a small ARM board's do."""

from __future__ import annotations

import random
from pathlib import Path

from collector_ext.component import Consumers
from collector_ext.pdata import Metrics
from collector_ext.receiver.hostmetrics.config import HostMetricsConfig, Scraper, Scrapers
from collector_ext.receiver.hostmetrics.receiver import HostMetrics
from collector_ext.testing.doubles import settings

NANO = 1_000_000_000
BOOT = 1_780_000_000
TOTAL = 3_884_340
"""kB of memory: a Raspberry Pi 4 with 4 GB."""

STEPS = {
    "user": 900,
    "system": 400,
    "iowait": 60,
    "softirq": 30,
    "read": 4000,
    "write": 9000,
    "reads": 80,
    "writes": 300,
    "rx": 60_000,
    "tx": 20_000,
    "rxp": 300,
    "txp": 200,
    "faults": 12,
    "out": 200,
    "again": 6,
}
"""What each count of the kernel grows by in a minute, at most."""


class PlayedHost:
    """One board below `root`; `minute` moves it on and gives what hostmetrics sends then."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root, self._chance = root, random.Random(seed)
        self._minutes = 0
        self._available = self._chance.randrange(TOTAL // 3, TOTAL - TOTAL // 5)
        self._counts = dict.fromkeys((*STEPS, "idle"), 0)
        (root / "proc/pressure").mkdir(parents=True)
        (root / "proc/net").mkdir()
        (root / "sys/block/mmcblk0").mkdir(parents=True)
        self._write()
        config = HostMetricsConfig(root_path=str(root), temporality="delta", scrapers=Scrapers(*[Scraper()] * 5))
        self._receiver = HostMetrics(settings("hostmetrics"), config, Consumers(), self._now)
        self.minute()

    def _now(self) -> int:
        return (BOOT + 3600 + 60 * self._minutes) * NANO + self._chance.randrange(2_000_000)

    def minute(self) -> Metrics:
        self._minutes += 1
        chance = self._chance
        self._available = min(TOTAL - 300_000, max(200_000, self._available + chance.randrange(-9000, 9000)))
        for name, most in STEPS.items():
            self._counts[name] += chance.randrange(most)
        self._counts["idle"] += 24_000 - chance.randrange(1500)
        self._write()
        metrics = self._receiver.scrape()
        self._receiver._counters.taken()
        return metrics

    def _write(self) -> None:
        n, chance = self._counts, self._chance
        pressure = f"{chance.choice([0, 0, 0, 1, 12]) / 100:.2f}"
        files = {
            "meminfo": f"MemTotal: {TOTAL} kB\nMemAvailable: {self._available} kB\n"
            "SwapTotal: 102396 kB\nSwapFree: 99000 kB\n",
            "vmstat": f"pgmajfault {n['faults']}\noom_kill 0\n",
            "stat": f"cpu  {n['user']} 0 {n['system']} {n['idle']} {n['iowait']} 0 {n['softirq']} 0\nbtime {BOOT}\n",
            "diskstats": f" 179 0 mmcblk0 {n['reads']} 0 {n['read']} 4 {n['writes']} 2 {n['write']} 5 0 8 4\n",
            "pressure/memory": f"some avg10=0.00 avg60={pressure} avg300=0.00 total={n['faults'] * 900}\n"
            f"full avg10=0 avg60=0.00 avg300=0 total={n['faults'] * 300}\n",
            "net/dev": "Inter-|   Receive                            |  Transmit\n"
            " face |bytes packets errs drop fifo frame compressed multicast"
            "|bytes packets errs drop fifo colls carrier compressed\n"
            f"  eth0: {n['rx']} {n['rxp']} 0 0 0 0 0 0 {n['tx']} {n['txp']} 0 0 0 0 0 0\n",
            "net/snmp": f"Tcp: RtoAlgorithm InSegs OutSegs RetransSegs\nTcp: 1 {n['rxp']} {n['out']} {n['again']}\n",
            "net/sockstat": "sockets: used 80\n"
            f"TCP: inuse {chance.randrange(3, 9)} orphan 0 tw {chance.randrange(3)} alloc 9 mem 1\n",
        }
        for name, text in files.items():
            (self._root / "proc" / name).write_text(text)
