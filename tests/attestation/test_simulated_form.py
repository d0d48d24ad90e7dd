"""The simulated platform has the form of real machines, element by element.

Every document of a simulated machine stands beside a real one of its kind, taken apart into lines
(support/attestation_form.py). What may differ is listed here, and it is little: subjects that say
simulated, addresses that lead nowhere, and numbers that count what was issued.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence

import pytest

from sealserve.attestation import Evidence, pem, roots
from sealserve.attestation.certificate_table import ARK, ASK, CRL, VCEK, VLEK
from sealserve.attestation.certs import Certificate
from sealserve.attestation.cose import Sign1
from sealserve.attestation.report import SigningKey
from sealserve.attestation.roots import SIMULATED_ORGANIZATION
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.attestation.simulated.endorser import UvmForm
from sealserve.attestation.tcb import LINES, Line
from support.attestation_form import of_cbor, of_der, of_report
from support.attestation_simulated import CLAIMS, Kind, endorser_of
from support.attestation_table import table
from support.attestation_vectors import DIRECTORY

# What a line says in a real document: what it says in ours. Nothing else may differ.
Allowed = Mapping[str, str]
AMD: Allowed = {
    "0c Advanced Micro Devices": f"0c {SIMULATED_ORGANIZATION}",
    r"86 https://kdsintf\.amd\.com/(.*)": r"86 https://simulated.invalid/\1",
}
PROVIDER: Allowed = {r"16 CN=cc-us-east-2\.amazonaws\.com": "16 CN=simulated-provider.invalid"}
LIST_NUMBER: Allowed = {"02 0[256]": "02 01"}
MICROSOFT: Allowed = {
    "13 Microsoft Corporation": f"13 {SIMULATED_ORGANIZATION}",
    "13 Microsoft (SCD Products RSA CA)": r"13 Simulated \1",
    "13 Microsoft (Supply Chain RSA Root CA) 2022": r"13 Simulated \1 2026",
    r"86 http://www\.microsoft\.com/(.*)/Microsoft%20(.*)": (
        r"86 http://www.simulated.invalid/\1/Simulated%20\2"
    ),
}


def real(path: str) -> bytes:
    return (DIRECTORY / path).read_bytes()


def evidence(kind: Kind, keys: SimulatedRoot) -> Evidence:
    return kind.machine(keys).evidence(CLAIMS)


def assert_form(ours: Sequence[str], theirs: Sequence[str], allowed: Allowed) -> None:
    """Line for line the same, but for what is allowed."""
    assert list(ours) == [_in_our_words(line, allowed) for line in theirs]


def _in_our_words(line: str, allowed: Allowed) -> str:
    said = line.lstrip()
    for pattern, words in allowed.items():
        if match := re.fullmatch(pattern, said):
            return line[: len(line) - len(said)] + match.expand(words)
    return line


# ---- certificates and lists


@pytest.mark.parametrize("line", LINES)
def test_the_root(line: Line, simulated_root: SimulatedRoot) -> None:
    theirs = roots._shipped(f"{line}_ark.pem", roots.ARK_SHA256[line])
    assert_form(of_der(Kind(line).root(simulated_root).ark), of_der(theirs), AMD)


@pytest.mark.parametrize("key", ["vcek", "vlek"])
@pytest.mark.parametrize("line", LINES)
def test_the_intermediate(line: Line, key: SigningKey, simulated_root: SimulatedRoot) -> None:
    ours = evidence(Kind(line, key), simulated_root).intermediate
    assert_form(of_der(ours), of_der(roots.intermediate(line, key)), AMD)


LEAVES = {
    Kind("milan"): "ms-tav/milan-v3-aci",
    Kind("genoa"): "ms-tav/genoa-v3-aci",
    Kind("genoa-a0"): "attestation-rs/genoa-v5-a",
    Kind("turin"): "ms-tav/turin-v5-aci",
    Kind("milan", "vlek"): "trustee/milan-v3-vlek",
}


@pytest.mark.parametrize("kind", LEAVES, ids=str)
def test_the_leaf(kind: Kind, simulated_root: SimulatedRoot) -> None:
    ours = evidence(kind, simulated_root).leaf
    assert_form(of_der(ours), of_der(real(f"{LEAVES[kind]}/leaf.der")), {**AMD, **PROVIDER})


@pytest.mark.parametrize("kind", LEAVES, ids=str)
def test_how_long_a_leaf_lives(kind: Kind, simulated_root: SimulatedRoot) -> None:
    """To the second as AMD counts: seven years for a chip's certificate, one for a provider's."""
    ours = Certificate.parse(evidence(kind, simulated_root).leaf)
    theirs = Certificate.parse(real(f"{LEAVES[kind]}/leaf.der"))
    for leaf in (ours, theirs):
        years = 7 if kind.key == "vcek" else 1
        assert leaf.not_after == leaf.not_before.replace(year=leaf.not_before.year + years)


@pytest.mark.parametrize("line", LINES)
def test_the_revocation_list(line: Line, simulated_root: SimulatedRoot) -> None:
    ours = evidence(Kind(line), simulated_root).crl
    assert ours is not None
    theirs = real(f"crl/kds-2026-04/{line}_vcek.crl")
    assert_form(of_der(ours), of_der(theirs), {**AMD, **LIST_NUMBER})


# ---- reports

# Fields that a machine's owner or firmware chooses: named where the real one chose otherwise.
OLD_FIRMWARE = ("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb",
                "current_firmware", "committed_firmware")  # fmt: skip
NO_CONTAINER = ("guest_svn", "policy", "policy_raw", "family_id", "id_key_digest")
REPORTS: dict[Kind, tuple[str, tuple[str, ...]]] = {
    Kind("milan"): ("ms-tav/milan-v3-aci", ()),
    Kind("milan", version=2): ("sidecar/aci-milan-v2", OLD_FIRMWARE),
    Kind("milan", version=4): (
        "openpcc/gce-milan-v4-no-cert", (*NO_CONTAINER, "image_id", *OLD_FIRMWARE)
    ),
    Kind("milan", "vlek"): (
        "trustee/milan-v3-vlek",
        (*NO_CONTAINER, "image_id", "vmpl", "current_tcb", "reported_tcb", "platform_info"),
    ),
    Kind("genoa"): ("ms-tav/genoa-v3-aci", ()),
    Kind("genoa-a0"): ("attestation-rs/genoa-v5-a", (*NO_CONTAINER, "image_id")),
    Kind("turin"): ("ms-tav/turin-v5-aci", ()),
}  # fmt: skip


@pytest.mark.parametrize("kind", REPORTS, ids=str)
def test_the_report(kind: Kind, simulated_root: SimulatedRoot) -> None:
    vector, chosen = REPORTS[kind]
    ours = of_report(evidence(kind, simulated_root).report)
    theirs = of_report(real(f"{vector}/report.bin"))
    assert len(ours) == len(theirs)
    differing = {
        line.split(":")[0] for line, other in zip(ours, theirs, strict=True) if line != other
    }
    assert differing == {*chosen}


# ---- endorsements

ENDORSEMENTS: dict[UvmForm, str] = {
    "json": "azure-cleanroom/aci-milan-v3-enc/uvm.cose",
    "hash": "uvm/transparent-svn104/uvm_transparent.cose",
}
# Made by two services that nobody simulates: a time stamp, and the receipt of a ledger.
BESIDE: dict[UvmForm, object] = {"json": "timestamp", "hash": 394}


@pytest.fixture(params=ENDORSEMENTS)
def both(request: pytest.FixtureRequest, simulated_root: SimulatedRoot) -> tuple[Sign1, Sign1]:
    """Our message and a real one of the same form."""
    form: UvmForm = request.param
    ours = evidence(Kind(uvm=form), simulated_root).uvm_endorsement
    assert ours is not None
    return Sign1.parse(ours), Sign1.parse(real(ENDORSEMENTS[form]))


def test_the_signed_header(both: tuple[Sign1, Sign1], simulated_root: SimulatedRoot) -> None:
    ours, theirs = (of_cbor(message.protected) for message in both)
    issuer = endorser_of(simulated_root).issuer
    named = {r"'did:x509:0:sha256:.{43}::eku:1\.3\.6\.1\.4\.1\.311\.76\.59\.1\.2'": f"'{issuer}'"}
    assert_form(_without_years(ours), _without_years(theirs), {**MICROSOFT, **named})


def _without_years(lines: Sequence[str]) -> list[str]:
    """The root's address ends in its year, as its name does, which is compared."""
    return [re.sub(r"%2020\d\d\.cr", ".cr", line) for line in lines]


