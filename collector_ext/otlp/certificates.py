"""The PEM files of a client's TLS, checked when they are loaded."""

from __future__ import annotations

import ssl

from collector_ext.otlp.backend import TlsConfig
from edgesync.wire.errors import NotReachableError


def context(tls: TlsConfig) -> ssl.SSLContext:
    """Raises NotReachableError for files that cannot be read, hold something else, or do not belong together."""
    try:
        made = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.cert_file:
            made.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:  # of ssl too
        files = ", ".join(filter(None, (tls.ca_file, tls.cert_file, tls.key_file)))
        raise NotReachableError(f"tls: {files}: {error}") from error
    return made
