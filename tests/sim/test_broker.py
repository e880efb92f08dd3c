"""Brokers as processes: both programs start, die and come back alike, and say why when they do not."""

from __future__ import annotations

import os
import queue
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from edgesync.host.mqtt import Tls
from edgesync.sim import broker as broker_module
from edgesync.sim.broker import AmqttBroker, MosquittoBroker, find_mosquitto, free_port
from edgesync.trust import pki
from edgesync.wire.errors import NotReachableError

Broker = MosquittoBroker | AmqttBroker


@pytest.fixture(
    params=[pytest.param(MosquittoBroker, marks=pytest.mark.broker), AmqttBroker], ids=lambda kind: kind.name
)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    with request.param(tmp_path / "broker") as running:
        yield running


def talk(broker: Broker, action: Callable[[mqtt.Client], Any]) -> list[tuple[str, bytes]]:
    """What a client hears that does `action` and then waits for its own last message to come back."""
    heard: queue.Queue[tuple[str, bytes]] = queue.Queue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _data, message: heard.put((message.topic, message.payload))
    client.on_connect = lambda client, *_: (client.subscribe([("kept/#", 1), ("end", 1)]), action(client))
    client.on_subscribe = lambda client, *_: client.publish("end", b"", 1)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        messages = list(iter(lambda: heard.get(timeout=10), ("end", b"")))
    finally:
        client.disconnect()
        client.loop_stop()
    return messages


def keep(client: mqtt.Client) -> None:
    client.publish("kept/1", b"retained", 1, retain=True)


def kept(broker: Broker) -> bool:
    return ("kept/1", b"retained") in talk(broker, lambda _client: None)


def test_it_accepts_as_soon_as_start_returns_and_is_gone_after_stop(broker: Broker) -> None:
    with socket.create_connection((broker.host, broker.port), 1):
        pid = broker.pid
    assert pid
    broker.stop()
    assert broker.pid is None
    assert not os.path.exists(f"/proc/{pid}")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((broker.host, broker.port), 1)


def test_it_keeps_retained_messages_while_it_runs_and_can_come_back_empty(broker: Broker) -> None:
    talk(broker, keep)
    assert kept(broker)
    broker.restart(empty=True)
    assert not kept(broker)


def test_it_can_be_killed_and_started_again_on_the_same_port(broker: Broker) -> None:
    port = broker.port
    broker.kill()
    broker.kill()
    broker.start()
    assert broker.port == port
    assert not kept(broker)


def test_starting_twice_is_refused_with_the_process_that_runs(broker: Broker) -> None:
    with pytest.raises(NotReachableError, match=rf"runs already, as process {broker.pid}"):
        broker.start()


@pytest.mark.broker
def test_mosquitto_has_its_store_again_after_a_stop(tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path) as broker:
        talk(broker, keep)
        broker.restart()
        assert kept(broker)


@pytest.mark.broker
def test_a_given_configuration_is_used_and_may_hold_clients_to_their_identity(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "mine.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    with MosquittoBroker(tmp_path, port=port, config=config) as broker:
        assert broker.identity
        talk(broker, keep)
        broker.restart()
        assert not kept(broker)


@pytest.mark.broker
def test_a_broker_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    config = tmp_path / "bad.conf"
    config.write_text("no_such_setting 1\n")
    with pytest.raises(NotReachableError, match=r"ended with status \d+; its log ends: .*no_such_setting"):
        MosquittoBroker(tmp_path, port=free_port(), config=config).start()


@pytest.mark.broker
def test_a_port_that_another_program_holds_is_not_taken_for_the_brokers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broker = MosquittoBroker(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(NotReachableError, match="Address already in use"):
            broker.start()
    assert broker.pid is None


@pytest.mark.broker
def test_a_broker_that_accepts_nothing_is_killed_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "START_LIMIT", 0.3)
    config = tmp_path / "elsewhere.conf"
    config.write_text(f"listener {free_port()} 127.0.0.1\n")
    broker = MosquittoBroker(tmp_path, port=free_port(), config=config)
    with pytest.raises(NotReachableError, match="accepts no connection"):
        broker.start()
    assert broker.pid is None


@pytest.mark.broker
def test_a_frozen_broker_is_killed_when_it_does_not_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "STOP_LIMIT", 0.3)
    broker = MosquittoBroker(tmp_path)
    broker.start()
    pid = broker.pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    broker.stop()
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.broker
@pytest.mark.root
def test_it_runs_where_the_given_popen_runs_it(tmp_path: Path) -> None:
    name = f"es-broker-{os.getpid()}"

    def inside(args, **options):
        return subprocess.Popen(["ip", "netns", "exec", name, *args], **options)

    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        with MosquittoBroker(tmp_path, popen=inside) as broker, pytest.raises(OSError, match="refused"):
            socket.create_connection((broker.host, broker.port), 1)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_amqtt_says_that_identity_is_off(tmp_path: Path) -> None:
    with AmqttBroker(tmp_path) as broker:
        assert not broker.identity
        assert "identity is OFF" in broker.notice
        assert broker.notice in broker.log_tail()


def test_amqtt_shows_the_given_certificate(tmp_path: Path) -> None:
    ca, cert, key = (str(tmp_path / name) for name in ("ca.crt", "tls.crt", "tls.key"))
    pki.create_ca(str(tmp_path), "demo")
    pki.issue(str(tmp_path), cert, key, "demo.broker", hosts=["127.0.0.1"])
    with AmqttBroker(tmp_path, tls=Tls(ca, cert, key)) as broker:
        plain = socket.create_connection((broker.host, broker.port), 5)
        with ssl.create_default_context(cafile=ca).wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            assert secure.version() == "TLSv1.3"


def test_mosquitto_is_found_where_an_ordinary_path_does_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_mosquitto() == program


def test_a_machine_without_mosquitto_is_told_what_to_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "find_mosquitto", lambda: None)
    with pytest.raises(NotReachableError, match="install it, or use amqtt"):
        MosquittoBroker(tmp_path)


def test_a_client_gets_no_retained_message_that_only_another_has_asked_for(broker: Broker) -> None:
    """amqtt by itself sends each new client what any other has ever subscribed to."""
    talk(broker, lambda client: (client.publish("other/1", b"large", 1, retain=True), client.subscribe("other/#", 1)))
    assert talk(broker, lambda _client: None) == []
