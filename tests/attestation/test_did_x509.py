"""did:x509: the official vectors, and each rule of the specification alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation import did_x509
from sealserve.attestation.did_x509 import Resolved
from support.attestation_did import document, unb64url
from support.attestation_refusals import code_of, refused
from support.attestation_vectors import vectors
from support.attestation_x509 import (
    AT,
    INTERMEDIATE,
    LEAF,
    NO_CA,
    ROOT,
    Spec,
    chain,
    did,
    fingerprint,
    name,
    usage,
)

(OFFICIAL,) = vectors("did")
VECTORS = {row["id"]: row for row in json.loads(OFFICIAL.read("test-vectors.json"))}

# What the vectors call "Certificate chain verification failed", and so on, in our codes.
CODES = {
    "broken-signature-is-rejected": "x509_path",
    "chain-shorter-than-two-certificates": "x509_path",
    "critical-fulcio-issuer-extension-is-rejected": "x509_path",
    "did-url-path-not-supported": "did_syntax",
    "did-without-predicates": "did_syntax",
    "duplicate-certificate-subject-attribute": "x509_unparseable",
    "eku-predicate-requires-extension": "did_mismatch",
    "fulcio-issuer-predicate-requires-the-extension": "did_mismatch",
    "invalid-did-prefix": "did_syntax",
    "issuer-without-basic-constraints-is-rejected": "x509_path",
    "path-length-zero-rejects-two-intermediates": "x509_path",
    "san-invalid-value": "did_mismatch",
    "san-within-excluded-subtree-is-rejected": "x509_path",
    "subject-invalid-name": "did_mismatch",
    "subject-predicate-requires-key-value-pairs": "did_syntax",
    "unrelated-candidate-is-rejected-with-valid-ca-fingerprint": "x509_path",
    "unsupported-certificate-san-type": "x509_unparseable",
    "unsupported-fingerprint-algorithm": "did_syntax",
}


def test_every_refusal_has_its_code() -> None:
    assert CODES.keys() == {name for name, row in VECTORS.items() if "error" in row["output"]}
    assert len(VECTORS) == OFFICIAL.measured["total"]


@pytest.mark.parametrize("id", VECTORS)
def test_official_vectors(id: str) -> None:
    given, expected = VECTORS[id]["input"], VECTORS[id]["output"]
    ders = [unb64url(certificate) for certificate in given["chain"]]
    if "error" in expected:
        with refused(CODES[id]):
            did_x509.resolve(given["did"], ders, OFFICIAL.at)
        return
    assert document(did_x509.resolve(given["did"], ders, OFFICIAL.at)) == expected["document"]


def test_time_is_handed_in() -> None:
    """Each vector that resolves does so in its window, and never a century later."""
    for row in VECTORS.values():
        ders = [unb64url(certificate) for certificate in row["input"]["chain"]]
        if "document" in row["output"]:
            with refused("x509_time"):
                did_x509.resolve(row["input"]["did"], ders, datetime(2130, 1, 1, tzinfo=UTC))


# ---- paths of our own

CODE_SIGNING, OTHER_PURPOSE = "1.3.6.1.5.5.7.3.3", "1.3.6.1.4.1.311.76.59.1.2"
FULCIO = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
SUBJECT = name(
    (NameOID.COMMON_NAME, "Example Ltd."),
    (NameOID.ORGANIZATION_NAME, "Größe & Söhne: 100%"),
    (NameOID.COUNTRY_NAME, "DE"),
    (NameOID.EMAIL_ADDRESS, "me@example.com"),
)
FULL = Spec(
    SUBJECT,
    LEAF.key,
    (
        NO_CA,
        (x509.ExtendedKeyUsage([x509.ObjectIdentifier(CODE_SIGNING)]), False),
        (
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("host.example.com"),
                    x509.RFC822Name("me@example.com"),
                    x509.UniformResourceIdentifier("https://example.com/a?b"),
                    x509.DirectoryName(name((NameOID.COMMON_NAME, "Directory"))),
                ]
            ),
            False,
        ),
        (x509.UnrecognizedExtension(FULCIO, b"https://issuer.example.com/x"), False),
    ),
)
PATH = chain(FULL, INTERMEDIATE, ROOT)


def resolve(predicates: str, ders: Sequence[bytes] = PATH) -> Resolved:
    return did_x509.resolve(did(ders[-1], predicates), ders, AT)


MATCHES = [
    "subject:CN:Example%20Ltd.",
    "subject:C:DE:CN:Example%20Ltd.",
    "subject:O:Gr%C3%B6%C3%9Fe%20%26%20S%C3%B6hne%3A%20100%25",
    "subject:O:Gr%c3%b6%c3%9fe%20%26%20S%c3%b6hne%3a%20100%25",
    "subject:1.2.840.113549.1.9.1:me%40example.com",
    "subject:C:DE::subject:C:DE",
    "san:dns:host.example.com",
    "san:email:me%40example.com",
    "san:uri:https%3A%2F%2Fexample.com%2Fa%3Fb",
    f"eku:{CODE_SIGNING}",
    "fulcio-issuer:issuer.example.com%2Fx",
    f"eku:{CODE_SIGNING}::subject:C:DE::san:dns:host.example.com",
]


@pytest.mark.parametrize("predicates", MATCHES)
def test_predicates_that_match(predicates: str) -> None:
    resolved = resolve(predicates)
    assert resolved == Resolved(did(PATH[-1], predicates), LEAF.key.public_key(), True, True)


DIFFERS = [
    "subject:CN:example%20ltd.",
    "subject:CN:Example%20Ltd",
    "subject:L:Redmond",
    "subject:C:DE:CN:Other",
    "subject:C:DE:L:Redmond",
    "subject:2.5.4.6:DE",  # its label is C
    "subject:1.2.3:x",
    "san:dns:example.com",
    "san:dns:HOST.example.com",
    "san:email:host.example.com",
    "san:uri:host.example.com",
    "san:dns:Directory",
    f"eku:{OTHER_PURPOSE}",
    f"eku:{CODE_SIGNING}.1",
    "fulcio-issuer:issuer.example.com",
    "fulcio-issuer:https%3A%2F%2Fissuer.example.com%2Fx",
    f"eku:{CODE_SIGNING}::subject:C:US",
    f"subject:C:US::eku:{CODE_SIGNING}",
]


@pytest.mark.parametrize("predicates", DIFFERS)
def test_predicates_that_do_not(predicates: str) -> None:
    with refused("did_mismatch"):
        resolve(predicates)


@pytest.mark.parametrize("predicates", ["san:dns:a", f"eku:{CODE_SIGNING}", "fulcio-issuer:a"])
def test_predicates_about_what_a_leaf_has_not(predicates: str) -> None:
    with refused("did_mismatch"):
        resolve(predicates, chain(LEAF, INTERMEDIATE, ROOT))


MALFORMED = [
    "issuer:CN:Root",
    "EKU:1.2.3",
    "fulcio:issuer:a",
    "eku",
    "eku:",
    "eku:1.2.3:4",
    "eku:1..2",
    "eku:1.2.",
    "eku:email",
    "eku:1.2%2E3",
    "subject:CN",
    "subject:C:DE:CN",
    "subject:CN:Example%20Ltd.:CN:Example%20Ltd.",
    "subject:DC:example",
    "subject:cn:Example%20Ltd.",
    "subject:CN:",
    "subject::CN:Example%20Ltd.",
    "san:dns",
    "san:dns:host.example.com:x",
    "san:dn:Directory",
    "san:ip:127.0.0.1",
    "fulcio-issuer:a:b",
    "subject:CN:Example Ltd.",
    "subject:CN:Example+Ltd.",
    "subject:CN:Example~Ltd.",
    "subject:CN:Gr\u00f6\u00dfe",
    "subject:CN:100%",
    "subject:CN:100%2",
    "subject:CN:100%2g",
    "subject:CN:%C3",
    "subject:CN:%ED%A0%80",
    "subject:C:DE::",
    "subject:C:DE:::eku:1.2.3",
    "subject:C:DE\n",
    "",
]


@pytest.mark.parametrize("predicates", MALFORMED)
def test_predicates_that_are_none(predicates: str) -> None:
    with refused("did_syntax"):
        resolve(predicates)


GOOD = did(PATH[-1], "subject:C:DE")
NO_DID = {
    "another scheme": GOOD.replace("did:", "urn:", 1),
    "a scheme in capitals": GOOD.replace("did:", "DID:", 1),
    "another method": GOOD.replace("x509", "web", 1),
    "another version": GOOD.replace(":0:", ":1:", 1),
    "a version in two digits": GOOD.replace(":0:", ":00:", 1),
    "no predicates": GOOD.partition("::")[0],
    "another digest": GOOD.replace("sha256", "md5", 1),
    "a digest in capitals": GOOD.replace("sha256", "SHA256", 1),
    "no fingerprint": GOOD.replace(fingerprint(PATH[-1]), "", 1),
    "two fingerprints": GOOD.replace("sha256:", "sha256:AA:", 1),
    "a path": GOOD + "/credentials",
    "a query": GOOD + "?versionId=1",
    "a path before the fragment": GOOD + "/x#0",
    "a space before it": " " + GOOD,
    "a fragment that is none": GOOD + "#0#1",
    "a fragment with a space": GOOD + "# 0",
    "more than 4096 characters": GOOD + "::" + "::".join(["subject:C:DE"] * 300),
}


@pytest.mark.parametrize("what", NO_DID)
def test_names_that_are_no_did(what: str) -> None:
    with refused("did_syntax"):
        did_x509.resolve(NO_DID[what], PATH, AT)


@pytest.mark.parametrize("fragment", ["0", "", "a/b?c", "%20"])
def test_a_fragment_is_of_the_document(fragment: str) -> None:
    assert did_x509.resolve(f"{GOOD}#{fragment}", PATH, AT).did == GOOD


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("depth", [1, 2])
def test_any_certificate_above_the_leaf(digest: str, depth: int) -> None:
    did_x509.resolve(did(PATH[depth], "subject:C:DE", digest), PATH, AT)


def test_the_leaf_does_not_speak_for_itself() -> None:
    with refused("did_mismatch"):
        did_x509.resolve(did(PATH[0], "subject:C:DE"), PATH, AT)


def test_a_fingerprint_has_one_spelling() -> None:
    """The last character has two bits that decode to nothing; padding is none of it."""
    whole = fingerprint(PATH[-1])
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sibling = whole[:-1] + alphabet[alphabet.index(whole[-1]) ^ 1]
    assert unb64url(sibling) == unb64url(whole)
    with refused("did_mismatch"):
        did_x509.resolve(GOOD.replace(whole, sibling), PATH, AT)
    with refused("did_syntax"):
        did_x509.resolve(GOOD.replace(whole, whole + "="), PATH, AT)


TWICE = name((NameOID.COMMON_NAME, "A"), (NameOID.COMMON_NAME, "A"))


@pytest.mark.parametrize("depth", range(3))
def test_an_attribute_twice_in_any_name(depth: int) -> None:
    """A subject is the issuer below, too; the root's is both."""
    specs = [FULL, INTERMEDIATE, ROOT]
    specs[depth] = replace(specs[depth], subject=TWICE)
    ders = chain(*specs)
    with refused("x509_unparseable"):
        did_x509.resolve(did(ders[-1], f"eku:{CODE_SIGNING}"), ders, AT)


