"""The attestation service: a request in Azure's form, our own verifier, a token in Azure's form."""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from datetime import datetime

from sealserve.attestation import Claims, Evidence, Roots, verify
from sealserve.attestation.evidence import MAX_MEMBER_BYTES
from sealserve.keys.body import Body
from sealserve.keys.refused import Refused, bad_parameter
from sealserve.keys.trustd import compliance, report_claims
from sealserve.native.errors import EvidenceError
from sealserve.policy import strict_json
from sealserve.policy.expectations import UvmLaunch

MAX_DATA_BYTES = 16 * 1024  # what `verify` takes as claims
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_MAX_NONCE_CHARACTERS = 1024


def attest(body: Body, roots: Roots, launch: UvmLaunch | None, now: datetime) -> dict[str, object]:
    """What a token about this request says, without the issuer's own claims.

    launch: whose endorsements count, if anybody's.
    Raises Refused: 400 with the failing check for evidence that is not genuine.
    """
    report = Body.parse(body.bytes("report"), "report")
    runtime = body.object("runtimeData")
    evidence = _evidence(report, runtime.bytes("data"), roots)
    try:
        claims = verify(evidence, roots, now)
    except EvidenceError as error:
        raise Refused(400, "InvalidParameter", f"{error.code}: {error.message}") from error
    told = said_of(claims, launch, now)
    told.update(_data(runtime, "x-ms-runtime"))
    told.update(_init_time(body.object("initTimeData"), claims))
    if body.has("nonce"):
        told["nonce"] = _nonce(body)
    return told


def said_of(claims: Claims, launch: UvmLaunch | None, now: datetime) -> dict[str, object]:
    """What a token says of a genuine machine, without what the machine says itself."""
    return {
        **report_claims.of_report(claims),
        **report_claims.of_endorsement(claims, launch),
        **compliance.status(claims, launch, now),
    }


def _evidence(report: Body, claims: bytes, roots: Roots) -> Evidence:
    chain = _chain(report.bytes("VcekCertChain"))
    if len(chain) not in (2, 3):
        raise bad_parameter(
            f"report.VcekCertChain holds {len(chain)} certificates; wanted VCEK, ASK and ARK"
        )
    # AMD's own roots are known by value; a simulated one has to be shown to be compared
    root = chain[2] if len(chain) == 3 and roots.platform == "simulated" else None
    endorsements = _endorsements(report)
    return Evidence(
        report=report.bytes("SnpReport"),
        leaf=chain[0],
        intermediate=chain[1],
        claims=claims,
        root=root,
        crl=_only(endorsements, "Crl"),
        uvm_endorsement=_only(endorsements, "Uvm"),
    )


def _chain(pem: bytes) -> list[bytes]:
    """DER of each certificate, not parsed here: `verify` has a parser with limits for them."""
    text = pem.decode("ascii", "replace")
    blocks = _PEM.findall(text)
    if _PEM.sub("", text).strip() or len(pem) > 3 * MAX_MEMBER_BYTES:
        raise bad_parameter("report.VcekCertChain is not a list of PEM certificates")
    try:
        return [ssl.PEM_cert_to_DER_cert(block) for block in blocks]
    except ValueError:
        raise bad_parameter("report.VcekCertChain holds broken base64") from None


def _endorsements(report: Body) -> Body:
    if not report.has("Endorsements"):
        return Body({}, "report.Endorsements")
    return Body.parse(report.bytes("Endorsements"), "report.Endorsements")


def _only(endorsements: Body, name: str) -> bytes | None:
    """A list of at most one, as Azure's format has it. `Crl` is ours: theirs looks its own up."""
    texts = endorsements.texts(name)
    if len(texts) > 1:
        raise bad_parameter(f"report.Endorsements.{name} holds {len(texts)} entries; wanted one")
    return Body({name: texts[0]}, "report.Endorsements").bytes(name) if texts else None


def _data(data: Body, claim: str) -> dict[str, object]:
    """The claim that repeats data of type JSON; nothing for Binary."""
    kind = data.text("dataType")
    if kind == "Binary":
        return {}
    if kind != "JSON":
        raise bad_parameter(f"dataType {kind[:40]!r}; wanted JSON or Binary")
    raw = data.bytes("data")
    if len(raw) > MAX_DATA_BYTES:
        raise bad_parameter(f"data of {len(raw)} bytes; at most {MAX_DATA_BYTES}")
    try:
        value = strict_json.loads(raw.decode("utf-8"))
    except ValueError as error:
        raise bad_parameter(f"data of type JSON is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise bad_parameter("data of type JSON is not a JSON object")
    return {claim: value}


def _init_time(data: Body, claims: Claims) -> dict[str, object]:
    """Init-time data is what HOST_DATA digests. Azure's sidecars send it empty."""
    if not data.has("data") or not data.text("data"):
        return {}
    digest = hashlib.sha256(data.bytes("data")).digest()
    if not hmac.compare_digest(digest, claims.report.host_data):
        raise bad_parameter(
            f"initTimeData has the SHA-256 {digest.hex()}; "
            f"HOST_DATA is {claims.report.host_data.hex()}"
        )
    return _data(data, "x-ms-inittime")


def _nonce(body: Body) -> str:
    """Text by the specification; Azure's sidecars send a number, and its service takes both."""
    try:
        nonce = body.text("nonce")
    except Refused:
        nonce = str(body.integer("nonce", most=2**64 - 1))
    if len(nonce) > _MAX_NONCE_CHARACTERS:
        raise bad_parameter(f"a nonce of {len(nonce)} characters; at most {_MAX_NONCE_CHARACTERS}")
    return nonce
