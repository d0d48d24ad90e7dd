"""Evidence and everything in it."""

from __future__ import annotations

import base64
import ctypes
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from fuzz.ground import NOW, REAL, VECTORS, same
from sealserve.attestation import (
    ChallengeClaims,
    Evidence,
    ReleaseClaims,
    Report,
    Roots,
    TlsClaims,
    asn1,
    decode,
    der,
    did_x509,
    encode,
    new_certificate,
    read_certificate,
    verify,
    x509_path,
)
from sealserve.attestation.binding import ReportData
from sealserve.attestation.bundle import Bundle
from sealserve.attestation.certificate_table import CRL, VLEK, CertificateTable
from sealserve.attestation.certs import Certificate, Leaf
from sealserve.attestation.cose import Sign1
from sealserve.attestation.crl import Crl
from sealserve.attestation.devices.configfs import Configfs, Tree
from sealserve.attestation.devices.sev_guest import SevGuest
from sealserve.attestation.hcl import HclReport, attestation_key
from sealserve.attestation.thim import HostCertificate
from sealserve.attestation.tpm import Quote, QuoteDocument
from sealserve.attestation.uvm import Statement as UvmStatement
from sealserve.attestation.uvm import read as read_uvm
from sealserve.native.errors import (
    EvidenceError,
    UnavailableError,
)
from sealserve.policy.inspection import inspect_evidence
from sealserve.policy.inspection_words import explain, to_json
from support.attestation_devices import response
from support.attestation_hardware import Place
from support.attestation_table import table
from support.attestation_uvm import good as uvm_issuer
from support.attestation_vectors import Vector, vector, vectors
from support.attestation_x509 import AT as PATH_TIME
from support.fuzz_mutations import Target
from support.keys_vault import rsa_key


def snp(*files: str) -> list[Vector]:
    return vectors("snp", *files)


def report() -> Target:
    seeds = [row.read("report.bin") for row in snp("report.bin") if accepted(row)]
    return Target(Report.parse, seeds, (EvidenceError,))


def accepted(row: Vector) -> bool:
    with suppress(EvidenceError):
        Report.parse(row.read("report.bin"))
        return True
    return False


def leaf() -> Target:
    return Target(Leaf.parse, [row.read("leaf.der") for row in snp("leaf.der")], (EvidenceError,))


def authority() -> Target:
    seeds = {row.evidence().intermediate for row in snp("leaf.der", "report.bin")}
    return Target(Certificate.parse, sorted(seeds), (EvidenceError,))


def crl() -> Target:
    paths = (VECTORS / "evidence/crl").rglob("*.crl")
    return Target(Crl.parse, [path.read_bytes() for path in sorted(paths)], (EvidenceError,))


def host_certificate() -> Target:
    seeds = [row.read("host_amd_cert.json") for row in snp("host_amd_cert.json")]
    tokens = (b'"tcbm":"F",', b"\\n-----END CERTIFICATE-----", b"\\r\\n", b"\\u0000")
    return Target(HostCertificate.parse, seeds, (EvidenceError,), tokens)


def certificate_table() -> Target:
    real = [row.read("auxblob.bin") for row in snp("auxblob.bin")]
    seeds = [*real, table({VLEK: b"leaf", CRL: b"list"})]
    return Target(CertificateTable.parse, seeds, (EvidenceError,), (VLEK.bytes, CRL.bytes))


def guest_device() -> Target:
    """What /dev/sev-guest answers: the frame's two errors, the response, then the host's table."""
    row = vector("veraison/genoa-v3-configfs-tsm")
    report, table = row.read("report.bin"), row.read("auxblob.bin")

    def run(data: bytes) -> None:
        def answer(_device: str, _code: int, frame: bytearray) -> None:
            frame[24:32] = data[:8].ljust(8, b"\0")
            room = int.from_bytes(frame[16:24], "little")
            ctypes.memmove(room, data[8:].ljust(4000, b"\0"), min(len(data[8:]), 4000))
            if any(data[:8]):
                raise OSError(5, "as told")

        clock = iter(range(10**6))
        device = SevGuest(call=answer, clock=lambda: next(clock), pause=lambda _seconds: None)
        found = device.report(ReportData(report[0x50:0x90]))
        assert len(found.report) == 1184

    good = bytes(8) + response(report)
    busy, too_long = bytes(4) + b"\2\0\0\0", bytes(4) + b"\1\0\0\0"
    return Target(run, [good], (UnavailableError,), (busy + response(report), too_long + table))


