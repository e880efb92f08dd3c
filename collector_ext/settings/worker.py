"""The worker that reads configuration: `python -m collector_ext.settings.worker`, one request, one reply.

    {"names": [file, ...], "directory"}   descriptors "0", "1", ... > {"tree", "warnings"} or {"problem"}

Unlike other workers it opens paths itself: those that `${file:...}` names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from collector_ext.settings.compose import FILE_LIMIT, compose
from collector_ext.settings.expand import Expander
from collector_ext.settings.nodes import Node, Scalar, Table, merged, to_json
from edgesync.host.worker import LINE_LIMIT, Progress, serve
from edgesync.wire.errors import ConfigError, EdgesyncError


def handle(request: Mapping[str, Any], fds: Mapping[str, int], _progress: Progress) -> dict[str, Any]:
    texts = [_bytes(fds[str(at)]) for at in range(len(fds))]
    try:
        return read(request["names"], texts, request["directory"], os.environ)
    except EdgesyncError as error:
        return {"problem": str(error)}


def read(names: list[str], texts: list[bytes], directory: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Compose, merge and expand. Raises ConfigError, and StorageError for a file that cannot be read."""
    tree: Node = Table()
    for name, text in zip(names, texts, strict=True):
        node = compose(name, text)
        if not isinstance(node, Table) and not (isinstance(node, Scalar) and node.text is None):
            raise ConfigError(f"{node.where}: found {node}, expected a mapping, lines of the form `key: value`")
        tree = merged(tree, node)
    expander = Expander(environment, directory)
    answer = {"tree": to_json(expander.node(tree)), "warnings": expander.warnings[:100]}
    if len(json.dumps(answer)) > LINE_LIMIT // 2:
        raise ConfigError(f"{', '.join(names[:3])}: the configuration is larger than {LINE_LIMIT // 2} bytes in memory")
    return answer


def _bytes(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read(FILE_LIMIT + 1)


if __name__ == "__main__":
    serve(handle)
