"""`edgesync link` as a user runs it: real processes, exit statuses, counters."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from edgesync.sim import plugin
from edgesync.sim.net import NAMESPACES, Net

FETCH = """
import os, socket, sys
with socket.create_connection((os.environ["EDGESYNC_HUB"], int(sys.argv[1])), 20) as s:
    got = 0
    while data := s.recv(65536):
        got += len(data)
print(got)
sys.exit(7)
"""


def edgesync(*args, **options):
    command = [sys.executable, "-m", "edgesync.cli.main", "link", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.fixture
def root():
    plugin.require(Net.unavailable())


@pytest.fixture
def port_that_gives():
    """A local TCP port that gives 8,000 bytes to each that comes, and ends."""

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(bytes(8000))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_list_and_show_tell_the_same_as_text_and_as_json():
    text, data = edgesync("list").stdout, json.loads(edgesync("list", "--json").stdout)
    for link in data:
        assert link["name"] in text
    assert json.loads(edgesync("show", data[-1]["name"], "--json").stdout) == data[-1]
    shown = edgesync("show", "sat-600ms").stdout
    assert "RFC 2488" in shown
    assert "loss 1.0%" in shown


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("show", "lan"), "'lan' is unknown, expected one of: direct, narrow-32k"),
        (("proxy", "wifi-bad"), "loses packets"),
        (("proxy", "2g", "--listen", "1884"), "--listen: found '1884', expected HOST:PORT"),
        (("proxy", "2g", "--reset-every", "-1"), "'reset_every': found -1.0"),
        (("run", "2g", "--loss", "5", "--", "true"), "'loss': found 5.0"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_1(args, text):
    done = edgesync(*args)
    assert done.returncode == 1
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_told(port_that_gives):
    done = edgesync("proxy", "2g", "--listen", f"127.0.0.1:{port_that_gives}")
    assert done.returncode == 1
    assert "choose another port" in done.stderr


def test_the_proxy_runs_until_ctrl_c_and_ends_with_its_counters(port_that_gives):
    args = ["proxy", "lte-256k", "--listen", "127.0.0.1:0", "--to", f"127.0.0.1:{port_that_gives}", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "edgesync.cli.main", "link", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as proxy:
        port = int(proxy.stderr.readline().split(">")[0].rpartition(":")[2])
        got = 0
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            while data := client.recv(65536):
                got += len(data)
        time.sleep(0.3)
        proxy.send_signal(signal.SIGINT)
        out, _ = proxy.communicate(timeout=10)
    assert got == 8000
    assert proxy.returncode == 0
    counters = json.loads(out)
    assert (counters["down"], counters["accepted"], counters["reset"]) == (8000, 1, 0)


@pytest.mark.root
@pytest.mark.usefixtures("root")
def test_a_command_runs_behind_the_link_and_its_status_and_cost_are_told(port_that_gives):
    port = str(port_that_gives)
    done = edgesync("run", "lte-256k", "--forward", port, "--json", "--", sys.executable, "-c", FETCH, port)
    assert (done.returncode, done.stdout) == (7, "8000\n")
    counters = json.loads(done.stderr)
    assert 8000 + 6 * 52 <= counters["down"]["delivered"][1] <= 9000


@pytest.mark.root
@pytest.mark.usefixtures("root")
def test_ending_a_run_ends_the_command_and_removes_the_namespaces(tmp_path):
    pid_file = tmp_path / "pid"
    command = ["sh", "-c", f"echo $$ > {pid_file}.tmp; mv {pid_file}.tmp {pid_file}; exec sleep 88"]
    before = set(os.listdir(NAMESPACES)) if os.path.isdir(NAMESPACES) else set()
    with subprocess.Popen(
        [sys.executable, "-m", "edgesync.cli.main", "link", "run", "direct", "--", *command],
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        end = time.monotonic() + 20
        while not pid_file.exists():
            assert time.monotonic() < end, "the command did not start"
            time.sleep(0.05)
        mine = {n for n in set(os.listdir(NAMESPACES)) - before if n.startswith("link-")}
        assert mine
        run.send_signal(signal.SIGTERM)
        _, told = run.communicate(timeout=20)
    assert run.returncode == 128 + signal.SIGTERM
    assert told.startswith("down")
    assert not os.path.exists(f"/proc/{pid_file.read_text().strip()}")
    assert not mine & set(os.listdir(NAMESPACES))
