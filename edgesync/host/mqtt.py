"""One connection to the broker, kept up: paho in a thread, bounded queues, events in order.

The application above is told `Up`, `Down` and `Message` and owns everything else: after each `Up` it subscribes anew
(sessions are clean, so no stale queue floods a slow link) and publishes again what was not acknowledged. Callbacks do
no work: they put the message into a bounded inbox, and when that is full the network thread waits, which is TCP's
back-pressure. Acknowledgements wait behind it too, so whoever calls `next` must not itself wait for `deliver`.
Facts about paho and brokers behind these choices: docs/adr/0003-mqtt-link.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from edgesync.host import lean, tcp
from edgesync.wire.errors import (
    EdgesyncError,
    LinkError,
    MalformedMessageError,
    MessageTooLargeError,
    NotReachableError,
)

lean.postpone("urllib.request")  # 1 MiB with http and email: paho asks it for proxies, and only where PySocks is there
from paho.mqtt import client as paho  # noqa: E402
from paho.mqtt.enums import CallbackAPIVersion  # noqa: E402

INFLIGHT = 32
"""Publishes that wait for their acknowledgement at once."""
_DOUBLINGS = 16
"""Of the wait between two attempts. A broker may be away for weeks: 2 to the power of the attempts is no float then."""

_LOOK = 1.0
"""Seconds between two looks of the thread at the keepalive."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: the CA that signed the broker, and this client's certificate and key."""

    ca: str
    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes (QoS 1, retained) when this client is gone without a word."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Where the broker is and how patient to be.

    `keepalive` (s): at least four times what the largest packet takes to send. `connect_timeout` (s) covers TCP, TLS
    and CONNACK: 30 and more on slow links. `packet_limit` (bytes): a larger packet is not read, the connection is
    dropped. `inbox`: messages that wait for the application. `backoff`, `backoff_limit` (s): the wait before the n-th
    attempt is drawn from 0 to min(limit, backoff * 2**n), so that a fleet does not come back as one. `session`: the
    broker keeps QoS 1 messages for this client while it is away, and sends each again until it is told `acknowledge`.
    """

    host: str
    port: int
    client_id: str
    tls: Tls | None = None
    will: Will | None = None
    keepalive: int = 60
    connect_timeout: float = 30.0
    packet_limit: int = 64 * 1024
    inbox: int = 64
    backoff: float = 1.0
    backoff_limit: float = 300.0
    session: bool = False


@dataclass(frozen=True, slots=True)
class Up:
    """Connected; nothing is subscribed."""


@dataclass(frozen=True, slots=True)
class Down:
    """The connection broke, or an attempt failed; the link tries again by itself."""

    reason: str
    error: EdgesyncError | None = None  # what the broker sent that made us end the connection


@dataclass(frozen=True, slots=True)
class Message:
    """`receipt` is what `acknowledge` needs: the connection that brought it, and the packet's number there."""

    topic: str
    payload: bytes
    receipt: tuple[int, int] = (0, 0)


LinkEvent = Up | Down | Message


