"""Certification paths: each check of the path alone refuses one."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation import asn1, der, did_x509, x509_names, x509_path
from support.attestation_der import elements, inserted, replaced
from support.attestation_refusals import code_of, mutations, refused
from support.attestation_uvm import good
from support.attestation_x509 import (
    AT,
    AUTHORITY,
    END,
    INTERMEDIATE,
    LEAF,
    NO_CA,
    ROOT,
    SIGNS_CERTIFICATES,
    START,
    Extension,
    Spec,
    ca,
    chain,
    common_name,
    ec_key,
    name,
    rsa_key,
    usage,
)

GOOD = chain(LEAF, INTERMEDIATE, ROOT)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
ED25519 = ed25519.Ed25519PrivateKey.generate()


def check(ders: Sequence[bytes]) -> None:
    x509_path.require_valid(x509_path.read(ders), AT)


def with_extension(spec: Spec, extension: x509.ExtensionType, *, critical: bool = True) -> Spec:
    return replace(spec, extensions=(*spec.extensions, (extension, critical)))


def at_depth(depth: int, spec: Spec) -> list[bytes]:
    """The good chain with this certificate in the place of one."""
    specs = [LEAF, INTERMEDIATE, ROOT]
    specs[depth] = spec
    return chain(*specs)


def of_depth(depth: int) -> Spec:
    return (LEAF, INTERMEDIATE, ROOT)[depth]


def test_a_good_path() -> None:
    leaf, intermediate, root = x509_path.read(GOOD)
    x509_path.require_valid((leaf, intermediate, root), AT)
    assert (leaf.der, leaf.organization, leaf.self_issued) == (GOOD[0], "Example", False)
    assert root.self_issued


def other_keys(key: object) -> list[bytes]:
    return chain(replace(LEAF, key=key), INTERMEDIATE, ROOT)


KEYS = {
    "RSA 2048": rsa_key("signer"),
    "P-384": ec_key("p384", ec.SECP384R1),
    "P-521": ec_key("p521", ec.SECP521R1),
    "Ed25519": ED25519,
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("depth", range(3))
def test_keys_of_every_kind_and_signatures_by_them(key: object, depth: int) -> None:
    specs = [LEAF, INTERMEDIATE, ROOT]
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA384()
    specs[depth] = replace(specs[depth], key=key)
    for signed in {max(depth - 1, 0), *([2] if depth == 2 else [])} if depth else set():
        specs[signed] = replace(specs[signed], digest=digest)
    check(chain(*specs))


def test_signatures_of_rsa_in_both_paddings() -> None:
    root = replace(ROOT, key=rsa_key("root"))
    check(chain(LEAF, INTERMEDIATE, root))
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    intermediate = replace(INTERMEDIATE, digest=hashes.SHA384(), pss=pss)
    check(chain(LEAF, intermediate, replace(root, digest=hashes.SHA384(), pss=pss)))


UNUSED_KEYS = {
    "RSA 1024": rsa_key("short", 1024),
    "P-224": ec_key("p224", ec.SECP224R1),
    "secp256k1": ec_key("k1", ec.SECP256K1),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "DSA": dsa.generate_private_key(2048),
}


@pytest.mark.parametrize("key", UNUSED_KEYS.values(), ids=UNUSED_KEYS)
def test_keys_that_are_not_used(key: object) -> None:
    with refused("x509_unparseable"):
        check(other_keys(key))


# ---- what is no certificate


def with_part(index: int, part: bytes) -> bytes:
    """The good leaf with another element in what is signed."""
    return replaced(GOOD[0], 0, replaced(elements(GOOD[0])[0], index, part))


def with_extensions(*more: bytes) -> bytes:
    """The good leaf with these extensions before its own."""
    tbs = elements(GOOD[0])[0]
    last = len(elements(tbs)) - 1
    sequence = der.Reader(elements(tbs)[last]).element(0xA3)
    for extension in more:
        sequence = inserted(sequence, 0, extension)
    return with_part(last, asn1.element(0xA3, sequence))


def extension(oid: str, content: bytes) -> bytes:
    return asn1.sequence(asn1.oid(oid), asn1.octets(content))


NO_TEXT = x509.NameAttribute(
    NameOID.X500_UNIQUE_IDENTIFIER, b"\1\2", _type=_ASN1Type.BitString, _validate=False
)
X400_ADDRESS = asn1.sequence(asn1.element(0xA3, asn1.sequence(asn1.sequence())))
UNREADABLE = {
    "nothing": b"",
    "no DER": b"-----BEGIN CERTIFICATE-----",
    "a byte more": GOOD[0] + b"\0",
    "cut off": GOOD[0][:-1],
    "more than 8 KiB": with_extensions(extension("1.2.3.4", bytes(8192))),
    "version 1": replaced(GOOD[0], 0, asn1.sequence(*elements(elements(GOOD[0])[0])[1:-1])),
    "version 2": with_part(0, asn1.element(0xA0, asn1.integer(1))),
    "serial number 0": with_part(1, asn1.integer(0)),
    "a negative serial number": with_part(1, asn1.element(der.INTEGER, b"\xff")),
    "another algorithm inside": with_part(
        2,
        asn1.sequence(asn1.oid("1.2.840.10045.4.3.4")),  # ECDSA with SHA-512
    ),
    "an extension twice": with_extensions(*[extension("1.2.3.4", b"\5\0")] * 2),
    "an extension that is no DER": with_extensions(extension("2.5.29.37", b"\x30\x05")),
    "an alternative name of the X.400 kind": with_extensions(extension("2.5.29.17", X400_ADDRESS)),
    "a key of an unknown algorithm": with_part(
        6, asn1.sequence(asn1.sequence(asn1.oid("1.2.3.4")), asn1.bits(b"key"))
    ),
    "a name that holds no text": chain(
        replace(LEAF, subject=x509.Name([NO_TEXT])), INTERMEDIATE, ROOT
    )[0],
    **{
        f"an alternative name of another kind: {type(other).__name__}": chain(
            with_extension(LEAF, x509.SubjectAlternativeName([x509.DNSName("a"), other])),
            INTERMEDIATE,
            ROOT,
        )[0]
        for other in (
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
            x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\5\0"),
        )
    },
}


@pytest.mark.parametrize("what", UNREADABLE)
@pytest.mark.parametrize("depth", range(3))
def test_what_cannot_be_read(what: str, depth: int) -> None:
    ders = list(GOOD)
    ders[depth] = UNREADABLE[what]
    with refused("x509_unparseable"):
        x509_path.read(ders)


def test_a_warning_of_the_library_is_a_refusal() -> None:
    """Text in a certificate policy that is no ASCII; the tests make warnings errors."""
    text = asn1.sequence(asn1.element(0x1A, b"\xc3\xa4"))  # VisibleString
    notice = asn1.sequence(asn1.oid("1.3.6.1.5.5.7.2.2"), text)
    policy = asn1.sequence(asn1.sequence(asn1.oid("1.2.3"), asn1.sequence(notice)))
    with refused("x509_unparseable"):
        x509_path.read([with_extensions(extension("2.5.29.32", policy)), *GOOD[1:]])


@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_path_of_another_length(count: int) -> None:
    with refused("x509_path"):
        x509_path.read(([*GOOD] * 3)[:count])


# ---- the path


@pytest.mark.parametrize("depth", range(3))
def test_windows_hold_at_every_depth(depth: int) -> None:
    whole = timedelta(seconds=1)
    long = [
        replace(of_depth(each), start=START - 9 * whole, end=END + 9 * whole) for each in range(3)
    ]
    long[depth] = of_depth(depth)
    path = x509_path.read(chain(*long))
    for at in (START, END):
        x509_path.require_valid(path, at)
    for at in (START - whole, END + whole):
        with refused("x509_time"):
            x509_path.require_valid(path, at)


@pytest.mark.parametrize("depth", range(3))
def test_an_unknown_extension(depth: int) -> None:
    check(at_depth(depth, with_extension(of_depth(depth), UNKNOWN, critical=False)))
    with refused("x509_path"):
        check(at_depth(depth, with_extension(of_depth(depth), UNKNOWN)))


def test_a_known_extension_that_nobody_may_mark_critical() -> None:
    issuer_names = x509.IssuerAlternativeName([x509.DNSName("a")])
    check(at_depth(0, with_extension(LEAF, issuer_names, critical=False)))
    with refused("x509_path"):
        check(at_depth(0, with_extension(LEAF, issuer_names)))


ANY_POLICY = x509.ObjectIdentifier("2.5.29.32.0")
CRITICAL = {
    "keyUsage": usage("digital_signature"),
    "subjectAltName": x509.SubjectAlternativeName([x509.DNSName("example.com")]),
    "certificatePolicies": x509.CertificatePolicies([x509.PolicyInformation(ANY_POLICY, None)]),
    "policyMappings": x509.UnrecognizedExtension(
        x509.ObjectIdentifier("2.5.29.33"),
        asn1.sequence(asn1.sequence(asn1.oid("1.2.3"), asn1.oid("1.2.4"))),
    ),
    "policyConstraints": x509.PolicyConstraints(None, 0),
    "extKeyUsage": x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.2.3")]),
    "inhibitAnyPolicy": x509.InhibitAnyPolicy(0),
}


@pytest.mark.parametrize("what", CRITICAL)
def test_what_may_be_critical(what: str) -> None:
    check(at_depth(0, with_extension(LEAF, CRITICAL[what])))


def test_explicit_policies_are_not_evaluated() -> None:
    for depth in range(3):
        with refused("x509_path"):
            check(at_depth(depth, with_extension(of_depth(depth), x509.PolicyConstraints(0, None))))


@pytest.mark.parametrize("depth", range(3))
def test_a_signature_by_another_key(depth: int) -> None:
    with refused("x509_path"):
        check(at_depth(depth, replace(of_depth(depth), signer=ec_key("stranger"))))


@pytest.mark.parametrize("depth", range(2))
def test_names_that_do_not_chain(depth: int) -> None:
    with refused("x509_path"):
        check(at_depth(depth, replace(of_depth(depth), issuer=common_name("Somebody"))))


def test_names_that_chain_in_words_and_not_in_bytes() -> None:
    """Everything else is as it was: the same key, the same letters in another kind of string."""
    other = x509.Name(
        x509.NameAttribute(each.oid, each.value, _type=_ASN1Type.PrintableString)
        for each in INTERMEDIATE.subject
    )
    assert other == INTERMEDIATE.subject
    assert other.public_bytes() != INTERMEDIATE.subject.public_bytes()
    with refused("x509_path"):
        check(at_depth(0, replace(LEAF, issuer=other)))


def test_a_signature_of_a_kind_that_the_key_is_not_for() -> None:
    other = chain(LEAF, replace(INTERMEDIATE, key=rsa_key("signer")), ROOT)
    with refused("x509_path"):
        check([GOOD[0], *other[1:]])


@pytest.mark.parametrize("depth", range(3))
def test_signatures_over_a_weak_digest(depth: int) -> None:
    """SHA-3 stands for all that is not SHA-2: the library makes nothing weaker."""
    with refused("x509_path"):
        check(at_depth(depth, replace(of_depth(depth), digest=hashes.SHA3_256())))


def test_an_anchor_need_not_sign_itself() -> None:
    """Whoever knows its fingerprint trusts it; but if it does, the signature holds."""
    check(GOOD[:2])


@pytest.mark.parametrize("depth", [0, 1])
def test_no_certificate_stands_above_itself(depth: int) -> None:
    """A CA below a root would prove its own fingerprint, without anybody's signature."""
    authority = replace(LEAF, extensions=AUTHORITY)
    path = chain(authority, INTERMEDIATE, ROOT)
    with refused("x509_path"):
        check([*path[: depth + 1], path[depth]])