def test_the_rest_of_the_message(both: tuple[Sign1, Sign1]) -> None:
    ours, theirs = both
    assert len(ours.signature) == len(theirs.signature)
    assert not ours.unprotected
    assert theirs.unprotected.keys() <= set(BESIDE.values())
    assert _payload(ours.payload) == _payload(theirs.payload)


def _payload(payload: bytes) -> object:
    """JSON down to its spaces, with the two values left out; or the length of a digest."""
    text = re.sub(rb'"[0-9a-f]{96}"', b"MEASUREMENT", payload)
    return re.sub(rb"\b10[0-9]\b", b"SVN", text) if text.startswith(b"{") else len(payload)


def test_the_encoding_of_the_message(simulated_root: SimulatedRoot) -> None:
    """Tag 18, an array of four, labels in the order of the real ones."""
    for form, vector in ENDORSEMENTS.items():
        ours = evidence(Kind(uvm=form), simulated_root).uvm_endorsement
        assert ours is not None
        assert ours[:2] == real(vector)[:2] == b"\xd2\x84"
        headers = [Sign1.parse(data).protected for data in (ours, real(vector))]
        assert list(headers[0]) == list(headers[1])


# ---- what the host hands over


def test_the_document_of_the_host(simulated_root: SimulatedRoot) -> None:
    """Member by member, down to the absence of spaces."""
    theirs = json.loads(real("ccfdns/aci-genoa-v3/host_amd_cert.json"))
    files = Kind("genoa", uvm="json").machine(simulated_root).security_context(b"policy")
    text = base64.b64decode(files["host-amd-cert-base64"])
    ours = json.loads(text)
    assert list(ours) == list(theirs)
    for document, encoded in (
        (ours, text),
        (theirs, real("ccfdns/aci-genoa-v3/host_amd_cert.json")),
    ):
        assert json.dumps(document, separators=(",", ":")).encode() == encoded
        assert re.fullmatch("[0-9A-F]{16}", document["tcbm"])
        assert document["cacheControl"].isdigit()
        for member in ("vcekCert", "certificateChain"):
            blocks = pem.read(document[member].encode(), "CERTIFICATE", at_most=2)
            assert b"".join(map(pem.write, blocks)).decode() == document[member]
    for one, other in zip(_certificates(ours), _certificates(theirs), strict=True):
        assert_form(of_der(one), of_der(other), AMD)
    assert ours["tcbm"] == theirs["tcbm"]


