"""Every expectation alone refuses a machine, and everything together accepts one."""

from __future__ import annotations

import dataclasses
import json
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from sealserve.attestation.report import Firmware, GuestPolicy, PlatformInfo
from sealserve.attestation.tcb import Line
from sealserve.attestation.uvm import UvmEndorsement
from sealserve.native.errors import Finding, PolicyViolation
from sealserve.policy import firmware_checks, guest_checks, machine_checks
from sealserve.policy.appraise import appraise
from sealserve.policy.expectations import GUEST_POLICY_BITS, PLATFORM_INFO_BITS
from sealserve.policy.known import PERMISSIVE
from sealserve.policy.outcome import Case, Check
from sealserve.policy.trust import Trust
from support import policy_case as case
from support.policy_case import CHIP, MEASUREMENT, NOW, POLICY, TCB, claims, trust

GUEST = GuestPolicy.of(0x3001F)
DEBUG = dataclasses.replace(GUEST, debug=True)
MIGRATION = dataclasses.replace(GUEST, migrate_ma=True)
CXL = dataclasses.replace(GUEST, cxl=True)
GUEST_BITS = 0b11_1101_0001 << 16  # all bits of POLICY that a file may ask for
REPORTED, COMMITTED = "tcb_reported_floor", "tcb_committed_floor"
TOO_OLD = NOW - timedelta(days=45, seconds=1)
ENDORSED = (case.MEASURED, case.ENDORSED)
CHIPS = ("max_crl_age_days", f'chips = ["{"dd" * 64}"]\nmax_crl_age_days')
VLEK = ("max_crl_age_days", 'vlek_providers = ["CN=cloud.example"]\nmax_crl_age_days')


GENOA_A0 = "[hardware.tcb.genoa-a0]\nbootloader = 10"
KEY, OTHER_KEY = bytes([0x1D] * 48), bytes([0x2E] * 48)


def hardware(line: str) -> tuple[str, str]:
    return ("max_crl_age_days", f"{line}\nmax_crl_age_days")


def launch(line: str) -> tuple[str, str]:
    return ("[launch]\n", f"[launch]\n{line}\n")


ID_KEYS = launch(f'id_keys = ["{KEY.hex()}"]')
AUTHOR_KEYS = launch(f'author_keys = ["{KEY.hex()}"]')
FIRMWARE = hardware('minimum_firmware = "1.55.29"')
MITIGATIONS = hardware("mitigations = 0b101")
FIRMWARES = {"current_firmware": Firmware(1, 55, 30), "committed_firmware": Firmware(1, 55, 29)}
VECTORS = {"version": 5, "launch_mitigations": 0b101, "current_mitigations": 0b1101}
DENIED = hardware(f'denied_chips = ["{CHIP.hex()}"]')


def findings(tested: Trust, at: datetime = NOW, **fields: Any) -> list[Finding]:
    with pytest.raises(PolicyViolation) as caught:
        appraise(claims(**fields), tested, now=at)
    return list(caught.value.findings)


def endorsement(**fields: Any) -> UvmEndorsement:
    good = UvmEndorsement(case.ISSUER, case.FEED, 104, MEASUREMENT, NOW, simulated=False)
    return dataclasses.replace(good, **fields)