def test_the_time_has_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        x509_path.require_valid(x509_path.read(GOOD), AT.replace(tzinfo=None))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    "extensions",
    [
        (SIGNS_CERTIFICATES,),
        (NO_CA, SIGNS_CERTIFICATES),
        (ca(),),
        (ca(), (usage("crl_sign"), True)),
    ],
    ids=["no constraints", "no CA", "no usage", "another usage"],
)
def test_an_issuer_that_may_not_issue(depth: int, extensions: Sequence[Extension]) -> None:
    with refused("x509_path"):
        check(at_depth(depth, replace(of_depth(depth), extensions=extensions)))


def of_length(*limits: int | None) -> list[bytes]:
    """A path whose CAs, from the leaf's up to the root, have these path lengths."""
    authorities = [
        Spec(common_name(f"CA {index}"), ec_key(f"ca {index}"), (ca(limit), SIGNS_CERTIFICATES))
        for index, limit in enumerate(limits)
    ]
    return chain(LEAF, *authorities)


@pytest.mark.parametrize(
    "limits", [(0,), (0, 1), (None, 1, 2), (3, 5), (None, None, None), (0, None, 2), (0, 1, 2, 3)]
)
def test_path_lengths_that_suffice(limits: tuple[int | None, ...]) -> None:
    check(of_length(*limits))


