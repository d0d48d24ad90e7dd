"""A machine's claims as a trust file: of every kind of machine, and never loadable as it is."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from sealserve.attestation.tcb import LINES, Line
from sealserve.native.errors import ConfigError
from sealserve.policy.claimed import Draft, draft
from sealserve.policy.expectations import UvmLaunch
from sealserve.policy.trust import Trust
from support import policy_case as case
from support.policy_case import CHIP, NOW, claims


def drafted(line: Line = "milan", kind: Any = "snp", **fields: Any) -> Draft:
    fields = {"endorsement": None, **fields}
    return draft(
        claims(line, **fields),
        source="host:8001",
        now=NOW,
        name="n",
        kind=kind,
        simulated_root_sha256=case.SIMULATED_ROOT.hex() if kind == "simulated" else "",
        models={"m": [case.ROOT.hex()]},
        expires=date(2027, 1, 1),
    )


@pytest.mark.parametrize("line", LINES)
def test_the_machine_itself_is_accepted_once_a_person_agrees(line: Line) -> None:
    made = drafted(line)
    assert made.refusals == ()
    assert made.approved.hardware.lines == (line,)
    with pytest.raises(ConfigError) as caught:
        Trust.parse(made.text.encode())
    assert caught.value.key == "claimed_not_approved"
    assert (
        Trust.parse(made.text.replace("claimed_not_approved = true\n", "").encode())
        == made.approved
    )


def test_an_endorsed_launch_is_written_as_that() -> None:
    made = drafted(kind="aci", endorsement=claims().endorsement)
    assert made.approved.launch == UvmLaunch(case.ISSUER, case.FEED, 104)
    assert made.refusals == ()


def test_confidential_containers_without_an_endorsement() -> None:
    with pytest.raises(ConfigError) as caught:
        drafted(kind="aci")
    assert caught.value.key == "--platform"
    assert "--platform snp" in caught.value.hint


def test_a_providers_key_brings_its_provider_and_no_chip() -> None:
    made = drafted(signing_key="vlek", csp_id="CN=cloud.example", chip_id=bytes(64))
    assert made.approved.hardware.vlek_providers == ("CN=cloud.example",)
    assert "chips" not in made.text
    assert made.refusals == ()


def test_a_chip_is_offered_at_the_length_of_its_line() -> None:
    assert f'# chips = ["{CHIP[:8].hex()}"]' in drafted("turin").text
    assert f'# chips = ["{CHIP.hex()}"]' in drafted("genoa").text


def test_what_is_amiss_is_told_and_not_accepted() -> None:
    made = drafted(vmpl=1, crl_this_update=None)
    assert [finding.code for finding in made.refusals] == ["crl_missing", "vmpl_1"]


@pytest.mark.parametrize("csp_id", ["a\nb = 1", "\x1b[2J", "x" * 201])
def test_a_claim_that_fits_no_file_is_refused(csp_id: str) -> None:
    with pytest.raises(ConfigError) as caught:
        drafted(signing_key="vlek", csp_id=csp_id)
    assert caught.value.key == "hardware.vlek_providers[0]"
