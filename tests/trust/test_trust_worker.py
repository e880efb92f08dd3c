"""What the agent calls, with the real worker process behind it."""

from __future__ import annotations

import asyncio
import base64
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from trust_fleet import DAY, DEVICE, NOW, Fleet, signed_anew

from edgesync.trust import request
from edgesync.trust.report import verify_reported
from edgesync.wire import codec
from edgesync.wire.errors import (
    ConfigError,
    EdgesyncError,
    ForgedMessageError,
    MalformedMessageError,
    MessageTooLargeError,
    StaleMessageError,
)
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Desired, Reported

MEMORY_LIMIT = 64 << 10
"""KiB of resident memory that a worker may ever have."""


def verify(fleet: Fleet, message: bytes, root_path: str = "", floor: int = 0, now: float = NOW) -> Desired:
    path = root_path or fleet.root_path
    return asyncio.run(request.verify(message, root_path=path, device=DEVICE, floor=floor, now=now))


def test_the_agent_gets_the_desired_state_out_of_the_worker(fleet: Fleet, desired: Desired, message: bytes) -> None:
    assert verify(fleet, message, floor=7) == desired


def test_the_agent_gets_its_report_signed_by_the_worker(fleet: Fleet, reported: Reported) -> None:
    message = asyncio.run(request.sign(reported, key_path=fleet.board_path))
    assert verify_reported(message, DEVICE, fleet.board_key) == reported


@pytest.mark.parametrize(
    ("named", "bend"),
    [
        (ForgedMessageError, lambda fleet, m: signed_anew(m, fleet.stranger, lambda signed: None)),
        (MalformedMessageError, lambda fleet, m: signed_anew(m, fleet.director, lambda s: s.update(_type="x"))),
        (MalformedMessageError, lambda fleet, m: b""),
        (StaleMessageError, lambda fleet, m: signed_anew(m, fleet.director, lambda s: s.update(version=6))),
    ],
)
def test_the_error_of_a_bad_message_reaches_the_agent_under_its_name(
    fleet: Fleet, message: bytes, named: type[EdgesyncError], bend: Callable[[Fleet, bytes], bytes]
) -> None:
    with pytest.raises(named):
        verify(fleet, bend(fleet, message), floor=7)


def test_an_expired_message_is_judged_by_trusted_time_not_by_the_clock(
    fleet: Fleet, desired: Desired, message: bytes
) -> None:
    assert verify(fleet, message, now=0) == desired
    with pytest.raises(StaleMessageError, match="expired"):
        verify(fleet, message, now=NOW + 2 * DAY)


def test_a_flood_of_oversized_messages_starts_no_process(fleet: Fleet) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(100):
        with pytest.raises(MessageTooLargeError, match="8193 bytes"):
            verify(fleet, bytes(codec.PACKED_LIMIT + 1))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_minflt, after.ru_utime) == (before.ru_minflt, before.ru_utime)


@pytest.mark.parametrize("content", [None, b"", b"{}", bytes(70_000)])
def test_a_root_file_that_is_missing_or_none_is_named(
    fleet: Fleet, message: bytes, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "root.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="root"):
        verify(fleet, message, str(path))


def test_a_key_that_is_missing_or_none_is_named(fleet: Fleet, reported: Reported, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        asyncio.run(request.sign(reported, key_path=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match="Ed25519"):
        asyncio.run(request.sign(reported, key_path=fleet.root_path))


def test_a_report_that_no_server_would_take_is_not_signed(fleet: Fleet, reported: Reported) -> None:
    with pytest.raises(MalformedMessageError, match="not a device"):
        asyncio.run(request.sign(replace(reported, device=DeviceId("b1")), key_path=fleet.board_path))


def test_calling_the_worker_brings_no_cryptography_into_the_agent() -> None:
    code = (
        "import sys, edgesync.trust.request\n"
        "heavy = {'tuf', 'securesystemslib', 'cryptography', 'numpy', 'zoneinfo'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("op", ["verify", "sign"])
def test_a_worker_stays_below_its_share_of_memory(fleet: Fleet, message: bytes, reported: Reported, op: str) -> None:
    code = (
        "import base64, json, os, sys\n"
        "from edgesync.trust.worker import handle\n"
        "request = json.loads(sys.argv[1])\n"
        "fd = os.open(sys.argv[2], os.O_RDONLY)\n"
        "handle(request, {'root': fd, 'key': fd}, lambda done, total: None)\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    asked = {
        "verify": {"message": base64.b64encode(message).decode(), "device": DEVICE, "floor": 0, "now": NOW},
        "sign": {"reported": reported.to_dict()},
    }[op]
    path = {"verify": fleet.root_path, "sign": fleet.board_path}[op]
    line = codec.canonical({"op": op, **asked}).decode()
    done = subprocess.run([sys.executable, "-c", code, line, path], capture_output=True, text=True, check=True)
    assert 10 << 10 < int(done.stdout) < MEMORY_LIMIT
