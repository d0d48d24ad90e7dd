"""Real machines: what an endorsement is worth, and that only the configured issuer's counts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation.tcb import Tcb
from sealserve.attestation.uvm import UvmEndorsement
from sealserve.keys.trustd import compliance, report_claims
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.setup import Wanted, init
from sealserve.native.errors import ConfigError
from sealserve.policy import revocation
from sealserve.policy.expectations import UvmLaunch
from support import policy_case as case
from support.keys_trustd import body_of, local, payload_of
from support.policy_case import MEASUREMENT, NOW, claims
from support.ports import free_port

CLEANROOM = Path(__file__).parents[2] / "vectors" / "azure" / "cleanroom"
RECORDED = json.loads((CLEANROOM / "maa-request.json").read_text())
REAL_TIME = datetime(2026, 9, 1, tzinfo=UTC)
ISSUER = (
    "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2"
)
FEED = "ContainerPlat-AMD-UVM"
LAUNCH = UvmLaunch(case.ISSUER, FEED, 104)
STATUS = "x-ms-compliance-status"
UVM = "x-ms-sevsnpvm-uvm-endorsement"


def endorsement(**changes: Any) -> UvmEndorsement:
    told = {
        "issuer": case.ISSUER,
        "feed": FEED,
        "svn": 104,
        "measurement": MEASUREMENT,
        "signed_at": NOW,
        "simulated": False,
    }
    return UvmEndorsement(**{**told, **changes})


def status(launch: UvmLaunch | None = LAUNCH, **fields: Any) -> dict[str, object]:
    told = {"endorsement": endorsement(), **fields}
    return compliance.status(claims(**told), launch, NOW)


def test_an_endorsed_launch_is_compliant_as_azure_spells_it() -> None:
    assert status() == {STATUS: "azure-compliant-uvm"}


TOO_OLD = NOW - timedelta(days=revocation.RECOMMENDED_DAYS + 1)
OLD = Tcb(bootloader=4, tee=0, snp=23, microcode=219)
AMISS: dict[str, tuple[dict[str, Any], str]] = {
    "no endorsement": ({"endorsement": None}, "uvm_missing"),
    "another issuer": (
        {"endorsement": endorsement(issuer=case.ISSUER + "x")},
        "uvm_untrusted_issuer_or_svn",
    ),
    "another feed": (
        {"endorsement": endorsement(feed="ContainerPlat")},
        "uvm_untrusted_issuer_or_svn",
    ),
    "an old version": ({"endorsement": endorsement(svn=103)}, "uvm_untrusted_issuer_or_svn"),
    "no revocation list": ({"crl_this_update": None}, "crl_missing"),
    "an old revocation list": ({"crl_this_update": TOO_OLD}, "crl_age"),
}


@pytest.mark.parametrize(("fields", "code"), AMISS.values(), ids=AMISS)
def test_each_thing_amiss_alone_is_named(fields: dict[str, Any], code: str) -> None:
    assert status(**fields) == {STATUS: f"not-compliant: {code}"}


def test_without_a_configured_issuer_nothing_is_said() -> None:
    assert status(None) == {}


def test_a_configured_issuer_is_nothing_to_a_simulated_machine() -> None:
    told = status(platform="simulated", endorsement=None)
    assert told == {STATUS: "not-compliant: measurement"}


def test_a_stranger_says_nothing_in_a_token() -> None:
    def told(**changes: Any) -> dict[str, object]:
        return report_claims.of_endorsement(claims(endorsement=endorsement(**changes)), LAUNCH)

    assert told() == {
        UVM: {
            "x-ms-sevsnpvm-guestsvn": "104",
            "x-ms-sevsnpvm-launchmeasurement": MEASUREMENT.hex(),
        },
        f"{UVM}-headers": {"feed": FEED, "iss": case.ISSUER},
    }
    assert told(issuer=case.ISSUER + "x") == {}
    assert told(feed="ContainerPlat") == {}
    assert told(svn=1)  # a release policy can ask for a version of its own
    assert report_claims.of_endorsement(claims(endorsement=None), LAUNCH) == {}
    assert report_claims.of_endorsement(claims(endorsement=endorsement()), None) == {}


# ---- a real endorsement


def wanted(**changes: Any) -> Wanted:
    given = Wanted(
        f"127.0.0.1:{free_port()}",
        platform="real",
        uvm_issuer=ISSUER,
        uvm_feed=FEED,
        uvm_minimum_svn=100,
    )
    return replace(given, **changes)


def test_a_recorded_endorsement_of_microsofts(tmp_path: Path) -> None:
    """The machine's firmware is older than we recommend, and the request has no revocation list."""
    made = init(tmp_path / "vault", wanted(), datetime.now(UTC))
    with local(tmp_path / "vault", made) as trustd:
        trustd.now = REAL_TIME
        token = trustd.service.attest("SevSnpVM", body_of(RECORDED))["token"]
    told = payload_of(token)
    measurement = told["x-ms-sevsnpvm-launchmeasurement"]
    assert told[UVM]["x-ms-sevsnpvm-launchmeasurement"] == measurement
    assert int(told[UVM]["x-ms-sevsnpvm-guestsvn"]) >= 100
    assert told[f"{UVM}-headers"] == {"feed": FEED, "iss": ISSUER}
    assert told[STATUS].startswith("not-compliant: ")
    assert "crl_missing" in told[STATUS]
    assert "uvm" not in told[STATUS]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no feed": ({"uvm_feed": ""}, "--uvm-feed: is missing"),
    "no version": ({"uvm_minimum_svn": None}, "--uvm-minimum-svn: is missing"),
    "no issuer": ({"uvm_issuer": ""}, "--uvm-issuer: is missing"),
    "another name": ({"uvm_issuer": "https://issuer"}, "--uvm-issuer: seen 'https://issuer'"),
    "a version below zero": ({"uvm_minimum_svn": -1}, "--uvm-minimum-svn: is a number"),
    "a version too large": ({"uvm_minimum_svn": 2**31}, "--uvm-minimum-svn: is a number"),
    "a simulated platform": (
        {"platform": "simulated", "simulated_root_sha256": "ab" * 32},
        "--uvm-issuer: endorsements count on real machines",
    ),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_half_an_issuer_is_none(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        init(tmp_path / "vault", wanted(**changes), datetime.now(UTC))
    assert words in caught.value.message
    assert not Folder(tmp_path / "vault").path.exists()
