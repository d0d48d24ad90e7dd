"""Endorsements that are none, or none that a client's trust wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sealserve.attestation.simulated.blueprint import Blueprint
from sealserve.attestation.simulated.faults.dials import (
    ENDORSED,
    Change,
    Fault,
    fields,
)
from sealserve.attestation.simulated.issue_uvm import FRAGMENT_EKU, PLATFORM_EKU, SIGNER_NAME

_UNTRUSTED: Final = ("uvm_untrusted_issuer_or_svn",)
_PS256: Final = -37
_PREVIEW_SVN: Final = 22  # of an image from before the first production one, which had 100


def _said(**values: object) -> Change:
    """Set these fields of the statement."""

    def change(plan: Blueprint) -> Blueprint:
        if plan.statement is None:
            raise ValueError("there is no endorsement to change")
        return replace(plan, statement=replace(plan.statement, **values))  # type: ignore[arg-type]

    return change


def _refused(what: str, code: str, **values: object) -> Fault:
    return Fault(what, code, _said(**values), only=ENDORSED)


def _untrusted(what: str, **values: object) -> Fault:
    return Fault(what, "", _said(**values), _UNTRUSTED, ENDORSED)


FAULTS: Final[Mapping[str, Fault]] = {
    "no-endorsement": Fault(
        "the launch is not endorsed", "", fields(statement=None), ("uvm_missing",), ENDORSED
    ),
    "uvm-issuer": _untrusted(
        "the endorsement names its issuer by subject, as early ones did",
        predicate=f"subject:CN:{SIGNER_NAME}",
    ),
    "uvm-feed": _untrusted("the endorsement is of another product", feed="Another-UVM"),
    "old-uvm": _untrusted("the endorsement is of an early image", svn=_PREVIEW_SVN),
    "uvm-measurement": _refused(
        "the endorsement is of another image", "uvm_measurement", measurement=bytes([0xAA] * 48)
    ),
    "uvm-authority": _refused(
        "the endorsement does not say that it is simulated",
        "uvm_authority",
        organization="somebody else",
    ),
    "uvm-malformed": _refused(
        "the endorsement has another content type", "uvm_malformed", media_type="text/plain"
    ),
    "uvm-algorithm": _refused(
        "the endorsement is signed with SHA-256", "uvm_algorithm", algorithm=_PS256
    ),
    "uvm-digest": _refused(
        "the digest of the signer's certificate is another's", "uvm_x5t", strange_digest=True
    ),
    "uvm-chain": _refused("the endorsement's chain has no root", "uvm_chain", rootless=True),
    "uvm-time": _refused(
        "the signer's certificate had expired at the signing time",
        "uvm_time",
        leaf_age=timedelta(days=400),
    ),
    "uvm-usage": _refused(
        "a signer of policy fragments signed the endorsement",
        "uvm_did",
        usages=(PLATFORM_EKU, FRAGMENT_EKU),
    ),
    "uvm-signature": _refused(
        "another key signed the endorsement", "uvm_signature", strange_key=True
    ),
    "uvm-payload": _refused(
        "the endorsed measurement is too short", "uvm_payload", measurement=bytes(32)
    ),
    "uvm-svn": _refused("the endorsed version is no version", "uvm_svn", svn=-1),
}
