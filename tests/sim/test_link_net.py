"""Emulated links with the real kernel: what is measured over them is what their profiles say. Needs root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from edgesync.sim import plugin, profiles
from edgesync.sim.net import NAMESPACES, Net
from edgesync.sim.profiles import Direction, LinkProfile, Outage
from edgesync.wire.errors import ConfigError, NotReachableError

pytestmark = pytest.mark.root

DIRECT = profiles.load("direct")


@pytest.fixture(autouse=True)
def root():
    plugin.require(Net.unavailable())


HUB = """
import socket, threading
def serve(c):
    with c:
        try:
            while request := c.recv(100):
                n = int(request)
                c.sendall(bytes(n))
        except OSError:
            pass
with socket.create_server(("10.77.0.1", 7000), backlog=100) as s:
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""

# Asks the hub PINGS times for one byte, then for SIZE bytes, and prints what it saw: the mean round trip, and "error"
# for how the connection ended.
BOARD = """
import json, socket, sys, time
size, pings = int(sys.argv[1]), int(sys.argv[2])
said = {"rtt": 0, "bytes": 0, "seconds": 0, "error": ""}
began = time.monotonic()
try:
    with socket.create_connection(("10.77.0.1", 7000), 60) as s:
        for _ in range(pings):
            began = time.monotonic()
            s.sendall(b"1")
            s.recv(1)
            said["rtt"] += (time.monotonic() - began) / pings
        s.sendall(str(size).encode())
        began = time.monotonic()
        while said["bytes"] < size and (data := s.recv(65536)):
            said["bytes"] += len(data)
except OSError as error:
    said["error"] = type(error).__name__
said["seconds"] = time.monotonic() - began
print(json.dumps(said))
"""

# Datagrams, so that no protocol repairs or adds anything: count, size, seconds between two.
DATAGRAMS = """
import socket, sys, time
count, size, gap = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(count):
    s.sendto(bytes(size), ("10.77.0.1", 9))
    time.sleep(gap)
"""


# Does not end when it is asked to, and has a child that nobody knows.
STUBBORN = """
import signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "77"]).pid, flush=True)
time.sleep(77)
"""


def start_hub(net):
    hub = net.popen(None, [sys.executable, "-c", HUB], stdout=subprocess.PIPE, text=True)
    assert hub.stdout.readline() == "ready\n"
    hub.stdout.close()
    return hub


def start_board(net, end, size, pings=0):
    command = [sys.executable, "-c", BOARD, str(size), str(pings)]
    return net.popen(end.namespace, command, stdout=subprocess.PIPE, text=True)


def result(program):
    return json.loads(program.communicate(timeout=60)[0])


def fetch(net, end, size):
    return result(start_board(net, end, size))


def send_datagrams(net, end, count, size, gap=0.0):
    assert net.popen(end.namespace, [sys.executable, "-c", DATAGRAMS, str(count), str(size), str(gap)]).wait(60) == 0


def settle(net, board):
    """Counters once nothing is under way any more."""
    for _ in range(100):
        counters = net.counters(board)
        if counters.up.in_flight.packets == counters.down.in_flight.packets == 0:
            return counters
        time.sleep(0.05)
    pytest.fail(f"packets are under way for ever: {counters}")


def leftovers(prefix):
    return [n for n in os.listdir(NAMESPACES) if n.startswith(prefix + "_")]


def test_round_trip_and_goodput_are_what_the_profile_computes(link_net):
    sizes = {"narrow-32k": 16 * 1024, "lte-256k": 128 * 1024, "2g": 24 * 1024}
    links = {name: profiles.load(name).without_loss().replace(outage=None) for name in sizes}
    start_hub(link_net)
    ends = {name: link_net.add(name, link) for name, link in links.items()}
    programs = {name: start_board(link_net, end, sizes[name], pings=3) for name, end in ends.items()}
    for name, program in programs.items():
        seen, link = result(program), links[name]
        ping = link.round_trip + 53 * 8 / link.up.rate + 53 * 8 / link.down.rate
        assert seen["rtt"] == pytest.approx(ping, rel=0.15), name
        assert sizes[name] / (seen["seconds"] - link.round_trip) == pytest.approx(link.payload_rate(), rel=0.15), name


def test_idle_links_carry_nothing_so_counters_are_the_transfer_alone(link_net):
    end = link_net.add("b1", DIRECT)
    time.sleep(1)
    assert link_net.counters("b1").up.offered.packets == 0
    assert link_net.counters("b1").down.offered.packets == 0
    send_datagrams(link_net, end, count=10, size=100)
    counters = settle(link_net, "b1")
    assert counters.up.delivered.packets == counters.up.offered.packets == 10
    assert counters.up.delivered.bytes == 10 * (20 + 8 + 100)


