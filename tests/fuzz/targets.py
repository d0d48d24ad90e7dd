"""Every parser of bytes from outside, with inputs it accepts and the errors it documents.

A parser accepts, or raises what its table row names; whatever else comes out is a bug. Where what
is accepted has one spelling, the target writes it again and compares.

`make test` takes what the repository keeps under corpus/ and a fixed handful of changed inputs for
each row; `make fuzz` and `make fuzz-long` hunt, guided by coverage. To hunt with one row for hours:

    .venv/bin/python tests/fuzz/run.py --seconds 14400 report

The input that broke something is saved, and belongs into the tests of its parser. No row for
manifest.json: nothing reads it (models/SPEC.md, section 6).
"""

from __future__ import annotations

import atexit
import base64
import ctypes
import json
import shutil
import ssl
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

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
from sealserve.attestation.token import TokenKeys, verify_token
from sealserve.attestation.tpm import Quote, QuoteDocument
from sealserve.attestation.uvm import Statement as UvmStatement
from sealserve.attestation.uvm import read as read_uvm
from sealserve.keys import jws, keyfile
from sealserve.keys.answer import ReleasedKey
from sealserve.keys.body import Body
from sealserve.keys.connection import Connection
from sealserve.keys.keyid import KeyId
from sealserve.keys.refused import Refused
from sealserve.keys.sidecar.allowed import Allowed, Options
from sealserve.keys.sidecar.environment import NAMES, Environment
from sealserve.keys.sidecar.events import Log
from sealserve.keys.sidecar.packets import Annotation, WrapRequest
from sealserve.keys.sidecar.runtime_data import check as check_runtime_data
from sealserve.keys.sidecar.service import Sidecar
from sealserve.keys.trustd import material, passphrase
from sealserve.keys.trustd.attest import attest
from sealserve.models import RawKey, Slot, archive, inspect, open_model, package, slot_area
from sealserve.models import format as layout
from sealserve.native.errors import (
    ConfigError,
    EvidenceError,
    FormatError,
    InputError,
    IntegrityError,
    ReleaseError,
    UnavailableError,
)
from sealserve.policy import release
from sealserve.policy.execution import text as policy_text
from sealserve.policy.execution.process import ExecutionPolicy, generate_process
from sealserve.policy.inspection import inspect_evidence
from sealserve.policy.inspection_words import explain, to_json
from sealserve.policy.release import ReleasePolicy
from sealserve.policy.trust import Trust
from sealserve.policy.trust_diff import beyond
from sealserve.policy.trust_lint import lint
from support.attestation_devices import response
from support.attestation_hardware import Place
from support.attestation_table import table
from support.attestation_uvm import good as uvm_issuer
from support.attestation_vectors import Vector, vector, vectors
from support.attestation_x509 import AT as PATH_TIME
from support.fuzz_mutations import Target
from support.keys_tls import Ca, Issued
from support.keys_vault import b64url, json_bytes, rsa_key, uint, x5c
from support.models_onnx import classifier, point_outside, small
from support.models_sealed import (
    KEY,
    PAGE,
    FolderPlace,
    Regions,
    archive_of,
    file_around,
    header_for,
    honest_contents,
)
from support.policy_case import ACI, ENDORSED, EVERY_KEY, MEASURED, SIMULATED, SNP, TRUST

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
NOW = datetime.now(UTC).replace(microsecond=0)
SECONDS = int(NOW.timestamp())
ISSUER, KID, HOST = "https://service.example", "k", "vault.example"
BUNDLE = "https://vault.example/keys/a/0123456789abcdef0123456789abcdef"