def changed(line: Line, **components: int) -> bytes:
    places = {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7}
    if line != "turin":
        places = {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
    raw = bytearray(TCB[line])
    for name, level in components.items():
        raw[places[name]] = level
    return bytes(raw)


@pytest.mark.parametrize("line", ["milan", "genoa", "turin"])
def test_a_machine_as_expected_is_accepted(line: Line) -> None:
    verdict = appraise(claims(line), trust(), now=NOW)
    assert verdict.line == line
    assert verdict.policy_sha256 == POLICY.hex()
    assert verdict.policy_note == "sealserve 0.1"
    assert verdict.measurement == MEASUREMENT.hex()
    assert verdict.chip_id == (CHIP[:8] if line == "turin" else CHIP).hex()
    assert verdict.dangers == ()
    assert verdict.remarks == ("any chip is accepted",)
    assert all(verdict.checked)


# What stands in every verdict of a file that asks for nothing but what it has to.
ALWAYS = [
    "the trust file may be used until 2027-03-31",
    "the platform is snp",
    "the product line is milan",
    "the report is signed by the chip's own key (VCEK)",
    "the revocation list is 10 days old, at most 45",
    "reported firmware bootloader 4 tee 0 snp 24 microcode 219 is at least hardware.tcb.milan",
    "committed firmware bootloader 4 tee 0 snp 24 microcode 219 is at least hardware.tcb.milan",
    "debug is off",
    "a migration agent is not allowed",
    "CXL memory is not allowed",
    "the report was asked for at VMPL 0",
    "memory was checked for aliases",
    f"measurement {MEASUREMENT.hex()[:16]}… is listed (image 1)",
    f"execution policy {POLICY.hex()[:16]}… is listed (sealserve 0.1)",
]


def test_the_verdict_tells_each_check_and_none_that_nobody_asked_for() -> None:
    assert list(appraise(claims(endorsement=None), trust(), now=NOW).checked) == ALWAYS


def test_the_verdict_tells_each_check_that_was_asked_for() -> None:
    asked = trust(
        hardware(f'denied_chips = ["{"ee" * 64}", "{"dd" * 64}"]\nminimum_report_version = 3'),
        hardware('floor_at_launch = true\nplatform_info_set = ["ecc"]'),
        hardware('platform_info_clear = ["tsme"]'),
        FIRMWARE,
        MITIGATIONS,
        launch('guest_policy_clear = ["single_socket"]'),
        ID_KEYS,
        AUTHOR_KEYS,
    )
    fields = {**FIRMWARES, **VECTORS, "id_key_digest": KEY, "author_key_digest": KEY}
    fields |= {"key_info": 1, "endorsement": None}
    verdict = appraise(claims(**fields), asked, now=NOW)
    assert [told for told in verdict.checked if told not in ALWAYS] == [
        "the chip is none of the 2 denied",
        "the report has version 5, at least 3",
        "platform: ecc set, tsme clear",
        "launch firmware bootloader 4 tee 0 snp 24 microcode 219 is at least hardware.tcb.milan",
        "SEV firmware 1.55.30, committed 1.55.29, is at least 1.55.29",
        "mitigations 0x5 are on, and were at launch",
        "policy: single_socket clear",
        f"the ID block is signed by a listed key, {'1d' * 8}…",
        f"the ID key is signed by a listed key, {'1d' * 8}…",
    ]


REMARKS = {
    "no review date": ([("expires = 2027-03-31\n", "")], {}, "has no review date"),
    "any chip": ([], {}, "any chip is accepted"),
    "an old report": ([], {"version": 2}, "cannot tell whether memory was checked"),
}


@pytest.mark.parametrize("name", REMARKS)
def test_what_was_not_compared_is_no_check(name: str) -> None:
    changes, fields, words = REMARKS[name]
    verdict = appraise(claims(**fields), trust(*changes), now=NOW)
    (sentence,) = [told for told in verdict.remarks if words in told]
    assert f"  note    {sentence}" in verdict.explain().splitlines()
    assert sentence in verdict.to_json()["remarks"]  # type: ignore[operator]
    assert not [told for told in verdict.checked if words in told]


@pytest.mark.parametrize(("age", "words"), [(1, "1 day old, at most"), (2, "2 days old, at most")])
def test_days_are_counted_as_people_do(age: int, words: str) -> None:
    verdict = appraise(claims(crl_this_update=NOW - timedelta(days=age)), trust(), now=NOW)
    assert [told for told in verdict.checked if words in told]


# name: (trust file changes, fields of claims and report, code of the one finding)
ONE_WRONG: dict[str, tuple[list[tuple[str, str]], dict[str, Any], str]] = {
    "the file has expired": ([("2027-03-31", "2026-11-23")], {}, "trust_expired"),
    "a simulated machine, a file for hardware": ([], {"platform": "simulated"}, "platform"),
    "hardware, a file for simulated": ([(case.SNP, case.SIMULATED)], {}, "platform"),
    "a line the owner refuses": (
        [
            ('"milan", ', ""),
            ("[hardware.tcb.milan]\nbootloader = 4\ntee = 0\nsnp = 24\nmicrocode = 219\n", ""),
        ],
        {},
        "line",
    ),
    "a VLEK where only VCEKs count": (
        [],
        {"signing_key": "vlek", "csp_id": "CN=cloud.example"},
        "vlek_provider",
    ),
    "a VLEK of another provider": (
        [VLEK],
        {"signing_key": "vlek", "csp_id": "CN=other.example"},
        "vlek_provider",
    ),
    "a VLEK without a provider": ([VLEK], {"signing_key": "vlek", "csp_id": None}, "vlek_provider"),
    "another chip": ([CHIPS], {}, "chip_id"),
    "old reported bootloader": (
        [],
        {"reported_tcb": changed("milan", bootloader=3)},
        REPORTED,
    ),
    "old reported tee": (
        [
            (
                "[hardware.tcb.milan]\nbootloader = 4\ntee = 0",
                "[hardware.tcb.milan]\nbootloader = 4\ntee = 1",
            )
        ],
        {"committed_tcb": changed("milan", tee=1)},
        REPORTED,
    ),
    "old reported snp": ([], {"reported_tcb": changed("milan", snp=23)}, REPORTED),
    "old reported microcode": (
        [],
        {"reported_tcb": changed("milan", microcode=218)},
        REPORTED,
    ),
    "old committed bootloader": (
        [],
        {"committed_tcb": changed("milan", bootloader=3)},
        COMMITTED,
    ),
    "old committed snp": ([], {"committed_tcb": changed("milan", snp=23)}, COMMITTED),
    "old firmware behind high microcode": (
        [],
        {"reported_tcb": changed("milan", snp=23, microcode=255)},
        REPORTED,
    ),
    "old fmc on Turin": (
        [],
        {"line": "turin", "reported_tcb": changed("turin", fmc=0)},
        REPORTED,
    ),
    "Genoa microcode on a Genoa": (
        [],
        {"line": "genoa", "reported_tcb": changed("genoa", microcode=25)},
        REPORTED,
    ),
    "a report that hides its model, and a floor for some model": (
        [(GENOA_A0, GENOA_A0.replace("10", "11"))],
        {
            "line": "genoa",
            "version": 2,
            "cpuid": None,
            "committed_tcb": changed("genoa", bootloader=11),
        },
        REPORTED,
    ),
    "old firmware at launch": (
        [hardware("floor_at_launch = true")],
        {"launch_tcb": changed("milan", snp=23)},
        "tcb_launch_floor",
    ),
    "an old version of the firmware": (
        [FIRMWARE],
        {**FIRMWARES, "current_firmware": Firmware(1, 54, 99)},
        "firmware_current",
    ),
    "firmware that may fall back to an old version": (
        [FIRMWARE],
        {**FIRMWARES, "committed_firmware": Firmware(1, 55, 28)},
        "firmware_committed",
    ),
    "a mitigation that is off": (
        [MITIGATIONS],
        {**VECTORS, "current_mitigations": 0b11011},
        "mitigations_current",
    ),
    "a mitigation that was off at launch": (
        [MITIGATIONS],
        {**VECTORS, "launch_mitigations": 0b1},
        "mitigations_launch",
    ),
    "a denied chip": ([DENIED], {}, "chip_denied"),
    "a masked chip that may be the denied one": (
        [VLEK, DENIED],
        {"signing_key": "vlek", "csp_id": "CN=cloud.example", "chip_id": bytes(64)},
        "chip_denied",
    ),
    "an old report": (
        [hardware("minimum_report_version = 4")],
        {"version": 3},
        "report_version_floor",
    ),
    **{
        f"{bit} is {'clear' if state == 'set' else 'set'}": (
            [hardware(f'platform_info_{state} = ["{bit}"]')],
            {"platform_info": PlatformInfo(raw)},
            f"platform_{bit}",
        )
        for position, bit in zip((0, 1, 2, 3, 4, 7), PLATFORM_INFO_BITS, strict=True)
        for state, raw in (("set", 0xFF ^ 1 << position), ("clear", 0x20 | 1 << position))
    },
    **{
        f"POLICY has {bit} {'clear' if state == 'set' else 'set'}": (
            [launch(f'guest_policy_{state} = ["{bit}"]')],
            {"policy": GuestPolicy.of(1 << 17 | (GUEST_BITS ^ raw if state == "set" else raw))},
            f"policy_{bit}",
        )
        for position, bit in zip((16, 20, 22, 23, 24, 25), GUEST_POLICY_BITS, strict=True)
        for state, raw in (("set", 1 << position), ("clear", 1 << position))
    },
    "no ID block": ([ID_KEYS], {}, "id_key"),
    "an ID block of another key": ([ID_KEYS], {"id_key_digest": OTHER_KEY}, "id_key"),
    "an ID key nobody signed": (
        [AUTHOR_KEYS],
        {"author_key_digest": KEY, "key_info": 0},
        "author_key",
    ),
    "an ID key of another author": (
        [AUTHOR_KEYS],
        {"author_key_digest": OTHER_KEY, "key_info": 1},
        "author_key",
    ),
    "no revocation list": ([], {"crl_this_update": None}, "crl_missing"),
    "an old revocation list": (
        [],
        {"crl_this_update": TOO_OLD},
        "crl_age",
    ),
    "debug": ([], {"policy": DEBUG}, "policy_debug"),
    "migration": ([], {"policy": MIGRATION}, "policy_migrate_ma"),
    "CXL": ([], {"policy": CXL}, "policy_cxl"),
    "VMPL 1": ([], {"vmpl": 1}, "vmpl_1"),
    "a report the host asked for": ([], {"vmpl": 0xFFFFFFFF}, "vmpl_4294967295"),
    "memory not checked for aliases": ([], {"platform_info": PlatformInfo(0x05)}, "alias_check"),
    "another measurement": ([], {"measurement": bytes([0xAA] * 48)}, "measurement"),
    "no endorsement": ([ENDORSED], {"endorsement": None}, "uvm_missing"),
    "an endorsement of something else": (
        [ENDORSED],
        {"endorsement": endorsement(measurement=bytes(48))},
        "uvm_measurement",
    ),
    "another issuer": (
        [ENDORSED],
        {"endorsement": endorsement(issuer=case.ISSUER[:-1] + "3")},
        "uvm_untrusted_issuer_or_svn",
    ),
    "an issuer in another case": (
        [ENDORSED],
        {"endorsement": endorsement(issuer=case.ISSUER.upper())},
        "uvm_untrusted_issuer_or_svn",
    ),
    "more than the issuer": (
        [ENDORSED],
        {"endorsement": endorsement(issuer=case.ISSUER + "::subject:C:US")},
        "uvm_untrusted_issuer_or_svn",
    ),
    "another feed": (
        [ENDORSED],
        {"endorsement": endorsement(feed="ContainerPlat-AMD-UVM ")},
        "uvm_untrusted_issuer_or_svn",
    ),
    "an old endorsement": (
        [ENDORSED],
        {"endorsement": endorsement(svn=103)},
        "uvm_untrusted_issuer_or_svn",
    ),
    "an endorsed measurement that is not listed": (
        [],
        {
            "measurement": bytes([0xAA] * 48),
            "endorsement": endorsement(measurement=bytes([0xAA] * 48)),
        },
        "measurement",
    ),
    "another policy": ([], {"host_data": bytes([0xAA] * 32)}, "host_data"),
    "no policy": ([], {"host_data": bytes(32)}, "host_data"),
    "a policy where none is expected": (
        [(f'[{{ sha256 = "{POLICY.hex()}", note = "sealserve 0.1" }}]', '"none"')],
        {},
        "host_data",
    ),
    **{
        f"allow-all: {name}": ([], {"host_data": digest}, "host_data_permissive")
        for digest, name in PERMISSIVE.items()
    },
}


@pytest.mark.parametrize("name", ONE_WRONG)
def test_one_expectation_alone_refuses(name: str) -> None:
    changes, fields, code = ONE_WRONG[name]
    (finding,) = findings(trust(*changes), **fields)
    assert finding.code == code
    assert finding.seen
    assert finding.wanted


@pytest.mark.parametrize(
    "check", [*machine_checks.CHECKS, *firmware_checks.CHECKS, *guest_checks.CHECKS]
)
def test_every_check_has_a_case_in_which_only_it_fails(check: Check) -> None:
    cases = [
        Case(claims(**fields), trust(*changes), NOW) for changes, fields, _ in ONE_WRONG.values()
    ]
    assert any(check(tried).findings for tried in cases)


ACCEPTED: dict[str, tuple[list[tuple[str, str]], dict[str, Any]]] = {
    "the last day": ([("2027-03-31", "2026-11-24")], {}),
    "no review date": ([("expires = 2027-03-31\n", "")], {}),
    "newer firmware": (
        [],
        {
            "reported_tcb": changed("milan", snp=25, microcode=255),
            "committed_tcb": changed("milan", snp=25),
        },
    ),
    "Bergamo by its own floor": (
        [],
        {
            "line": "genoa",
            "cpuid": (0x19, 0xA0, 2),
            "reported_tcb": changed("genoa", microcode=25),
            "committed_tcb": changed("genoa", microcode=25),
        },
    ),
    "one mitigation more, and its bit above it": ([MITIGATIONS], VECTORS),
    "the oldest firmware that will do": (
        [FIRMWARE],
        {**FIRMWARES, "current_firmware": Firmware(1, 55, 29)},
    ),
    "old firmware at launch, which nobody asked about": (
        [],
        {"launch_tcb": changed("milan", snp=23)},
    ),
    "old firmware at launch, which nobody asked about any more": (
        [hardware("floor_at_launch = false")],
        {"launch_tcb": changed("milan", snp=23)},
    ),
    "a chip that is not denied": ([DENIED], {"chip_id": bytes([7] * 64)}),
    "a masked chip": ([VLEK], {"signing_key": "vlek", "csp_id": "CN=cloud.example"}),
    "the oldest report that will do": ([hardware("minimum_report_version = 3")], {}),
    "a signed ID block": ([ID_KEYS], {"id_key_digest": KEY}),
    "an ID block nobody asked for": ([], {"id_key_digest": OTHER_KEY}),
    "a signed ID key": ([AUTHOR_KEYS], {"author_key_digest": KEY, "key_info": 1}),
    "a report that hides its model, and meets every floor": (
        [(GENOA_A0, GENOA_A0.replace("10", "11"))],
        {
            "line": "genoa",
            "version": 2,
            "cpuid": None,
            "reported_tcb": changed("genoa", bootloader=11),
            "committed_tcb": changed("genoa", bootloader=11),
        },
    ),
    "a listed chip": ([(*CHIPS[:1], CHIPS[1].replace("dd" * 64, CHIP.hex()))], {}),
    "a listed Turin chip": (
        [(CHIPS[0], CHIPS[1].replace("dd" * 64, CHIP[:8].hex()))],
        {"line": "turin"},
    ),
    "a listed provider": ([VLEK], {"signing_key": "vlek", "csp_id": "CN=cloud.example"}),
    "a VCEK where VLEKs count too": ([VLEK], {}),
    "a list exactly at the limit": ([], {"crl_this_update": NOW - timedelta(days=45)}),
    "version 2 knows no alias check": (
        [],
        {"version": 2, "cpuid": None, "platform_info": PlatformInfo(0x01)},
    ),
    "unknown platform bits": ([], {"platform_info": PlatformInfo(0xFFFFFFE5)}),
    "a newer endorsement": ([ENDORSED], {"endorsement": endorsement(svn=200)}),
    "an endorsement nobody asked for": ([], {"endorsement": endorsement(svn=1)}),
    "confidential containers": ([(case.SNP, case.ACI), ENDORSED], {}),
    "no policy, as the file says": (
        [(f'[{{ sha256 = "{POLICY.hex()}", note = "sealserve 0.1" }}]', '"none"')],
        {"host_data": bytes(32)},
    ),
    "a simulated machine, a file for it": ([(case.SNP, case.SIMULATED)], {"platform": "simulated"}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_file_allows_is_accepted(name: str) -> None:
    changes, fields = ACCEPTED[name]
    verdict = appraise(claims(**fields), trust(*changes), now=NOW)
    assert all(verdict.checked)
    assert verdict.explain()


def test_an_endorsement_nobody_asked_for_is_not_kept_quiet() -> None:
    def told(stated: UvmEndorsement | None) -> str:
        verdict = appraise(claims(endorsement=stated), trust(), now=NOW)
        (sentence,) = [each for each in verdict.checked if each.startswith("measurement")]
        return sentence

    assert told(endorsement(feed="\x1b[2J")) == (
        told(None) + f"; that {case.ISSUER} in \\x1b[2J endorses it was not asked for"
    )


def test_every_difference_of_an_endorsement_is_shown() -> None:
    seen = findings(
        trust(ENDORSED), endorsement=endorsement(issuer="did:x509:0:x", feed="other", svn=1)
    )
    (finding,) = seen
    assert finding.code == "uvm_untrusted_issuer_or_svn"
    assert finding.wanted == f"issuer {case.ISSUER}; feed {case.FEED}; version 104 or later"


def test_a_model_without_an_override_has_the_floor_of_its_line() -> None:
    (finding, _) = findings(
        trust(),
        line="genoa",
        cpuid=(0x19, 0xA1, 2),
        reported_tcb=changed("genoa", microcode=25),
        committed_tcb=changed("genoa", microcode=25),
    )
    assert "hardware.tcb.genoa)" in finding.wanted


def test_every_difference_is_shown_in_one_run() -> None:
    seen = findings(
        trust(),
        at=NOW + timedelta(days=400),
        platform="simulated",
        vmpl=3,
        policy=dataclasses.replace(GUEST, debug=True, migrate_ma=True),
        host_data=bytes(32),
        measurement=bytes(48),
    )
    assert [finding.code for finding in seen] == [
        "trust_expired",
        "platform",
        "crl_age",
        "policy_debug",
        "policy_migrate_ma",
        "vmpl_3",
        "measurement",
        "host_data",
    ]


DANGERS: dict[str, tuple[str, dict[str, Any]]] = {
    "allow_debug = true": ("debug", {"policy": DEBUG}),
    "allow_migration = true": (
        "migration",
        {"policy": MIGRATION},
    ),
    "allow_cxl = true": ("CXL", {"policy": CXL}),
    "allow_vmpl = [1, 2]": ("VMPL 1 and 2", {"vmpl": 2}),
    "without_nonce = true": ("nonce", {}),
}


@pytest.mark.parametrize("line", DANGERS)
def test_a_danger_lets_through_and_is_printed_in_every_verdict(line: str) -> None:
    words, fields = DANGERS[line]
    tested = trust(text=case.TRUST + f"[danger]\n{line}\n")
    for verdict in (
        appraise(claims(**fields), tested, now=NOW),
        appraise(claims(), tested, now=NOW),
    ):
        (sentence,) = verdict.dangers
        assert words in sentence
        assert f"DANGER  {sentence}" in verdict.explain()
        assert verdict.to_json()["dangers"] == [sentence]


def test_a_danger_of_another_kind_changes_nothing() -> None:
    tested = trust(text=case.TRUST + "[danger]\nallow_debug = false\nallow_vmpl = [2]\n")
    assert [f.code for f in findings(tested, policy=DEBUG)] == ["policy_debug"]
    assert [f.code for f in findings(tested, vmpl=1)] == ["vmpl_1"]


def test_the_verdict_names_a_simulated_platform_loudly() -> None:
    tested = trust((case.SNP, case.SIMULATED))
    verdict = appraise(claims(platform="simulated"), tested, now=NOW)
    assert verdict.platform == "simulated"
    assert "proves nothing about hardware" in verdict.explain()
    assert "proves nothing" not in appraise(claims(), trust(), now=NOW).explain()


def test_the_verdict_is_json() -> None:
    told = json.loads(json.dumps(appraise(claims("turin"), trust(), now=NOW).to_json()))
    assert told["tcb"] == {"fmc": 1, "bootloader": 1, "tee": 1, "snp": 4, "microcode": 81}
    assert told["policy_sha256"] == POLICY.hex()
    assert datetime.fromisoformat(told["at"]) == NOW


def test_a_time_without_a_zone_is_misuse() -> None:
    with pytest.raises(ValueError, match="time zone"):
        appraise(claims(), trust(), now=NOW.replace(tzinfo=None))


def test_days_are_counted_in_utc() -> None:
    tested = trust(("2027-03-31", "2026-11-24"))
    late = datetime.fromisoformat("2026-11-25T01:00:00+02:00")
    assert appraise(claims(), tested, now=late).at == late
    assert tested.expires == date(2026, 11, 24)


def test_the_message_names_the_trust_and_both_sides() -> None:
    with pytest.raises(PolicyViolation) as caught:
        appraise(claims(host_data=bytes([0xAA] * 32)), trust(), now=NOW)
    text = str(caught.value)
    assert "breast-cancer at Example Clinic" in text
    assert "aa" * 32 in text
    assert POLICY.hex() in text
    assert "hint:" in text
