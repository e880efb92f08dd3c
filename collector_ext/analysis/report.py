"""An executed notebook and its HTML page: what is left of a rollout when everybody has gone home."""

from __future__ import annotations

import re
import subprocess
import urllib.response  # noqa: F401 - bleach, inside nbconvert, uses it without importing it
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

from collector_ext.analysis import rollouts
from collector_ext.lake.reader import Lake
from edgesync.host.files import storage_errors
from edgesync.wire.errors import ConfigError

CELL_LIMIT = 300
"""Seconds that one cell may take."""
NOTEBOOK = Path(__file__).with_name("rollout.ipynb")
"""In a clone a link to the one in `notebooks/`; what is built has the file."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # what boards tell names no file elsewhere


def make(rollout: str, lake: Path, out: Path, notebook: Path = NOTEBOOK) -> tuple[Path, Path]:
    """Run the notebook on a rollout and write `<out>/<rollout>.ipynb` and `.html`. Raises ConfigError for a rollout
    that the lake does not know and for a notebook that is not there or fails, and StorageError.
    """
    with Lake(lake) as opened:
        known = list(rollouts.known(opened).index)
    if rollout not in known or not _NAME.fullmatch(rollout):
        newest = ", ".join(known[-10:]) or "no rollout"
        raise ConfigError(f"{rollout[:80]}: not in the lake {lake}, which knows {newest}")
    if not notebook.is_file():
        raise ConfigError(f"{notebook}: no such notebook")
    document = nbformat.read(notebook, as_version=4)
    _set(document, notebook, lake=str(lake.resolve()), rollout=rollout)
    with storage_errors(str(out)):
        out.mkdir(parents=True, exist_ok=True)
    _run(document, notebook, out)
    page, _ = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="").from_notebook_node(document)
    written = out / f"{rollout}.ipynb", out / f"{rollout}.html"
    for path, text in zip(written, (nbformat.writes(document), page), strict=True):
        with storage_errors(str(path)):
            path.write_text(text)
    return written


def _set(document: Any, notebook: Path, **parameters: str) -> None:
    """Append to the cell with the tag `parameters`."""
    cells = [cell for cell in document.cells if "parameters" in cell.metadata.get("tags", [])]
    if not cells:
        raise ConfigError(f"{notebook}: no cell with the tag `parameters`")
    cells[0].source = "\n".join([cells[0].source, *(f"{name} = {value!r}" for name, value in parameters.items())])


def _run(document: Any, notebook: Path, place: Path) -> None:
    client = NotebookClient(document, timeout=CELL_LIMIT, resources={"metadata": {"path": str(place)}})
    try:
        client.execute(stderr=subprocess.DEVNULL)  # the kernel says there that it listens on loopback
    except CellExecutionError as error:
        raise ConfigError(f"{notebook}: {error.ename}: {error.evalue}") from error
    except (TimeoutError, RuntimeError) as error:  # a cell that takes too long, a kernel that died
        raise ConfigError(f"{notebook}: {error}") from error