@cache
def scratch() -> Path:
    """A folder for parsers that want a path; gone when the program ends."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return folder


def in_file(parse: Callable[[Path], object], name: str) -> Callable[[bytes], object]:
    """A parser of a path as one of bytes."""

    def run(data: bytes) -> object:
        path = scratch() / name
        path.write_bytes(data)
        return parse(path)

    return run


def same(written: bytes, read: bytes) -> None:
    """What is accepted has one spelling."""
    assert written == read, f"accepted, and written as {written!r}"


# ---- models: the sealed file, from outside in


def header() -> Target:
    def run(data: bytes) -> None:
        same(layout.encode_header(layout.decode_header(data)), data)

    return Target(run, [layout.encode_header(header_for(1000))], (FormatError, IntegrityError))


def header_text() -> Target:
    """The JSON inside, its frame put right."""

    def run(text: bytes) -> None:
        front = struct.pack("<16sII", layout.MAGIC, 1, len(text)) + text
        padded = front + bytes(-(len(front) + 56) % 4096)
        same(layout.encode_header(layout.decode_header(padded)), padded)

    seed = layout.encode_header(header_for(1000))
    return Target(run, [seed[24 : 24 + layout.json_length(seed)]], (FormatError,))


SLOTS = [
    Slot("hpke", "a" * 32, "X25519", bytes(80)),
    Slot("hpke", "b" * 32, "MLKEM768-X25519", bytes(1168)),
    Slot("azure", BUNDLE, "RSA-OAEP-256", bytes(384)),
]


def slots() -> Target:
    def run(data: bytes) -> None:
        same(slot_area.encode_area(slot_area.decode_area(data)), data)

    seeds = [slot_area.encode_area(SLOTS[:count]) for count in range(4)]
    return Target(run, seeds, (FormatError, IntegrityError))


def slots_text() -> Target:
    """The JSON inside, its frame put right."""

    def run(text: bytes) -> None:
        area = struct.pack("<16sII", b"sealserve/slots\n", 1, len(text)) + text
        padded = area + bytes(-len(area) % 4096)
        same(slot_area.encode_area(slot_area.decode_area(padded)), padded)

    text = slot_area.encode_area(SLOTS)[24:].rstrip(b"\0")
    return Target(run, [text, b'{"slots":[]}'], (FormatError,))


def directory() -> Target:
    """End and central directory of an archive whose entries take what they took."""
    plain = archive_of(honest_contents())
    end = archive.decode_end(plain[-archive.END_BYTES :], len(plain))

    def run(data: bytes) -> None:
        size = end.directory_offset + len(data)
        found = archive.decode_end(data[-archive.END_BYTES :], size)
        start = found.directory_offset - end.directory_offset
        records = data[start : start + found.directory_bytes] if start >= 0 else b""
        same(archive.directory(archive.decode_directory(records, found)), data[max(start, 0) :])

    return Target(run, [plain[end.directory_offset :]], (FormatError,))


def opened(data: bytes) -> None:
    """Open a file with the tests' key, under the root its own tree has."""
    path, folder = scratch() / "opened.sealed", scratch() / "place"
    path.write_bytes(data)
    folder.mkdir(exist_ok=True)
    place = FolderPlace(folder)
    try:
        with open_model(path, None, RawKey(KEY), place) as model:
            assert {name for name in model.files if (folder / name).is_file()} == {*model.files}
    except BaseException:
        assert not list(folder.iterdir())
        raise
    finally:
        place.wipe()


def inner_archive() -> Target:
    """An archive sealed by somebody who has the key."""

    def run(plain: bytes) -> None:
        def encrypt(context: bytes) -> bytes:
            encryptor = Cobblestone256Encryptor(KEY, context)
            return encryptor.update(plain) + encryptor.finalize()

        path = scratch() / "inner.sealed"
        file_around(path, len(plain), encrypt)
        opened(path.read_bytes())

    contents = {**honest_contents(), "weights/00000": b"w" * 300}
    return Target(run, [archive_of(honest_contents()), archive_of(contents)], (FormatError,))


def regrown(data: bytes) -> bytes:
    """The file with an honest tree, where there is a place for one."""
    with suppress(FormatError, IntegrityError):
        regions = Regions.of(data)
        if len(regions.covered) % PAGE == 0:
            return regions.with_honest_tree()[0]
    return data


def sealed_file() -> Target:
    """A whole file; half of the time an honest tree is grown over what was changed."""

    def run(data: bytes) -> None:
        if sum(data) % 2:
            data = regrown(data)
        (scratch() / "whole.sealed").write_bytes(data)
        inspect(scratch() / "whole.sealed")
        opened(data)

    seeds = [(VECTORS / f"models/{name}.sealed").read_bytes() for name in ("tiny", "shared")]
    return Target(run, seeds, (FormatError, IntegrityError))


