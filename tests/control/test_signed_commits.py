"""Signed commits with real keys: who may move the fleet, whatever the repository or the account configures."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesync.control.source import Repository
from edgesync.wire.errors import ConfigError, UntrustedCommitError


class Signing:
    """A repository and keys of `ada` (allowed) and `eve`."""

    def __init__(self, place: Path) -> None:
        self.tree = place / "fleet"
        self.tree.mkdir()
        self.place = place
        for name in ("ada", "eve"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(place / name)]
            subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        self.signers = place / "allowed_signers"
        self.signers.write_text(self.line("ada"))
        self.git("init", "--quiet", "--initial-branch=main")

    def line(self, name: str, options: str = "") -> str:
        kind, key, _ = (self.place / f"{name}.pub").read_text().split()
        return f"{name}@example.com {options} {kind} {key}\n"

    def git(self, *words: str) -> str:
        home = {"PATH": os.environ["PATH"], "HOME": str(self.place), "GIT_CONFIG_GLOBAL": os.devnull}
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        run = subprocess.run(["git", "-C", self.tree, *identity, *words], check=True, capture_output=True, env=home)
        return run.stdout.decode().strip()

    def commit(self, key: str = "", **settings: str) -> str:
        signing = {"gpg.format": "ssh", "user.signingKey": str(self.place / key)} if key else {}
        words = [word for name, value in {**signing, **settings}.items() for word in ("-c", f"{name}={value}")]
        sign = ["-S"] if key or settings else []
        self.git(*words, "commit", "--quiet", "--allow-empty", "-m", f"by {key or 'nobody'}", *sign)
        return self.git("rev-parse", "HEAD")

    def verify(self, commit: str) -> None:
        Repository(self.tree).verify(commit, self.signers)


@pytest.fixture
def signing(tmp_path: Path) -> Signing:
    return Signing(tmp_path)


def test_a_commit_that_an_allowed_key_signed_is_taken(signing: Signing):
    signing.verify(signing.commit("ada"))


@pytest.mark.parametrize(
    ("key", "why"), [("", "it is not signed"), ("eve", ".*failed: Good .* signature with .* key ")]
)
def test_a_commit_that_nobody_or_another_key_signed_is_refused_by_name(signing: Signing, key: str, why: str):
    commit = signing.commit(key)
    with pytest.raises(UntrustedCommitError, match=f"commit {commit[:12]}: {why}.*the last good revision stays"):
        signing.verify(commit)


def test_an_unsigned_commit_on_top_of_signed_ones_is_refused(signing: Signing):
    signing.commit("ada")
    with pytest.raises(UntrustedCommitError):
        signing.verify(signing.commit())


def test_a_signature_that_was_moved_to_another_commit_is_refused(signing: Signing):
    signed = signing.git("cat-file", "commit", signing.commit("ada"))
    assert "by ada" in signed
    words = ["git", "-C", str(signing.tree), "hash-object", "-t", "commit", "-w", "--stdin"]
    forged = subprocess.run(
        words, input=signed.replace("by ada", "by eve") + "\n", text=True, capture_output=True, check=True
    )
    with pytest.raises(UntrustedCommitError):
        signing.verify(forged.stdout.strip())


def test_a_key_that_is_no_longer_allowed_is_refused_from_then_on(signing: Signing):
    commit = signing.commit("ada")
    signing.signers.write_text(signing.line("ada", 'valid-before="20200101"'))
    with pytest.raises(UntrustedCommitError):
        signing.verify(commit)
    signing.signers.write_text("")
    with pytest.raises(UntrustedCommitError):
        signing.verify(commit)


def test_a_key_that_is_allowed_for_something_else_is_refused(signing: Signing):
    signing.signers.write_text(signing.line("ada", 'namespaces="file"'))
    with pytest.raises(UntrustedCommitError):
        signing.verify(signing.commit("ada"))


def yes(signing: Signing) -> str:
    """A program that finds every signature good."""
    place = signing.place / "yes"
    place.write_text(
        '#!/bin/sh\necho\necho "[GNUPG:] GOODSIG 0 eve"\necho "[GNUPG:] TRUST_ULTIMATE 0 pgp"\n'
        "echo 'Good \"git\" signature for eve@example.com with ED25519 key SHA256:x'\nexit 0\n"
    )
    place.chmod(0o755)
    return str(place)


WEAKER: dict[str, Callable[[Signing], dict[str, str]]] = {
    "a program that always says yes": lambda signing: {"gpg.ssh.program": yes(signing)},
    "other signers": lambda signing: {"gpg.ssh.allowedSignersFile": str(signing.place / "eves")},
    "less trust": lambda _: {"gpg.minTrustLevel": "undefined"},
    "another gpg": lambda signing: {"gpg.program": yes(signing), "gpg.openpgp.program": yes(signing)},
}


@pytest.mark.parametrize("where", ["repository", "account", "environment"])
@pytest.mark.parametrize("weaker", WEAKER.values(), ids=WEAKER.keys())
def test_no_configuration_makes_another_key_good(
    weaker: Callable[[Signing], dict[str, str]], where: str, signing: Signing, monkeypatch: pytest.MonkeyPatch
):
    (signing.place / "eves").write_text(signing.line("eve"))
    settings = weaker(signing)
    commit = signing.commit("eve")
    if where == "repository":
        for name, value in settings.items():
            signing.git("config", name, value)
    elif where == "account":
        monkeypatch.setenv("HOME", str(signing.place))
        for name, value in settings.items():
            subprocess.run(["git", "config", "--file", signing.place / ".gitconfig", name, value], check=True)
    else:
        monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
        for number, (name, value) in enumerate(settings.items()):
            monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", name)
            monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    with pytest.raises(UntrustedCommitError):
        signing.verify(commit)


def test_a_signature_of_another_format_is_refused_even_where_the_accounts_gpg_takes_it(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
):
    signer = signing.place / "gpg"
    signer.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        "*--verify*) cat >/dev/null; echo; echo '[GNUPG:] GOODSIG 0 eve'; echo '[GNUPG:] TRUST_ULTIMATE 0 pgp';;\n"
        "*) cat >/dev/null; echo '[GNUPG:] SIG_CREATED ' >&2\n"
        "echo '-----BEGIN PGP SIGNATURE-----'; echo; echo eve; echo '-----END PGP SIGNATURE-----';; esac\n"
    )
    signer.chmod(0o755)
    commit = signing.commit("", **{"gpg.program": str(signer), "user.signingKey": "eve"})
    signing.git("config", "gpg.program", str(signer))
    monkeypatch.setenv("PATH", f"{signing.place}:{os.environ['PATH']}")
    signing.git("verify-commit", commit)  # git alone, with the repository's configuration, believes it
    with pytest.raises(UntrustedCommitError):
        signing.verify(commit)


def test_an_object_that_was_replaced_is_read_and_verified_as_it_is(signing: Signing):
    (signing.tree / "fleet.yaml").write_text("good")
    signing.git("add", "--all")
    good = signing.commit("ada")
    (signing.tree / "fleet.yaml").write_text("bad")
    signing.git("add", "--all")
    bad = signing.commit("eve")
    signing.git("replace", good, bad)
    signing.git("replace", bad, good, "-f")
    signing.verify(good)
    assert Repository(signing.tree).files(good)["fleet.yaml"].data == b"good"
    with pytest.raises(UntrustedCommitError):
        signing.verify(bad)


def test_a_file_of_signers_that_is_not_there_is_named(signing: Signing):
    signing.signers.unlink()
    with pytest.raises(ConfigError, match="allowed_signers: no such file"):
        signing.verify(signing.commit("ada"))
