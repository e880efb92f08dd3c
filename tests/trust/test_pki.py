"""Certificates: small, strict enough for OpenSSL's strict mode, never overwritten. mosquitto judges them elsewhere."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgesync.trust import pki
from edgesync.wire.errors import ConfigError

BOARD = "acme-industries.gateway-0042"


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    pki.create_ca(str(tmp_path), "acme-industries")
    return tmp_path


@pytest.fixture
def openssl(require: Callable[[str], None]) -> str:
    path = shutil.which("openssl")
    require("" if path else "openssl is not installed (apt-get install openssl)")
    return str(path)


def issue(ca: Path, name: str = BOARD, **options: object) -> x509.Certificate:
    pki.issue(str(ca), str(ca / "it.crt"), str(ca / "it.key"), name, **options)
    return x509.load_pem_x509_certificate((ca / "it.crt").read_bytes())


def names(cert: x509.Certificate) -> list[str]:
    extension = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in extension.value]


def test_a_board_is_named_in_cn_and_by_its_spiffe_id_and_is_a_client_only(ca: Path) -> None:
    cert = issue(ca)
    assert cert.subject.rfc4514_string() == f"CN={BOARD}"
    assert names(cert) == ["spiffe://acme-industries/board/gateway-0042"]
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usage.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_server_has_an_identity_that_no_board_has(ca: Path) -> None:
    assert names(issue(ca, "acme-industries.server")) == ["spiffe://acme-industries/server"]


def test_the_broker_is_named_by_dns_and_address_and_is_no_client(ca: Path) -> None:
    cert = issue(ca, "acme-industries.broker", hosts=("mqtt.example.org", "192.0.2.7", "2001:db8::1"))
    assert names(cert) == ["mqtt.example.org", "192.0.2.7", "2001:db8::1"]
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usage.value) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_certificate_stays_below_360_bytes_on_the_air(ca: Path) -> None:
    assert len(issue(ca).public_bytes(Encoding.DER)) < 360


@pytest.mark.parametrize(("hosts", "purpose"), [((), "sslclient"), (("localhost",), "sslserver")])
def test_openssl_in_strict_mode_accepts_it_for_its_purpose_and_no_other(
    ca: Path, hosts: tuple[str, ...], purpose: str, openssl: str
) -> None:
    issue(ca, hosts=hosts)
    other = {"sslclient": "sslserver", "sslserver": "sslclient"}[purpose]
    verify = [openssl, "verify", "-x509_strict", "-CAfile", str(ca / "ca.crt"), "-purpose"]
    assert subprocess.run([*verify, purpose, str(ca / "it.crt")], capture_output=True, check=False).returncode == 0
    assert subprocess.run([*verify, other, str(ca / "it.crt")], capture_output=True, check=False).returncode != 0


def test_a_board_whose_clock_starts_in_1970_trusts_it(ca: Path, openssl: str) -> None:
    issue(ca)
    verify = [openssl, "verify", "-attime", "1", "-CAfile", str(ca / "ca.crt"), str(ca / "it.crt")]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0


def test_private_keys_are_for_their_owner_only(ca: Path) -> None:
    issue(ca)
    for name in ("ca.key", "it.key"):
        assert stat.S_IMODE(os.stat(ca / name).st_mode) == 0o600


@pytest.mark.parametrize("left", ["ca.crt", "ca.key"])
def test_an_authority_is_never_overwritten_not_even_half_of_one(ca: Path, left: str) -> None:
    for name in {"ca.crt", "ca.key"} - {left}:
        (ca / name).unlink()
    before = (ca / left).read_bytes()
    with pytest.raises(ConfigError, match=left):
        pki.create_ca(str(ca), "acme-industries")
    assert os.listdir(ca) == [left]
    assert (ca / left).read_bytes() == before


@pytest.mark.parametrize("left", ["it.crt", "it.key"])
def test_a_certificate_is_never_overwritten(ca: Path, left: str) -> None:
    (ca / left).write_text("mine")
    with pytest.raises(ConfigError, match=left):
        pki.issue(str(ca), str(ca / "it.crt"), str(ca / "it.key"), BOARD)
    assert (ca / left).read_text() == "mine"
    assert len([name for name in os.listdir(ca) if name.startswith("it.")]) == 1


@pytest.mark.parametrize("name", ["other.b1", "b1", "acme-industries.B1", "acme-industries.a.b", "acme-industries.a/b"])
def test_a_name_that_is_not_a_board_of_this_fleet_is_refused(ca: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        issue(ca, name)


def test_a_fleet_whose_name_is_not_one_gets_no_authority(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fleet"):
        pki.create_ca(str(tmp_path), "Acme Ltd")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("spoil", ["missing", "garbage", "foreign key"])
def test_an_authority_that_cannot_sign_says_why(ca: Path, tmp_path: Path, spoil: str) -> None:
    if spoil == "missing":
        (ca / "ca.key").unlink()
    elif spoil == "garbage":
        (ca / "ca.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\nnone\n")
    else:
        (tmp_path / "second").mkdir()
        pki.create_ca(str(tmp_path / "second"), "acme-industries")
        os.replace(tmp_path / "second" / "ca.key", ca / "ca.key")
    with pytest.raises(ConfigError, match="authority in"):
        issue(ca)