def model() -> Target:
    """An ONNX model to be sealed, some of whose weights stand in a file beside it."""

    def run(data: bytes) -> None:
        folder = scratch() / "model"
        folder.mkdir(exist_ok=True)
        (folder / "w.bin").write_bytes(bytes(1 << 20))
        (folder / "net.onnx").write_bytes(data)
        found = package.collect(folder / "net.onnx")
        package.entries(found.contents(found.manifest(lambda more: None)), lambda more: None)

    external = point_outside(classifier(), location="w.bin", offset="0", length="1048576")
    seeds = [small().SerializeToString(), external.SerializeToString()]
    tokens = (b"\x08\x96\x01", b"\x0a\xff\xff\xff\xff\x07", b"w.bin", b"../w.bin", b"\x38" * 30)
    return Target(run, seeds, (InputError,), tokens)


# ---- attestation: evidence


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


REAL = "openpcc/az-cvm-genoa-v3"  # the claims it speaks for are known
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


# ---- attestation and keys: tokens and answers


def signed(head: bytes, payload: bytes, key: rsa.RSAPrivateKey) -> str:
    """A compact JWS over any bytes."""
    text = f"{b64url(head)}.{b64url(payload)}"
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{b64url(signature)}"


TOKEN_HEAD = json_bytes({"alg": "RS256", "kid": KID, "typ": "JWT"})


@cache
def token_claims_seed() -> bytes:
    times = {"iat": SECONDS, "nbf": SECONDS, "exp": SECONDS + 28800}
    return json_bytes({"iss": ISSUER, **times, "x-ms-runtime": {"keys": []}})


def verified(token: str) -> object:
    keys = TokenKeys({KID: rsa_key(2048, 0).public_key()})
    keys.knows(token)
    return verify_token(token, keys, issuer=ISSUER, now=NOW)


def token() -> Target:
    seed = signed(TOKEN_HEAD, token_claims_seed(), rsa_key(2048, 0)).encode()
    return Target(lambda data: verified(data.decode("latin-1")), [seed], (EvidenceError,))


def token_head() -> Target:
    def run(head: bytes) -> None:
        verified(signed(head, token_claims_seed(), rsa_key(2048, 0)))

    return Target(run, [TOKEN_HEAD], (EvidenceError,), (b'"crit":["b64"],', b'"b64":false,'))


def token_claims() -> Target:
    def run(payload: bytes) -> None:
        verified(signed(TOKEN_HEAD, payload, rsa_key(2048, 0)))

    return Target(run, [token_claims_seed()], (EvidenceError,))


def token_keys() -> Target:
    numbers = rsa_key(2048, 0).public_key().public_numbers()
    bare = {"kid": KID, "kty": "RSA", "n": uint(numbers.n), "e": uint(numbers.e)}
    chained = {"kid": "j", "kty": "RSA", "x5c": x5c(vault_signer()[0].certificate)}
    seeds = [json_bytes({"keys": [bare]}), json_bytes({"keys": [chained, {"kty": "EC"}, bare]})]
    return Target(TokenKeys.parse, seeds, (EvidenceError,))


@cache
def vault_signer() -> tuple[Issued, Ca]:
    ca = Ca()
    return ca.issue(HOST, key=rsa_key(2048, 0)), ca


def opened_answer(text: str) -> None:
    roots = [vault_signer()[1].certificate]
    jws.open_jws(text, roots=roots, host=HOST, now=NOW + timedelta(seconds=1))


def answer_head() -> bytes:
    issued, ca = vault_signer()
    return json_bytes({"alg": "RS256", "x5c": x5c(issued.certificate, ca.certificate)})


def answer() -> Target:
    seed = signed(answer_head(), b'{"answer":42}', rsa_key(2048, 0)).encode()
    return Target(lambda data: opened_answer(data.decode("latin-1")), [seed], (ReleaseError,))


def answer_header() -> Target:
    def run(head: bytes) -> None:
        opened_answer(signed(head, b'{"answer":42}', rsa_key(2048, 0)))

    return Target(run, [answer_head()], (ReleaseError,), (b'"crit":["b64"],',))


def answer_certificate() -> Target:
    """The certificate inside such a header, and inside a set of keys."""
    issued, ca = vault_signer()
    root = x5c(ca.certificate)

    def run(data: bytes) -> None:
        chain = [base64.b64encode(data).decode(), *root]
        with suppress(EvidenceError):
            TokenKeys.parse(json_bytes({"keys": [{"kid": KID, "kty": "RSA", "x5c": chain}]}))
        head = json_bytes({"alg": "RS256", "x5c": chain})
        opened_answer(signed(head, b'{"answer":42}', rsa_key(2048, 0)))

    seed = issued.certificate.public_bytes(serialization.Encoding.DER)
    return Target(run, [seed], (ReleaseError,))