def configfs_answers() -> Target:
    """What configfs-tsm holds when it is read: one attribute after the other, each after a line."""
    row = vector("veraison/genoa-v3-configfs-tsm")
    report, table = row.read("report.bin"), row.read("auxblob.bin")
    names = ("provider", "generation", "privlevel_floor", "outblob", "auxblob")
    place = Place.of(row)
    asked = ReportData(report[0x50:0x90])

    def run(data: bytes) -> None:
        values = dict(zip(names, data.split(b"\n--\n"), strict=False))

        class Answers(Tree):
            def make(self, name: str) -> None: ...
            def drop(self, name: str) -> None: ...
            def write(self, name: str, attribute: str, value: bytes) -> None:
                number = values.get("generation", b"")
                if number.isdigit() and len(number) < 20:
                    values["generation"] = b"%d" % (int(number) + 1)

            def read(self, name: str, attribute: str, limit: int) -> bytes:
                if attribute not in values:
                    raise FileNotFoundError(2, attribute)
                return values[attribute][: limit + 1]

        found = Configfs(Answers(Path("/"))).report(asked)
        place.leaves().at_hand(found.report, found.table)

    seeds = [b"\n--\n".join((b"sev_guest", b"0", floor, report, table)) for floor in (b"0", b"2")]
    return Target(run, seeds, (EvidenceError, UnavailableError))


def cose() -> Target:
    seeds = [*real_endorsements(), uvm_issuer().form_a(), uvm_issuer().form_b()]
    return Target(Sign1.parse, seeds, (EvidenceError,), (b"\xd2\x84", b"\xc1\x1a", b"\xd8\x23"))


def did() -> Target:
    """Names to be resolved against the path they belong to."""
    (row,) = vectors("did")
    known = [each["input"] for each in json.loads(row.read("test-vectors.json"))]
    texts = known[-1]["chain"]
    chain = [base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) for text in texts]
    dids = [each["did"] for each in known if each["chain"] == texts]

    def run(data: bytes) -> object:
        return did_x509.resolve(data.decode("utf-8", "replace"), chain, row.at)

    tokens = (b"::", b"%C3", b"san:uri:", b"subject:", b"eku:", b"#0", b"/", b"?")
    return Target(run, [name.encode() for name in dids], (EvidenceError,), tokens)


def path_certificate() -> Target:
    """One certificate of a path; the first byte says which."""
    chain = list(uvm_issuer().chain)

    def run(data: bytes) -> None:
        index = data[0] % 3 if data else 0
        x509_path.require_valid(
            x509_path.read([*chain[:index], data[1:], *chain[index + 1 :]]), PATH_TIME
        )

    seeds = [bytes([index]) + der for index, der in enumerate(chain)]
    return Target(run, seeds, (EvidenceError,))


def uvm() -> Target:
    return Target(read_uvm, real_endorsements(), (EvidenceError,))


def uvm_header() -> Target:
    """The protected header of either form, signed again; the first byte says which form."""
    issuer = uvm_issuer()
    forms = [Sign1.parse(message) for message in (issuer.form_a(), issuer.form_b())]

    def run(data: bytes) -> object:
        form = forms[data[0] % 2 if data else 0]
        return read_uvm(issuer.signed(data[1:], form.payload))

    seeds = [bytes([index]) + form.signed_header for index, form in enumerate(forms)]
    return Target(run, seeds, (EvidenceError,), (b"\x0f\xa4", b"\xc1\x1a", b"csvn", b"diss"))


def uvm_payload() -> Target:
    def run(payload: bytes) -> object:
        return UvmStatement("did:x509:0:x", "feed", NOW, False, None, payload).endorsement()

    seeds = [Sign1.parse(message).payload for message in real_endorsements()]
    return Target(run, [seed for seed in seeds if seed[:1] == b"{"], (EvidenceError,))


def real_endorsements() -> list[bytes]:
    rows = [*vectors("snp"), *vectors("uvm")]
    files = [(row, name) for row in rows for name in row.files if name.endswith(".cose")]
    return sorted({row.read(name) for row, name in files if row.verdict != "policy-reject"})


def elements() -> Target:
    """DER of any kind, taken apart by its tags."""

    def walk(reader: der.Reader) -> None:
        readers: dict[int, Callable[[], object]] = {
            der.INTEGER: reader.integer,
            der.BIT_STRING: reader.bits,
            der.BOOLEAN: reader.boolean,
            der.OBJECT_IDENTIFIER: reader.oid,
            der.UTC_TIME: reader.time,
            der.GENERALIZED_TIME: reader.time,
        }
        while (tag := reader.peek()) is not None:
            if tag & 0x20:
                walk(der.Reader(reader.element(tag)))
            else:
                readers.get(tag, lambda tag=tag: reader.element(tag))()
        reader.end()

    seeds = [leaf().seeds[0], crl().seeds[0], asn1.sequence(asn1.integer(7), asn1.utf8("x"))]
    return Target(lambda data: walk(der.document(data)), seeds, (EvidenceError,))


def envelope() -> Target:
    def run(data: bytes) -> None:
        same(encode(decode(data)), data)

    full = Evidence(b"report", b"leaf", b"middle", b"{}", b"root", b"crl", b"uvm")
    seeds = [encode(full), encode(Evidence(b"r" * 1184, b"l" * 1300, b"m" * 1600, b"{}"))]
    return Target(run, seeds, (EvidenceError,), (b"\x84", b"\xa0", b"\x60", b"\x40", b"\xf7"))


