"""The tables of the server's database.

boards     one row a board: its standing (a JSON document), the newest report counter and the key that signed it,
           presence, and the signed bytes of its desired state
bundles    config, by digest: what is wanted, and what boards report, which may be the base of a delta
sources    one row a board: how the config of its signed desired state gets to it
configs    the bytes of those blobs
rollouts   one row a rollout;  parts: how each board stood in it
blobs      what is made from what
mixed_blobs  the same of mixed deltas: a table of its own, which the database of an older server is given
history    events, only ever added
fleet      the one row of what is true of the whole fleet
"""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()
_TEXT = sa.Text()
_TIME: sa.Double[float] = sa.Double()

FLEET = sa.Table(
    "fleet",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("rollout", _TEXT, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("quarantine", sa.JSON, nullable=False),
)
ROLLOUTS = sa.Table(
    "rollouts",
    METADATA,
    sa.Column("id", _TEXT, primary_key=True),
    sa.Column("revision", _TEXT, nullable=False),
    sa.Column("author", _TEXT, nullable=False),
    sa.Column("subject", _TEXT, nullable=False),
    sa.Column("started", _TIME, nullable=False),
    sa.Column("phase", _TEXT, nullable=False),
    sa.Column("reason", _TEXT, nullable=False),
    sa.Column("open_waves", sa.Integer, nullable=False),
)
BOARDS = sa.Table(
    "boards",
    METADATA,
    sa.Column("device", _TEXT, primary_key=True),
    sa.Column("standing", sa.JSON),
    sa.Column("key", _TEXT, nullable=False, server_default=""),
    sa.Column("counter", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("up", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("up_since", _TIME, nullable=False, server_default="0"),
    sa.Column("signed", sa.LargeBinary),
    sa.Column("signed_version", sa.BigInteger, nullable=False, server_default="0"),
)
BUNDLES = sa.Table(
    "bundles",
    METADATA,
    sa.Column("sha256", _TEXT, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
SOURCES = sa.Table(
    "sources",
    METADATA,
    sa.Column("device", _TEXT, primary_key=True),
    sa.Column("blob", _TEXT),
    sa.Column("source", sa.JSON),
)
CONFIGS = sa.Table(
    "configs",
    METADATA,
    sa.Column("blob", _TEXT, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
PARTS = sa.Table(
    "parts",
    METADATA,
    sa.Column("rollout", _TEXT, sa.ForeignKey("rollouts.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("device", _TEXT, primary_key=True),
    sa.Column("status", _TEXT, nullable=False),
    sa.Column("error", _TEXT, nullable=False),
    sa.Column("since", _TIME, nullable=False),
)
BLOBS, MIXED_BLOBS = (
    sa.Table(
        name,
        METADATA,
        sa.Column("result", _TEXT, primary_key=True),
        sa.Column("base", _TEXT, primary_key=True),
        sa.Column("blob", _TEXT, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
    )
    for name in ("blobs", "mixed_blobs")
)
HISTORY = sa.Table(
    "history",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("time", _TIME, nullable=False),
    sa.Column("device", _TEXT, nullable=False, index=True),
    sa.Column("rollout", _TEXT, nullable=False),
    sa.Column("revision", _TEXT, nullable=False),
    sa.Column("author", _TEXT, nullable=False),
    sa.Column("event", _TEXT, nullable=False),
    sa.Column("detail", _TEXT, nullable=False),
)
