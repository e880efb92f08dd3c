"""The context-mixing coder of deltas: an extension in C that packs streams smaller, and that a board may go without."""

from __future__ import annotations

import importlib.util
import os
from typing import NamedTuple

from edgesync.wire.errors import UnknownFormatError

VARIABLE = "EDGESYNC_UNMIXED"
"""Set to anything in the environment, nothing is mixed even where the extension is installed: for tests and
measurements."""


def available() -> bool:
    """Whether deltas of this coder can be made and applied here. Nothing is loaded to find out."""
    return not os.environ.get(VARIABLE) and importlib.util.find_spec("edgesync.delta._mixing") is not None


def absent(what: str) -> UnknownFormatError:
    """The error of a delta that needs the coder where it is not available; `what` of it does."""
    return UnknownFormatError(
        f"{what}: only the context-mixing coder unpacks it, which is not installed here (edgesync.delta._mixing); make "
        "the delta with --coder lzma"
    )


class Known(NamedTuple):
    """What is known of the words of a segment. For each word: the kind of the reference in it; what that refers to, the
    lower four bytes of the address in the base, or zeros; what `plain.marks` says; and four bytes of what is copied, as
    predicted, with zeros for what no copy makes.
    """

    kind: bytes
    target: bytes
    marks: bytes
    draft: bytes


def pack_words(known: Known, result: bytes, most: int) -> bytes | None:
    """How a draft becomes this result, in at most `most` bytes; None where it takes more."""
    from edgesync.delta import _mixing  # noqa: PLC0415 - the board may be without it

    return _mixing.encode_words(*known, result, most)


def unpack_words(packed: bytes, known: Known) -> bytes:
    """The result: the inverse of `pack_words`. Raises ValueError for what does not end where the words do, and takes
    time by the number of words alone.
    """
    from edgesync.delta import _mixing  # noqa: PLC0415 - the board may be without it

    return _mixing.decode_words(packed, *known)


_TABLES = {
    "copies": (0, 6),
    "pieces": (1, 9),
    "regions": (2, 9),
    "corrections": (3, 9),
    "types": (4, 6),
    "names": (4, 6),
}
"""Stream -> its model in the extension, and most bytes of one of its numbers, as `Counts.limits` has it."""


def is_table(stream: str) -> bool:
    """Whether the coder has a model for this stream of a chapter."""
    return stream in _TABLES


def pack_table(stream: str, data: bytes, limit: int, most: int) -> bytes | None:
    """A table of a chapter, packed to at most `most` bytes; None where it takes more, or numbers that no image needs.
    `limit` is what `Counts.limits` says of the stream: it tells how many numbers there are.
    """
    from edgesync.delta import _mixing  # noqa: PLC0415 - the board may be without it

    table, width = _TABLES[stream]
    return _mixing.encode_table(table, data, limit // width, most)


def unpack_table(stream: str, packed: bytes, limit: int) -> bytes:
    """The inverse of `pack_table`. Raises ValueError for all but the one stream of some table, and takes time by the
    limit alone.
    """
    from edgesync.delta import _mixing  # noqa: PLC0415 - the board may be without it

    table, width = _TABLES[stream]
    return _mixing.decode_table(table, packed, limit // width)
