"""Chains that do not lead to the expected root, and lists that are not its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sealserve.attestation.roots import AMD_ORGANIZATION
from sealserve.attestation.simulated import issue
from sealserve.attestation.simulated.blueprint import Blueprint
from sealserve.attestation.simulated.faults.dials import Fault, another_model, fields, flip
from sealserve.attestation.simulated.issue import SHA256

_YEAR: Final = timedelta(days=365)
_DAY: Final = timedelta(days=1)


def _crl_of_another_line(plan: Blueprint) -> Blueprint:
    return replace(plan, crl_issuer=issue.ark_name(another_model(plan).line))


FAULTS: Final[Mapping[str, Fault]] = {
    "root": Fault("the ARK is another one", "untrusted_root", flip("root")),
    "authority": Fault(
        "the leaf claims to be AMD's", "authority", fields(leaf_organization=AMD_ORGANIZATION)
    ),
    "chain-names": Fault(
        "the leaf names another issuer", "chain_names", fields(issuer_organization="somebody else")
    ),
    "not-a-ca": Fault(
        "the intermediate is no CA",
        "not_a_ca",
        fields(intermediate_reissued=True, intermediate_ca=False),
    ),
    "intermediate-signature": Fault(
        "the intermediate's signature is wrong", "intermediate_signature", flip("intermediate")
    ),
    "leaf-signature": Fault("the leaf's signature is wrong", "leaf_signature", flip("leaf")),
    "leaf-parameters": Fault(
        "the leaf is signed with SHA-256", "signature_parameters", fields(leaf_scheme=SHA256)
    ),
    "leaf-early": Fault("the leaf is not valid yet", "leaf_early", fields(leaf_age=-_YEAR)),
    "leaf-expired": Fault(
        "the leaf has expired", "leaf_expired", fields(leaf_age=2 * _DAY, leaf_lifetime=_DAY)
    ),
    "intermediate-early": Fault(
        "the intermediate is not valid yet",
        "intermediate_early",
        fields(intermediate_reissued=True, intermediate_age=-_YEAR),
    ),
    "intermediate-expired": Fault(
        "the intermediate has expired",
        "intermediate_expired",
        fields(intermediate_reissued=True, intermediate_age=2 * _DAY, intermediate_lifetime=_DAY),
    ),
    "crl-signature": Fault("the list's signature is wrong", "crl_signature", flip("crl")),
    "crl-issuer": Fault("the list is another line's", "crl_issuer", _crl_of_another_line),
    "crl-early": Fault("the list is from the future", "crl_early", fields(crl_age=-_YEAR)),
    "crl-stale": Fault(
        "the list has lapsed", "crl_stale", fields(crl_age=2 * _DAY, crl_lifetime=_DAY)
    ),
    "revoked": Fault(
        "the intermediate is on the list",
        "intermediate_revoked",
        fields(intermediate_revoked=True),
    ),
}
