"""The files of a configuration as one tree, by way of the worker."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack

from collector_ext.settings.nodes import Table, from_json
from edgesync.host import worker
from edgesync.host.files import storage_errors
from edgesync.wire.errors import ConfigError

FILES = 100
"""Files of one configuration, as in the Collector."""
_LIMITS = worker.Limits(stall=30.0, memory=256 << 20)

log = logging.getLogger("collector")


async def load(paths: Sequence[str]) -> Table:
    """Read, merge and expand. `${file:...}` is relative to the first file.

    Raises ConfigError that names file and line; StorageError for a file that cannot be read.
    """
    if not 1 <= len(paths) <= FILES:
        raise ConfigError(f"found {len(paths)} --config files, expected 1 to {FILES}")
    with ExitStack() as stack:
        fds = {}
        for at, path in enumerate(paths):
            with storage_errors(path):
                fds[str(at)] = stack.enter_context(open(path, "rb")).fileno()
        directory = os.path.dirname(os.path.abspath(paths[0]))
        request = {"names": list(paths), "directory": directory}
        reply = await worker.run("collector_ext.settings.worker", request, fds, _LIMITS)
    if "problem" in reply:
        raise ConfigError(reply["problem"])
    for warning in reply["warnings"]:
        log.warning("%s", warning)
    tree = from_json(reply["tree"])
    assert isinstance(tree, Table)
    return tree
