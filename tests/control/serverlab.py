"""A server with everything real but its boards: git, mosquitto on loopback, and boards that are messages signed by
their keys. One connection speaks for all boards of a fleet, however many.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from edgesync.control import config
from edgesync.control.publisher import Patience
from edgesync.control.service import Service
from edgesync.delta.apply import apply_delta, expand_full
from edgesync.host.mqtt import LinkOptions, Message, MqttLink, Up
from edgesync.host.tasks import end
from edgesync.sim.broker import MosquittoBroker, free_port
from edgesync.trust import keys
from edgesync.trust.director import CONFIG
from edgesync.trust.report import sign_reported
from edgesync.wire import codec, topics
from edgesync.wire.blob import parse_index
from edgesync.wire.ids import BlobId, DeviceId, Digest, device_id, digest_of
from edgesync.wire.messages import ConfigPhase, ConfigReport, ErrorReport, Phase, Reported

FLEET = "demo"
PATIENCE = Patience(grace=0.5, again=1.0, quiet=0.4)


class Lab:
    """A fleet repository, a configuration, keys."""

    def __init__(self, place: Path, boards: int, port: int, *, canaries: int = 0, poll: int = 1) -> None:
        self.place, self.port = place, port
        self.devices = [device_id(FLEET, f"b{n:04}") for n in range(boards)]
        self.fleet = place / "fleet"
        for name in ("fleet/boards", "fleet/releases", "images"):
            (place / name).mkdir(parents=True)
        keys.generate(str(place / "director.key"))
        self.signers = {d: keys.parse_signer(CryptoSigner.generate_ed25519().private_bytes, d) for d in self.devices}
        self.file = place / "server.toml"
        self.file.write_text(
            f'fleet = "{FLEET}"\nrepository = "fleet"\nimages = "images"\nsocket = "s"\npoll = {poll}\n'
            f'[broker]\nhost = "127.0.0.1"\nport = {port}\n[trust]\nkey = "director.key"\n'
        )
        lines = [
            f"  - {{id: {d.partition('.')[2]}, type: files, labels: {{ring: {'canary' if n < canaries else 'rest'}}}, "
            f"key: {signer.public_key.keyval['public']}}}"
            for n, (d, signer) in enumerate(self.signers.items())
        ]
        (self.fleet / "boards/all.yaml").write_text("boards:\n" + "\n".join(lines) + "\n")
        self.canaries = canaries
        self._git("init", "-q", "-b", "main")

    def config(self) -> config.ServerConfig:
        return config.load(self.file)

    def release(self, name: str, image: bytes, *, policy: str = "wait", abort_at: str = "50 %") -> Digest:
        """Write an image and its release, make it the default, commit."""
        (self.place / f"images/{name}.img").write_bytes(image)
        digest = digest_of(image)
        (self.fleet / f"releases/{name}.yaml").write_text(
            f"name: {name}\nimages:\n  firmware:\n    path: {name}.img\n    version: '{name}'\n"
            f"    sha256: {digest}\n    compatible: [files]\n"
        )
        waves = "  - {name: canary, select: {ring: canary}, success: 100 %}\n" if self.canaries else ""
        (self.fleet / "fleet.yaml").write_text(
            f"format: 1\nfleet: {FLEET}\ndefaults: {{release: {name}}}\nwaves:\n{waves}"
            f"  - {{name: rest, select: {{}}, success: 50 %}}\nfailure: {{on_delta_failure: {policy}}}\n"
            f"abort_at: {abort_at}\nlost_after: 1 h\nbyte_budget: 1 MB\n"
        )
        self.commit(f"Ship {name}")
        return digest

    def config_files(self, files: dict[str, str], layer: str = "fleet", message: str = "Change config") -> None:
        """Make these the files of a layer of config, and commit."""
        place = self.fleet / "config" / layer / "files"
        shutil.rmtree(place, ignore_errors=True)
        for path, text in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(text)
        self.commit(message)

    def commit(self, message: str) -> None:
        self._git("add", "-A")
        self._git("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-q", "-m", message)

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.fleet), *arguments]
        return subprocess.run(command, check=True, timeout=30, stdout=subprocess.PIPE, text=True).stdout


@dataclass
class Played:
    """What one board would say."""

    image: Digest
    boot: int = 0
    version: int = 0
    phase: Phase = Phase.IDLE
    error: ErrorReport | None = None
    desired: dict[str, Any] = field(default_factory=dict)
    bundle: bytes | None = None
    config_phase: ConfigPhase | None = None
    config_error: ErrorReport | None = None
    quarantine: set[Digest] = field(default_factory=set)
    drift: int = 0

    @property
    def config(self) -> ConfigReport | None:
        """None on a board that was never sent any."""
        digest = digest_of(self.bundle) if self.bundle is not None else ""
        phase = self.config_phase
        return ConfigReport(digest, phase, self.config_error, self.drift) if phase else None


class Boards:
    """All boards of a lab behind one connection. `outcome` and `config_outcome` say how an offer ends where not well;
    who is `busy` never ends, `config_busy` neither with config.
    """

    def __init__(self, lab: Lab, image: Digest) -> None:
        self.lab = lab
        self.played = {device: Played(image) for device in lab.devices}
        self.counter = int(os.times().elapsed * 1000)
        self.blob_messages: Counter[str] = Counter()
        self.desired_messages: Counter[DeviceId] = Counter()
        self.store: dict[str, bytes] = {}
        self.silent: set[DeviceId] = set()
        self.outcome: dict[DeviceId, ErrorReport] = {}
        self.busy: set[DeviceId] = set()
        self.config_messages: Counter[str] = Counter()
        self.config_sources: Counter[str] = Counter()
        self.config_outcome: dict[DeviceId, ErrorReport] = {}
        self.config_busy: set[DeviceId] = set()
        self.link = MqttLink(
            LinkOptions("127.0.0.1", lab.port, "boards", packet_limit=1 << 20, inbox=10_000, backoff=0.1)
        )
        self._up = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Boards]:
        self.link.start()
        task = asyncio.ensure_future(self._hear())
        try:
            await asyncio.wait_for(self._up.wait(), 20)
            yield self
        finally:
            await end([task, *self._tasks])
            await self.link.stop()

    async def report(self, device: DeviceId, **other: Any) -> None:
        board = self.played[device]
        self.counter += 1
        reported = Reported(
            device,
            self.counter,
            f"boot-{board.boot}",
            "ab"[board.boot % 2],
            board.phase is not Phase.CONFIRMING,
            {"firmware": board.image},
            board.phase,
            board.version,
            error=board.error,
            config=board.config,
            quarantine=tuple(sorted(board.quarantine)),
        )
        packed = sign_reported(replace(reported, **other), self.lab.signers[device])
        await self.link.deliver(topics.reported(FLEET, device), packed)

    async def report_all(self) -> None:
        for start in range(0, len(self.lab.devices), 100):
            await asyncio.gather(*(self.report(device) for device in self.lab.devices[start : start + 100]))

    async def _hear(self) -> None:
        while True:
            event = await self.link.next()
            if isinstance(event, Up):
                desired = topics.all_boards(FLEET, "desired")
                self.link.subscribe(desired, f"es1/{FLEET}/b/#", f"es1/{FLEET}/d/+/c/#", qos=1)
                self._up.set()
            elif isinstance(event, Message):
                self.store[event.topic] = event.payload
                topic = topics.parse(event.topic)
                if topic.kind == "desired" and topic.device and event.payload:
                    self.desired_messages[topic.device] += 1
                    if topic.device in self.silent:
                        continue
                    desired = json.loads(codec.unpack(event.payload))["signed"]
                    task = asyncio.ensure_future(self._obey(topic.device, desired))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                elif event.payload:
                    (self.config_messages if topic.device else self.blob_messages)[event.topic] += 1

    async def obey_again(self, device: DeviceId) -> None:
        """Begin anew with the desired state that it has."""
        self.played[device].version -= 1
        await self._obey(device, self.played[device].desired)

    async def obey_all(self) -> None:
        """What the broker holds, for those that were silent."""

        def desired(device: DeviceId) -> dict[str, Any]:
            told: dict[str, Any] = json.loads(codec.unpack(self.store[topics.desired(FLEET, device)]))["signed"]
            return told

        for start in range(0, len(self.lab.devices), 100):
            await asyncio.gather(*(self._obey(d, desired(d)) for d in self.lab.devices[start : start + 100]))

    async def _obey(self, device: DeviceId, desired: dict[str, Any]) -> None:
        board = self.played[device]
        if desired["version"] <= board.version:
            return
        board.version, board.error, board.phase, board.desired = desired["version"], None, Phase.IDLE, desired
        files = dict(desired["targets"])
        config = files.pop(CONFIG, None)
        wanted = [file["hashes"]["sha256"] for file in files.values()]
        if config:
            await self._configure(device, config)
        if not wanted or wanted == [board.image]:
            await self.report(device)
            return
        board.phase = Phase.FETCHING
        await self.report(device)
        if device in self.busy:
            return
        if device in self.outcome:
            board.phase, board.error = Phase.FAILED, self.outcome[device]
            await self.report(device)
            return
        await self.boot(device, Digest(wanted[0]))

    async def _configure(self, device: DeviceId, config: dict[str, Any]) -> None:
        """The board's other decider: all that its desired state names is there, for blobs come first."""
        board, digest = self.played[device], Digest(config["hashes"]["sha256"])
        board.config_phase, board.config_error = ConfigPhase.IDLE, None
        if board.bundle is not None and digest_of(board.bundle) == digest:
            return
        bundle = self.fetched(device, config)
        board.config_phase = ConfigPhase.FETCHING
        if device in self.config_busy:
            await self.report(device)
        elif device in self.config_outcome:
            board.config_phase, board.config_error = ConfigPhase.FAILED, self.config_outcome[device]
            if board.config_error.name == "ProbeFailed":
                board.quarantine.add(digest)
        else:
            before, board.bundle = board.bundle, bundle
            board.config_phase = ConfigPhase.PROBING
            await self.report(device)
            board.config_phase = ConfigPhase.IDLE
            assert board.bundle != before

    def fetched(self, device: DeviceId, config: dict[str, Any]) -> bytes:
        """The bundle that a target makes from what the broker has sent, with a board's own means."""
        source, length, digest = config["custom"]["source"], config["length"], config["hashes"]["sha256"]
        self.config_sources[source["kind"]] += 1
        root, blob = topics.config(FLEET, device), BlobId(source["blob"])
        index = parse_index(blob, self.store[topics.index(root, blob)])
        blocks = [
            topics.block(root, blob, n, block) for n in range(index.pieces) for block in range(index.blocks_of(n))
        ]
        data = index.lone or b"".join(self.store[topic] for topic in blocks)
        assert len(data) == source["length"]
        with in_memory(data) as patch, in_memory(b"") as target, in_memory(self.played[device].bundle or b"") as base:
            if source["kind"] == "delta":
                told = {"base_sha256": source["base"], "length": length, "sha256": digest}
                apply_delta(base, patch, target, progress=lambda *_: None, **told)
            else:
                expand_full(patch, target, length=length, sha256=digest, progress=lambda *_: None)
            return os.pread(target, length, 0)

    async def boot(self, device: DeviceId, image: Digest) -> None:
        board = self.played[device]
        board.image, board.boot, board.phase = image, board.boot + 1, Phase.CONFIRMING
        await self.report(device)
        board.phase = Phase.IDLE
        await self.report(device)


@contextlib.asynccontextmanager
async def serving(lab: Lab) -> AsyncIterator[Service]:
    service = Service(lab.config(), PATIENCE)
    stop = asyncio.Event()
    task = asyncio.ensure_future(service.run(stop))
    try:
        yield service
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


@contextlib.contextmanager
def in_memory(data: bytes) -> Iterator[int]:
    """A file descriptor with this content."""
    fd = os.memfd_create("bundle")
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for a condition. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


def statuses(service: Service) -> Counter[str]:
    return Counter(board.status.value for board in service._driver.state.boards.values())


def images(count: int, size: int = 200_000) -> list[bytes]:
    """Images that differ a little from one to the next."""
    source = random.Random(5)
    data = bytearray(source.randbytes(size))
    made = []
    for _ in range(count):
        made.append(bytes(data))
        for at in range(0, size, 4000):
            data[at : at + 8] = source.randbytes(8)
    return made


def open_broker(place: Path) -> MosquittoBroker:
    """mosquitto without identities, its store in memory: a restart comes back empty."""
    place.mkdir(parents=True, exist_ok=True)
    port = free_port()
    conf = place / "mosquitto.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\npersistence false\n")
    return MosquittoBroker(place, port=port, config=conf)
