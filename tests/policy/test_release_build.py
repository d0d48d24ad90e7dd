"""Release policies as ours come to be: what they always ask for, and what a trust file adds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealserve.native.errors import ConfigError
from sealserve.policy.expectations import MeasuredLaunch, Noted, UvmLaunch
from sealserve.policy.known import PERMISSIVE
from sealserve.policy.release import ReleasePolicy
from sealserve.policy.release_build import Admitted, build
from sealserve.policy.release_lint import lint
from sealserve.policy.trust import Trust
from support import policy_case as case
from support.policy_case import edit
from support.policy_release import claim

HOST_DATA, OTHER = "5a" * 32, "5b" * 32
SERVICE = "https://a.example"


def clauses(policy: bytes) -> list[dict[str, Any]]:
    """What the one authority of a policy asks for."""
    (block,) = json.loads(policy)["anyOf"]
    found: list[dict[str, Any]] = block["allOf"]
    return found


def test_build_for_confidential_containers() -> None:
    assert json.loads(build("https://a.attest.azure.net/", HOST_DATA, simulated=False)) == {
        "version": "1.0.0",
        "anyOf": [
            {
                "authority": "https://a.attest.azure.net",
                "allOf": [
                    claim("x-ms-attestation-type", "sevsnpvm"),
                    claim("x-ms-compliance-status", "azure-compliant-uvm"),
                    claim("x-ms-sevsnpvm-hostdata", HOST_DATA),
                    claim("x-ms-sevsnpvm-is-debuggable", "false"),
                    claim("x-ms-sevsnpvm-vmpl", "0"),
                ],
            }
        ],
    }


@pytest.mark.parametrize(
    ("authority", "simulated"),
    [
        ("https://a.example/simulated", False),
        ("https://a.example/simulated/", False),
        ("https://a.example", True),
        ("http://a.example/simulated", True),
        ("a.example/simulated", True),
        ("https:///simulated", True),
    ],
)
def test_build_never_mixes_simulated_and_real(authority: str, simulated: bool) -> None:
    with pytest.raises(ConfigError) as caught:
        build(authority, HOST_DATA, simulated=simulated)
    assert caught.value.key == "authority"


def test_build_refuses_policies_that_allow_everything() -> None:
    for digest, name in PERMISSIVE.items():
        with pytest.raises(ConfigError, match=name.split("'")[0]):
            build("https://a.example", digest.hex(), simulated=False)


@pytest.mark.parametrize("host_data", ["", "5A" * 32, "5a" * 31, "5a" * 33, "zz" * 32])
def test_build_wants_a_digest(host_data: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case"):
        build("https://a.example", host_data, simulated=False)


def test_several_policies_while_one_replaces_another() -> None:
    built = build(SERVICE, HOST_DATA, OTHER, HOST_DATA, simulated=False)
    either = [claim("x-ms-sevsnpvm-hostdata", each) for each in (HOST_DATA, OTHER)]
    assert clauses(built)[2] == {"anyOf": either}
    assert len(clauses(built)) == 5


def test_build_never_writes_a_policy_for_anything() -> None:
    with pytest.raises(ValueError, match="lets anything"):
        build(SERVICE, simulated=False)


def test_no_execution_policy_needs_a_measured_launch() -> None:
    with pytest.raises(ConfigError, match="host data of zeros"):
        build(SERVICE, "00" * 32, simulated=False)
    launch = UvmLaunch(case.ISSUER, case.FEED, 104)
    with pytest.raises(ConfigError, match="host data of zeros"):
        build(SERVICE, "00" * 32, simulated=False, launch=launch)
    measured = MeasuredLaunch((Noted(case.MEASUREMENT, ""),))
    assert build(SERVICE, "00" * 32, simulated=False, launch=measured)


def trust(*changes: tuple[str, str]) -> Trust:
    return Trust.parse(edit(*changes))


def test_a_trust_file_adds_what_is_launched() -> None:
    built = Admitted.by(trust()).policy(SERVICE, simulated=False)
    assert clauses(built)[2] == claim("x-ms-sevsnpvm-hostdata", case.POLICY.hex())
    measured = claim("x-ms-sevsnpvm-launchmeasurement", case.MEASUREMENT.hex())
    assert clauses(built)[5:] == [measured]


def test_a_trust_file_adds_who_endorses_the_launch() -> None:
    """A least version has no clause: equality is all that the grammar knows."""
    endorsed = trust((case.MEASURED, case.ENDORSED))
    built = Admitted.by(endorsed).policy(SERVICE, simulated=False)
    headers = "x-ms-sevsnpvm-uvm-endorsement-headers"
    assert clauses(built)[5:] == [
        claim(f"{headers}.iss", case.ISSUER),
        claim(f"{headers}.feed", case.FEED),
    ]
    assert "104" not in built.decode()


def test_no_simulated_service_tells_who_endorsed_a_launch() -> None:
    endorsed = trust((case.SNP, case.SIMULATED), (case.MEASURED, case.ENDORSED))
    built = Admitted.by(endorsed).policy(f"{SERVICE}/simulated", simulated=True)
    assert built == build(f"{SERVICE}/simulated", case.POLICY.hex(), simulated=True)


@pytest.mark.parametrize(
    ("platform", "authority"),
    [(case.SNP, f"{SERVICE}/simulated"), (case.SIMULATED, SERVICE)],
    ids=["real", "simulated"],
)
def test_a_trust_file_is_for_the_machines_of_one_kind(platform: str, authority: str) -> None:
    admitted = Admitted.by(trust((case.SNP, platform)))
    with pytest.raises(ConfigError, match="the trust file is for") as caught:
        admitted.policy(authority, simulated=authority != SERVICE)
    assert caught.value.key == "authority"


def test_what_is_built_has_one_note_and_nothing_worse() -> None:
    for admitted in (
        Admitted((HOST_DATA,)),
        Admitted.by(trust()),
        Admitted.by(trust((case.MEASURED, case.ENDORSED))),
    ):
        built = admitted.policy(SERVICE, simulated=False)
        assert ReleasePolicy.parse(built)
        assert [remark.rank for remark in lint(built)] == ["note"]
