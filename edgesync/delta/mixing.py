"""The context-mixing coder of deltas: an extension in C that packs streams smaller, and that a board may go without."""

from __future__ import annotations

import importlib.util
import os

VARIABLE = "EDGESYNC_UNMIXED"
"""Set to anything in the environment, nothing is mixed even where the extension is installed: for tests and
measurements."""


def available() -> bool:
    """Whether deltas of this coder can be made and applied here. Nothing is loaded to find out."""
    return not os.environ.get(VARIABLE) and importlib.util.find_spec("edgesync.delta._mixing") is not None