def _certificates(document: Mapping[str, str]) -> tuple[bytes, ...]:
    text = document["vcekCert"] + document["certificateChain"]
    return pem.read(text.encode(), "CERTIFICATE", at_most=3)


@pytest.mark.parametrize("key", ["vcek", "vlek"])
def test_the_certificate_table(key: SigningKey, simulated_root: SimulatedRoot) -> None:
    """No real one is published: another writer of the same layout, then whole pages."""
    machine = Kind("milan", key).machine(simulated_root)
    told = machine.evidence(CLAIMS)
    assert told.root is not None
    assert told.crl is not None
    leaf = VCEK if key == "vcek" else VLEK
    written = table({leaf: told.leaf, ASK: told.intermediate, ARK: told.root, CRL: told.crl})
    ours = machine.table()
    assert ours.startswith(written)
    assert not any(ours[len(written) :])
    assert len(ours) == -(-len(written) // 4096) * 4096


def test_only_what_is_a_container_has_a_security_context(simulated_root: SimulatedRoot) -> None:
    for kind in (Kind(), Kind(key="vlek", uvm="json")):
        with pytest.raises(ValueError, match="needs a VCEK and an endorsement"):
            kind.machine(simulated_root).security_context(b"policy")


def test_a_form_that_differs_is_seen(simulated_root: SimulatedRoot) -> None:
    """The comparison above would notice another order, tag, length or name."""
    told = evidence(Kind(), simulated_root)
    lines = of_der(told.leaf)
    assert of_der(evidence(Kind("genoa"), simulated_root).leaf) != lines
    assert of_der(told.intermediate) != of_der(roots.intermediate("milan", "vlek"))
