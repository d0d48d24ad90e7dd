"""Two trust files differ in meaning exactly where a machine shows it, and in that direction."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any

import pytest

from sealserve.attestation.report import Firmware, GuestPolicy, PlatformInfo
from sealserve.attestation.verify import Claims
from sealserve.native.errors import PolicyViolation
from sealserve.policy.appraise import appraise
from sealserve.policy.trust import Trust
from sealserve.policy.trust_diff import Beyond, beyond
from support import policy_case as case
from support.policy_case import CHIP, MEASUREMENT, NOW, POLICY, ROOT, TCB, claims, trust

CRL = "max_crl_age_days = 45"
LAUNCH = "[launch]\n"
MODEL = f'roots = ["{ROOT.hex()}"]'
ENDORSED = (case.MEASURED, case.ENDORSED)
VLEK = {"signing_key": "vlek", "csp_id": "CN=cloud.example"}
OTHER = f'{{ sha256 = "{"ab" * 32}" }}'
KEY = "1d" * 48


def hardware(line: str) -> tuple[str, str]:
    return (CRL, f"{CRL}\n{line}")


def launch(line: str) -> tuple[str, str]:
    return (LAUNCH, f"{LAUNCH}{line}\n")


def danger(line: str) -> tuple[str, str]:
    return ("[software]", f"[danger]\n{line}\n[software]")


def guest(**bits: bool) -> GuestPolicy:
    return dataclasses.replace(GuestPolicy.of(0x3001F), **bits)


def milan(**components: int) -> bytes:
    raw = bytearray(TCB["milan"])
    for name, level in components.items():
        raw[{"bootloader": 0, "snp": 6, "microcode": 7}[name]] = level
    return bytes(raw)


def low(**components: int) -> dict[str, Any]:
    return {"reported_tcb": milan(**components), "committed_tcb": milan(**components)}


GENOA_A0 = {"line": "genoa", "cpuid": (0x19, 0xA0, 2)}
FIRMWARE = {"current_firmware": Firmware(1, 55, 30), "committed_firmware": Firmware(1, 55, 30)}

# name: (changes of a file, changes of one that accepts less, a machine that only the first accepts,
#        what is found)
LESS: dict[str, tuple[list[Any], list[Any], dict[str, Any], Beyond]] = {
    "a line": (
        [],
        [('"milan", ', ""), (case.MILAN_FLOOR, "")],
        {},
        Beyond("hardware.lines", "milan"),
    ),
    "a floor": (
        [],
        [("snp = 24", "snp = 25")],
        {},
        Beyond("hardware.tcb.milan", "snp 24", "at least 25"),
    ),
    "a floor of one model": (
        [],
        [
            (
                "[hardware.tcb.genoa-a0]\nbootloader = 10\ntee = 0\nsnp = 23",
                "[hardware.tcb.genoa-a0]\nbootloader = 10\ntee = 0\nsnp = 24",
            )
        ],
        GENOA_A0,
        Beyond("hardware.tcb.genoa-a0", "snp 23", "at least 24"),
    ),
    "a floor of one model that is its line's": (
        [],
        [
            (
                "[hardware.tcb.genoa-a0]\nbootloader = 10\ntee = 0\nsnp = 23\nmicrocode = 25\n",
                "",
            )
        ],
        {
            **GENOA_A0,
            "reported_tcb": TCB["genoa"][:7] + b"\x19",
            "committed_tcb": TCB["genoa"][:7] + b"\x19",
        },
        Beyond("hardware.tcb.genoa-a0", "microcode 25", "at least 84"),
    ),
    "a floor at launch": (
        [],
        [hardware("floor_at_launch = true")],
        {"launch_tcb": milan(snp=1)},
        Beyond("hardware.floor_at_launch", "any firmware at launch", "the floors at launch"),
    ),
    "any firmware": (
        [],
        [hardware('minimum_firmware = "1.55.31"')],
        FIRMWARE,
        Beyond("hardware.minimum_firmware", "SEV firmware of any version", "at least 1.55.31"),
    ),
    "older firmware": (
        [hardware('minimum_firmware = "1.55.30"')],
        [hardware('minimum_firmware = "1.55.31"')],
        FIRMWARE,
        Beyond("hardware.minimum_firmware", "SEV firmware 1.55.30", "at least 1.55.31"),
    ),
    "a mitigation": (
        [hardware("mitigations = 1")],
        [hardware("mitigations = 5")],
        {"version": 5, "launch_mitigations": 1, "current_mitigations": 1},
        Beyond("hardware.mitigations", "machines without these", "0x4"),
    ),
    "an older report": (
        [],
        [hardware("minimum_report_version = 4")],
        {},
        Beyond("hardware.minimum_report_version", "version 2", "at least 4"),
    ),
    "a bit of the platform that is set": (
        [],
        [hardware('platform_info_set = ["tsme"]')],
        {},
        Beyond("hardware.platform_info_set", "tsme clear", "tsme set"),
    ),
    "a bit of the platform that is clear": (
        [],
        [hardware('platform_info_clear = ["smt"]')],
        {"platform_info": PlatformInfo(0x21)},
        Beyond("hardware.platform_info_clear", "smt set", "smt clear"),
    ),
    "an older revocation list": (
        [],
        [(CRL, "max_crl_age_days = 9")],
        {},
        Beyond("hardware.max_crl_age_days", "a list 45 days old", "at most 9"),
    ),
    "any chip": (
        [],
        [hardware(f'chips = ["{"dd" * 64}"]')],
        {},
        Beyond("hardware.chips", "any chip", "one of 1 listed"),
    ),
    "a chip": (
        [hardware(f'chips = ["{"dd" * 64}", "{CHIP.hex()}"]')],
        [hardware(f'chips = ["{"dd" * 64}"]')],
        {},
        Beyond("hardware.chips", CHIP.hex()),
    ),
    "a chip that is denied": (
        [],
        [hardware(f'denied_chips = ["{CHIP.hex()}"]')],
        {},
        Beyond("hardware.denied_chips", CHIP.hex(), "it denied"),
    ),
    "a listed chip that is denied": (
        [hardware(f'chips = ["{CHIP.hex()}"]')],
        [hardware(f'denied_chips = ["{CHIP.hex()}", "{"dd" * 64}"]')],
        {},
        Beyond("hardware.denied_chips", CHIP.hex(), "it denied"),
    ),
    "a provider": (
        [hardware('vlek_providers = ["CN=cloud.example"]')],
        [],
        VLEK,
        Beyond("hardware.vlek_providers", "CN=cloud.example"),
    ),
    "a measurement": (
        [],
        [(MEASUREMENT.hex(), "aa" * 48)],
        {},
        Beyond("launch.measurements", f"{MEASUREMENT.hex()} (image 1)"),
    ),
    "an older endorsement": (
        [ENDORSED],
        [ENDORSED, ("= 104", "= 105")],
        {},
        Beyond(
            "launch",
            f"version 104 or later of {case.FEED} by {case.ISSUER}",
            f"version 105 or later of {case.FEED} by {case.ISSUER}",
        ),
    ),
    "a feed": (
        [ENDORSED],
        [ENDORSED, (case.FEED, "other")],
        {},
        Beyond(
            "launch",
            f"version 104 or later of {case.FEED} by {case.ISSUER}",
            f"version 104 or later of other by {case.ISSUER}",
        ),
    ),
    "a measured launch": (
        [],
        [ENDORSED],
        {"endorsement": None},
        Beyond(
            "launch",
            f"a measurement of {MEASUREMENT.hex()} (image 1)",
            f"version 104 or later of {case.FEED} by {case.ISSUER}",
        ),
    ),
    "a bit of the guest's policy that is set": (
        [],
        [launch('guest_policy_set = ["rapl_disabled"]')],
        {},
        Beyond("launch.guest_policy_set", "rapl_disabled clear", "rapl_disabled set"),
    ),
    "a bit of the guest's policy that is clear": (
        [launch('guest_policy_clear = ["single_socket"]')],
        [launch('guest_policy_clear = ["single_socket", "smt"]')],
        {},
        Beyond("launch.guest_policy_clear", "smt set", "smt clear"),
    ),
    "any ID block": (
        [],
        [launch(f'id_keys = ["{KEY}"]')],
        {},
        Beyond("launch.id_keys", "any ID block, or none", "one of 1 listed"),
    ),
    "an ID key": (
        [launch(f'id_keys = ["{KEY}", "{"2e" * 48}"]')],
        [launch(f'id_keys = ["{KEY}"]')],
        {"id_key_digest": bytes([0x2E] * 48)},
        Beyond("launch.id_keys", "2e" * 48),
    ),
    "any author": (
        [],
        [launch(f'author_keys = ["{KEY}"]')],
        {},
        Beyond("launch.author_keys", "any author", "one of 1 listed"),
    ),
    "a policy": (
        [],
        [(POLICY.hex(), "ab" * 32)],
        {},
        Beyond("software.policies", f"{POLICY.hex()} (sealserve 0.1)"),
    ),
    "no policy": (
        [(f'[{{ sha256 = "{POLICY.hex()}", note = "sealserve 0.1" }}]', '"none"')],
        [],
        {"host_data": bytes(32)},
        Beyond("software.policies", "no policy"),
    ),
    "debug": (
        [danger("allow_debug = true")],
        [],
        {"policy": guest(debug=True)},
        Beyond("danger.allow_debug", "true"),
    ),
    "migration": (
        [danger("allow_migration = true")],
        [],
        {"policy": guest(migrate_ma=True)},
        Beyond("danger.allow_migration", "true"),
    ),
    "CXL": (
        [danger("allow_cxl = true")],
        [],
        {"policy": guest(cxl=True)},
        Beyond("danger.allow_cxl", "true"),
    ),
    "a VMPL": (
        [danger("allow_vmpl = [1, 2]")],
        [danger("allow_vmpl = [1]")],
        {"vmpl": 2},
        Beyond("danger.allow_vmpl", "VMPL 2"),
    ),
    "a simulated machine": (
        [(case.SNP, case.SIMULATED)],
        [],
        {"platform": "simulated"},
        Beyond("platform", f"the simulated root {'5e' * 32}", "AMD hardware"),
    ),
}


@pytest.mark.parametrize("name", LESS)
def test_a_machine_that_only_one_file_accepts_is_found_in_what_it_accepts(name: str) -> None:
    changes, stricter, fields, found = LESS[name]
    assert found in beyond(trust(*changes), trust(*stricter))
    tested = claims(**fields)
    appraise(tested, trust(*changes), now=NOW)
    with pytest.raises(PolicyViolation):
        appraise(tested, trust(*stricter), now=NOW)


# Where each file accepts something of its own, both ways find something.
EACH_ITS_OWN = {
    "a feed",
    "a measured launch",
    "a measurement",
    "a policy",
    "no policy",
    "a listed chip that is denied",
    "a simulated machine",
}


@pytest.mark.parametrize("name", LESS)
def test_a_file_that_accepts_less_accepts_nothing_more(name: str) -> None:
    changes, stricter, _, found = LESS[name]
    if name in EACH_ITS_OWN:
        assert beyond(trust(*stricter), trust(*changes))
    else:
        assert beyond(trust(*changes), trust(*stricter)) == (found,)
        assert beyond(trust(*stricter), trust(*changes)) == ()


def test_no_machine_tells_apart_what_does_not_differ() -> None:
    """Every file above against every other, before every machine above."""
    files = [trust(*changes) for row in LESS.values() for changes in row[:2]]
    machines = [claims(**fields) for _, _, fields, _ in LESS.values()]
    accepted = [{i for i, tested in enumerate(machines) if fits(tested, file)} for file in files]
    told = 0
    for one, by_one in zip(files, accepted, strict=True):
        for other, by_other in zip(files, accepted, strict=True):
            told += bool(by_one - by_other)
            assert beyond(one, other) or by_one <= by_other
    assert told > len(files)


def fits(tested: Claims, file: Trust) -> bool:
    with suppress(PolicyViolation):
        appraise(tested, file, now=NOW)
        return True
    return False


FOR_A_CHANNEL = {
    "a model": (
        (MODEL, f'{MODEL}\n[models.net]\nroots = ["{"ab" * 32}"]'),
        Beyond("models.net.roots", "ab" * 32),
    ),
    "a root": (
        (MODEL, f'roots = ["{ROOT.hex()}", "{"ab" * 32}"]'),
        Beyond("models.breast-cancer.roots", "ab" * 32),
    ),
    "an old nonce": (danger("without_nonce = true"), Beyond("danger.without_nonce", "true")),
    "a later day": (
        ("2027-03-31", "2027-04-01"),
        Beyond("expires", "until 2027-04-01", "no use after 2027-03-31"),
    ),
    "every later day": (
        ("expires = 2027-03-31", ""),
        Beyond("expires", "for ever", "no use after 2027-03-31"),
    ),
}


@pytest.mark.parametrize("name", FOR_A_CHANNEL)
def test_what_no_report_shows_is_compared_too(name: str) -> None:
    change, found = FOR_A_CHANNEL[name]
    assert beyond(trust(change), trust()) == (found,)
    assert beyond(trust(), trust(change)) == ()


SAME = {
    "the same": [],
    "another name": [("Example Clinic", "another clinic")],
    "other notes": [("sealserve 0.1", "x"), ("image 1", "y")],
    "another order": [('"milan", "genoa"', '"genoa", "milan"')],
    "what asks for nothing": [hardware("mitigations = 0\nfloor_at_launch = false")],
    "a floor that a model has anyway": [
        (case.MILAN_FLOOR, case.MILAN_FLOOR + case.MILAN_FLOOR.replace("milan", "milan-01"))
    ],
    "comments": [(CRL, f"{CRL} # a comment")],
}


@pytest.mark.parametrize("name", SAME)
def test_what_no_machine_shows_is_no_difference(name: str) -> None:
    assert both_ways(trust(*SAME[name]), trust()) == ()


def test_the_kind_alone_is_no_difference() -> None:
    assert both_ways(trust(ENDORSED), trust((case.SNP, case.ACI), ENDORSED)) == ()


def test_a_file_differs_from_itself_in_nothing() -> None:
    every = trust(text=case.EVERY_KEY)
    assert both_ways(every, every) == ()
    assert {found.key for found in both_ways(every, trust())} > {"danger.allow_debug"}


def both_ways(one: Trust, other: Trust) -> tuple[Beyond, ...]:
    return (*beyond(one, other), *beyond(other, one))
