"""Every case of NIST's and Wycheproof's AES-GCM files: answered if it has our shape, else refused.

What a case of another shape has in common with ours is compared as well: see the folder's README.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sealserve.native.errors import IntegrityError

VECTORS = Path(__file__).parent.parent / "vectors" / "crypto"
OURS, KEY, NONCE, ASSOCIATED, TAG = (
    "ours",
    "a key of another length: refused",
    "a nonce of another length: refused",
    "associated data: no way to say them, so another tag",
    "a shorter tag: does not authenticate",
)
# CAVS: for nonces of 1, 12 and 128 bytes and for seven lengths of tag, 75 cases without associated
# data and 300 with.
NIST = {OURS: 75, NONCE: 2 * 7 * 375, ASSOCIATED: 7 * 300, TAG: 6 * 75}
WYCHEPROOF = {OURS: 48, KEY: 211, NONCE: 39, ASSOCIATED: 18}


@dataclass(frozen=True)
class Case:
    """plain is None where the file does not tell it, because opening has to fail."""

    key: bytes
    nonce: bytes
    associated: bytes
    plain: bytes | None
    cipher: bytes
    tag: bytes
    genuine: bool

    @property
    def sealed(self) -> bytes:
        return self.cipher + self.tag

    @property
    def shape(self) -> str:
        if len(self.key) != 32:
            return KEY
        if len(self.nonce) != 12:
            return NONCE
        if self.associated:
            return ASSOCIATED
        return OURS if len(self.tag) == 16 else TAG


def nist(name: str) -> Iterator[Case]:
    text = gzip.decompress((VECTORS / f"nist_cavp_{name}.rsp.gz").read_bytes()).decode()
    for block in text.replace("\r", "").split("Count = ")[1:]:
        fields = dict(re.findall(r"^(\w+) = ?([0-9a-f]*)$", block, re.MULTILINE))
        found = {name: bytes.fromhex(value) for name, value in fields.items()}
        genuine = re.search("^FAIL$", block, re.MULTILINE) is None
        assert genuine == ("PT" in found)
        yield Case(
            *(found["Key"], found["IV"], found["AAD"], found.get("PT"), found["CT"], found["Tag"]),
            genuine,
        )


def wycheproof(name: str) -> Iterator[Case]:
    groups = json.loads((VECTORS / f"wycheproof_{name}_test.json").read_text())["testGroups"]
    for case in (case for group in groups for case in group["tests"]):
        fields = ("key", "iv", "aad", "msg", "ct", "tag")
        # An invalid case tells what its text would be, but not the tag that goes with it.
        yield Case(*(bytes.fromhex(case[field]) for field in fields), case["result"] == "valid")


FILES = {
    "NIST decrypt": (nist, "gcmDecrypt256", NIST, 7875 - 3919),
    "NIST encrypt": (nist, "gcmEncryptExtIV256", NIST, 7875),
    "Wycheproof": (wycheproof, "aes_gcm", WYCHEPROOF, 229),
}


@cache
def cases(file: str) -> list[Case]:
    read, name, *_ = FILES[file]
    return list(read(name))


@pytest.mark.parametrize("file", FILES)
def test_no_case_is_left_out(file: str) -> None:
    *_, shapes, genuine = FILES[file]
    assert Counter(case.shape for case in cases(file)) == shapes
    assert sum(case.genuine for case in cases(file)) == genuine


def of_shape(*shapes: str) -> list[Case]:
    return [case for file in FILES for case in cases(file) if case.shape in shapes]


def test_cases_of_our_shape_are_answered(backend: Any) -> None:
    for case in of_shape(OURS):
        if not case.genuine:
            with pytest.raises(IntegrityError):
                backend.gcm_open(case.key, case.nonce, case.sealed)
            continue
        assert backend.gcm_open(case.key, case.nonce, case.sealed) == case.plain
        assert backend.gcm_seal(case.key, case.nonce, case.plain) == case.sealed


def test_keys_and_nonces_of_another_length_are_misuse(backend: Any) -> None:
    for case in of_shape(KEY, NONCE):
        with pytest.raises(ValueError, match=r"^key has|^nonce has"):
            backend.gcm_open(case.key, case.nonce, case.cipher + bytes(16))
        with pytest.raises(ValueError, match=r"^key has|^nonce has"):
            backend.gcm_seal(case.key, case.nonce, case.plain or b"")


def test_what_cannot_be_said_to_us_is_not_taken_for_something_else(backend: Any) -> None:
    for case in of_shape(ASSOCIATED, TAG):
        with pytest.raises(IntegrityError):
            backend.gcm_open(case.key, case.nonce, case.sealed)


def test_associated_data_do_not_change_the_ciphertext(backend: Any) -> None:
    for case in of_shape(ASSOCIATED):
        if case.genuine:
            sealed = backend.gcm_seal(case.key, case.nonce, case.plain)
            assert sealed[:-16] == case.cipher
            assert sealed[-16:][: len(case.tag)] != case.tag


def test_a_shorter_tag_is_the_beginning_of_ours(backend: Any) -> None:
    for case in of_shape(TAG):
        if case.genuine:
            sealed = backend.gcm_seal(case.key, case.nonce, case.plain)
            assert sealed[: len(case.sealed)] == case.sealed
            assert len(sealed) == len(case.cipher) + 16
