"""Makes one call of the resident agent, with the worker process that belongs to it: `python -m tests.bench.call JSON`

    {"op": "apply", "kind", "length", "sha256", "base_sha256", "base", "blob", "target"}   paths; base, blob may be null
    {"op": "verify", "message", "root", "device"}                                           paths and a device
    {"op": "sign", "reported", "key"}                                                       an object and a path

The calls and their limits are the agent's own, so what is measured of the workers is what a board sees.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from edgesync.delta import request as delta
from edgesync.trust import request as trust
from edgesync.wire.messages import Reported


async def call(spec: dict[str, Any]) -> None:
    match spec.pop("op"):
        case "apply":
            kind, opened = spec.pop("kind"), {}
            for name in ("base", "blob", "target"):
                if path := spec.pop(name, None):
                    opened[name] = os.open(path, os.O_RDWR | (os.O_CREAT if name == "target" else 0), 0o644)
            await delta.apply(kind, **opened, **spec)
        case "verify":
            packed = Path(spec["message"]).read_bytes()
            await trust.verify(packed, root_path=spec["root"], device=spec["device"], floor=0, now=time.time())
        case "sign":
            await trust.sign(Reported.from_dict(spec["reported"]), key_path=spec["key"])
        case op:
            raise ValueError(f"op: found {op!r}, expected apply, verify or sign")


if __name__ == "__main__":
    asyncio.run(call(json.loads(sys.argv[1])))
