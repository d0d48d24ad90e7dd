"""Evidence as people keep it, in files, and every question those files can answer.

A leaf may be DER or PEM, its chain PEM in any order, both may stand in a host's certificate
document; an Azure confidential VM adds the HCL report and a quote of its vTPM. Whatever a file
holds becomes an answer of the diagnosis, never an exception; nothing here hands out claims.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from sealserve.attestation import file_kinds, hcl, path, pem
from sealserve.attestation.bench import Answer, Pieces, ask
from sealserve.attestation.hcl import HclReport
from sealserve.attestation.roots import Roots
from sealserve.attestation.thim import HostCertificate
from sealserve.attestation.tpm import QuoteDocument
from sealserve.attestation.verify import Diagnosis, Statement, diagnose
from sealserve.native.errors import EvidenceError

_T = TypeVar("_T")

# Which file a check is about, and what that file should be, by the name of the check.
_ABOUT: Final[Mapping[str, tuple[str, str]]] = {
    "report length": ("report", file_kinds.REPORT),
    "leaf": ("leaf", file_kinds.CERTIFICATE),
    "intermediate": ("chain", file_kinds.CERTIFICATE),
    "host certificate": ("host_certificate", file_kinds.JSON),
    "revocation list": ("crl", file_kinds.CRL),
    "launch endorsement": ("uvm", file_kinds.COSE),
    "HCL report": ("hcl", file_kinds.HCL),
    "vTPM quote": ("quote", file_kinds.JSON),
}


@dataclass(frozen=True, slots=True)
class Bundle:
    """Files of evidence, each as it came and as what it was given; nothing has been read.

    leaf, crl: DER or PEM. chain: PEM, or one certificate in DER. host_certificate: THIM JSON.
    root: DER, of a simulated platform. runtime: what REPORT_DATA is said to be the SHA-256 of.
    """

    report: bytes
    leaf: bytes | None = None
    chain: bytes | None = None
    host_certificate: bytes | None = None
    root: bytes | None = None
    crl: bytes | None = None
    uvm: bytes | None = None
    hcl: bytes | None = None
    quote: bytes | None = None
    runtime: bytes | None = None


def examine(bundle: Bundle, roots: Roots, now: datetime) -> Diagnosis:
    """Ask every question of `diagnose`, and those about the files beside; raises nothing for them.

    now: with a time zone.
    """
    opened = _Opened(bundle)
    diagnosis = diagnose(opened.pieces(roots), roots, now)
    answers = (
        *opened.refused,
        *_host_answers(opened, diagnosis.statement),
        *_hcl_answers(bundle, opened),
        *diagnosis.answers,
        *_quote_answers(opened),
    )
    return Diagnosis(tuple(_hinted(answer, bundle) for answer in answers), diagnosis.statement)


def certificate(data: bytes) -> bytes:
    """The DER of one certificate in DER or PEM. Raises EvidenceError (pem_*) for broken PEM."""
    return _unwrapped(data, "CERTIFICATE")[0]


def _crl(data: bytes) -> bytes:
    return _unwrapped(data, "X509 CRL")[0]


def _chain(data: bytes) -> Sequence[bytes]:
    return _unwrapped(data, "CERTIFICATE", at_most=path.MAX_CERTIFICATES)


def _unwrapped(data: bytes, label: pem.Label, at_most: int = 1) -> Sequence[bytes]:
    text = pem.without_text(data)
    return pem.read(text, label, at_most=at_most) if pem.is_pem(text) else (data,)


class _Opened:
    """The files unwrapped. refused: answers about files that are no piece of evidence."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._unreadable: dict[str, EvidenceError] = {}
        self.refused: list[Answer] = []
        self.host = self._open("host certificate", "host_certificate", HostCertificate.parse)
        self.leaf = self._open("leaf", "leaf", certificate)
        self.chain = self._open("intermediate", "chain", _chain) or ()
        self.crl = self._open("crl", "crl", _crl)
        self.hcl = self._open("HCL report", "hcl", HclReport.parse)
        self.quote = self._open("vTPM quote", "quote", QuoteDocument.parse)

    @property
    def runtime(self) -> bytes | None:
        """What REPORT_DATA should be of: as it was given, or as the HCL report has it."""
        if self._bundle.runtime is not None or self.hcl is None:
            return self._bundle.runtime
        return self.hcl.runtime

    def pieces(self, roots: Roots) -> Pieces:
        """What `diagnose` looks at."""
        leaf, loose = self.leaf, [*self.chain]
        if self.host is not None:
            leaf = self.leaf or self.host.leaf
            loose += [self.host.intermediate, self.host.root]
        if self._bundle.root is not None:
            loose.append(self._bundle.root)
        found = path.build(leaf, loose, roots)
        return Pieces(
            report=self._bundle.report,
            leaf=found.leaf,
            intermediate=found.intermediate,
            root=found.root,
            crl=self.crl,
            uvm_endorsement=self._bundle.uvm,
            claims=self.runtime,
            unreadable=self._unreadable,
        )

    def _open(self, name: str, file: str, parse: Callable[[bytes], _T]) -> _T | None:
        data: bytes | None = getattr(self._bundle, file)
        if data is None:
            return None
        try:
            return parse(data)
        except EvidenceError as error:
            self._refuse(name, error)
            return None

    def _refuse(self, name: str, error: EvidenceError) -> None:
        """Told where the piece would be looked at, if there is such a place."""
        if name in ("leaf", "intermediate", "crl"):
            self._unreadable[name] = error
        elif name == "host certificate" and self._bundle.leaf is None:
            self._unreadable["leaf"] = error
        else:
            self.refused.append(Answer(name, "failed", error.what, error))


