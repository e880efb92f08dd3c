"""Standings as JSON documents for the database: `to_dict` and `from_dict` are inverse, but for the bytes of bundles,
which lie in a table of their own. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgesync.control.standing import Offered, Standing, Status
from edgesync.control.types import ConfigBundle, Image, Wanted
from edgesync.wire.ids import DeviceId, Digest
from edgesync.wire.messages import Desired, ErrorReport, Manners, Reported


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
        "config_whole": board.config_whole,
        "mixed_failed": board.mixed_failed.to_dict() if board.mixed_failed else None,
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
        value.get("config_whole", False),
        ErrorReport.from_dict(value["mixed_failed"]) if value.get("mixed_failed") else None,
    )


def _offered_to_dict(offered: Offered) -> dict[str, Any]:
    return {
        "desired": offered.desired.to_dict(),
        "boot_id": offered.boot_id,
        "base": dict(offered.base),
        "at": offered.at,
        "expires": offered.expires,
        "first": offered.first,
        "config_base": offered.config_base,
        "whole": offered.whole,
        "held": offered.held,
        "mixed": offered.mixed,
    }


def _offered_from_dict(value: Mapping[str, Any]) -> Offered:
    desired = Desired.from_dict(value["desired"])
    evidence = value["boot_id"], value["base"], value["at"], value["expires"], value["first"]
    config = value.get("config_base", ""), value.get("whole", False)
    return Offered(desired, *evidence, *config, value.get("held", 0), value.get("mixed", False))


def _wanted_to_dict(wanted: Wanted) -> dict[str, Any]:
    images = {
        name: {"path": i.path, "version": i.version, "sha256": i.sha256, "compatible": list(i.compatible)}
        for name, i in wanted.images.items()
    }
    config = wanted.config
    return {
        "device": wanted.device,
        "release": wanted.release,
        "wave": wanted.wave,
        "images": images,
        "config": {name: getattr(config, name) for name in ("sha256", "length", "requires")} if config else None,
        "manners": wanted.manners.to_dict(),
    }


def _wanted_from_dict(value: Mapping[str, Any]) -> Wanted:
    images = {
        name: Image(name, i["path"], i["version"], Digest(i["sha256"]), tuple(i["compatible"]))
        for name, i in value["images"].items()
    }
    config = ConfigBundle(**value["config"], data=b"") if value.get("config") else None
    manners = Manners.from_dict(value.get("manners", {}))
    return Wanted(DeviceId(value["device"]), value["release"], images, value["wave"], config, manners)