def test_a_tcp_transfer_costs_its_payload_and_one_header_a_segment(link_net):
    size = 144_800  # a hundred full segments
    end = link_net.add("b1", LinkProfile("t", "", "", Direction(2e6, 0.02), Direction(2e6, 0.02)))
    start_hub(link_net)
    assert fetch(link_net, end, size)["bytes"] == size
    counters = settle(link_net, "b1")
    assert counters.down.lost.packets == counters.down.overflow.packets == 0
    other = counters.down.delivered.packets - 100  # SYN-ACK, ACKs, FIN: headers only
    assert 2 <= other <= 12
    assert size + 100 * 52 + other * 40 <= counters.down.delivered.bytes <= size + 100 * 52 + other * 60
    assert counters.up.delivered.bytes <= counters.up.delivered.packets * 60 + 10


def test_large_datagrams_are_cut_at_the_mtu(link_net):
    end = link_net.add("b1", DIRECT)
    send_datagrams(link_net, end, count=1, size=3000)
    up = settle(link_net, "b1").up.delivered
    assert (up.packets, up.bytes) == (3, 3000 + 8 + 3 * 20)
    link_net.set_profile("b1", DIRECT.replace(mtu=600))
    send_datagrams(link_net, end, count=1, size=1000)
    assert settle(link_net, "b1").up.delivered.packets == 3 + 2


def test_loss_is_its_fraction_and_the_same_for_the_same_seed(link_net):
    lossy = DIRECT.with_loss(0.2)
    ends = [link_net.add(f"b{n}", lossy, seed) for n, seed in enumerate((5, 5, 6))]
    for end in ends:
        send_datagrams(link_net, end, count=500, size=100)
    lost = [settle(link_net, f"b{n}").up.lost.packets for n in range(3)]
    assert lost[0] == lost[1] != lost[2]
    for packets in lost:
        assert packets / 500 == pytest.approx(0.2, abs=0.06)


def test_a_sender_pays_for_what_was_lost(link_net):
    end = link_net.add("b1", LinkProfile("t", "", "", Direction(2e6, 0.02), Direction(2e6, 0.02)).with_loss(0.05))
    start_hub(link_net)
    assert fetch(link_net, end, 200_000)["bytes"] == 200_000
    down = settle(link_net, "b1").down
    assert down.lost.packets > 0
    assert down.offered.bytes == down.delivered.bytes + down.lost.bytes + down.overflow.bytes


def test_a_queue_that_is_full_drops_the_newest(link_net):
    narrow = Direction(32_000, queue=4500)
    end = link_net.add("b1", LinkProfile("t", "", "", narrow, narrow))
    send_datagrams(link_net, end, count=20, size=1472)
    up = settle(link_net, "b1").up
    assert up.delivered.packets in (3, 4)
    assert up.overflow.packets == 20 - up.delivered.packets


def test_a_profile_can_change_under_a_running_transfer(link_net):
    slow = LinkProfile("t", "", "", Direction(32_000, 0.05), Direction(32_000, 0.05))
    end = link_net.add("b1", slow)
    start_hub(link_net)
    program = start_board(link_net, end, 64_000)
    time.sleep(0.8)
    link_net.set_profile("b1", DIRECT)
    assert result(program)["seconds"] < 12  # 16 s at 32 kbit/s


def test_an_outage_takes_its_part_of_the_packets(link_net):
    end = link_net.add("b1", DIRECT.replace(outage=Outage(period=1.0, length=0.5)))
    send_datagrams(link_net, end, count=200, size=10, gap=0.01)
    up = settle(link_net, "b1").up
    assert up.outage.packets / 200 == pytest.approx(0.5, abs=0.15)
    assert up.outage.packets + up.delivered.packets == 200


def test_unplugging_silences_a_link_and_tcp_goes_on_when_it_is_plugged_in(link_net):
    end = link_net.add("b1", LinkProfile("t", "", "", Direction(256_000, 0.05), Direction(256_000, 0.05)))
    start_hub(link_net)
    program = start_board(link_net, end, 64_000)
    time.sleep(0.8)
    link_net.unplug("b1")
    before = link_net.counters("b1")
    time.sleep(1)
    after = link_net.counters("b1")
    assert before.down.delivered == after.down.delivered
    assert before.up.delivered == after.up.delivered
    assert program.poll() is None
    link_net.plug("b1")
    assert result(program)["bytes"] == 64_000
    assert link_net.counters("b1").down.cut.packets > 0


def test_a_cut_ends_by_itself(link_net):
    end = link_net.add("b1", DIRECT)
    link_net.cut("b1", 0.5)
    send_datagrams(link_net, end, count=100, size=10, gap=0.01)
    up = settle(link_net, "b1").up
    assert up.cut.packets > 20
    assert up.delivered.packets > 20


def test_a_carrier_that_forgets_resets_connections_and_lets_new_ones_through(link_net):
    end = link_net.add("b1", LinkProfile("t", "", "", Direction(64_000, 0.05), Direction(64_000, 0.05)))
    start_hub(link_net)
    program = start_board(link_net, end, 100_000)
    time.sleep(1.5)
    link_net.reset("b1")
    seen = result(program)
    assert seen["error"] == "ConnectionResetError"
    assert 0 < seen["bytes"] < 100_000
    assert fetch(link_net, end, 1000)["bytes"] == 1000


