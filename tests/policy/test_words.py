"""What a trust file says to people, and the text of one that is written."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation.tcb import LINES
from sealserve.policy import floors
from sealserve.policy.expectations import (
    NO_POLICY,
    Danger,
    MeasuredLaunch,
    Noted,
    UvmLaunch,
)
from sealserve.policy.trust import Trust
from sealserve.policy.trust_text import trust_text
from support import policy_case as case

# ---- policy/trust_words.py

LINES_OF_THE_CASE = [
    "breast-cancer at Example Clinic",
    "  file       trust.toml",
    "  expires    after 2027-03-31",
    "  platform   AMD SEV-SNP",
    "  hardware   milan or genoa or turin; chip: any; signed by the chip's own key (VCEK)",
    "  firmware   milan: at least bootloader 4 tee 0 snp 24 microcode 219",
    "  firmware   genoa: at least bootloader 10 tee 0 snp 23 microcode 84",
    "  firmware   genoa-a0: at least bootloader 10 tee 0 snp 23 microcode 25",
    "  firmware   turin: at least fmc 1 bootloader 1 tee 1 snp 4 microcode 81",
    "  revocation a list at most 45 days old",
    f"  launch     measurement {case.MEASUREMENT.hex()} (image 1)",
    f"  software   execution policy {case.POLICY.hex()} (sealserve 0.1)",
    f"  model      breast-cancer: root {case.ROOT.hex()}",
    "  always     an unbroken signature chain, memory checked for aliases; no debug,",
    "             no migration, no CXL, VMPL 0, a fresh nonce, unless said below",
]


def test_every_expectation_has_its_line() -> None:
    assert case.trust().explain().splitlines() == LINES_OF_THE_CASE


NOTED = f'{{ sha256 = "{case.POLICY.hex()}", note = "sealserve 0.1" }}'
SAID: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
    "no end": ((("expires = 2027-03-31", ""),), "expires    never; nobody is reminded"),
    "simulated": (((case.SNP, case.SIMULATED),), "SIMULATED: proves nothing about hardware"),
    "simulated root": (
        ((case.SNP, case.SIMULATED),),
        f"root       {case.SIMULATED_ROOT.hex()}",
    ),
    "aci": (
        ((case.SNP, case.ACI), (case.MEASURED, case.ENDORSED)),
        "platform   confidential containers on Azure Container Instances",
    ),
    "endorsed": (
        ((case.MEASURED, case.ENDORSED),),
        f"any measurement endorsed for {case.FEED}, version 104 or later, by {case.ISSUER}",
    ),
    "chips": (
        (
            (
                "max_crl_age_days = 45",
                f'max_crl_age_days = 45\nchips = ["{"ee" * 64}", "{"dd" * 64}"]',
            ),
        ),
        "chip: one of 2 listed",
    ),
    "providers": (
        (("max_crl_age_days = 45", 'max_crl_age_days = 45\nvlek_providers = ["CN=x", "CN=y"]'),),
        "own key (VCEK); or a provider's key (VLEK) of CN=x, CN=y",
    ),
    "no policy": (
        ((f"[{NOTED}]", '"none"'),),
        "software   NO execution policy: what runs is told by the measurement alone",
    ),
    "a policy without a note": (
        ((', note = "sealserve 0.1"', ""),),
        f"software   execution policy {case.POLICY.hex()}\n",
    ),
    "a measurement without a note": (
        ((', note = "image 1"', ""),),
        f"launch     measurement {case.MEASUREMENT.hex()}\n",
    ),
    "two roots": (
        ((f'["{case.ROOT.hex()}"]', f'["{case.ROOT.hex()}", "{"aa" * 32}"]'),),
        f"model      breast-cancer: root {'aa' * 32}",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_what_differs_is_said(name: str) -> None:
    changes, line = SAID[name]
    assert line not in case.trust().explain()
    assert line in case.trust(*changes).explain()


def test_every_key_that_may_be_left_out_is_said() -> None:
    told = case.trust(text=case.EVERY_KEY).explain().splitlines()
    assert [line for line in told if line not in LINES_OF_THE_CASE] == [
        "  hardware   milan or genoa or turin; chip: one of 1 listed but 1 denied; signed by the "
        "chip's own key (VCEK); or a provider's key (VLEK) of CN=cloud.example",
        "  firmware   as much was running when the guest was launched",
        "  firmware   SEV firmware 1.55.29 or later, and no way back before it",
        "  firmware   mitigations 0x21 on, now and at launch",
        "  firmware   reports of version 3 or later",
        "  platform   ecc set, tsme clear, tio clear (PLATFORM_INFO)",
        "  guest      aes_256_xts set, smt clear (POLICY)",
        f"  launch     ID block signed by key {'1d' * 48}",
        f"  launch     ID key signed by author {'1d' * 48}",
        f"  launch     ID key signed by author {'2e' * 48}",
        *(f"  DANGER     {sentence}" for sentence in EVERY_DANGER.sentences()),
    ]
    assert len(EVERY_DANGER.sentences()) == 5


def test_a_trust_that_is_from_no_file_says_so() -> None:
    assert "  file       not from a file" in replace(case.trust(), file="").explain()


EVERY_DANGER = Danger(
    allow_debug=True, allow_migration=True, allow_cxl=True, allow_vmpl=(1, 2), without_nonce=True
)
DANGERS = {
    "debug machines are accepted: the host can read their memory": Danger(allow_debug=True),
    "machines with a migration agent are accepted": Danger(allow_migration=True),
    "CXL memory is accepted: it lies outside of the processor's package": Danger(allow_cxl=True),
    "VMPL 1 is accepted beside 0": Danger(allow_vmpl=(1,)),
    "VMPL 1 and 2 is accepted beside 0": Danger(allow_vmpl=(1, 2)),
    "no nonce is required: evidence may be old and replayed": Danger(without_nonce=True),
}


@pytest.mark.parametrize("sentence", DANGERS)
def test_each_danger_comes_last(sentence: str) -> None:
    trust = replace(case.trust(), danger=DANGERS[sentence])
    assert trust.explain().splitlines() == [*LINES_OF_THE_CASE, f"  DANGER     {sentence}"]


# ---- policy/trust_text.py

WORDS = st.text(
    st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=40
).filter(str.strip)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
ROOTS = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3, unique=True)
NOTES = st.just("") | WORDS


def _noted(size: int) -> st.SearchStrategy[Noted]:
    return st.builds(Noted, st.binary(min_size=size, max_size=size).filter(any), NOTES)


POLICIES = st.lists(_noted(32), max_size=3, unique=True)
LAUNCHES = st.one_of(
    st.builds(MeasuredLaunch, st.lists(_noted(48), min_size=1, max_size=3, unique=True).map(tuple)),
    st.builds(UvmLaunch, WORDS.map("did:x509:0:{}".format), WORDS, st.integers(0, 2**31 - 1)),
)


@given(
    name=WORDS,
    simulated=st.booleans(),
    lines=st.lists(st.sampled_from(LINES), min_size=1, unique=True),
    launch=LAUNCHES,
    policies=POLICIES,
    models=st.dictionaries(NAMES, ROOTS, min_size=1, max_size=3),
    expires=st.none() | st.dates(),
)
def test_what_is_written_loads_again(
    name: str,
    simulated: bool,
    lines: list[str],
    launch: MeasuredLaunch | UvmLaunch,
    policies: list[Noted],
    models: dict[str, list[bytes]],
    expires: date | None,
) -> None:
    text = trust_text(
        name=name,
        kind="simulated" if simulated else "snp",
        simulated_root_sha256=case.SIMULATED_ROOT.hex() if simulated else "",
        lines=lines,  # type: ignore[arg-type]  # the sampled ones
        launch=launch,
        policies=policies,
        models={model: [root.hex() for root in roots] for model, roots in models.items()},
        expires=expires,
    )
    read = Trust.parse(text.encode())
    assert read.name == name
    assert read.kind == ("simulated" if simulated else "snp")
    assert read.simulated_root_sha256 == (case.SIMULATED_ROOT if simulated else None)
    assert list(read.hardware.lines) == lines
    assert read.hardware.floors == {
        table: tcb
        for line, tables in floors.RECOMMENDED.items()
        if line in lines
        for table, tcb in tables.items()
    }
    assert read.launch == launch
    assert _notes(read.policies) == _notes(policies or [Noted(NO_POLICY, "no execution policy")])
    assert read.models == {model: tuple(roots) for model, roots in models.items()}
    assert read.expires == expires
    assert read.danger == Danger()  # nothing is loosened by being written


def _notes(entries: tuple[Noted, ...] | list[Noted]) -> list[tuple[bytes, str]]:
    return [(entry.digest, entry.note) for entry in entries]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_quoted_as_toml_reads_it(name: str) -> None:
    """Also what the schema then refuses: a name cannot break out of its quotes."""
    text = _written(name=name, model=name or "m")
    read = tomllib.loads(text)
    assert read["name"] == name
    assert list(read["models"]) == [name or "m"]


def test_the_text_says_what_is_dangerous_and_when_it_was_written() -> None:
    text = _written()
    assert f"# Least firmware, as recommended on {floors.DATE}. " in text
    assert "has to review it" in text
    assert 'policies = "none"  # on purpose: anything may run' in text
    assert "# A simulated root: whoever holds it can sign anything. Proves no hardware." in text


def _written(name: str = "n", model: str = "m") -> str:
    return trust_text(
        name=name,
        kind="simulated",
        simulated_root_sha256="aa" * 32,
        lines=["milan"],
        launch=UvmLaunch("did:x509:0:x", "feed", 1),
        policies=[],
        models={model: ["bb" * 32]},
    )
