"""The rootless proxy with real sockets: its figures against computed ones, then its faults."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from edgesync.sim import profiles
from edgesync.sim.profiles import Direction, LinkProfile, Outage
from edgesync.sim.proxy import ProxyThread, TcpProxy
from edgesync.wire.errors import ConfigError

DIRECT = profiles.load("direct")


def link(**way):
    return LinkProfile("test", "", "", Direction(**way), Direction(**way))


@contextmanager
def server(answer):
    """A TCP server on a free port that runs `answer(socket)` in a thread for each connection."""

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=guarded, args=(connection,), daemon=True).start()

    def guarded(connection):
        with connection:
            try:
                answer(connection)
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def connect(port, timeout=10.0):
    return socket.create_connection(("127.0.0.1", port), timeout)


def read(connection, size):
    data = b""
    while len(data) < size and (more := connection.recv(65536)):
        data += more
    return data


def say(connection, text=b"ping"):
    connection.sendall(text)
    return read(connection, len(text))


def test_bytes_pass_unchanged_in_both_directions_and_the_end_of_the_stream_too():
    data = os.urandom(300_000)
    with server(echo) as target, ProxyThread(DIRECT, target) as proxy, connect(proxy.port) as client:
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(socket.SHUT_WR)))
        sender.start()
        assert read(client, len(data) + 1) == data
        sender.join()
        assert client.recv(1) == b""
        counters = proxy.counters()
        assert (counters.up, counters.down, counters.accepted, counters.reset) == (len(data), len(data), 1, 0)


def test_a_round_trip_takes_what_the_profile_says():
    with server(echo) as target, ProxyThread(link(rate=0, delay=0.1), target) as proxy, connect(proxy.port) as client:
        say(client)
        began = time.monotonic()
        for _ in range(3):
            say(client)
        assert (time.monotonic() - began) / 3 == pytest.approx(0.2, rel=0.15)


def test_the_first_answer_pays_for_the_handshake_over_the_link():
    with server(echo) as target, ProxyThread(link(rate=0, delay=0.1), target) as proxy:
        began = time.monotonic()
        with connect(proxy.port) as client:
            say(client)
        assert time.monotonic() - began == pytest.approx(0.4, rel=0.15)


@pytest.mark.parametrize("connections", [1, 3])
def test_goodput_is_the_rate_less_headers_however_many_connections_share_it(connections):
    profile = link(rate=256_000, delay=0.05)
    size = 64 * 1024 // connections
    with (
        server(lambda s: s.sendall(bytes(size))) as target,
        ProxyThread(profile, target) as proxy,
    ):
        clients = [connect(proxy.port) for _ in range(connections)]
        began = time.monotonic()
        threads = [threading.Thread(target=read, args=(c, size)) for c in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        for client in clients:
            client.close()
    computed = profile.round_trip + 0.05 + size * connections / profile.payload_rate()
    assert seconds == pytest.approx(computed, rel=0.15)


def test_a_sender_cannot_push_more_into_a_slow_link_than_it_holds():
    profile = link(rate=8_000, queue=4096)
    with (
        server(lambda s: time.sleep(5)) as target,
        ProxyThread(profile, target) as proxy,
        connect(proxy.port) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.settimeout(0.5)
        for _ in range(64):
            try:
                client.send(bytes(1024))
            except TimeoutError:
                return
        pytest.fail("a link that holds 4 KiB took 64 KiB")


def test_a_profile_with_packet_loss_is_refused_and_works_without_it():
    lossy = profiles.load("narrow-32k").with_loss(0.05)
    with pytest.raises(ConfigError, match=r"narrow-32k.*cannot"):
        ProxyThread(lossy, ("127.0.0.1", 1))
    with ProxyThread(lossy.without_loss(), ("127.0.0.1", 1)) as proxy:
        assert proxy.port


def test_a_stall_freezes_the_data_and_keeps_the_connection():
    with server(echo) as target, ProxyThread(DIRECT, target) as proxy, connect(proxy.port) as client:
        say(client)
        proxy.stall()
        client.sendall(b"later")
        client.settimeout(0.4)
        with pytest.raises(TimeoutError):
            client.recv(1)
        proxy.resume()
        client.settimeout(5)
        assert read(client, 5) == b"later"
        assert proxy.counters().reset == 0


def test_a_stall_stops_the_clock_of_what_is_on_its_way():
    with (
        server(echo) as target,
        ProxyThread(link(rate=0, delay=0.2), target) as proxy,
        connect(proxy.port) as client,
    ):
        say(client)
        began = time.monotonic()
        client.sendall(b"x")
        time.sleep(0.05)
        proxy.stall()
        time.sleep(0.5)
        proxy.resume()
        client.recv(1)
        assert time.monotonic() - began == pytest.approx(0.9, rel=0.15)


def test_resetting_ends_both_ends_with_a_reset_and_new_connections_work_at_once():
    outcome = []

    def answer(connection):
        try:
            echo(connection)
            outcome.append("end")
        except ConnectionResetError:
            outcome.append("reset")

    with server(answer) as target, ProxyThread(DIRECT, target) as proxy:
        with connect(proxy.port) as client:
            say(client)
            proxy.reset_all()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with connect(proxy.port) as client:
            assert say(client) == b"ping"
        assert proxy.counters().reset == 1
        # The threads of the two connections end in any order.
        deadline = time.monotonic() + 10
        while "reset" not in outcome and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "reset" in outcome


def test_connections_can_be_reset_again_and_again():
    profile = DIRECT.replace(reset_every=0.3)
    with server(echo) as target, ProxyThread(profile, target) as proxy:
        for _ in range(3):
            with connect(proxy.port) as client:
                say(client)
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
        assert proxy.counters().reset == 3


def test_unplugging_leaves_old_connections_half_open_for_good_and_new_ones_waiting():
    heard = []

    def answer(connection):
        connection.settimeout(5)
        while data := connection.recv(100):
            heard.append(data)
            connection.sendall(data)
        heard.append(b"end")

    with server(answer) as target, ProxyThread(DIRECT, target) as proxy:
        old = connect(proxy.port, 0.4)
        say(old, b"1")
        proxy.unplug()
        new = connect(proxy.port, 0.4)
        for client in (old, new):
            client.sendall(b"2")
            with pytest.raises(TimeoutError):
                client.recv(1)
        proxy.plug()
        new.settimeout(5)
        assert read(new, 1) == b"2"
        old.close()
        time.sleep(0.2)
        assert heard == [b"1", b"2"]
        assert proxy.counters().open == 2
        new.close()


def test_an_outage_holds_the_data_back_until_it_is_over():
    profile = DIRECT.replace(outage=Outage(period=1.0, length=0.6))
    with server(echo) as target, ProxyThread(profile, target) as proxy, connect(proxy.port) as client:
        longest = 0.0
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            began = time.monotonic()
            say(client)
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.01)
        assert longest == pytest.approx(0.6, abs=0.1)


def test_a_target_that_is_not_there_is_a_reset():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with (
        ProxyThread(DIRECT, ("127.0.0.1", port)) as proxy,
        connect(proxy.port) as client,
        pytest.raises(ConnectionResetError),
    ):
        client.recv(1)


def test_a_connection_that_one_end_breaks_is_broken_at_the_other_and_counted_out():
    def slam(connection):
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with server(slam) as target, ProxyThread(DIRECT, target) as proxy, connect(proxy.port) as client:
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        time.sleep(0.1)
        assert proxy.counters().open == 0


def test_it_works_inside_a_loop_that_is_already_there():
    async def use(target):
        async with TcpProxy(DIRECT, target) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"hello")
            answer = await reader.readexactly(5)
            writer.close()
            await writer.wait_closed()
            return answer

    with server(echo) as target:
        assert asyncio.run(use(target)) == b"hello"


def test_the_fixture_gives_a_port_and_the_faults_behind_it(slow_link):
    with server(echo) as target:
        port = slow_link("direct", target[1])
        with connect(port) as client:
            assert say(client) == b"ping"
            slow_link.proxy(port).reset_all()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