def released_key() -> Target:
    """What a vault signed: read, compared and unwrapped."""
    secret = {"schema_version": "1.0", "header": {}, "ciphertext": b64url(bytes(600))}
    key = {"kid": BUNDLE, "kty": "RSA-HSM", "key_hsm": b64url(json_bytes(secret)), "n": "AQAB"}
    bundle = {"key": {"key": key, "attributes": {"enabled": True}}}
    asked = {"enc": "RSA_AES_KEY_WRAP_256", "kid": BUNDLE}

    def run(payload: bytes) -> None:
        found = ReleasedKey.read(jws.json_object(payload, "payload"))
        found.check(KeyId.parse(BUNDLE))
        with suppress(ReleaseError):
            found.unwrap(rsa_key(3072, 0))
            raise AssertionError("zeros were unwrapped")

    return Target(run, [json_bytes({"request": asked, "response": bundle})], (ReleaseError,))


def key_reference() -> Target:
    def run(data: bytes) -> None:
        parsed = KeyId.parse(data.decode("latin-1"))
        assert KeyId.parse(parsed.url) == parsed

    seeds = [BUNDLE.encode(), b"https://[::1]:8443/keys/a", b"https://127.0.0.1/keys/a-b"]
    return Target(run, seeds, (ConfigError,))


def key_file() -> Target:
    def parse(path: Path) -> None:
        with suppress(ConfigError):
            keyfile.read_private(path)
            return
        keyfile.read_public(path)

    private = [(VECTORS / f"models/{name}.key").read_bytes() for name in ("classic", "hybrid")]
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Target(in_file(parse, "key"), private, (ConfigError,), (other, *private))


def connection() -> Target:
    ca = vault_signer()[1].pem.decode()
    seed = Connection("127.0.0.1:8443", "simulated", "token", ca).to_toml().encode()
    return Target(in_file(Connection.load, "connection.toml"), [seed], (ConfigError,))


# ---- keys/trustd: requests of anybody


def body() -> Target:
    """A JSON object, every member asked for as everything it could be."""

    def every(asked: Body, name: str) -> Iterator[Callable[[], object]]:
        yield from (lambda: asked.text(name), lambda: asked.integer(name))
        yield from (lambda: asked.flag(name, False), lambda: asked.bytes(name))
        yield from (lambda: asked.texts(name), asked.items)
        yield lambda: asked.object(name).text("inner")

    def run(data: bytes) -> None:
        asked = Body.parse(data)
        for name in json.loads(data):
            for ask in every(asked, name):
                with suppress(Refused):
                    ask()

    values = {"a": "text", "b": 7, "c": True, "d": "AAECAw==", "e": {"inner": "x"}, "f": ["x"]}
    return Target(run, [json_bytes(values), json_bytes({"é": "\u2028"})], (Refused,))


def attestation_request() -> Target:
    """What `POST /attest` takes."""
    row = vector(REAL)
    real = row.evidence()
    pem = b"".join(map(as_pem, (real.leaf, real.intermediate)))
    told = {"SnpReport": b64url(real.report), "VcekCertChain": b64url(pem), "Endorsements": "e30"}
    runtime = {"data": b64url(real.claims), "dataType": "JSON"}
    request = {"report": b64url(json_bytes(told)), "runtimeData": runtime, "nonce": "7"}

    def run(data: bytes) -> None:
        attest(Body.parse(data), Roots.amd(), None, row.at)

    return Target(run, [json_bytes(request)], (Refused,))


def attestation_report() -> Target:
    """The inner part of such a request."""
    row = vector(REAL)
    real = row.evidence()
    chain = b64url(b"".join(map(as_pem, (real.leaf, real.intermediate))))
    told = {"SnpReport": b64url(real.report), "VcekCertChain": chain, "Endorsements": "e30"}
    runtime = {"data": b64url(real.claims), "dataType": "JSON"}

    def run(data: bytes) -> None:
        request = json_bytes({"report": b64url(data), "runtimeData": runtime})
        attest(Body.parse(request), Roots.amd(), None, row.at)

    return Target(run, [json_bytes(told)], (Refused,))