def test_connections_are_cut_again_and_again_by_the_profile(link_net):
    end = link_net.add(
        "b1", LinkProfile("t", "", "", Direction(64_000, 0.05), Direction(64_000, 0.05), reset_every=1.0)
    )
    start_hub(link_net)
    for _ in range(2):
        seen = fetch(link_net, end, 100_000)
        assert seen["error"] == "ConnectionResetError"
        assert seen["seconds"] < 2.5


def test_sixty_links_run_at_once_each_at_its_own_rate(link_net):
    profile = LinkProfile("t", "", "", Direction(32_000, 0.3), Direction(32_000, 0.3))
    ends = [link_net.add(f"b{n}", profile, seed=n) for n in range(60)]
    start_hub(link_net)
    # Real transfers and datagrams at the same time, each on its own link.
    busy = [link_net.popen(e.namespace, [sys.executable, "-c", DATAGRAMS, "40", "500", "0.1"]) for e in ends[48:]]
    transfers = [start_board(link_net, e, 12_000) for e in ends[:12]]
    for program in transfers:
        seen = result(program)
        assert seen["bytes"] == 12_000
        assert 12_000 / (seen["seconds"] - 0.6) == pytest.approx(profile.payload_rate(), rel=0.15)
    for program in busy:
        assert program.wait(30) == 0
    for n in range(48, 60):
        assert settle(link_net, f"b{n}").up.delivered.packets == 40


def test_the_pid_of_a_program_is_its_own(link_net):
    end = link_net.add("b1", DIRECT)
    program = link_net.popen(
        end.namespace, [sys.executable, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE, text=True
    )
    assert int(program.communicate(timeout=10)[0]) == program.pid


def test_a_congestion_control_can_be_chosen():
    with Net(f"cc-{os.getpid()}", congestion="cubic") as net:
        end = net.add("b1", DIRECT)
        shown = subprocess.run(["ip", "-n", end.namespace, "route"], capture_output=True, text=True, check=True)
        assert "congctl cubic" in shown.stdout
    with (
        pytest.raises(NotReachableError, match="congestion"),
        Net(f"cc-{os.getpid()}", congestion="nonsense") as net,
    ):
        net.add("b1", DIRECT)
    assert not leftovers(f"cc-{os.getpid()}")


def test_wrong_names_are_refused_before_anything_is_made(link_net):
    link_net.add("b1", DIRECT)
    for name in ("b1", "hub", "../x", "", "a b"):
        with pytest.raises(ConfigError, match="board"):
            link_net.add(name, DIRECT)
    with pytest.raises(ConfigError, match="prefix"):
        Net("a_b")
    with pytest.raises(KeyError):
        link_net.unplug("b2")


def test_leaving_ends_programs_their_children_and_namespaces_also_after_an_exception(monkeypatch):
    monkeypatch.setattr("edgesync.sim.net.STOP_TIMEOUT", 0.3)
    prefix = f"gone-{os.getpid()}"
    pids = []

    def fail_inside():
        with Net(prefix) as net:
            end = net.add("b1", DIRECT)
            program = net.popen(end.namespace, [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True)
            pids.extend([str(program.pid), program.stdout.readline().strip()])
            program.stdout.close()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert not leftovers(prefix)
    for pid in pids:
        wait_until_ended(pid)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


OWNER = """
import sys, time
from edgesync.sim import profiles
from edgesync.sim.net import Net
with Net(sys.argv[1]) as net:
    end = net.add("b1", profiles.load("direct"))
    print(net.popen(end.namespace, ["sleep", "99"]).pid, net._emulator.pid, flush=True)
    time.sleep(99)
"""


def start_owner(prefix):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, prefix], stdout=subprocess.PIPE, text=True)
    inside, emulator = owner.stdout.readline().split()
    owner.stdout.close()
    return owner, inside, emulator


def wait_until_ended(pid):
    end = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < end, f"process {pid} goes on"
        time.sleep(0.02)


def test_ctrl_c_leaves_nothing_behind():
    prefix = f"int-{os.getpid()}"
    owner, inside, emulator = start_owner(prefix)
    owner.send_signal(signal.SIGINT)
    owner.wait(10)
    wait_until_ended(inside)
    wait_until_ended(emulator)
    assert not leftovers(prefix)


def test_what_a_killed_run_left_is_removed_by_the_next_and_a_running_one_is_left_alone():
    prefix = f"kill-{os.getpid()}"
    owner, inside, emulator = start_owner(prefix)
    with pytest.raises(NotReachableError, match="running"), Net(prefix):
        pass
    assert is_running(inside)
    owner.kill()
    owner.wait(10)
    wait_until_ended(emulator)  # its stdin has ended, and its devices are gone with it
    assert leftovers(prefix)
    with Net(prefix) as net:
        wait_until_ended(inside)
        net.add("b1", DIRECT)
    assert not leftovers(prefix)


def test_a_dead_emulator_is_a_named_error(link_net):
    link_net.add("b1", DIRECT)
    link_net._emulator.kill()
    link_net._emulator.wait(5)
    with pytest.raises(NotReachableError, match="emulator has ended"):
        link_net.counters("b1")
