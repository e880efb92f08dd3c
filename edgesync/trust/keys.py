"""Ed25519 keys: made, written, read. A private key is a PEM file (PKCS #8, mode 0600), a public one 64 hex digits.

The key id inside signed messages is the first 16 hex digits of the public key, not the 64 of TUF's default: it only
says which of the pinned keys to try, and it travels with every message.
"""

from __future__ import annotations

import os
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey

from edgesync.host import files
from edgesync.wire.errors import ConfigError, StorageError

KEY_LIMIT = 4 * 1024
"""Bytes of a private key file; an Ed25519 key takes 119."""
KEY_ID = 16

_PUBLIC = re.compile(r"[0-9a-f]{64}")
_SCHEME = "ed25519"


def generate(path: str) -> str:
    """Make a key pair, write the private half to `path`, return the public half (64 hex digits).

    Raises ConfigError if there is a file already, StorageError or DiskFullError if it cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    signer = CryptoSigner(private, key_from_hex(_hex(private)))
    write_new(path, signer.private_bytes, 0o600)
    return _hex(private)


def load_signer(path: str) -> CryptoSigner:
    """The signer of a private key file. Raises ConfigError for a file that is not there or holds something else."""
    try:
        pem = files.read_limited(path, KEY_LIMIT)
    except StorageError as error:
        raise ConfigError(f"private key {error}; expected an Ed25519 key in PEM") from error
    return parse_signer(pem, path)


def parse_signer(pem: bytes, origin: str) -> CryptoSigner:
    """The signer of a private key in PEM; `origin` names it in errors. Raises ConfigError for anything else."""
    try:
        private = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"private key {origin}: found no unencrypted PEM, expected an Ed25519 key: {error}"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"private key {origin}: found {type(private).__name__}, expected an Ed25519 key")
    return CryptoSigner(private, key_from_hex(_hex(private)))


def public_hex(path: str) -> str:
    """The public half of a private key file, 64 hex digits. Raises ConfigError as `load_signer` does."""
    return str(load_signer(path).public_key.keyval["public"])


def key_from_hex(public: str) -> SSlibKey:
    """The key that verifies. Raises ConfigError for anything but 64 lower-case hex digits."""
    if not _PUBLIC.fullmatch(public):
        raise ConfigError(f"public key: found {public[:80]!r}, expected 64 lower-case hex digits (Ed25519)")
    return SSlibKey(public[:KEY_ID], _SCHEME, _SCHEME, {"public": public})


def write_new(path: str, data: bytes, mode: int) -> None:
    """Write a file that must not be there yet: what others already trust is never replaced.

    Raises ConfigError if it is there, StorageError or DiskFullError if it cannot be written.
    """
    if os.path.lexists(path):
        raise ConfigError(f"{path}: found a file, expected none; keep it, or move it away to make a new one")
    files.write_atomic(path, data, mode)


def _hex(private: Ed25519PrivateKey) -> str:
    return private.public_key().public_bytes_raw().hex()
