"""A file wrapped by the command line, as Microsoft's program does for `-infile`."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from sealserve.cli.main import run
from sealserve.errors import ConfigError, InputError
from sealserve.keys.sidecar import wrapping

KEY = rsa.generate_private_key(65537, 3072)
PLAIN = b"a layer key of 32 bytes .........."
INFO = {
    "public_key_path": "/anywhere/rsa-pub.pem",
    "kms_endpoint": "vault.example",
    "attester_endpoint": "service.example",
}


def pem(key: object) -> bytes:
    public = key.public_key()  # type: ignore[attr-defined]
    made: bytes = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return made


@pytest.fixture
def keypath(tmp_path: Path) -> Path:
    (tmp_path / "rsa-info.json").write_text(json.dumps(INFO))
    (tmp_path / "rsa-pub.pem").write_bytes(pem(KEY))
    return tmp_path / "rsa"


def opened(text: bytes) -> bytes:
    annotation = json.loads(base64.b64decode(text, validate=True))
    wrapped = base64.b64decode(annotation.pop("wrapped_data"))
    assert annotation == {
        "kid": "rsa",
        "wrap_type": "rsa_3072",
        "kms_endpoint": "vault.example",
        "attester_endpoint": "service.example",
    }
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    return KEY.decrypt(wrapped, oaep)


def test_the_annotation_opens_with_the_private_key(keypath: Path) -> None:
    assert opened(wrapping.wrap_file(PLAIN, keypath)) == PLAIN
    assert opened(wrapping.wrap_file(b"", keypath)) == b""


def test_too_long_for_the_key(keypath: Path) -> None:
    longest = 3072 // 8 - 2 * 32 - 2
    assert opened(wrapping.wrap_file(b"x" * longest, keypath)) == b"x" * longest
    with pytest.raises(InputError, match="319 bytes are too long for the key rsa"):
        wrapping.wrap_file(b"x" * (longest + 1), keypath)


BAD: dict[str, tuple[str, bytes | None, str]] = {
    "no info": ("rsa-info.json", None, "rsa-info.json: cannot be read"),
    "an info that is none": ("rsa-info.json", b"{", "rsa-info.json: "),
    "an info without a vault": ("rsa-info.json", b'{"public_key_path": "x"}', "kms_endpoint"),
    "a long info": ("rsa-info.json", b" " * 16_385, "rsa-info.json: is longer than 16384"),
    "no key": ("rsa-pub.pem", None, "rsa-pub.pem: cannot be read"),
    "a key that is none": ("rsa-pub.pem", b"x", "rsa-pub.pem: is no RSA public key"),
    "a key of another kind": (
        "rsa-pub.pem",
        pem(ec.generate_private_key(ec.SECP256R1())),
        "rsa-pub.pem: is no RSA public key",
    ),
    "a short key": ("rsa-pub.pem", pem(rsa.generate_private_key(65537, 1024)), "is no RSA"),
    "a key of no name": (
        "rsa-info.json",
        json.dumps({**INFO, "public_key_path": "keys/"}).encode(),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_lies_beside_the_key_must_be_right(keypath: Path, name: str) -> None:
    file, content, words = BAD[name]
    (keypath.parent / file).unlink()
    if content is not None:
        (keypath.parent / file).write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        wrapping.wrap_file(PLAIN, keypath)
    assert caught.value.hint


def test_the_command_line_in_either_spelling(keypath: Path) -> None:
    folder = keypath.parent
    (folder / "in").write_bytes(PLAIN)
    for dashes in ("-", "--"):
        options = {"infile": folder / "in", "keypath": keypath, "outfile": folder / "out"}
        words = [part for name, path in options.items() for part in (f"{dashes}{name}", str(path))]
        assert run(["skr", *words]) == 0
        assert opened((folder / "out").read_bytes()) == PLAIN


def test_the_command_line_wants_all_three(
    keypath: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["skr", "-infile", str(keypath.parent / "rsa-pub.pem")]) == 8
    assert "-keypath, -outfile missing" in capsys.readouterr().err


def test_the_input_is_never_replaced(keypath: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = keypath.parent / "in"
    file.write_bytes(PLAIN)
    words = ["-infile", str(file), "-keypath", str(keypath), "-outfile", str(file)]
    assert run(["skr", *words]) == 8
    assert file.read_bytes() == PLAIN
