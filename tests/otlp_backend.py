"""An OTLP/HTTP backend as a process of its own: `python -m tests.otlp_backend DIRECTORY PORT` keeps each request in
a file, as it came but for gzip. It knows nothing of edgesync, nor of OTLP.
"""

from __future__ import annotations

import gzip
import itertools
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def serve(directory: Path, port: int) -> None:
    numbers = itertools.count()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            whole = directory / f"{self.path.rpartition('/')[2]}-{next(numbers)}.pb"
            part = whole.with_suffix(".part")
            part.write_bytes(body)
            os.replace(part, whole)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
