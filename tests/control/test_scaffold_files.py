"""`edgesync init` writes a fleet that every part accepts as it is: git, server, agent, boot backend, mosquitto."""

from __future__ import annotations

import asyncio
import stat
import time
from pathlib import Path

import pytest

from edgesync.agent import config as agent_config
from edgesync.boards.profile import load as load_profile
from edgesync.boards.profile import open_backend
from edgesync.control import config as server_config
from edgesync.control import scaffold
from edgesync.control.desired import compile_fleet
from edgesync.control.images import check
from edgesync.control.repository import known_types, load
from edgesync.control.scaffold import Setup, write
from edgesync.control.source import Repository
from edgesync.host.mqtt import LinkOptions, Message, MqttLink, Tls, Up
from edgesync.sim.broker import MosquittoBroker, free_port
from edgesync.trust.director import sign_desired, verify_desired
from edgesync.trust.keys import load_signer, public_hex
from edgesync.wire import topics
from edgesync.wire.errors import ConfigError, EdgesyncError
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Desired

NOW = 1_800_000_000.0


@pytest.fixture
def image(tmp_path: Path) -> Path:
    place = tmp_path / "built.img"
    place.write_bytes(b"firmware" * 1000)
    return place


@pytest.mark.parametrize("boards", [1, 2, 12])
def test_the_repository_is_valid_and_its_images_are_there(boards: int, image: Path, tmp_path: Path):
    write(tmp_path / "lab", Setup(boards=boards, image=image), NOW)
    repository = Repository(tmp_path / "lab/fleet")
    fleet = load(repository.files("main"), repository.head().id, known_types())
    assert repository.files("main") == repository.current_files()
    assert {wanted.release for wanted in compile_fleet(fleet).values()} == {"v1"}
    assert len(fleet.boards) == boards
    assert check(fleet, tmp_path / "lab/images") == []


def test_without_an_image_the_repository_is_valid_and_wants_nothing(tmp_path: Path):
    write(tmp_path / "lab", Setup(), NOW)
    fleet = load(Repository(tmp_path / "lab/fleet").files("main"), "rev", known_types())
    assert compile_fleet(fleet) == {}


def test_the_example_release_is_valid_when_it_is_renamed(image: Path, tmp_path: Path):
    write(tmp_path / "lab", Setup(), NOW)
    place = tmp_path / "lab/fleet"
    (place / "releases/v1.yaml.example").rename(place / "releases/v1.yaml")
    text = (place / "fleet.yaml").read_text()
    (place / "fleet.yaml").write_text(text.replace("# defaults:\n#   release: v1", "defaults:\n  release: v1"))
    fleet = load(Repository(place).current_files(), "rev", known_types())
    assert len(compile_fleet(fleet)) == 3


def test_server_and_agents_read_their_files_and_know_each_other(image: Path, tmp_path: Path):
    write(tmp_path / "lab", Setup("plant-7", 2, "127.0.0.1", 1234, image), NOW)
    server = server_config.load(tmp_path / "lab/server/server.toml")
    fleet = load(Repository(server.repository).files(server.branch), "rev", known_types())
    signer = load_signer(str(server.director_key))
    assert server.images == tmp_path / "lab/images"
    for device, board in fleet.boards.items():
        agent = agent_config.load(str(tmp_path / "lab/boards" / device.partition(".")[2] / "agent.toml"))
        assert (agent.device, agent.host, agent.port) == (device, "127.0.0.1", 1234)
        assert public_hex(agent.report_key) == board.key
        desired = Desired(device, 1, "rev", "rollout", "v1", hold="paused")
        root = Path(agent.trust_root).read_bytes()
        assert verify_desired(sign_desired(desired, signer, int(NOW) + 60), root, device, 0, NOW) == desired
        backend = open_backend(load_profile(agent.board_type), Path(agent.board_root))
        assert backend.components("a") == {"firmware": image.stat().st_size}


def test_a_board_writes_to_a_slot_of_its_own(image: Path, tmp_path: Path):
    write(tmp_path / "lab", Setup(boards=2, image=image), NOW)
    slots = [tmp_path / f"lab/boards/{name}/slots/a/firmware.img" for name in ("b01", "b02")]
    assert len({path.stat().st_ino for path in (*slots, image)}) == 3


def test_private_keys_are_readable_by_their_owner_only_and_not_in_git(tmp_path: Path):
    write(tmp_path / "lab", Setup(boards=2), NOW)
    keys = list((tmp_path / "lab").rglob("*.key"))
    assert len(keys) == 10  # authority, root, director, server, broker, collector, and two for each board
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert not any(b"PRIVATE" in file.data for file in Repository(tmp_path / "lab/fleet").files("main").values())


def test_what_is_there_is_never_touched(tmp_path: Path):
    lab = tmp_path / "lab"
    lab.mkdir()
    write(lab, Setup(boards=1), NOW)
    before = {path: path.stat().st_mtime_ns for path in lab.rglob("*")}
    with pytest.raises(ConfigError, match="expected no such directory or an empty one"):
        write(lab, Setup(boards=1), NOW)
    assert {path: path.stat().st_mtime_ns for path in lab.rglob("*")} == before


@pytest.mark.parametrize(
    "setup",
    [
        Setup("De mo"),
        Setup("d" * 62),
        Setup(boards=0),
        Setup(boards=1001),
        Setup(port=0),
        Setup(host="no such\nhost"),
        Setup(image=Path("/nowhere.img")),
    ],
)
def test_settings_that_cannot_be_are_refused_and_leave_nothing(setup: Setup, tmp_path: Path):
    with pytest.raises(ConfigError, match="--"):
        write(tmp_path / "lab", setup, NOW)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["_server", "_broker", "_board", "_fleet", "Repository"])
def test_a_failure_half_way_leaves_nothing(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scaffold, step, fail)
    with pytest.raises(EdgesyncError, match="No space left"):
        write(tmp_path / "lab", Setup(boards=2), NOW)
    assert not list(tmp_path.iterdir())


@pytest.mark.broker
def test_mosquitto_accepts_the_configuration_and_carries_desired_from_server_to_board(tmp_path: Path):
    port = free_port()
    lab = tmp_path / "lab"
    write(lab, Setup(boards=1, port=port), time.time())
    server = server_config.load(lab / "server/server.toml")
    agent = agent_config.load(str(lab / "boards/b01/agent.toml"))
    assert server.broker.tls is not None
    assert agent.tls is not None
    topic = topics.desired("demo", DeviceId("demo.b01"))

    async def up(name: str, tls: Tls) -> MqttLink:
        link = MqttLink(LinkOptions("127.0.0.1", port, name, tls=tls))
        link.start()
        assert isinstance(await asyncio.wait_for(link.next(), 10), Up)
        return link

    async def run() -> None:
        board = await up("demo.b01", agent.tls)  # type: ignore[arg-type]
        board.subscribe(topic, qos=1)
        sender = await up("demo.server", server.broker.tls)  # type: ignore[arg-type]
        await asyncio.wait_for(sender.deliver(topic, b"hello"), 10)
        message = await asyncio.wait_for(board.next(), 10)
        assert isinstance(message, Message)
        assert (message.topic, message.payload) == (topic, b"hello")
        await board.stop()
        await sender.stop()

    with MosquittoBroker(tmp_path / "run", port=port, config=lab / "broker/mosquitto.conf", store=lab / "broker/store"):
        asyncio.run(run())
    assert (lab / "broker/store/mosquitto.db").is_file(), "and it keeps what is retained over a restart"
