"""A cgroup of a test's own with a memory limit, of either version."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesync.host import cgroup


@contextmanager
def limited_group(limit: int, require: Callable[[str], None]) -> Iterator[Path]:
    """Its directory; `limit` in bytes. What is missing for that goes to `require`."""
    require("" if os.geteuid() == 0 else "not root: cgroups cannot be made")
    mine = cgroup.find()
    require("" if mine else "no memory controller is mounted")
    assert mine is not None
    place = Path(mine.root) / f"edgesync-test-{os.getpid()}"
    try:
        place.mkdir()
        (place / ("memory.limit_in_bytes" if mine.version == 1 else "memory.max")).write_text(str(limit))
    except OSError as error:
        with contextlib.suppress(OSError):
            place.rmdir()
        require(f"a cgroup with a limit cannot be made: {error}")
    try:
        yield place
    finally:
        for _ in range(100):
            try:
                place.rmdir()
            except OSError:  # its last process is still ending
                time.sleep(0.05)
            else:
                break
