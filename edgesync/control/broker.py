"""What mosquitto is told for one fleet: its configuration and who may do what. Text in, text out.

Identity is the CN of the client's certificate and nothing else: it becomes the user name, on which the access patterns
work, and the client id, so that nobody can take over another's connection. Each setting stands with its reason,
because whoever runs the broker reads the file and not this module. Tried with mosquitto 2.0.11.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesync.wire.blob import PIECE
from edgesync.wire.errors import ConfigError
from edgesync.wire.ids import COLLECTOR, SERVER, device_id, is_label
from edgesync.wire.topics import PREFIX, TOPIC_LIMIT

PACKET_LIMIT = PIECE + TOPIC_LIMIT + 64
"""Bytes: the largest block that a blob may have, its topic and MQTT's head. Signed messages and indexes are smaller."""
QUEUE_LIMIT = 100_000
"""Messages: the server's filter for reports matches one a board, and a fleet may have 100,000 boards."""


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """Paths that mosquitto reads: CA, its own certificate and key (PEM), and the access list that `acl` gives."""

    ca: str
    cert: str
    key: str
    acl: str


def mosquitto_conf(
    files: BrokerFiles, port: int, *, address: str = "", persistence: str = "", autosave: int = 300, run_as: str = ""
) -> str:
    """mosquitto.conf. `address` "" listens everywhere; `persistence` is the directory of the store, "" for memory only;
    `autosave` the seconds between two saves; `run_as` the user that root changes to, "" for mosquitto's own choice.
    """
    listener = f"{port} {address}".strip()
    parts = [_BASE.format(listener=listener, files=files, queue=QUEUE_LIMIT, packet=PACKET_LIMIT)]
    if persistence:
        parts.append(_PERSISTENCE.format(directory=persistence.rstrip("/") + "/", autosave=autosave))
    else:
        parts.append(_NO_PERSISTENCE)
    if run_as:
        parts.append(_RUN_AS.format(user=run_as))
    return "\n".join(parts)


def openssl_conf() -> str:
    """A file for OPENSSL_CONF in mosquitto's environment: what mosquitto.conf has no words for."""
    return _OPENSSL


def acl(fleet: str) -> str:
    """The access list of a fleet. Raises ConfigError for a name that is not a fleet's."""
    if not is_label(fleet):
        raise ConfigError(f"fleet: found {fleet!r}, expected a name of [a-z0-9-]")
    collector = device_id(fleet, COLLECTOR)
    return _ACL.format(server=device_id(fleet, SERVER), collector=collector, top=f"{PREFIX}/{fleet}")


_BASE = """\
# mosquitto for edgesync, written by edgesync: change it there, or keep your changes elsewhere.

listener {listener}
cafile {files.ca}
certfile {files.cert}
keyfile {files.key}

# Who a client is, is its certificate's CN: <fleet>.<board>. Without use_username_as_clientid a board could connect
# under another's client id and throw it off.
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {files.acl}

# Blocks are single packets towards boards that wait for them: Nagle's algorithm would hold each one back.
set_tcp_nodelay true

# More than any one filter matches: above it, retained messages for a reader that is slower than the broker are
# dropped without a word (with 1000, 1,997 of 3,000). Never 0: 2.0.16 then delivers nothing.
max_queued_messages {queue}

# A limit in bytes below those in flight leaves clients stuck for good.
max_queued_bytes 0

# Room for the largest block. A client that sends more is disconnected before the broker allocates for it.
max_packet_size {packet}

log_dest stderr
log_type error
log_type warning
log_type notice
"""

_PERSISTENCE = """\
# A broker that comes back empty costs every board a wait and the server a new publish of every blob.
# Saved by time, not by changes: each save stops the broker, for 0.7 s with 120 MB in its store.
persistence true
persistence_location {directory}
autosave_interval {autosave}
autosave_on_changes false
"""

_NO_PERSISTENCE = """\
# In memory only: after a restart the server publishes everything again.
persistence false
"""

_RUN_AS = """\
# mosquitto leaves root before it reads its key, so this user must be able to read it.
user {user}
"""

_ACL = """\
# Who may do what. A SUBSCRIBE is always granted; what may not be read is simply never delivered.

user {server}
topic readwrite {top}/#
topic read $SYS/#

# A collector reads what boards tell of their health, and nothing else.
user {collector}
topic read {top}/d/+/t

# Boards: read what is meant for them, their config and all firmware, write what they say of themselves. Nothing else.
# mosquitto warns of the pattern without %u; a plain topic line would be for clients without a name.
pattern read {top}/d/%u/desired
pattern read {top}/d/%u/c/#
pattern read {top}/b/#
pattern write {top}/d/%u/reported
pattern write {top}/d/%u/up
pattern write {top}/d/%u/t
"""

_OPENSSL = """\
# One session ticket instead of two after each full TLS 1.3 handshake: it holds the board's certificate, so the second,
# which no board uses, costs 575 bytes a connection.
openssl_conf = edgesync
[edgesync]
ssl_conf = ssl
[ssl]
system_default = tls
[tls]
NumTickets = 1
"""
