"""Evidence on the bench: what came, what the checks have found out, and how one is asked.

What a check needs and nobody could find out leaves it unasked, which is no failure of the evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec

from sealserve.attestation.certs import Certificate, Leaf
from sealserve.attestation.crl import Crl
from sealserve.attestation.evidence import Evidence
from sealserve.attestation.report import Report, SigningKey
from sealserve.attestation.roots import Roots
from sealserve.attestation.tcb import Line
from sealserve.attestation.uvm import UvmEndorsement
from sealserve.native.errors import EvidenceError


class Unasked(Exception):  # noqa: N818 - not a fault of the evidence: nothing to ask
    """This check cannot be asked; the text says what nobody could find out.

    It never comes up where every earlier check has passed, but as `Absent`.
    """


class Absent(Unasked):
    """Nothing of that kind came with the evidence, and nothing has to."""


class Pieces(NamedTuple):
    """Evidence, as much of it as there is; the members are those of `Evidence`.

    unreadable: what came by the name of a member and could not even be unwrapped.
    """

    report: bytes
    leaf: bytes | None = None
    intermediate: bytes | None = None
    root: bytes | None = None
    crl: bytes | None = None
    uvm_endorsement: bytes | None = None
    claims: bytes | None = None
    unreadable: Mapping[str, EvidenceError] = MappingProxyType({})

    @classmethod
    def of(cls, evidence: Evidence) -> Pieces:
        """All the pieces of whole evidence."""
        return cls(
            evidence.report,
            evidence.leaf,
            evidence.intermediate,
            evidence.root,
            evidence.crl,
            evidence.uvm_endorsement,
            evidence.claims,
        )


_MISSING: Final[Mapping[str, str]] = {
    "image": "the report cannot be read",
    "report": "the report's fields cannot be read",
    "signing_key": "the report names no key that signed it",
    "certificate": "there is no leaf certificate",
    "leaf_kind": "the leaf is neither a VCEK nor a VLEK",
    "key": "the leaf has no key that signs reports",
    "leaf": "there is no leaf certificate of AMD's form",
    "intermediate": "there is no intermediate certificate",
    "line": "the product line is unknown",
    "issuer_kind": "the leaf's issuer is unknown",
    "trusted": "there is no root we accept",
    "root": "there is no root we accept",
    "reported": "the line has no such REPORTED_TCB",
    "found_endorsement": "the endorsement of the launch cannot be read",
    "found_crl": "the revocation list cannot be read",
}


class Bench:
    """Evidence on the bench, and what the checks have found out about it so far."""

    image: Report
    report: Report
    signing_key: SigningKey
    certificate: Certificate
    leaf_kind: SigningKey
    key: ec.EllipticCurvePublicKey
    leaf: Leaf
    intermediate: Certificate
    line: Line
    issuer_kind: SigningKey
    trusted: bool
    root: Certificate
    reported: Mapping[str, int]
    found_endorsement: UvmEndorsement
    found_crl: Crl

    def __init__(self, pieces: Pieces, roots: Roots, now: datetime) -> None:
        if now.tzinfo is None:
            raise ValueError("now has no time zone")
        self.pieces = pieces
        self.roots = roots
        self.now = now

    def __getattr__(self, name: str) -> NoReturn:
        """What no check has found out. Raises Unasked."""
        if name not in _MISSING:
            raise AttributeError(name)
        raise Unasked(_MISSING[name])

    def require_readable(self, member: str) -> None:
        """Raises the EvidenceError of a piece that could not be unwrapped."""
        if member in self.pieces.unreadable:
            raise self.pieces.unreadable[member]

    @property
    def crl(self) -> Crl:
        """The revocation list, if one came."""
        if self.pieces.crl is None:
            raise Absent("no revocation list came with the evidence")
        return self.found_crl

    @property
    def endorsement(self) -> UvmEndorsement:
        """The endorsement of the launch, if one came."""
        if self.pieces.uvm_endorsement is None:
            raise Absent("no endorsement came with the evidence")
        return self.found_endorsement


Sentence = str | Callable[[], str]
"""What was compared with what; made when somebody wants to read it, if making it takes long."""


@dataclass(frozen=True, slots=True)
class Check:
    """name: for people, at most 20 characters. run: the sentence, or EvidenceError, or Unasked."""

    name: str
    run: Callable[[Bench], Sentence]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one check in a diagnosis.

    state: "ok"; "failed", with the failure; "unasked", because something else is missing;
    "absent", because nothing of that kind came; "note" for what no check can decide. sentence:
    what was compared with what, what failed, or why it was not asked.
    """

    check: str
    state: Literal["ok", "failed", "unasked", "absent", "note"]
    sentence: str
    failure: EvidenceError | None = None


def ask(name: str, run: Callable[[], Sentence]) -> Answer:
    """Ask one check, and take whatever it answers."""
    try:
        said = run()
        return Answer(name, "ok", said if isinstance(said, str) else said())
    except Absent as why:
        return Answer(name, "absent", str(why))
    except Unasked as why:
        return Answer(name, "unasked", str(why))
    except EvidenceError as error:
        return Answer(name, "failed", error.what, error)