def as_pem(data: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(data).encode()


def key_request() -> Target:
    """A key that an owner brings."""

    def run(data: bytes) -> None:
        jwk = Body.parse(data).object("key")
        material.operations(jwk)
        material.read(jwk.text("kty"), jwk)

    secret = rsa_key(2048, 0).private_numbers()
    public = rsa_key(2048, 0).public_key().public_numbers()
    numbers = {"n": public.n, "e": public.e, "d": secret.d, "p": secret.p, "q": secret.q}
    numbers |= {"dp": secret.dmp1, "dq": secret.dmq1, "qi": secret.iqmp}
    brought = {"kty": "RSA", "key_ops": ["wrapKey"], **{k: uint(v) for k, v in numbers.items()}}
    octets = {"kty": "oct-HSM", "k": b64url(bytes(range(32)))}
    curve = {"kty": "EC", "crv": "P-256", **ec_numbers()}
    seeds = [json_bytes({"key": each}) for each in (brought, octets, curve)]
    return Target(run, seeds, (Refused,))


# ---- keys/sidecar: requests of other containers, and what their group's template sets


def runtime_data() -> Target:
    """What is attested for a caller has no member of ours for a reader of JSON we did not write."""

    def run(data: bytes) -> None:
        check_runtime_data(data)
        with suppress(ValueError, RecursionError):
            assert not names_in(json.loads(data)) & {"keys", "sealserve"}

    ours = TlsClaims(bytes(32)).encode().replace(b"sealserve", b"other")
    nested = json_bytes({"a": json.dumps({"b": [json.dumps({"c": 1})]})})
    spelled = (b'"keys":', b"keys", rb"\u006beys", b"SealServe", "\u212aey\u017f".encode())
    return Target(run, [ours, nested, ours.decode().encode("utf-16")], (Refused,), spelled)


def names_in(value: object) -> set[str]:
    if isinstance(value, dict):
        return {*map(str.casefold, value)}.union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


class Hardware:
    """Evidence of a real machine, whatever it is asked about."""

    platform = "aci"

    def evidence(self, _claims: bytes) -> Evidence:
        return vector(REAL).evidence()


def sidecar_request() -> Target:
    """Of REST: attested as it would be, or read up to where a vault would be asked."""
    options = Options(("v.example",), (), ("https://a.example",), ("k",))
    sidecar = Sidecar(Hardware(), Allowed.of(options, "aci"), Log("panic"))

    def run(data: bytes) -> None:
        asked = Body.parse(data)
        if asked.has("runtime_data"):
            sidecar.raw(asked)
            sidecar.combined(asked)
        else:
            token = asked.text("access_token") if asked.has("access_token") else ""
            vault, service = asked.text("akv_endpoint"), asked.text("maa_endpoint")
            sidecar.wanted(vault=vault, service=service, kid=asked.text("kid"), access_token=token)

    attest = {"maa_endpoint": "a.example", "runtime_data": "eyJub25jZSI6MX0="}
    wanted = {"maa_endpoint": "a.example", "akv_endpoint": "v.example", "kid": "k"}
    seeds = [attest, wanted, {**wanted, "kid": "k/" + "ab" * 16, "access_token": "a.b-c_d"}]
    return Target(run, [json_bytes(seed) for seed in seeds], (Refused,))


def key_provider_packet() -> Target:
    """Of gRPC: ocicrypt's JSON, in either direction."""

    def run(data: bytes) -> None:
        read = WrapRequest.read if b"keywrapparams" in data else Annotation.read_unwrap
        read(data)

    agent = {"Parameters": {"attestation-agent": ["c2tyOms="]}}
    packed = base64.b64encode(Annotation("k", b"x", "v.example", "a.example").encode()).decode()
    wrapping = {"op": "keywrap", "keywrapparams": {"ec": agent, "optsdata": "eA=="}}
    unwrapping = {"op": "keyunwrap", "keyunwrapparams": {"dc": agent, "annotation": packed}}
    return Target(run, [json_bytes(wrapping), json_bytes(unwrapping)], (Refused,))


def sidecar_environment() -> Target:
    """SkrSideCarArgs, the JSON inside and the text as it stands."""

    def run(data: bytes) -> None:
        Environment.read({"SkrSideCarArgs": base64.b64encode(data).decode()})
        with suppress(ConfigError):
            Environment.read(dict.fromkeys(NAMES, data.decode("latin-1")))

    told = {
        "certcache": {"endpoint_type": "AMD", "endpoint": "kdsintf.amd.com", "tee_type": ""},
        "identity": {"client_id": "00000000-0000-4000-8000-00000000000a"},
        "maaconfig": {"user_agent": "mine/1.0"},
    }
    return Target(run, [json_bytes(told), b"{}"], (ConfigError,))


def ec_numbers() -> dict[str, str]:
    """The whole private key with the number 7, on P-256."""
    own = ec.derive_private_key(7, ec.SECP256R1()).private_numbers()
    parts = {"x": own.public_numbers.x, "y": own.public_numbers.y, "d": own.private_value}
    return {name: uint(value) for name, value in parts.items()}


def master_sealed() -> Target:
    """A master key behind a passphrase: nothing is derived before the file was read whole."""

    def run(data: bytes) -> None:
        sealed = passphrase.read(data, "master.sealed")
        assert sealed.argon2id.memory_kib <= 1024 * 1024

    seed = passphrase.seal(bytes(32), b"four words nobody says")
    return Target(run, [seed], (ConfigError,))


# ---- policy: files of people


def trust() -> Target:
    def run(data: bytes) -> None:
        read = Trust.parse(data, file="trust.toml")
        read.explain()
        lint(read, NOW.date())
        assert beyond(read, read) == ()

    forms = [(SNP, SIMULATED), (f"{SNP}\n", f"{ACI}\n")]
    texts = [TRUST, *(TRUST.replace(*form) for form in forms), EVERY_KEY]
    texts[2] = texts[2].replace(MEASURED, ENDORSED)
    return Target(run, [text.encode() for text in texts], (ConfigError,))


def release_policy() -> Target:
    """Parsed, and evaluated on claims that meet nothing."""

    def run(data: bytes) -> None:
        policy = ReleasePolicy.parse(data)
        for issuer in (policy.authorities[0].authority, 7, "https://elsewhere"):
            with suppress(ReleaseError):
                policy.evaluate({"iss": issuer, "x": {"y": [1]}, "vmpl": 0})

    paths = [*(VECTORS / "policy/release").glob("*.json")]
    found = [path.read_bytes() for path in sorted(paths) if b'"anyOf"' in path.read_bytes()]
    ours = release.build("https://service.example", "73" * 32, simulated=False)
    return Target(run, [ours, *found], (ConfigError,))


def execution_policy() -> Target:
    """Any text of confcom's form."""

    def run(data: bytes) -> None:
        same(policy_text.parse(data).encode(), data)

    paths = sorted((VECTORS / "policy/confcom").glob("*.rego"))
    seeds = []
    for path in paths:
        with suppress(ConfigError):
            policy_text.parse(path.read_bytes())
            seeds.append(path.read_bytes())
    return Target(run, seeds, (ConfigError,))


def process_policy() -> Target:
    """The execution policy of one process, and a start under it."""

    def run(data: bytes) -> None:
        ExecutionPolicy.parse(data)

    rules = ["PATH=/usr/bin", "re2:LANG=[a-z]+"]
    seed = generate_process(["python", "-m", "é"], env_rules=rules, working_dir="/srv")
    return Target(run, [seed], (ConfigError,), (b'"strategy":"re2"', b"(a+)+$", b"[z-a]", b"\\\\C"))


TARGETS: dict[str, Callable[[], Target]] = {
    target.__name__: target
    for target in (
        *(header, header_text, slots, slots_text, directory, inner_archive, sealed_file, model),
        *(report, leaf, authority, crl, elements, envelope, evidence, server_certificate, claims),
        *(host_certificate, certificate_table, guest_device, configfs_answers),
        *(cose, did, path_certificate, uvm, uvm_header, uvm_payload),
        *(hcl_report, hcl_runtime, tpm_quote, quote_document, evidence_files),
        *(token, token_head, token_claims, token_keys, answer, answer_header, answer_certificate),
        released_key,
        *(key_reference, key_file, connection, body, attestation_request, attestation_report),
        *(runtime_data, sidecar_request, key_provider_packet, sidecar_environment),
        key_request,
        master_sealed,
        *(trust, release_policy, execution_policy, process_policy),
    )
}
