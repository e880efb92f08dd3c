"""One real board on a real broker: mosquitto, supervisor and agent as processes, and the server's part played here.

The rig signs `desired` and publishes blobs as the server would, so that the agent's tests need no server; each fault
is one method.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import final

from edgesync.delta.full import make_full
from edgesync.delta.make import make_delta
from edgesync.host.mqtt import LinkOptions, Message, MqttLink, Up
from edgesync.sim.broker import MosquittoBroker
from edgesync.sim.profiles import Direction, LinkProfile
from edgesync.sim.proxy import TcpProxy
from edgesync.trust import director, keys, report
from edgesync.wire import blob as layout
from edgesync.wire import topics
from edgesync.wire.ids import BlobId, Digest, board_of, device_id, digest_of
from edgesync.wire.messages import Desired, Phase, Reported, Source, Target

FLEET = "bench"
DEVICE = device_id(FLEET, "b01")
YEAR = 365 * 86400
HURRIED = Path(__file__).with_name("hurried.py")


def firmware(size: int, seed: int) -> bytes:
    """Bytes that neither compress nor repeat, so that their blob is as large as they are."""
    return random.Random(seed).randbytes(size)


def changed(image: bytes, seed: int, edits: int = 400) -> bytes:
    """The same image with some words changed, as a new build of it would be."""
    generator, new = random.Random(seed), bytearray(image)
    for _ in range(edits):
        at = generator.randrange(0, len(new) - 4) & ~3
        new[at : at + 4] = generator.randbytes(4)
    return bytes(new)


def link(rate: float = 0.0, *, reset_every: float = 0.0) -> LinkProfile:
    """A link of `rate` bit/s (0: no limit) and 40 ms there and back."""
    way = Direction(rate, delay=0.02)
    return LinkProfile("bench", "a link of the tests", "made up", way, way, reset_every=reset_every)


def children(pid: int) -> list[int]:
    """The child processes of a process, in the order in which they were started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_at_work(pid: int, module: str) -> bool:
    """Whether this process is a worker of `module` that has confined itself: it enters "/" last."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return module.encode() in command and os.readlink(f"/proc/{pid}/cwd") == "/"
    except OSError:
        return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@final
class Rig:
    """Directories and keys of one board below `root`; `port` is where the agent finds its broker.

    `hurried`: the agent waits as `hurried.py` says.
    """

    def __init__(
        self,
        root: Path,
        broker: MosquittoBroker,
        port: int | None = None,
        *,
        hurried: bool = False,
        keepalive: int = 10,
    ) -> None:
        self.root, self.broker, self._hurried = root, broker, hurried
        self.board = root / "board"
        (self.board / "slots" / "a").mkdir(parents=True)
        (root / "blobs").mkdir()
        self.signer_key = keys.generate(str(root / "director.key"))
        self.signer = keys.load_signer(str(root / "director.key"))
        keys.generate(str(root / "root.key"))
        self.report_key = keys.generate(str(self.board / "board.key"))
        root_signer = keys.load_signer(str(root / "root.key"))
        (self.board / "root.json").write_bytes(
            director.create_root(self.signer_key, root_signer, int(time.time()) + YEAR)
        )
        (self.board / "agent.toml").write_text(
            f'device = "{DEVICE}"\ntype = "files"\nstate = "state"\n'
            f'[broker]\nhost = "127.0.0.1"\nport = {port or broker.port}\nkeepalive = {keepalive}\n'
            '[trust]\nroot = "root.json"\nkey = "board.key"\n[board]\nroot = "slots"\n'
        )
        self.version = 0
        self.reports: list[Reported] = []
        self.link = MqttLink(LinkOptions("127.0.0.1", broker.port, "server", inbox=1024))
        self.process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._up = asyncio.Event()

    # --- life ---------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Rig:
        self.link.start()
        self._reader = asyncio.create_task(self._read())
        await asyncio.wait_for(self._up.wait(), 10)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.halt()
        if self._reader:
            self._reader.cancel()
        await self.link.stop()

    def install(self, image: bytes, component: str = "rootfs") -> None:
        (self.board / "slots" / "a" / f"{component}.img").write_bytes(image)

    def spoil(self, slot: str, component: str = "rootfs") -> None:
        """Write one byte into an image, as something that does not know that slots are read-only."""
        with (self.board / "slots" / slot / f"{component}.img").open("r+b") as image:
            first = image.read(1)[0]
            image.seek(0)
            image.write(bytes([first ^ 1]))

    def start(self) -> None:
        """Power on."""
        slots, config = str(self.board / "slots"), str(self.board / "agent.toml")
        command = [sys.executable, "-m", "edgesync.cli.main", "board", "run", "--root", slots, "--config", config]
        if self._hurried:
            command = [sys.executable, str(HURRIED), "board", slots, config]
        with (self.root / "board.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    async def begin(self, image: bytes) -> Reported:
        """Power on with this image, until the board has proved that it runs."""
        self.install(image)
        self.start()
        return await self.confirmed(image)

    async def offer(self, image: bytes, source: Source) -> None:
        """Publish a blob and the desired state that names it."""
        await self.publish(source.blob)
        await self.want(self.desired(image, source))

    async def halt(self) -> None:
        """Stop the board as an operator would; nothing where it does not run."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self.process.wait, 20)

    def power_cut(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGUSR1)

    def kill_agent(self) -> None:
        """As the kernel's OOM killer would."""
        os.kill(self.agent_pid(), signal.SIGKILL)

    def agent_pid(self) -> int:
        assert self.process
        return children(self.process.pid)[0]

    async def apply_worker(self, limit: float = 20.0) -> int:
        """The process of the apply worker, as soon as it has begun its work."""
        agent = self.agent_pid()
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            for pid in children(agent):
                if is_at_work(pid, "edgesync.delta.worker"):
                    return pid
            await asyncio.sleep(0.002)
        raise AssertionError(f"no apply worker within {limit} s\n{self.log()[-4000:]}")

    async def ended(self, pid: int, limit: float = 5.0) -> None:
        """Until this process is gone."""
        deadline = time.monotonic() + limit
        while alive(pid):
            assert time.monotonic() < deadline, f"process {pid} still lives after {limit} s\n{self.log()[-4000:]}"
            await asyncio.sleep(0.01)

    def log(self) -> str:
        path = self.root / "board.log"
        return path.read_text() if path.exists() else ""

    async def logged(self, text: str, limit: float = 30.0, since: int = 0) -> None:
        """Until the board's log says this behind its first `since` characters."""
        deadline = time.monotonic() + limit
        while text not in self.log()[since:]:
            assert time.monotonic() < deadline, f"no {text!r} in the log within {limit} s\n{self.log()[-4000:]}"
            await asyncio.sleep(0.01)

    def slot(self, name: str, component: str = "rootfs") -> Digest | None:
        path = self.board / "slots" / name / f"{component}.img"
        return digest_of(path.read_bytes()) if path.exists() else None

    # --- the server's part --------------------------------------------------------------------------------------

    def delta(self, old: bytes, new: bytes) -> Source:
        base, result = self.root / "old.img", self.root / "new.img"
        base.write_bytes(old)
        result.write_bytes(new)
        out = self.root / "blobs" / "made"
        out.unlink(missing_ok=True)
        make_delta(str(base), str(result), str(out))
        return self._blob("delta", digest_of(old))

    def full(self, image: bytes) -> Source:
        path = self.root / "full.img"
        path.write_bytes(image)
        (self.root / "blobs" / "made").unlink(missing_ok=True)
        make_full(str(path), str(self.root / "blobs" / "made"))
        return self._blob("full", None)

    def _blob(self, kind: str, base: Digest | None) -> Source:
        made = self.root / "blobs" / "made"
        data = made.read_bytes()
        pieces = [data[at : at + layout.PIECE] for at in range(0, len(data), layout.PIECE)]
        index, leaves = layout.build(pieces, len(data))
        made.rename(self.root / "blobs" / index.blob)
        (self.root / "blobs" / f"{index.blob}.index").write_bytes(index.encode() + b"".join(leaves))
        return Source(kind, index.blob, len(data), base)  # type: ignore[arg-type]

    def messages(self, blob: BlobId, root: str = topics.firmware(FLEET)) -> dict[str, bytes]:
        """Topic -> payload of everything that is published for a blob below `root`."""
        data = (self.root / "blobs" / blob).read_bytes()
        stored = (self.root / "blobs" / f"{blob}.index").read_bytes()
        size = layout.index_size(stored)
        index = layout.parse_index(blob, stored[:size])
        found = {}
        for number in range(index.pieces):
            piece = data[number * layout.PIECE : (number + 1) * layout.PIECE]
            for at, block in enumerate(layout.split(index, number, piece)):
                found[topics.block(root, blob, number, at)] = block
        for number in range(len(index.leaves)):
            at = size + number * layout.LEAF_LIMIT
            found[topics.leaf(root, blob, number)] = stored[at : at + layout.LEAF_LIMIT]
        found[topics.index(root, blob)] = stored[:size]
        return found

    async def publish(
        self, blob: BlobId, root: str = topics.firmware(FLEET), *, without: Callable[[str], bool] = lambda _: False
    ) -> None:
        for topic, payload in self.messages(blob, root).items():
            if not without(topic):
                await self.link.deliver(topic, payload)

    async def say(self, messages: Mapping[str, bytes]) -> None:
        """Publish anything, right or wrong."""
        for topic, payload in messages.items():
            await self.link.deliver(topic, payload)

    async def lose_store(self) -> None:
        """The broker's machine comes back with an empty disk; returns when the server has found it again."""
        self._up.clear()
        await asyncio.to_thread(self.broker.restart, empty=True)
        await asyncio.wait_for(self._up.wait(), 30)

    async def withdraw(self, blob: BlobId) -> None:
        for topic in reversed(self.messages(blob)):
            await self.link.deliver(topic, b"")

    def desired(self, image: bytes, source: Source | None, **changes: object) -> Desired:
        self.version += 1
        target = Target("rootfs", f"v{self.version}", len(image), digest_of(image), source)
        values = {"release": f"r{self.version}", "targets": (target,), **changes}
        return Desired(DEVICE, self.version, "0" * 40, f"rollout{self.version}", **values)  # type: ignore[arg-type]

    def signed(self, desired: Desired) -> bytes:
        return director.sign_desired(desired, self.signer, int(time.time()) + YEAR)

    async def want(self, desired: Desired) -> None:
        await self.link.deliver(topics.desired(FLEET, DEVICE), self.signed(desired))

    async def retained(self, topic: str) -> bytes | None:
        """What the broker retains there."""
        reader = MqttLink(LinkOptions("127.0.0.1", self.broker.port, "reader"))
        reader.start()
        try:
            while True:
                match await asyncio.wait_for(reader.next(), 5):
                    case Up():
                        reader.subscribe(topic)
                    case Message(_, payload):
                        return payload
        except asyncio.TimeoutError:
            return None
        finally:
            await reader.stop()

    async def _read(self) -> None:
        while True:
            match await self.link.next():
                case Up():
                    self.link.subscribe(topics.all_boards(FLEET, "reported"), qos=1)
                    self._up.set()
                case Message(topic, payload) if payload:
                    self.reports.append(report.verify_reported(payload, topics.parse(topic).device, self.report_key))

    async def reported(self, wanted: Callable[[Reported], bool], limit: float = 30.0, since: int = 0) -> Reported:
        """The first report from number `since` on that fits, within `limit` seconds."""
        deadline = time.monotonic() + limit
        seen = since
        while time.monotonic() < deadline:
            while seen < len(self.reports):
                if wanted(self.reports[seen]):
                    return self.reports[seen]
                seen += 1
            await asyncio.sleep(0.05)
        told = [json.dumps(r.to_dict()) for r in self.reports[-4:]]
        raise AssertionError(
            f"{board_of(DEVICE)} did not report it within {limit} s; last: {told}\n{self.log()[-4000:]}"
        )

    async def confirmed(self, image: bytes, limit: float = 30.0, since: int = 0) -> Reported:
        """The report that proves that the board runs this image."""
        digest = digest_of(image)
        return await self.reported(
            lambda r: r.confirmed and r.phase is Phase.IDLE and r.images.get("rootfs") == digest, limit, since
        )


@asynccontextmanager
async def behind(profile: LinkProfile, root: Path, *, keepalive: int = 10) -> AsyncIterator[tuple[Rig, TcpProxy]]:
    """A rig with a broker of its own, whose agent is in a hurry and reaches the broker over this link."""
    with MosquittoBroker(root / "broker") as broker:
        async with (
            TcpProxy(profile, ("127.0.0.1", broker.port)) as proxy,
            Rig(root, broker, proxy.port, hurried=True, keepalive=keepalive) as rig,
        ):
            yield rig, proxy


async def carried(proxy: TcpProxy, count: int, limit: float = 30.0) -> None:
    """Until the link has carried so many bytes to the board in all."""
    deadline = time.monotonic() + limit
    while proxy.counters().down < count:
        assert time.monotonic() < deadline, f"{proxy.counters().down} of {count} bytes within {limit} s"
        await asyncio.sleep(0.01)
