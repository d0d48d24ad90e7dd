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
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sealserve.attestation import Evidence, Roots, uvm, verify
from sealserve.attestation.binding import report_data
from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.attestation.token import TokenKeys, verify_token
from sealserve.keys import jws
from sealserve.keys.answer import ENC, KINDS, WRAP_HASHES, ReleasedKey
from sealserve.keys.attest import request_body
from sealserve.keys.authority import Authority
from sealserve.keys.keyid import KeyId
from sealserve.keys.place import azure_roots
from sealserve.keys.session import ReleaseRequest
from sealserve.keys.trustd.answer import WrappingKey
from sealserve.keys.vault import StaticCredential, Vault
from sealserve.native.errors import EvidenceError, ReleaseError
from support.attestation_uvm import issuer_of
from support.keys_server import Reply, serve
from support.keys_vault import b64url, der_chain, json_bytes, pkcs8, rsa_key, unb64url, wrap_key

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


def test_a_real_answer_passes_every_comparison_of_a_sidecars():
    ReleasedKey.read(opened()).check(KeyId.parse(KID), tuple(WRAP_HASHES), KINDS)


def test_a_real_answer_comes_through_the_unmodified_sdk(ca):
    def answer(request):
        if "authorization" not in request.headers:
            told = 'Bearer authorization="https://l.example/t", resource="https://vault.azure.net"'
            return Reply(401, b"", {"WWW-Authenticate": told})
        return Reply.of({"value": JWS})

    with serve(answer, ca) as server:
        vault = Vault(server.host, StaticCredential("t"), authority=Authority(ca.certificate))
        key_id = KeyId.parse(KID)
        value = vault.release(ReleaseRequest(key_id.name, key_id.version, "a.b.c"))
        vault.close()
    assert ReleasedKey.read(opened(value)).kid == KID


# RFC 5649 section 6: a key of 160 bits and one of 56 under a KEK of 192.
RFC_KEK = "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"
RFC_ROWS = {
    "c37b7e6492584340bed12207808941155068f738": (
        "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"
    ),
    "466f7250617369": "afbeb0f07dfbf5419200f2ccb50bb24f",
}


@pytest.mark.parametrize("enc", WRAP_HASHES)
@pytest.mark.parametrize(("key", "wrapped"), RFC_ROWS.items())
def test_published_wraps_come_out_under_each_algorithm(enc, key, wrapped):
    """The rows that Microsoft's sidecar is tested with (pkg/skr/skr_test.go)."""
    machine, digest = rsa_key(2048, 0), WRAP_HASHES[enc]()
    oaep = padding.OAEP(padding.MGF1(digest), digest, None)
    head = machine.public_key().encrypt(bytes.fromhex(RFC_KEK), oaep)
    released = ReleasedKey(KID, enc, KID, "oct", head + bytes.fromhex(wrapped), {}, enabled=True)
    with released.unwrap(machine) as secret:
        assert secret.equals(bytes.fromhex(key))


KID_OF_TOKEN = "dRKh+hBcWUfQimSl3Iv6ZhStW3TSOt0ThwiTgUUqZAo="  # standard base64 in JSON
RUNTIME = (DIRECTORY / "maa" / "runtime-jwks-7ab000a3.json").read_bytes()
POLICIES = DIRECTORY.parent / "policy" / "release"
TOKEN_OF_ACI = json.loads((POLICIES / "token-aci.decoded.json").read_text())["payload"]


def test_a_sidecars_runtime_data_is_what_its_token_says():
    assert report_data(RUNTIME).hex() == TOKEN_OF_ACI["x-ms-sevsnpvm-reportdata"]
    assert json.loads(RUNTIME) == TOKEN_OF_ACI["x-ms-runtime"]


def test_the_key_of_a_sidecars_token_is_the_one_a_vault_wraps_to():
    """Its `kid` is its thumbprint (RFC 7638), which is how our log calls it too."""
    key = WrappingKey.of(TOKEN_OF_ACI, ENC)
    assert key.kid == key.thumbprint == json.loads(RUNTIME)["keys"][0]["kid"]


def test_a_real_token_is_read_and_believed_of_nobody():
    token = (POLICIES / "token-azurevm-cvm.jwt").read_text().strip()
    known = TokenKeys({"another": rsa_key(2048, 0).public_key()})
    assert not known.knows(token)
    issuer, now = "https://sharedweu.weu.attest.azure.net", datetime(2023, 3, 30, 12, tzinfo=UTC)
    for keys, code in (
        (known, "token_key"),
        (TokenKeys({KID_OF_TOKEN: rsa_key(2048, 0).public_key()}), "token_signature"),
    ):
        with pytest.raises(EvidenceError) as caught:
            verify_token(token, keys, issuer=issuer, now=now)
        assert caught.value.code == code