def hcl_report() -> Target:
    """An HCL report, and the key that its runtime data names."""

    def run(data: bytes) -> None:
        attestation_key(HclReport.parse(data).runtime)

    seeds = [row.read("hcl_report.bin") for row in snp("hcl_report.bin")]
    return Target(run, seeds, (EvidenceError,))


def hcl_runtime() -> Target:
    seeds = [row.read("runtime_data.bin") for row in snp("hcl_report.bin", "runtime_data.bin")]
    return Target(attestation_key, seeds, (EvidenceError,))


def tpm_quote() -> Target:
    """TPMS_ATTEST, its registers and its signature, whose key is right."""
    row = vector("trustee/az-cvm-milan-v3-a")
    real = QuoteDocument.parse(row.read("tpm_quote.json"))
    key = attestation_key(row.read("runtime_data.bin"))

    def run(data: bytes) -> None:
        quote = Quote.parse(data)
        quote.require_signed(real.signature, key)
        quote.require_registers(real.registers)

    return Target(run, [real.quote.message], (EvidenceError,))


def quote_document() -> Target:
    seeds = [row.read("tpm_quote.json") for row in snp("tpm_quote.json")]
    return Target(QuoteDocument.parse, seeds, (EvidenceError,))


FILES = {
    "report.bin": "report",
    "leaf.der": "leaf",
    "chain.pem": "chain",
    "host_amd_cert.json": "host_certificate",
    "milan_vcek.crl": "crl",
    "uvm.cose": "uvm",
    "hcl_report.bin": "hcl",
    "tpm_quote.json": "quote",
    "runtime_data.bin": "runtime",
}


def evidence_files() -> Target:
    """All that `evidence check` reads at once, one file of it changed; the first byte says which.

    Nothing may be raised at all: a refusal is an answer, and every answer can be shown.
    """
    rows = [vector("trustee/az-cvm-milan-v3-a"), vector("sidecar/aci-milan-v2")]
    lists = vectors("crl")[0]
    whole = {
        member: next((row.read(name) for row in [*rows, lists] if name in row.files), None)
        for name, member in FILES.items()
    }
    order = list(FILES.values())

    def run(data: bytes) -> None:
        member = order[data[0] % len(order)] if data else "report"
        bundle = Bundle(**{**whole, member: data[1:]})  # type: ignore[arg-type]
        inspection = inspect_evidence(bundle, Roots.amd(), rows[0].at, execution_policy=b"policy")
        json.dumps(to_json(inspection))
        text = explain(inspection, None)
        assert all(len(line) < 80 and line.isprintable() for line in text.splitlines())
        assert inspection.findings, "evidence of two machines was accepted"

    seeds = [bytes([i]) + (whole[member] or b"") for i, member in enumerate(order)]
    return Target(run, seeds, ())


MEMBERS = ("report", "leaf", "intermediate", "claims")


def evidence() -> Target:
    """Real evidence with one part changed; the first byte says which."""
    row = vector(REAL)
    real = row.evidence()

    def run(data: bytes) -> None:
        member = MEMBERS[data[0] % 4] if data else "claims"
        verify(replace(real, **{member: data[1:]}), Roots.amd(), row.at)

    parts = enumerate(getattr(real, member) for member in MEMBERS)
    return Target(run, [bytes([i]) + part for i, part in parts], (EvidenceError,))


def server_certificate() -> Target:
    """The signed part of a server's certificate, signed again."""
    key = ec.generate_private_key(ec.SECP256R1())
    algorithm = asn1.sequence(asn1.oid("1.2.840.10045.4.3.2"))
    whole = new_certificate(key, Evidence(b"report", b"leaf", b"middle", b"{}"), NOW)

    def run(signed: bytes) -> None:
        signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
        read_certificate(asn1.sequence(signed, algorithm, asn1.bits(signature)), NOW)

    return Target(run, [der.document(whole).whole(der.SEQUENCE)], (EvidenceError,))


def claims() -> Target:
    shapes = (TlsClaims, ChallengeClaims, ReleaseClaims)

    def run(data: bytes) -> None:
        read = []
        for shape in shapes:
            with suppress(EvidenceError):
                read.append(shape.parse(data))
        assert len(read) <= 1, f"{data!r} has two purposes"
        if not read:
            TlsClaims.parse(data)
        same(read[0].encode(), data)

    digests = [bytes([i]) * 32 for i in range(8)]
    config, following, spki = digests[:3]
    challenge = ChallengeClaims(config, following, tuple(digests[3:5]), tuple(digests[5:]), spki)
    seeds = [
        TlsClaims(digests[0]).encode(),
        challenge.encode(),
        ReleaseClaims.of(rsa_key(3072, 0).public_key()).encode(),
    ]
    return Target(run, seeds, (EvidenceError,))