def test_an_attribute_twice_in_an_alternative_name() -> None:
    names = x509.SubjectAlternativeName([x509.DirectoryName(TWICE)])
    ders = chain(replace(LEAF, extensions=(NO_CA, (names, False))), INTERMEDIATE, ROOT)
    with refused("x509_unparseable"):
        did_x509.resolve(did(ders[-1], "subject:CN:Leaf"), ders, AT)


def test_a_fulcio_issuer_that_is_no_text() -> None:
    broken = (x509.UnrecognizedExtension(FULCIO, b"\xff"), False)
    ders = chain(replace(LEAF, extensions=(NO_CA, broken)), INTERMEDIATE, ROOT)
    with refused("x509_unparseable"):
        did_x509.resolve(did(ders[-1], "subject:CN:Leaf"), ders, AT)


USES = {
    ("digital_signature",): (True, False),
    ("key_agreement",): (False, True),
    ("digital_signature", "key_agreement"): (True, True),
    ("key_encipherment",): None,
    ("key_cert_sign",): None,
}


@pytest.mark.parametrize("bits", USES)
def test_what_the_key_is_for(bits: tuple[str, ...]) -> None:
    ders = chain(replace(FULL, extensions=(NO_CA, (usage(*bits), True))), INTERMEDIATE, ROOT)
    expected = USES[bits]
    if expected is None:
        with refused("did_key_usage"):
            resolve("subject:C:DE", ders)
    else:
        resolved = resolve("subject:C:DE", ders)
        assert (resolved.asserts, resolved.agrees) == expected


# ---- strings nobody planned

PIECES = [
    *("did:x509:0:", "sha256:", "sha384:", fingerprint(PATH[-1]), "::", ":", "%", "%41", "#", "/"),
    *("subject:", "CN:", "C:DE", "eku:", CODE_SIGNING, "san:dns:", "host.example.com", "?", "~"),
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
def test_any_string(text: str) -> None:
    for candidate in (text, GOOD + text):
        seen = code_of(lambda whole=candidate: did_x509.resolve(whole, PATH, AT))  # type: ignore[misc]
        assert seen in ("", "did_syntax", "did_mismatch")


@given(st.text(min_size=1, max_size=40))
def test_any_value_can_be_asked_for(value: str) -> None:
    """What percent-encoding writes is read again, and compared whole."""
    try:
        encoded = "".join(f"%{byte:02X}" for byte in value.encode())
    except UnicodeEncodeError:
        return
    with refused("did_mismatch"):
        resolve(f"subject:CN:{encoded}x")
