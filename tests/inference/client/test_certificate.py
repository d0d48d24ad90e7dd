"""A client's certificate and its key: which files hold them, and that the key is never shown."""

from __future__ import annotations

import copy
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from sealserve.inference.client import Certificate
from sealserve.inference.client.terms import Terms
from sealserve.native.errors import ConfigError
from support.client_authority import Authority, Issued, key_pem

AUTHORITY = Authority()
GOOD = AUTHORITY.issue()
TEXT = b"Certificate:\n    Data: what openssl prints before one\n"
KEYS: dict[str, Callable[[], Any]] = {
    "EC": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


def load(folder: Path, issued: Issued) -> Certificate:
    chain, key = issued.written(folder)
    return Certificate.load(folder / chain, folder / key)


@pytest.mark.parametrize("kind", KEYS)
def test_two_files(tmp_path: Path, kind: str) -> None:
    issued = AUTHORITY.issue(key=KEYS[kind]())
    found = load(tmp_path, issued)
    assert (found.chain, found.key) == (issued.chain, issued.key)
    assert found.file == str(tmp_path / "client.pem")
    assert found.since < datetime.now(UTC) < found.until


def test_one_file_with_both_hands_out_no_key_with_the_chain() -> None:
    both = TEXT + GOOD.key + GOOD.chain + AUTHORITY.own
    found = Certificate.parse(both, both)
    assert (found.chain, found.key) == (GOOD.chain + AUTHORITY.own, GOOD.key)


def test_a_key_as_older_programs_write_it() -> None:
    key = serialization.load_pem_private_key(GOOD.key, None)
    older = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    assert older.startswith(b"-----BEGIN EC PRIVATE KEY")
    assert Certificate.parse(GOOD.chain, older).key == GOOD.key


def encrypted() -> bytes:
    return key_pem(serialization.load_pem_private_key(GOOD.key, None), b"words")


def of_unknown_kind() -> bytes:
    """Its public key is of an algorithm nobody has given this number to."""
    der = ssl.PEM_cert_to_DER_cert(GOOD.chain.decode())
    known = bytes.fromhex("06072a8648ce3d0201")  # id-ecPublicKey, RFC 5480
    assert known in der
    return ssl.DER_cert_to_PEM_cert(der.replace(known, known[:-1] + b"\x7f")).encode()


KOBLITZ = key_pem(ec.generate_private_key(ec.SECP256K1()))
X25519 = key_pem(x25519.X25519PrivateKey.generate())
CERTIFICATE, KEY = "client.pem", "client.key"
# What stands in the two files, which of them the error names, and its words.
BAD: dict[str, tuple[bytes, bytes, str, str]] = {
    "no certificate": (b"", GOOD.key, CERTIFICATE, "holds no certificate in PEM"),
    "a certificate in DER": (b"\x30\x82", GOOD.key, CERTIFICATE, "holds no certificate in PEM"),
    "a key for a certificate": (GOOD.key, GOOD.key, CERTIFICATE, "holds no certificate in PEM"),
    "half a certificate": (
        GOOD.chain[:90] + b"\n-----END CERTIFICATE-----\n",
        GOOD.key,
        CERTIFICATE,
        "holds no certificate in PEM",
    ),
    "too long a certificate": (b" " * 2**16, GOOD.key, CERTIFICATE, "is longer than 32768 bytes"),
    "a certificate of an unknown kind": (of_unknown_kind(), GOOD.key, CERTIFICATE, "unknown kind"),
    "no key": (GOOD.chain, b"", KEY, "holds no private key in PEM"),
    "a certificate for a key": (GOOD.chain, GOOD.chain, KEY, "holds no private key in PEM"),
    "half a key": (GOOD.chain, GOOD.key[:60] + GOOD.key[-26:], KEY, "holds no private key in PEM"),
    "a key that signs nothing": (GOOD.chain, X25519, KEY, "holds no private key in PEM"),
    "a key on a curve of no handshake": (GOOD.chain, KOBLITZ, KEY, "that signs handshakes"),
    "an encrypted key": (GOOD.chain, encrypted(), KEY, "the key is encrypted"),
    "too long a key": (GOOD.chain, GOOD.key + b" " * 2**16, KEY, "is longer than 32768 bytes"),
    "another's key": (GOOD.chain, AUTHORITY.issue().key, KEY, "the key does not fit"),
    "the authority's certificate first": (
        AUTHORITY.own + GOOD.chain,
        GOOD.key,
        KEY,
        "the key does not fit",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_none_is_told_with_its_file_and_a_way_out(tmp_path: Path, name: str) -> None:
    chain, key, file, words = BAD[name]
    with pytest.raises(ConfigError, match=words) as refused:
        load(tmp_path, Issued(chain, key, b""))
    assert refused.value.file == str(tmp_path / file)
    assert refused.value.hint
    for line in key.split(b"\n")[1:-2]:
        assert line.decode() not in repr(refused.value) + str(refused.value) or not line.strip()


def test_one_that_has_expired(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the client's certificate expired at 20") as refused:
        load(tmp_path, AUTHORITY.issue(ends=timedelta(minutes=-1)))
    assert refused.value.file == str(tmp_path / CERTIFICATE)
    assert "clock" in refused.value.hint


@pytest.mark.parametrize("absent", [CERTIFICATE, KEY])
def test_a_file_that_is_not_there(tmp_path: Path, absent: str) -> None:
    GOOD.written(tmp_path)
    (tmp_path / absent).unlink()
    with pytest.raises(ConfigError, match="cannot be read") as refused:
        Certificate.load(tmp_path / CERTIFICATE, tmp_path / KEY)
    assert refused.value.file == str(tmp_path / absent)


def test_the_key_is_in_no_repr() -> None:
    certificate = Certificate.parse(GOOD.chain, GOOD.key, file="client.pem")
    terms = Terms(None, certificate=certificate)  # type: ignore[arg-type]  # nobody is verified
    for shown in (certificate, copy.copy(certificate), terms):
        for words in (repr(shown), str(shown), f"{[shown]}"):
            assert "client.pem" in words
            assert GOOD.private.decode() not in words
            assert "PRIVATE" not in words


@given(st.binary(max_size=200), st.binary(max_size=200), st.booleans())
def test_any_bytes_are_refused_with_our_error(chain: bytes, key: bytes, fits: bool) -> None:
    with pytest.raises(ConfigError):
        Certificate.parse(GOOD.chain if fits else chain, key)