@pytest.mark.parametrize("limits", [(0, 0), (None, None, 1), (None, 0, None), (None, None, 0)])
def test_path_lengths_that_do_not(limits: tuple[int | None, ...]) -> None:
    with refused("x509_path"):
        check(of_length(*limits))


def test_an_authority_that_renews_itself_takes_no_length() -> None:
    renewed = replace(INTERMEDIATE, key=ec_key("renewed"))
    top = replace(ROOT, extensions=(ca(1), SIGNS_CERTIFICATES))
    check(chain(LEAF, renewed, replace(INTERMEDIATE, extensions=AUTHORITY), top))
    with refused("x509_path"):
        check(chain(LEAF, replace(renewed, subject=common_name("Other")), INTERMEDIATE, top))


# ---- names that a CA may vouch for

DNS, EMAIL, URI = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier
SUBJECT = common_name("Leaf")


def dn(*attributes: tuple[x509.ObjectIdentifier, str]) -> x509.DirectoryName:
    return x509.DirectoryName(name(*attributes))


COVERED = {
    "dns: itself": (DNS("example.com"), DNS("example.com")),
    "dns: below": (DNS("example.com"), DNS("a.b.example.com")),
    "dns: another case": (DNS("Example.COM"), DNS("a.eXample.com")),
    "dns: only below": (DNS(".example.com"), DNS("a.example.com")),
    "dns: everything": (DNS(""), DNS("a")),
    "email: a mailbox": (EMAIL("me@example.com"), EMAIL("me@Example.com")),
    "email: a host": (EMAIL("example.com"), EMAIL("you@example.com")),
    "email: hosts below": (EMAIL(".example.com"), EMAIL("you@mail.example.com")),
    "uri: a host": (URI("example.com"), URI("https://example.com:8443/x")),
    "uri: hosts below": (URI(".example.com"), URI("https://u@a.example.com/x")),
    "dn: itself": (dn((NameOID.ORGANIZATION_NAME, "A")), dn((NameOID.ORGANIZATION_NAME, "A"))),
    "dn: another case, more spaces": (
        dn((NameOID.ORGANIZATION_NAME, "a  corp")),
        dn((NameOID.ORGANIZATION_NAME, "A Corp"), (NameOID.COMMON_NAME, "x")),
    ),
}
OUTSIDE = {
    "dns: another ending": (DNS("example.com"), DNS("badexample.com")),
    "dns: above": (DNS("a.example.com"), DNS("example.com")),
    "dns: not below": (DNS(".example.com"), DNS("example.com")),
    "email: another mailbox": (EMAIL("me@example.com"), EMAIL("Me@example.com")),
    "email: a host below": (EMAIL("example.com"), EMAIL("you@mail.example.com")),
    "email: not below": (EMAIL(".example.com"), EMAIL("you@example.com")),
    "uri: a host below": (URI("example.com"), URI("https://a.example.com")),
    "uri: a host in the path": (URI("example.com"), URI("https://other.test/example.com")),
    "uri: a host for a user": (URI("example.com"), URI("https://example.com@other.test/")),
    "uri: no host": (URI("example.com"), URI("urn:example.com")),
    "uri: broken": (URI("example.com"), URI("https://[example.com/")),
    "dn: another value": (
        dn((NameOID.ORGANIZATION_NAME, "A")),
        dn((NameOID.ORGANIZATION_NAME, "B")),
    ),
    "dn: another attribute": (
        dn((NameOID.ORGANIZATION_NAME, "A")),
        dn((NameOID.ORGANIZATIONAL_UNIT_NAME, "A")),
    ),
    "dn: shorter": (
        dn((NameOID.ORGANIZATION_NAME, "A"), (NameOID.COMMON_NAME, "x")),
        dn((NameOID.ORGANIZATION_NAME, "A")),
    ),
}


