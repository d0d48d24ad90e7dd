"""What Azure itself said: a real release answer, and real evidence bound to a published key."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation import Evidence, Roots, uvm, verify
from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.keys import jws
from sealserve.keys.answer import ENC, ReleasedKey
from sealserve.keys.attest import request_body
from sealserve.keys.keyid import KeyId
from sealserve.keys.place import azure_roots
from sealserve.native.errors import EvidenceError, ReleaseError
from support.attestation_uvm import issuer_of
from support.keys_vault import b64url, der_chain, json_bytes, pkcs8, unb64url, wrap_key

DIRECTORY = Path(__file__).parent.parent / "vectors" / "azure"
JWS = (DIRECTORY / "keyvault" / "release-ec-p256.jws").read_text().strip()
HOST = "gearamakv1.vault.azure.net"
KID = f"https://{HOST}/keys/ReleaseKey2/c3c28aadd7d54867beb596461e6640bd"
SIGNED = datetime(2022, 5, 6, 20, 26, tzinfo=UTC)
EVIDENCE_TIME = datetime(2026, 9, 1, tzinfo=UTC)


def own_root():
    """The root that stands in the answer: Baltimore, which Azure has left since."""
    header = json.loads(unb64url(JWS.split(".")[0]))
    return x509.load_der_x509_certificate(base64.b64decode(header["x5c"][2]))


def opened(text=JWS, *, roots=None, host=HOST, now=SIGNED):
    return jws.open_jws(text, roots=roots or [own_root()], host=host, now=now)


def test_a_real_release_answer_is_read():
    released = ReleasedKey.read(opened())
    assert (released.request_kid, released.kid, released.enc) == (KID, KID, ENC)
    assert (released.kty, released.enabled, len(released.wrapped)) == ("EC-HSM", True, 336)


def test_its_key_is_no_rsa_key():
    with pytest.raises(ReleaseError, match=r"key\.kty 'EC-HSM'"):
        ReleasedKey.read(opened()).check(KeyId.parse(KID))


def altered(index):
    parts = JWS.split(".")
    middle = len(parts[index]) // 2
    swapped = "A" if parts[index][middle] != "A" else "B"
    parts[index] = parts[index][:middle] + swapped + parts[index][middle + 1 :]
    return ".".join(parts)


REFUSED = {
    "another vault's host": {"host": "evil.example"},
    "today": {"now": EVIDENCE_TIME},
    "before it was issued": {"now": datetime(2022, 1, 1, tzinfo=UTC)},
    "the roots Azure uses now": {"roots": azure_roots()},
    "another payload": {"text": altered(1)},
    "another signature": {"text": altered(2)},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_it_is_refused_where_one_thing_differs(changes):
    with pytest.raises(ReleaseError):
        opened(**changes)


def test_the_shipped_roots_are_roots_and_valid():
    for root in azure_roots():
        assert root.issuer == root.subject
        constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.value.ca
        assert root.not_valid_after_utc > EVIDENCE_TIME


RECORDED = json.loads((DIRECTORY / "cleanroom" / "maa-request.json").read_text())
REPORT = json.loads(unb64url(RECORDED["report"]))
CLAIMS = (DIRECTORY / "cleanroom" / "public-key-jwks").read_bytes()


def evidence(claims=CLAIMS):
    leaf, intermediate, root = der_chain(unb64url(REPORT["VcekCertChain"]).decode())
    endorsement = json.loads(unb64url(REPORT["Endorsements"]))["Uvm"][0]
    report = unb64url(REPORT["SnpReport"])
    return Evidence(
        report, leaf, intermediate, claims, root=root, uvm_endorsement=unb64url(endorsement)
    )


def without_endorsement(claims=CLAIMS):
    full = evidence(claims)
    return Evidence(full.report, full.leaf, full.intermediate, full.claims)


def test_our_request_says_what_a_real_one_says():
    ours = json.loads(request_body(evidence()))
    assert unb64url(ours["runtimeData"]["data"]) == unb64url(RECORDED["runtimeData"]["data"])
    assert ours["runtimeData"]["dataType"] == RECORDED["runtimeData"]["dataType"] == "JSON"
    report = json.loads(unb64url(ours["report"]))
    assert report.keys() == REPORT.keys()
    assert unb64url(report["SnpReport"]) == unb64url(REPORT["SnpReport"])
    assert json.loads(unb64url(report["Endorsements"])) == json.loads(
        unb64url(REPORT["Endorsements"])
    )
    theirs, mine = (unb64url(each["VcekCertChain"]).decode() for each in (REPORT, report))
    assert der_chain(mine) == der_chain(theirs)


def test_the_root_may_come_from_elsewhere():
    root = evidence().root
    carried = json.loads(unb64url(json.loads(request_body(evidence()))["report"]))
    given = json.loads(
        unb64url(json.loads(request_body(without_endorsement(), ark=root))["report"])
    )
    assert given["VcekCertChain"] == carried["VcekCertChain"]
    assert json.loads(unb64url(given["Endorsements"])) == {}


def test_a_real_report_speaks_for_the_published_key():
    claims = verify(without_endorsement(), Roots.amd(), EVIDENCE_TIME)
    assert claims.report.report_data == hashlib.sha256(CLAIMS).digest() + bytes(32)
    with pytest.raises(EvidenceError):
        verify(without_endorsement(CLAIMS + b" "), Roots.amd(), EVIDENCE_TIME)


def test_a_real_machine_whole():
    """Report, chain, key and endorsement of one machine, and every check of `verify`."""
    whole = dataclasses.replace(evidence(), root=None)
    claims = verify(whole, Roots.amd(), EVIDENCE_TIME)
    assert claims.endorsement == uvm.read(whole.uvm_endorsement)
    assert (claims.endorsement.feed, claims.endorsement.svn) == ("ContainerPlat-AMD-UVM", 103)
    assert claims.endorsement.measurement == claims.report.measurement


@pytest.mark.parametrize("simulated", [True, False])
def test_a_real_machine_with_an_endorsement_of_our_own(simulated):
    """A stranger's is genuine until policy asks by whom; a simulated one never is."""
    organization = SIMULATED_ORGANIZATION if simulated else "Example"
    measurement = verify(without_endorsement(), Roots.amd(), EVIDENCE_TIME).report.measurement
    message = issuer_of(*[organization] * 3).form_b(payload=measurement)
    ours = dataclasses.replace(without_endorsement(), uvm_endorsement=message)
    if simulated:
        with pytest.raises(EvidenceError) as refusal:
            verify(ours, Roots.amd(), EVIDENCE_TIME)
        assert refusal.value.code == "uvm_authority"
    else:
        assert not verify(ours, Roots.amd(), EVIDENCE_TIME).endorsement.simulated


def test_a_key_wrapped_to_the_published_key_comes_out():
    """The whole way of a release to a real report, as far as it goes without Azure."""
    published = serialization.load_der_private_key(
        (DIRECTORY / "cleanroom" / "published_test_key.der").read_bytes(), None
    )
    assert isinstance(published, rsa.RSAPrivateKey)
    jwk = json.loads(CLAIMS)["keys"][0]
    numbers = published.public_key().public_numbers()
    assert numbers.n == int.from_bytes(unb64url(jwk["n"]), "big")
    vault_key = rsa.generate_private_key(65537, 2048)
    sealed = {"ciphertext": b64url(wrap_key(pkcs8(vault_key), published.public_key()))}
    released = ReleasedKey.read(
        {
            "request": {"kid": KID, "enc": ENC},
            "response": {
                "key": {
                    "key": {"kid": KID, "kty": "RSA", "key_hsm": b64url(json_bytes(sealed))},
                    "attributes": {"enabled": True},
                }
            },
        }
    )
    released.check(KeyId.parse(KID))
    with released.unwrap(published) as secret:
        assert released.rsa_key(secret).private_numbers() == vault_key.private_numbers()
