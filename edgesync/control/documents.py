"""Standings as JSON documents for the database: `to_dict` and `from_dict` are inverse. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgesync.control.standing import Offered, Standing, Status
from edgesync.control.types import Image, Wanted
from edgesync.wire.ids import DeviceId, Digest
from edgesync.wire.messages import Desired, ErrorReport, Reported


def standing_to_dict(board: Standing) -> dict[str, Any]:
    return {
        "wanted": _wanted_to_dict(board.wanted),
        "status": board.status.value,
        "part": board.part,
        "error": board.error.to_dict() if board.error else None,
        "since": board.since,
        "seen": board.seen,
        "reported": board.reported.to_dict() if board.reported else None,
        "offered": _offered_to_dict(board.offered) if board.offered else None,
        "retry": board.retry,
        "delta_failed": board.delta_failed.to_dict() if board.delta_failed else None,
        "quarantine": sorted(board.quarantine),
    }


def standing_from_dict(value: Mapping[str, Any]) -> Standing:
    return Standing(
        _wanted_from_dict(value["wanted"]),
        Status(value["status"]),
        value["part"],
        ErrorReport.from_dict(value["error"]) if value["error"] else None,
        value["since"],
        Reported.from_dict(value["reported"]) if value["reported"] else None,
        value["seen"],
        _offered_from_dict(value["offered"]) if value["offered"] else None,
        value["retry"],
        ErrorReport.from_dict(value["delta_failed"]) if value["delta_failed"] else None,
        frozenset(Digest(digest) for digest in value["quarantine"]),
    )


def _offered_to_dict(offered: Offered) -> dict[str, Any]:
    return {
        "desired": offered.desired.to_dict(),
        "boot_id": offered.boot_id,
        "base": dict(offered.base),
        "at": offered.at,
        "expires": offered.expires,
        "first": offered.first,
    }


def _offered_from_dict(value: Mapping[str, Any]) -> Offered:
    desired = Desired.from_dict(value["desired"])
    return Offered(desired, value["boot_id"], value["base"], value["at"], value["expires"], value["first"])


def _wanted_to_dict(wanted: Wanted) -> dict[str, Any]:
    images = {
        name: {"path": i.path, "version": i.version, "sha256": i.sha256, "compatible": list(i.compatible)}
        for name, i in wanted.images.items()
    }
    return {"device": wanted.device, "release": wanted.release, "wave": wanted.wave, "images": images}


def _wanted_from_dict(value: Mapping[str, Any]) -> Wanted:
    images = {
        name: Image(name, i["path"], i["version"], Digest(i["sha256"]), tuple(i["compatible"]))
        for name, i in value["images"].items()
    }
    return Wanted(DeviceId(value["device"]), value["release"], images, value["wave"])