def _host_answers(opened: _Opened, statement: Statement | None) -> Iterator[Answer]:
    """`tcbm` tells early that a certificate is old; the levels in the leaf are what proves it."""
    if opened.host is None or statement is None:
        return
    if opened.host.tcb == statement.report.reported_tcb:
        yield Answer("host certificate", "ok", "tcbm is the report's REPORTED_TCB")
    else:
        told = "tcbm is not REPORTED_TCB: made before or after an update of the firmware"
        yield Answer("host certificate", "note", told)


def _hcl_answers(bundle: Bundle, opened: _Opened) -> Iterator[Answer]:
    if opened.hcl is not None:
        yield ask("HCL report", partial(_same_report, opened.hcl, bundle.report))
        if bundle.runtime is not None:
            yield ask("HCL runtime data", partial(_same_runtime, opened.hcl, bundle.runtime))


def _same_report(found: HclReport, report: bytes) -> str:
    if not hmac.compare_digest(found.report, report):
        raise EvidenceError(
            "hcl_report",
            "the HCL report holds another report",
            seen=f"SHA-256 {hashlib.sha256(found.report).hexdigest()}",
            wanted=f"{hashlib.sha256(report).hexdigest()}, of the report given beside it",
        )
    return "holds the report given beside it"


def _same_runtime(found: HclReport, runtime: bytes) -> str:
    if not hmac.compare_digest(found.runtime, runtime):
        raise EvidenceError(
            "hcl_runtime",
            "the HCL report holds other runtime data",
            seen=f"SHA-256 {hashlib.sha256(found.runtime).hexdigest()}",
            wanted=f"{hashlib.sha256(runtime).hexdigest()}, of the runtime data given beside it",
        )
    return "is the runtime data given beside it"


def _quote_answers(opened: _Opened) -> Iterator[Answer]:
    """The quote's key is the one that the report's runtime data names, and no other."""
    document = opened.quote
    if document is None:
        return
    yield ask("quote signature", lambda: _quote_signature(document, opened.runtime))
    yield ask("quote registers", lambda: _quote_registers(document))
    nonce = document.quote.nonce.hex() or "empty"
    told = f"extraData is {nonce}: only who asked knows whether it answers"
    yield Answer("quote nonce", "unasked", told)


def _quote_signature(document: QuoteDocument, runtime: bytes | None) -> str:
    if runtime is None:
        raise EvidenceError(
            "no_runtime_data",
            "nothing says whose quote it is",
            seen="no runtime data",
            wanted="the HCL report, or its runtime data",
            hint="the vTPM keeps the HCL report at NV index 0x01400001",
        )
    document.quote.require_signed(document.signature, hcl.attestation_key(runtime))
    return f"by {hcl.ATTESTATION_KEY}, which the runtime data names"


def _quote_registers(document: QuoteDocument) -> str:
    document.quote.require_registers(document.registers)
    return f"the digest is of the {len(document.quote.registers)} registers beside it"


def _hinted(answer: Answer, bundle: Bundle) -> Answer:
    """Where a file is not what it was given as, say what it looks like."""
    if answer.failure is None or answer.check not in _ABOUT:
        return answer
    file, wanted = _ABOUT[answer.check]
    data: bytes | None = getattr(bundle, file)
    seen = file_kinds.kind_of(data) if data is not None else wanted
    if seen == wanted:
        return answer
    hint = f"the file looks like {seen}"
    return replace(answer, failure=answer.failure.with_hint(hint))
