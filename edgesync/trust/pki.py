"""A fleet's certificate authority and the certificates of mTLS, as small as they can be.

Ed25519 throughout: a board's certificate takes about 300 bytes (P-256: 370), and mosquitto with OpenSSL 1.1.1 or newer
accepts it. In a full handshake it crosses the link up to three times (TLS 1.3 puts it into each session ticket).
Key ids and serial numbers have 8 bytes, names a CN only; the extensions are those that strict checking (the default
from Python 3.13 on) asks for.

One authority a fleet: whoever it signs may read the fleet's firmware.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgesync.host import files
from edgesync.trust.keys import KEY_LIMIT, write_new
from edgesync.wire.errors import ConfigError, MalformedMessageError, StorageError
from edgesync.wire.ids import SERVER, board_of, fleet_of, is_label, parse_device

CA_CERT, CA_KEY = "ca.crt", "ca.key"
CERT_LIMIT = 16 * 1024
"""Bytes of a certificate file."""
DAYS = 3650
"""Of CA and certificates: as long as they cannot be renewed over the air, an expired one costs a journey."""

_NOT_BEFORE = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""A board without a clock starts in 1970 and must still trust its broker; `not_after` is what limits a certificate."""


def create_ca(directory: str, fleet: str) -> None:
    """Write `ca.crt` and `ca.key` (mode 0600) of a new authority into `directory`, which must exist.

    Raises ConfigError for a bad fleet name or if either file is there, StorageError if they cannot be written.
    """
    if not is_label(fleet):
        raise ConfigError(f"fleet: found {fleet!r}, expected a name of [a-z0-9-]")
    private = Ed25519PrivateKey.generate()
    name = _name(fleet)
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(name, name, private.public_key(), DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier(_key_id(private.public_key())), critical=False)
    )
    _write_pair(builder.sign(private, None), private, os.path.join(directory, CA_CERT), os.path.join(directory, CA_KEY))


def issue(
    ca_dir: str, out_cert: str, out_key: str, common_name: str, *, hosts: Sequence[str] = (), days: int = DAYS
) -> None:
    """Write a certificate and its key (mode 0600), signed by the authority in `ca_dir`.

    `common_name` is `<fleet>.<name>`. Without `hosts` it is a client's, with the SPIFFE id `spiffe://<fleet>/board/<name>`
    (`spiffe://<fleet>/server` for the server); with `hosts`, DNS names or IP addresses, it is the broker's.
    Raises ConfigError for a bad name, another fleet's authority, or files that are there already.
    """
    ca, ca_key = _load_ca(ca_dir)
    fleet = str(ca.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    try:
        device = parse_device(common_name)
    except MalformedMessageError as error:
        raise ConfigError(f"certificate: {error}") from error
    if fleet_of(device) != fleet:
        raise ConfigError(f"certificate of {device}: found the authority of fleet {fleet!r} in {ca_dir}")
    names: list[x509.GeneralName] = [_host(host) for host in hosts]
    if not hosts:
        role = SERVER if board_of(device) == SERVER else f"board/{board_of(device)}"
        names.append(x509.UniformResourceIdentifier(f"spiffe://{fleet}/{role}"))
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
    private = Ed25519PrivateKey.generate()
    builder = (
        _builder(_name(device), ca.subject, private.public_key(), days)
        .add_extension(x509.AuthorityKeyIdentifier(_key_id(ca_key.public_key()), None, None), critical=False)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    _write_pair(builder.sign(ca_key, None), private, out_cert, out_key)


def _builder(subject: x509.Name, issuer: x509.Name, public: Ed25519PublicKey, days: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(int.from_bytes(os.urandom(8), "big") >> 1 | 1)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days))
    )


def _load_ca(directory: str) -> tuple[x509.Certificate, Ed25519PrivateKey]:
    cert_path, key_path = os.path.join(directory, CA_CERT), os.path.join(directory, CA_KEY)
    try:
        cert = x509.load_pem_x509_certificate(files.read_limited(cert_path, CERT_LIMIT))
        private = load_pem_private_key(files.read_limited(key_path, KEY_LIMIT), None)
    except (StorageError, ValueError, TypeError) as error:
        raise ConfigError(f"authority in {directory}: expected PEM files {CA_CERT} and {CA_KEY}: {error}") from error
    if not isinstance(private, Ed25519PrivateKey) or private.public_key() != cert.public_key():
        raise ConfigError(f"authority in {directory}: expected {CA_KEY} to be the Ed25519 key of {CA_CERT}")
    return cert, private


def _write_pair(cert: x509.Certificate, private: Ed25519PrivateKey, cert_path: str, key_path: str) -> None:
    if os.path.lexists(cert_path):
        raise ConfigError(f"{cert_path}: found a file, expected none; keep it, or move it away to make a new one")
    write_new(key_path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    write_new(cert_path, cert.public_bytes(Encoding.PEM), 0o644)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_id(public: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(public.public_bytes_raw()).digest()[:8]


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
