"""Key files: what is written, what is refused, and that nothing is ever overwritten."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from edgesync.trust import keys
from edgesync.wire.errors import ConfigError, StorageError


def test_a_key_file_is_for_its_owner_only_and_gives_the_public_key_again(tmp_path: Path) -> None:
    path = str(tmp_path / "key")
    public = keys.generate(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert keys.public_hex(path) == public
    assert os.listdir(tmp_path) == ["key"]


def test_a_signature_verifies_with_the_public_key_and_no_other(tmp_path: Path) -> None:
    mine, other = keys.generate(str(tmp_path / "mine")), keys.generate(str(tmp_path / "other"))
    signature = keys.load_signer(str(tmp_path / "mine")).sign(b"text")
    keys.key_from_hex(mine).verify_signature(signature, b"text")
    for public, text in ((other, b"text"), (mine, b"Text")):
        with pytest.raises(Exception, match="verify"):
            keys.key_from_hex(public).verify_signature(signature, text)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keys.generate(str(path))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="found a file"):
        keys.generate(str(path))
    assert path.read_bytes() == before


def test_a_key_that_cannot_be_written_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        keys.generate(str(tmp_path / "missing" / "key"))


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        keys.load_signer(str(tmp_path / "nowhere"))


def test_a_key_of_another_kind_is_refused_with_its_kind(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ConfigError, match="ECPrivateKey"):
        keys.parse_signer(pem, "key")


def test_an_encrypted_key_is_refused() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    with pytest.raises(ConfigError, match="unencrypted"):
        keys.parse_signer(pem, "key")


def test_a_file_too_large_for_a_key_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"-" * (keys.KEY_LIMIT + 1))
    with pytest.raises(ConfigError, match="more than"):
        keys.load_signer(str(tmp_path / "key"))


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda b: b"-----BEGIN PRIVATE KEY-----\n" + b))
def test_any_other_bytes_are_no_key_and_say_so(pem: bytes) -> None:
    with pytest.raises(ConfigError, match="where"):
        keys.parse_signer(pem, "where")


@given(st.text(max_size=70))
def test_any_other_text_is_no_public_key_and_says_so(text: str) -> None:
    with pytest.raises(ConfigError, match="64 lower-case hex digits"):
        keys.key_from_hex(text)