class MqttLink:
    """See the module. All methods are called from the event loop that called `start`."""

    def __init__(self, options: LinkOptions) -> None:
        self._options = options
        self._context = _tls_context(options.tls) if options.tls else None
        self._events: deque[LinkEvent] = deque()
        self._arrived = asyncio.Event()
        self._room = threading.Semaphore(options.inbox)
        self._stopping = threading.Event()
        self._awake = threading.Event()
        self._awake.set()
        self.announced = True
        """Whether the last will is left with the broker at the next connection."""
        self._client: paho.Client | None = None
        self._acks: dict[int, asyncio.Future[None]] = {}
        self._asked: set[int] = set()
        self._window = asyncio.Semaphore(INFLIGHT)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = tcp.Carried()  # by connections that are no more
        self._connection = 0  # which it is, counted from the first

    # --- the application's side ---------------------------------------------------------------------------------

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    async def next(self) -> LinkEvent:
        """The next event, in the order in which they happened."""
        while not self._events:
            self._arrived.clear()
            await self._arrived.wait()
        event = self._events.popleft()
        if isinstance(event, Message):
            self._room.release()
        return event

    def subscribe(self, *filters: str, qos: int = 0) -> None:
        """Ask for topics. While the link is down this does nothing: `Up` is the moment to subscribe."""
        if self._client and filters:
            code, mid = self._client.subscribe([(f, qos) for f in filters])
            if code == paho.MQTT_ERR_SUCCESS and mid is not None:
                self._asked.add(mid)

    def unsubscribe(self, *filters: str) -> None:
        if self._client and filters:
            self._client.unsubscribe(list(filters))

    async def deliver(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        """Publish with QoS 1 and return when the broker has acknowledged.

        Raises LinkError when the link is or goes down first: the message may or may not have arrived, so it must be
        one that can be sent again.
        """
        async with self._window:
            if self._client is None:
                raise LinkError(f"publish to {topic}: not connected")
            info = self._client.publish(topic, payload, qos=1, retain=retain)
            if info.rc != paho.MQTT_ERR_SUCCESS:
                raise LinkError(f"publish to {topic}: {paho.error_string(info.rc)}")
            ack = asyncio.get_running_loop().create_future()
            self._acks[info.mid] = ack
            try:
                await ack
            finally:
                self._acks.pop(info.mid, None)

    def acknowledge(self, message: Message) -> None:
        """The message is taken care of for good. Of a link with a `session`; what an earlier connection brought comes
        again, since nobody can acknowledge it any more.
        """
        connection, mid = message.receipt
        if self._client and mid and connection == self._connection:
            self._client.ack(mid, 1)

    @property
    def answered(self) -> bool:
        """Whether the broker has acknowledged every SUBSCRIBE of this connection."""
        return not self._asked

    @property
    def carried(self) -> tcp.Carried:
        """What all connections have carried, attempts that failed included."""
        return self._closed + tcp.carried(self._client.socket() if self._client else None)

    def rest(self) -> None:
        """Say goodbye (no last will), and connect no more until `go_on`."""
        self._awake.clear()
        if self._client:
            self._client.disconnect()

    def go_on(self) -> None:
        self._awake.set()

    async def stop(self, limit: float = 5.0) -> None:
        """Say goodbye (no last will) and end the thread, within `limit` seconds."""
        self._stopping.set()
        self._awake.set()
        if self._client:
            self._client.disconnect()
        if self._thread:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, limit)

    # --- the thread's side --------------------------------------------------------------------------------------

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            if not self._awake.is_set():
                attempt = 0
                self._awake.wait()
                continue
            client = self._new_client()
            try:
                client.connect(self._options.host, self._options.port, self._options.keepalive)
                # Unlike loop_forever in a thread of our own, loop wakes up when there is something to send.
                while (code := client.loop(_LOOK)) == paho.MQTT_ERR_SUCCESS:
                    if self._stopping.is_set() and not client.connected_once:
                        break  # there is no one to say goodbye to
                reason = client.reason or paho.error_string(code)
            except OSError as error:  # refused, unreachable, timed out, or TLS did not agree
                if not client.opened:
                    self._closed += client.spent or tcp.attempted(error)
                reason = f"{self._options.host}:{self._options.port}: {error}"
            except Exception as error:  # noqa: BLE001 - paho meets malformed packets with whatever breaks first
                client.refused = MalformedMessageError(f"the broker does not speak MQTT: {error!r}")
                reason = str(client.refused)
            # A broker that keeps sending what is refused is asked ever more seldom.
            attempt = 0 if client.connected_once and not client.refused else attempt + 1
            self._call(self._down, reason, client.refused)
            wait = min(self._options.backoff_limit, self._options.backoff * 2 ** min(attempt, _DOUBLINGS))
            self._stopping.wait(random.uniform(0, wait))  # noqa: S311 - spreads load, guards no secret

    def _new_client(self) -> _Client:
        options = self._options
        client = _Client(options.client_id, options.packet_limit, session=options.session)
        client.connect_timeout = options.connect_timeout
        client.max_inflight_messages_set(INFLIGHT)
        client.max_queued_messages_set(INFLIGHT)
        if self._context:
            client.tls_set_context(self._context)
        if options.will and self.announced:
            client.will_set(options.will.topic, options.will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        # With this set, paho leaves every write to its own thread. Without it, whoever publishes writes too, and two
        # threads mix the halves of their packets on a full socket and break a TLS connection.
        client.on_socket_register_write = _no_op
        return client

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            client.reason = f"the broker refused: {reason}"
            return
        client.connected_once = True
        self._connection += 1
        if isinstance(self._context, _ResumingContext):
            self._context.keep(client.socket())
        self._call(self._up, client)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        while not self._room.acquire(timeout=1.0):
            if self._stopping.is_set():
                return
        receipt = (self._connection, message.mid) if self._options.session and message.qos else (0, 0)
        self._call(self._put, Message(message.topic, bytes(message.payload), receipt))

    def _on_publish(self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        self._call(self._acknowledged, mid)

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, _reasons: Any, _properties: Any) -> None:
        self._call(self._asked.discard, mid)

    def _on_socket_open(self, client: Any, _data: Any, sock: Any) -> None:
        # Behind a full downlink acknowledgements take seconds, and Nagle would hold the next request back until then.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A dead uplink is noticed by the kernel, not after a quarter of an hour of retransmissions.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2000 * self._options.keepalive)
        client.opened = True

    def _on_socket_close(self, _client: Any, _data: Any, sock: Any) -> None:
        self._closed += tcp.carried(sock) + tcp.Carried(total=tcp.CLOSING)

    def _call(self, function: Any, *args: Any) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended; no one is left to be told
            self._loop.call_soon_threadsafe(function, *args)

    # --- back in the event loop ---------------------------------------------------------------------------------

    def _put(self, event: LinkEvent) -> None:
        self._events.append(event)
        self._arrived.set()

    def _up(self, client: paho.Client) -> None:
        self._client = client
        self._put(Up())

    def _down(self, reason: str, error: EdgesyncError | None) -> None:
        self._client = None
        for ack in self._acks.values():
            if not ack.done():
                ack.set_exception(LinkError(f"the connection broke before the acknowledgement: {reason}"))
        self._acks.clear()
        self._asked.clear()
        self._put(Down(reason, error))

    def _acknowledged(self, mid: int) -> None:
        ack = self._acks.get(mid)
        if ack and not ack.done():
            ack.set_result(None)


class _Client(paho.Client):
    """paho's client for one connection: no reconnecting of its own, and no packet above the limit is ever read."""

    def __init__(self, client_id: str, packet_limit: int, *, session: bool) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=not session,
            reconnect_on_failure=False,
            manual_ack=session,
        )
        self.packet_limit = packet_limit
        self.connected_once = False
        self.opened = False
        self.spent: tcp.Carried | None = None  # on a handshake that failed
        self.reason = ""
        self.refused: EdgesyncError | None = None

    def _ssl_wrap_socket(self, tcp_sock: Any) -> ssl.SSLSocket:
        context = self._ssl_context
        assert isinstance(context, _ResumingContext)
        try:
            return super()._ssl_wrap_socket(tcp_sock)
        except OSError:
            # paho forgets this socket, and with it what the handshake has cost.
            self.spent = tcp.carried(context.newest) + tcp.Carried(total=tcp.CLOSING)
            raise
        finally:
            context.newest = None

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho asks for the whole rest of a packet at once, so this is the length that the broker has declared.
        if bufsize > self.packet_limit:
            self.refused = MessageTooLargeError(f"a packet of {bufsize} bytes, at most {self.packet_limit} are read")
            self.reason = str(self.refused)
            raise OSError(self.reason)
        return super()._sock_recv(bufsize)


class _ResumingContext(ssl.SSLContext):
    """Offers the last TLS session at the next handshake: about 1.1 kB of 2.9 less on the air for each reconnect."""

    _session: ssl.SSLSession | None = None
    newest: ssl.SSLSocket | None = None
    """The socket whose handshake is under way."""

    def keep(self, sock: Any) -> None:
        self._session = sock.session

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        self.newest = super().wrap_socket(*args, **{**options, "session": self._session})
        return self.newest


def _tls_context(tls: Tls) -> _ResumingContext:
    context = _ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(tls.ca)
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise NotReachableError(f"TLS files {tls.ca}, {tls.cert}, {tls.key}: {error}") from error
    return context


def _no_op(*_: Any) -> None:
    pass
