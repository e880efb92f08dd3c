"""Sizes as the Collector writes them: `1000`, `1kb`, `16KiB`, `1MiB`."""

from __future__ import annotations

import re
from typing import NewType

ByteSize = NewType("ByteSize", int)
"""Bytes. A config field of this type may be written with a unit."""

UNITS = {"": 1, "b": 1, "kb": 10**3, "kib": 1 << 10, "mb": 10**6, "mib": 1 << 20, "gb": 10**9, "gib": 1 << 30}
MIB = UNITS["mib"]
"""Bytes, for keys that end in `_mib`."""
_SIZE = re.compile(r"([0-9]{1,12})\s*([a-zA-Z]*)")


def parse_size(text: str) -> ByteSize:
    """Raises ValueError."""
    found = _SIZE.fullmatch(text)
    unit = UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise ValueError(f"found {text[:60]!r}, expected a size in bytes: 1000, 16KiB, 1MiB")
    return ByteSize(int(found[1]) * unit)
