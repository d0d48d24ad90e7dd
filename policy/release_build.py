"""Writes release policies: the one way in which ours come to be.

All of them ask in one `allOf` for a compliant SEV-SNP machine, an execution policy by its SHA-256,
no debug mode and VMPL 0. A trust file adds what it says of the launch, as far as a grammar that
only knows "equals" can repeat it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sealserve.native.errors import ConfigError
from sealserve.policy.expectations import NO_POLICY, MeasuredLaunch, UvmLaunch
from sealserve.policy.known import permissive_name
from sealserve.policy.release import VERSION, is_authority, normal
from sealserve.policy.trust import Trust

COMPLIANT = "azure-compliant-uvm"  # x-ms-compliance-status of confidential ACI
SIMULATED_COMPLIANT = "sealserve-simulated"
SIMULATED_SUFFIX = "/simulated"

# Claims of Azure's attestation service (MicrosoftDocs/azure-docs, confidential containers) that
# every policy of ours names.
ATTESTATION_TYPE = "x-ms-attestation-type"
COMPLIANCE_STATUS = "x-ms-compliance-status"
HOST_DATA = "x-ms-sevsnpvm-hostdata"
DEBUGGABLE = "x-ms-sevsnpvm-is-debuggable"
VMPL = "x-ms-sevsnpvm-vmpl"
MEASUREMENT = "x-ms-sevsnpvm-launchmeasurement"
ENDORSED_BY = "x-ms-sevsnpvm-uvm-endorsement-headers"

_NEVER_MIX = "simulated and real never mix: use the attestation service of this platform"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Admitted:
    """Which machines may have a key.

    host_data: SHA-256 of the execution policies, in hex; several while one replaces another.
    launch: what a trust file says of it; None leaves it to the attestation service. simulated: as
    a trust file says, None where nothing does.
    """

    host_data: tuple[str, ...]
    launch: UvmLaunch | MeasuredLaunch | None = None
    simulated: bool | None = None

    @classmethod
    def by(cls, trust: Trust) -> Admitted:
        """The machines a client with this trust file accepts, as far as tokens tell of them.

        No simulated service tells who endorsed a launch: its status speaks for the platform.
        """
        host_data = tuple(policy.digest.hex() for policy in trust.policies)
        simulated = trust.kind == "simulated"
        untold = simulated and isinstance(trust.launch, UvmLaunch)
        return cls(host_data, None if untold else trust.launch, simulated)

    def policy(self, authority: str, *, simulated: bool) -> bytes:
        """The release policy for them, as `build` writes it. Raises ConfigError."""
        if self.simulated not in (None, simulated):
            raise ConfigError(
                f"the trust file is for {_platform(not simulated)} machines, and {authority[:200]} "
                f"attests {_platform(simulated)} ones",
                key="authority",
                hint=_NEVER_MIX,
            )
        return build(authority, *self.host_data, simulated=simulated, launch=self.launch)


def build(
    authority: str,
    *host_data_hex: str,
    simulated: bool,
    launch: UvmLaunch | MeasuredLaunch | None = None,
) -> bytes:
    """Write the release policy for these execution policies on one attestation service.

    authority: the issuer of the tokens, https; it ends in `/simulated` exactly if `simulated`.
    host_data_hex, launch: as `Admitted` has them. Raises ConfigError for an authority that does
    not fit, or for an execution policy known to allow everything.
    """
    issuer = normal(authority)
    _check_authority(issuer, simulated)
    if not host_data_hex:
        raise ValueError("a release policy without host data lets anything have the key")
    for digest in host_data_hex:
        _check_host_data(digest, measured=isinstance(launch, MeasuredLaunch))
    conditions = [
        _equals(ATTESTATION_TYPE, "sevsnpvm"),
        _equals(COMPLIANCE_STATUS, SIMULATED_COMPLIANT if simulated else COMPLIANT),
        _one_of(HOST_DATA, host_data_hex),
        _equals(DEBUGGABLE, "false"),
        _equals(VMPL, "0"),
        *_launched(launch),
    ]
    policy = {"version": VERSION, "anyOf": [{"authority": issuer, "allOf": conditions}]}
    return json.dumps(policy, separators=(",", ":")).encode("ascii")


def _launched(launch: UvmLaunch | MeasuredLaunch | None) -> list[dict[str, object]]:
    """A least version has no clause: the grammar cannot say "at least"."""
    if launch is None:
        return []
    if isinstance(launch, MeasuredLaunch):
        return [_one_of(MEASUREMENT, [each.digest.hex() for each in launch.measurements])]
    return [
        _equals(f"{ENDORSED_BY}.iss", launch.issuer),
        _equals(f"{ENDORSED_BY}.feed", launch.feed),
    ]


def _equals(claim: str, value: str) -> dict[str, object]:
    return {"claim": claim, "equals": value}


def _one_of(claim: str, values: Sequence[str]) -> dict[str, object]:
    clauses = [_equals(claim, value) for value in dict.fromkeys(values)]
    return clauses[0] if len(clauses) == 1 else {"anyOf": clauses}


def _check_authority(issuer: str, simulated: bool) -> None:
    if not is_authority(issuer):
        raise ConfigError(f"seen {issuer!r}; expected an https URL", key="authority")
    if issuer.endswith(SIMULATED_SUFFIX) != simulated:
        rule = "ends" if simulated else "does not end"
        raise ConfigError(
            f"seen {issuer!r}; the issuer of a {_platform(simulated)} platform {rule} in "
            f"{SIMULATED_SUFFIX}",
            key="authority",
            hint=_NEVER_MIX,
        )


def _platform(simulated: bool) -> str:
    return "simulated" if simulated else "real"


def _check_host_data(host_data_hex: str, *, measured: bool) -> None:
    if not _SHA256.fullmatch(host_data_hex):
        raise ValueError(f"host_data_hex {host_data_hex!r} is not 64 lower-case hex digits")
    if name := permissive_name(bytes.fromhex(host_data_hex)):
        raise ConfigError(
            f"host data {host_data_hex} is {name}",
            key=HOST_DATA,
            hint="a key under it would go to anything; write a policy for what should run",
        )
    if bytes.fromhex(host_data_hex) == NO_POLICY and not measured:
        raise ConfigError(
            "host data of zeros is no execution policy: nothing would say what runs",
            key=HOST_DATA,
            hint="name the policy, or the measurements of images that admit no other program",
        )
