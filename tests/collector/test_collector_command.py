"""The command as a user types it: real processes, real signals."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

COMMAND = [str(Path(sys.executable).with_name("edgesync-collector"))]
CONFIG = """\
extensions: {health_check: {endpoint: "127.0.0.1:0"}}
service: {extensions: [health_check]}
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60)


def start(*arguments: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    wait_for(child, "everything is ready")
    return child


def wait_for(child: subprocess.Popen[str], text: str) -> str:
    assert child.stderr is not None
    for line in child.stderr:
        if text in line:
            return line
    raise AssertionError(f"never said {text!r}")


def test_validate_says_nothing_of_what_is_right_and_everything_of_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(CONFIG)
    (tmp_path / "over.yaml").write_text("extensions: {health_check: {endpont: x}, nothing: }")
    good = run("validate", "--config", str(tmp_path / "good.yaml"))
    assert (good.returncode, good.stdout + good.stderr) == (0, "")
    bad = run("validate", "--config", str(tmp_path / "good.yaml"), "--config", str(tmp_path / "over.yaml"))
    assert bad.returncode == 1
    assert f"{tmp_path}/over.yaml:1: extensions::health_check: has invalid keys: endpont" in bad.stderr
    assert 'extensions: unknown type: "nothing" for id: "nothing" (valid values: [health_check' in bad.stderr


def test_components_lists_what_is_installed(tmp_path: Path) -> None:
    assert re.search(r"^extensions:\n  health_check +beta$", run("components").stdout, re.MULTILINE)
    found = json.loads(run("components", "--json").stdout)
    assert sorted(found) == ["exporters", "extensions", "processors", "receivers"]
    health: dict[str, Any] = {one["type"]: one for one in found["extensions"]}["health_check"]
    assert health["default_config"]["endpoint"] == "localhost:13133"


def test_a_missing_file_and_missing_arguments_are_told() -> None:
    assert "No such file" in run("--config", "/nowhere/c.yaml").stderr
    assert run("--config", "/nowhere/c.yaml").returncode == 1
    assert run().returncode == 2
    assert "--config" in run("run", "--help").stdout
    assert "validate" in run("--help").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    child = start("--config", str(tmp_path / "c.yaml"))
    child.send_signal(number)
    _, said = child.communicate(timeout=30)
    assert (child.returncode, "stopped" in said, "Traceback" in said) == (0, True, False)


def test_a_hangup_reads_the_file_anew_and_keeps_the_old_one_where_the_new_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG)
    child = start("--config", str(config))
    config.write_text("x: ")
    child.send_signal(signal.SIGHUP)
    assert "has invalid keys: x" in wait_for(child, "the old configuration stays")
    place = tmp_path / "health.sock"
    config.write_text(CONFIG.replace("127.0.0.1:0", f"unix://{place}"))
    child.send_signal(signal.SIGHUP)
    wait_for(child, f"answers at unix://{place}")
    child.terminate()
    child.communicate(timeout=30)
    assert child.returncode == 0
    assert not place.exists()


def test_an_endpoint_that_is_taken_is_a_named_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "c.yaml").write_text(CONFIG.replace(":0", f":{port}"))
        refused = run("--config", str(tmp_path / "c.yaml"))
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_metrics_are_served_where_the_telemetry_section_says(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "c.yaml").write_text(
        CONFIG.replace("service: {", f'service: {{telemetry: {{metrics: {{address: "127.0.0.1:{port}"}}}}, ')
    )
    child = start("--config", str(tmp_path / "c.yaml"))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    child.terminate()
    child.communicate(timeout=30)
    assert 'collector_health_status{id="health_check",kind="extension",pipelines=""} 2' in text
    assert re.search(r"^otelcol_process_memory_rss \d{7,}$", text, re.MULTILINE)
