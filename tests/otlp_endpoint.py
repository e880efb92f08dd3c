"""An OTLP/HTTP backend on loopback that keeps what it gets, or answers what it is told to."""

from __future__ import annotations

import contextlib
import gzip
import ssl
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from collector_ext.ids import Signal
from collector_ext.otlp.decode import decode
from collector_ext.pdata import Data, Span, Traces


@dataclass
class Backend:
    """`answers` are given first, each `(status, headers, body)`; after them 200 with an empty response."""

    url: str = ""
    taken: list[Data] = field(default_factory=list)
    heads: list[Mapping[str, str]] = field(default_factory=list)
    answers: list[tuple[int, Mapping[str, str], bytes]] = field(default_factory=list)
    always: int = 200

    def spans(self, name: str = "") -> list[Span]:
        """Of this name, or all."""
        spans = (s for d in self.taken if isinstance(d, Traces) for r in d.resources for c in r.scopes for s in c.spans)
        return [span for span in spans if name in ("", span.name)]


@contextlib.contextmanager
def backend(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Backend]:
    kept = Backend()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            kept.heads.append(dict(self.headers))
            status, headers, answer = kept.answers.pop(0) if kept.answers else (kept.always, {}, b"")
            if status == 200:
                kept.taken.append(decode(Signal(self.path.removeprefix("/v1/")), body))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        kept.url = f"http://127.0.0.1:{server.server_port}"
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
            kept.url = f"https://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()
