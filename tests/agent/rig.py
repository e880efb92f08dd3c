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
from collections.abc import Callable
from pathlib import Path

from edgesync.delta.full import make_full
from edgesync.delta.make import make_delta
from edgesync.host.mqtt import LinkOptions, Message, MqttLink, Up
from edgesync.sim.broker import MosquittoBroker
from edgesync.trust import director, keys, report
from edgesync.wire import blob as layout
from edgesync.wire import topics
from edgesync.wire.ids import BlobId, Digest, board_of, device_id, digest_of
from edgesync.wire.messages import Desired, Phase, Reported, Source, Target

FLEET = "bench"
DEVICE = device_id(FLEET, "b01")
YEAR = 365 * 86400


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


class Rig:
    """Directories and keys of one board below `root`; `port` is where the agent finds its broker."""

    def __init__(self, root: Path, broker: MosquittoBroker, port: int | None = None) -> None:
        self.root, self.broker = root, broker
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
            f'[broker]\nhost = "127.0.0.1"\nport = {port or broker.port}\nkeepalive = 10\n'
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
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(self.process.wait, 20)
        if self._reader:
            self._reader.cancel()
        await self.link.stop()

    def install(self, image: bytes, component: str = "rootfs") -> None:
        (self.board / "slots" / "a" / f"{component}.img").write_bytes(image)

    def start(self) -> None:
        """Power on."""
        command = [sys.executable, "-m", "edgesync.cli.main", "board", "run"]
        command += ["--root", str(self.board / "slots"), "--config", str(self.board / "agent.toml")]
        with (self.root / "board.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def power_cut(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGUSR1)

    def kill_agent(self) -> None:
        """As the kernel's OOM killer would."""
        os.kill(self.agent_pid(), signal.SIGKILL)

    def agent_pid(self) -> int:
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def log(self) -> str:
        return (self.root / "board.log").read_text()

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

    def messages(self, blob: BlobId) -> dict[str, bytes]:
        """Topic -> payload of everything that is published for a blob."""
        data = (self.root / "blobs" / blob).read_bytes()
        stored = (self.root / "blobs" / f"{blob}.index").read_bytes()
        size = layout.index_size(stored)
        index = layout.parse_index(blob, stored[:size])
        found = {}
        for number in range(index.pieces):
            piece = data[number * layout.PIECE : (number + 1) * layout.PIECE]
            for at, block in enumerate(layout.split(index, number, piece)):
                found[topics.block(FLEET, blob, number, at)] = block
        for number in range(len(index.leaves)):
            at = size + number * layout.LEAF_LIMIT
            found[topics.leaf(FLEET, blob, number)] = stored[at : at + layout.LEAF_LIMIT]
        found[topics.index(FLEET, blob)] = stored[:size]
        return found

    async def publish(self, blob: BlobId, *, without: Callable[[str], bool] = lambda _: False) -> None:
        for topic, payload in self.messages(blob).items():
            if not without(topic):
                await self.link.deliver(topic, payload)

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
        raise AssertionError(f"{board_of(DEVICE)} did not report it within {limit} s; last: {told}\n{self.log()[-4000:]}")

    async def confirmed(self, image: bytes, limit: float = 30.0, since: int = 0) -> Reported:
        """The report that proves that the board runs this image."""
        digest = digest_of(image)
        return await self.reported(
            lambda r: r.confirmed and r.phase is Phase.IDLE and r.images.get("rootfs") == digest, limit, since
        )
