"""The worker that holds all cryptography of a board: `python -m edgesync.trust.worker`, one request, one reply.

    {"op": "verify", "message": base64, "device", "floor", "now"}   descriptor "root" > {"desired": Desired.to_dict()}
    {"op": "sign", "reported": Reported.to_dict()}                  descriptor "key"  > {"message": base64}

It reads hostile bytes, so it holds no key while it verifies, and no hostile bytes while it signs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from edgesync.host.worker import Progress, serve
from edgesync.trust.director import ROOT_LIMIT, verify_desired
from edgesync.trust.keys import KEY_LIMIT, parse_signer
from edgesync.trust.report import sign_reported
from edgesync.wire.errors import ConfigError
from edgesync.wire.ids import parse_device
from edgesync.wire.messages import Reported


def handle(request: Mapping[str, Any], fds: Mapping[str, int], _progress: Progress) -> dict[str, Any]:
    """Run one request. Raises what `verify_desired` and `sign_reported` raise, ConfigError for a bad file."""
    if request["op"] == "verify":
        desired = verify_desired(
            base64.b64decode(request["message"]),
            _read(fds["root"], ROOT_LIMIT, "root file"),
            parse_device(request["device"]),
            request["floor"],
            request["now"],
        )
        return {"desired": desired.to_dict()}
    signer = parse_signer(_read(fds["key"], KEY_LIMIT, "private key"), "of this board")
    message = sign_reported(Reported.from_dict(request["reported"]), signer)
    return {"message": base64.b64encode(message).decode()}


def _read(fd: int, limit: int, what: str) -> bytes:
    with open(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ConfigError(f"{what}: found more than {limit} bytes")
    return data


if __name__ == "__main__":
    serve(handle)
