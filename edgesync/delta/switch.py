"""With numpy or without: which of the two decoders corrects words here. Both give the same bytes; numpy is faster."""

from __future__ import annotations

import importlib.util
import os

VARIABLE = "EDGESYNC_PLAIN"
"""Set to anything in the environment, the decoder goes without numpy even where it is installed: for tests and
measurements."""


def is_plain() -> bool:
    """Whether the decoder goes without numpy. Nothing is imported to find out."""
    return bool(os.environ.get(VARIABLE)) or importlib.util.find_spec("numpy") is None