def constrained(
    constraints: x509.NameConstraints, alternative: x509.GeneralName, depth: int = 0
) -> list[bytes]:
    """The root has these constraints, the certificate of this depth that name."""
    specs = [LEAF, INTERMEDIATE, with_extension(ROOT, constraints)]
    names = x509.SubjectAlternativeName([alternative])
    specs[depth] = with_extension(specs[depth], names)
    return chain(*specs)


def names_only(subtree: x509.GeneralName, name: x509.GeneralName, *, permitted: bool) -> None:
    subtrees = ([subtree], None) if permitted else (None, [subtree])
    constraints = x509.NameConstraints(*subtrees)
    alternatives = x509_names.alternative_names(x509.SubjectAlternativeName([name]))
    x509_names.require_within(constraints, x509.Name([]), alternatives)


@pytest.mark.parametrize("what", COVERED)
def test_names_that_a_constraint_covers(what: str) -> None:
    subtree, covered = COVERED[what]
    names_only(subtree, covered, permitted=True)
    with refused("x509_path"):
        names_only(subtree, covered, permitted=False)


@pytest.mark.parametrize("what", OUTSIDE)
def test_names_outside_of_a_constraint(what: str) -> None:
    subtree, outside = OUTSIDE[what]
    names_only(subtree, outside, permitted=False)
    with refused("x509_path"):
        names_only(subtree, outside, permitted=True)


