"""What the tests of trust hold in their hands: one fleet's signers, and messages that are bent or forged with them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner

from edgesync.trust import director
from edgesync.wire import codec
from edgesync.wire.ids import DeviceId
from edgesync.wire.messages import Desired

NOW = 1_764_000_000
DAY = 86_400
DEVICE = DeviceId("acme.b1")


@dataclass(frozen=True)
class Fleet:
    """Signers by role, the root file, and board b1's report key."""

    root_signer: CryptoSigner
    director: CryptoSigner
    board: CryptoSigner
    stranger: CryptoSigner
    root: bytes
    root_path: str
    board_path: str
    board_key: str


def verify(fleet: Fleet, message: bytes, floor: int = 0, now: float = NOW) -> Desired:
    return director.verify_desired(message, fleet.root, DEVICE, floor, now)


def deflate(plain: bytes) -> bytes:
    """`codec.pack` without its limits."""
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(plain) + packer.flush()


def dump(value: Any) -> bytes:
    """JSON as python-tuf writes it, deflated."""
    return deflate(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def opened(message: bytes) -> dict[str, Any]:
    """The JSON of a packed message."""
    return codec.parse_object(codec.unpack(message))


def signed_anew(message: bytes, signer: CryptoSigner, change: Callable[[dict[str, Any]], object]) -> bytes:
    """`message` with its signed part changed and signed by `signer`: what a faulty or hostile holder of a key sends."""
    value = opened(message)
    change(value["signed"])
    return dump({"signatures": [signature(value["signed"], signer)], "signed": value["signed"]})


def signature(signed: Any, signer: CryptoSigner, keyid: str = "") -> dict[str, str]:
    """A TUF signature over any JSON value; `keyid` to claim another key's."""
    made = signer.sign(str(encode_canonical(signed)).encode())
    return {"keyid": keyid or made.keyid, "sig": made.signature}
