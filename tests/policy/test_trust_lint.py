"""What is worth a second look in a trust file: each thing alone, and the worst first."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from sealserve.attestation.tcb import LINES
from sealserve.policy import floors, revocation
from sealserve.policy.expectations import Noted, UvmLaunch
from sealserve.policy.remarks import RANKS
from sealserve.policy.trust import Trust
from sealserve.policy.trust_lint import lint
from sealserve.policy.trust_text import trust_text
from support import policy_case as case
from support.policy_case import POLICY, ROOT, edit

TODAY = floors.DATE
END = TODAY + timedelta(days=31)


def fresh(**changes: Any) -> str:
    """A file with nothing to remark on."""
    options: dict[str, Any] = {
        "name": "n",
        "kind": "aci",
        "simulated_root_sha256": "",
        "lines": ["genoa", "turin"],
        "launch": UvmLaunch(case.ISSUER, case.FEED, 104),
        "policies": [Noted(POLICY, "sealserve 0.1")],
        "models": {"net": [ROOT.hex()]},
        "expires": END,
    }
    return trust_text(**{**options, **changes})


def remarks(text: str, *changes: tuple[str, str], today: date = TODAY) -> list[tuple[str, str]]:
    found = lint(Trust.parse(edit(*changes, text=text)), today)
    assert all(remark.what and remark.hint for remark in found)
    return [(remark.rank, remark.key) for remark in found]


def test_a_file_that_was_just_written_has_nothing_to_remark_on() -> None:
    assert remarks(fresh()) == []


CRL = f"max_crl_age_days = {revocation.RECOMMENDED_DAYS}"
NOTE = f'{{ sha256 = "{POLICY.hex()}", note = "sealserve 0.1" }}'
MEASURED = case.MEASURED.removeprefix("[launch]\n")
UVM = f'uvm_issuer = "{case.ISSUER}"\nuvm_feed = "{case.FEED}"\nuvm_minimum_svn = 104\n'
SNP = ('kind = "aci"', 'kind = "snp"')
VLEK = (CRL, f'{CRL}\nvlek_providers = ["CN=x"]')
CHIPS = f'{CRL}\nchips = ["{"dd" * 64}"]'

ONE: dict[str, tuple[list[tuple[str, str]], str, str]] = {
    **{
        f"danger {key}": (
            [("[software]", f"[danger]\n{key} = {value}\n[software]")],
            "danger",
            f"danger.{key}",
        )
        for key, value in {
            "allow_debug": "true",
            "allow_migration": "true",
            "allow_cxl": "true",
            "allow_vmpl": "[1]",
            "without_nonce": "true",
        }.items()
    },
    "expired": ([(str(END), str(TODAY - timedelta(days=1)))], "danger", "expires"),
    "expires today": ([(str(END), str(TODAY))], "doubt", "expires"),
    "expires soon": ([(str(END), str(TODAY + timedelta(days=30)))], "doubt", "expires"),
    "never expires": ([(f"expires = {END}", "")], "doubt", "expires"),
    "simulated": (
        [('kind = "aci"', f'kind = "simulated"\nsimulated_root_sha256 = "{"5e" * 32}"')],
        "danger",
        "platform.kind",
    ),
    "a low floor": ([("fmc = 1", "fmc = 0")], "danger", "hardware.tcb.turin"),
    "a low floor of a model": (
        [("microcode = 25", "microcode = 24")],
        "danger",
        "hardware.tcb.genoa-a0",
    ),
    "version 2": (
        [("minimum_report_version = 3", "minimum_report_version = 2")],
        "doubt",
        "hardware.minimum_report_version",
    ),
    "lists that never age": (
        [(CRL, f"max_crl_age_days = {revocation.RECOMMENDED_DAYS + 1}")],
        "doubt",
        "hardware.max_crl_age_days",
    ),
    "lists younger than AMD makes them": (
        [(CRL, f"max_crl_age_days = {revocation.SHORTEST_DAYS - 1}")],
        "doubt",
        "hardware.max_crl_age_days",
    ),
    "a provider and any chip": ([VLEK], "doubt", "hardware.vlek_providers"),
    "a version from before production": (
        [("uvm_minimum_svn = 104", "uvm_minimum_svn = 99")],
        "danger",
        "launch.uvm_minimum_svn",
    ),
    "an old version": (
        [("uvm_minimum_svn = 104", "uvm_minimum_svn = 103")],
        "doubt",
        "launch.uvm_minimum_svn",
    ),
    "no policy": ([SNP, (f"[\n  {NOTE},\n]", '"none"')], "doubt", "software.policies"),
    "two policies": (
        [(NOTE, f'{NOTE}, {{ sha256 = "{"ab" * 32}" }}')],
        "note",
        "software.policies",
    ),
    "two measurements": (
        [SNP, (UVM, MEASURED.replace("}]", f'}}, {{ sha384 = "{"ab" * 48}" }}]'))],
        "note",
        "launch.measurements",
    ),
    "two roots": (
        [(f'"{ROOT.hex()}"', f'"{ROOT.hex()}", "{"ab" * 32}"')],
        "note",
        "models.net.roots",
    ),
    "a placeholder": ([('[models."net"]', "[models.unnamed-1]")], "doubt", "models.unnamed-1"),
    "a policy that was claimed": ([("sealserve 0.1", "claimed")], "note", "software.policies"),
    "a measurement that was claimed": (
        [SNP, (UVM, MEASURED.replace("image 1", "claimed"))],
        "note",
        "launch.measurements",
    ),
}


@pytest.mark.parametrize("name", ONE)
def test_one_thing_alone_is_remarked_on(name: str) -> None:
    changes, rank, key = ONE[name]
    assert remarks(fresh(), *changes) == [(rank, key)]


NOTHING: dict[str, list[tuple[str, str]]] = {
    "a list of a year": [(CRL, f"max_crl_age_days = {revocation.SHORTEST_DAYS}")],
    "a provider and a chip": [VLEK, (CRL, CHIPS)],
    "an endorsement of somebody else's product": [
        ("uvm_minimum_svn = 104", "uvm_minimum_svn = 1"),
        (case.FEED, "another"),
    ],
    "no table for one model, which then has its line's": [
        ("microcode = 25", "microcode = 84"),
    ],
    "a measured launch": [SNP, (UVM, MEASURED)],
    "a danger that is off": [("[software]", "[danger]\nallow_debug = false\n[software]")],
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_in_order_is_not_remarked_on(name: str) -> None:
    assert remarks(fresh(), *NOTHING[name]) == []


def test_milan_is_doubted_less_where_its_chips_are_known() -> None:
    milan = fresh(lines=["milan"])
    assert remarks(milan) == [("doubt", "hardware.lines")]
    assert remarks(milan, (CRL, CHIPS)) == [("note", "hardware.lines")]


def test_an_old_recommendation_is_told() -> None:
    text = fresh(expires=date(2199, 1, 1))
    assert remarks(text, today=TODAY + floors.MAX_AGE) == []
    late = TODAY + floors.MAX_AGE + timedelta(days=1)
    assert remarks(text, today=late) == [("note", "hardware.tcb")]


@pytest.mark.parametrize("line", LINES)
def test_what_is_recommended_is_not_below_it(line: str) -> None:
    assert ("danger", f"hardware.tcb.{line}") not in remarks(fresh(lines=[line]))


def test_the_worst_comes_first() -> None:
    ranks = [
        RANKS.index(remark.rank) for remark in lint(Trust.parse(case.EVERY_KEY.encode()), TODAY)
    ]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) > 1