@pytest.mark.parametrize("depth", range(2))
def test_constraints_bind_all_below(depth: int) -> None:
    constraints = x509.NameConstraints([DNS("example.com")], [DNS("secret.example.com")])
    check(constrained(constraints, DNS("a.example.com"), depth))
    check(constrained(constraints, URI("https://other.test"), depth))  # of a kind nobody limits
    for outside in ("other.test", "secret.example.com"):
        with refused("x509_path"):
            check(constrained(constraints, DNS(outside), depth))


def test_every_ca_has_its_word() -> None:
    first = with_extension(ROOT, x509.NameConstraints([DNS("example.com")], None))
    second = with_extension(INTERMEDIATE, x509.NameConstraints([DNS("a.example.com")], None))
    hosts = ("b.a.example.com", "b.example.com")
    leaves = [with_extension(LEAF, x509.SubjectAlternativeName([DNS(host)])) for host in hosts]
    check(chain(leaves[0], second, first))
    with refused("x509_path"):
        check(chain(leaves[1], second, first))


def test_subjects_are_names_too() -> None:
    example = dn((NameOID.COMMON_NAME, "Leaf"))
    with refused("x509_path"):
        check(
            chain(LEAF, with_extension(INTERMEDIATE, x509.NameConstraints(None, [example])), ROOT)
        )
    address = replace(LEAF, subject=name((NameOID.EMAIL_ADDRESS, "me@other.test")))
    limited = with_extension(INTERMEDIATE, x509.NameConstraints([EMAIL("example.com")], None))
    with refused("x509_path"):
        check(chain(address, limited, ROOT))


# ---- bytes nobody planned


@given(st.integers(0, 2), st.data())
def test_changed_certificates(depth: int, data: st.DataObject) -> None:
    """An anchor may lose its own signature, but then it is another one."""
    ders = list(good().chain)
    ders[depth] = data.draw(mutations(ders[depth]))
    seen = code_of(lambda: did_x509.resolve(good().did, ders, AT))
    assert seen in ("", "x509_unparseable", "x509_path", "x509_time", "did_mismatch")
    assert bool(seen) == (ders[depth] != good().chain[depth])
