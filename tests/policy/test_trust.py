"""The trust file: every rule of the schema refuses with file, line and key."""

from __future__ import annotations

import re
import tomllib
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation.report import Firmware
from sealserve.attestation.roots import ARK_SHA256, Roots
from sealserve.native.errors import ConfigError, PolicyViolation
from sealserve.policy.expectations import Bits, Danger, Guest, MeasuredLaunch, UvmLaunch
from sealserve.policy.known import PERMISSIVE
from sealserve.policy.toml_table import MAX_FILE_BYTES
from sealserve.policy.trust import Trust
from support import policy_case as case
from support.policy_case import POLICY, ROOT, SIMULATED_ROOT, TRUST, edit, trust

ENDORSED = (case.MEASURED, case.ENDORSED)
NOTED = f'{{ sha256 = "{POLICY.hex()}", note = "sealserve 0.1" }}'
CHIP = "dd" * 64
KEY = "1d" * 48
CRL = "max_crl_age_days = 45"


def test_every_field_is_read() -> None:
    read = trust(
        (CRL, f'{CRL}\nchips = ["{CHIP}", "{"ee" * 8}"]\nvlek_providers = ["CN=x"]'),
        text=TRUST + "[danger]\nallow_debug = true\nallow_migration = true\nallow_vmpl = [1]\n"
        "without_nonce = true\n",
    )
    assert read.name == "breast-cancer at Example Clinic"
    assert read.expires == date(2027, 3, 31)
    assert read.kind == "snp"
    assert read.hardware.lines == ("milan", "genoa", "turin")
    assert read.hardware.max_crl_age_days == 45
    assert read.hardware.floors["turin"].fmc == 1
    assert read.hardware.floors["genoa-a0"].microcode == 25
    assert read.hardware.chips == (b"\xdd" * 64, b"\xee" * 8 + bytes(56))
    assert read.hardware.vlek_providers == ("CN=x",)
    assert isinstance(read.launch, MeasuredLaunch)
    assert [(noted.digest, noted.note) for noted in read.policies] == [(POLICY, "sealserve 0.1")]
    assert read.model_roots("breast-cancer") == (ROOT,)
    assert len(read.danger.sentences()) == 4


def test_every_field_that_may_be_left_out_is_read() -> None:
    read = trust(text=case.EVERY_KEY)
    hardware, guest = read.hardware, read.guest
    assert hardware.denied_chips == (b"\xdd" * 64,)
    assert hardware.floor_at_launch
    assert hardware.minimum_firmware == Firmware(1, 55, 29)
    assert (hardware.minimum_report_version, hardware.mitigations) == (3, 0x21)
    assert hardware.platform_info == Bits(set=("ecc",), clear=("tsme", "tio"))
    assert guest.policy == Bits(set=("aes_256_xts",), clear=("smt",))
    assert guest.id_keys == (b"\x1d" * 48,)
    assert guest.author_keys == (b"\x1d" * 48, b"\x2e" * 48)
    assert read.danger == Danger(True, True, True, (1, 2), True)


def test_what_is_left_out_asks_for_nothing() -> None:
    read = trust()
    assert read.guest == Guest()
    assert not read.hardware.floor_at_launch
    assert read.hardware.minimum_firmware is None
    assert (read.hardware.minimum_report_version, read.hardware.mitigations) == (2, 0)
    assert read.hardware.platform_info == Bits()


def test_the_roots_follow_the_platform() -> None:
    assert trust().roots() == Roots.amd()
    assert trust((case.SNP, case.SIMULATED)).roots() == Roots.simulated(SIMULATED_ROOT)


def test_a_model_nobody_named_is_refused() -> None:
    with pytest.raises(PolicyViolation) as caught:
        trust().model_roots("other")
    assert caught.value.findings[0].code == "model_unknown"
    assert "breast-cancer" in str(caught.value)


ALLOWED: dict[str, list[tuple[str, str]]] = {
    "confidential containers": [(case.SNP, case.ACI), ENDORSED],
    "an endorsed machine": [ENDORSED],
    "a simulated machine, measured": [(case.SNP, case.SIMULATED)],
    "a simulated machine, endorsed": [(case.SNP, case.SIMULATED), ENDORSED],
    "an endorsed machine with an ID key": [
        ENDORSED,
        ("[launch]\n", f'[launch]\nid_keys = ["{KEY}"]\n'),
    ],
    "mitigations, but none": [(CRL, f"{CRL}\nmitigations = 0")],
    "a floor at launch that is off": [(CRL, f"{CRL}\nfloor_at_launch = false")],
    "no review date": [("expires = 2027-03-31\n", "")],
    "no policy": [(f"[{NOTED}]", '"none"')],
    "two policies": [(NOTED, f'{NOTED}, {{ sha256 = "{"ab" * 32}" }}')],
    "two roots": [(f'"{ROOT.hex()}"', f'"{ROOT.hex()}", "{"ab" * 32}"')],
    "two models": [
        (
            "[models.breast-cancer]",
            f'[models.b]\nroots = ["{"ab" * 32}"]\n[models.a]',
        )
    ],
    "CRLF": [("\n", "\r\n")],
    "comments and long lists": [("roots = [", "roots = [ # one\n\n")],
    "an empty danger": [("[models.", "[danger]\n[models.")],
    "a danger that is off": [("[models.", "[danger]\nallow_debug = false\n[models.")],
    "inline tables": [("[platform]\n" + case.SNP, "platform = { kind = 'snp' }\n")],
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_the_schema_allows_is_read_and_explained(name: str) -> None:
    assert trust(*ALLOWED[name]).explain()


def _danger(line: str) -> list[tuple[str, str]]:
    return [("[models.", f"[danger]\n{line}\n[models.")]


def _hardware(line: str) -> list[tuple[str, str]]:
    return [(CRL, f"{CRL}\n{line}")]


def _launch(line: str) -> list[tuple[str, str]]:
    return [("[launch]\n", f"[launch]\n{line}\n")]


TURIN_ALONE = [
    ('"milan", "genoa", "turin"', '"turin"'),
    (case.MILAN_FLOOR, ""),
    ("[hardware.tcb.genoa]\nbootloader = 10\ntee = 0\nsnp = 23\nmicrocode = 84\n", ""),
    ("[hardware.tcb.genoa-a0]\nbootloader = 10\ntee = 0\nsnp = 23\nmicrocode = 25\n", ""),
]
MILAN_ALONE = [
    *TURIN_ALONE[2:],
    ('"milan", "genoa", "turin"', '"milan"'),
    ("[hardware.tcb.turin]\nfmc = 1\nbootloader = 1\ntee = 1\nsnp = 4\nmicrocode = 81\n", ""),
]

# name: (changes, key that is named)
REFUSED: dict[str, tuple[list[tuple[str, str]], str]] = {
    "no version": ([("version = 1\n", "")], "version"),
    "another version": ([("version = 1", "version = 2")], "version"),
    "version as text": ([("version = 1", 'version = "1"')], "version"),
    "version true": ([("version = 1", "version = true")], "version"),
    "no name": ([('name = "breast-cancer at Example Clinic"\n', "")], "name"),
    "an empty name": ([('name = "breast-cancer at Example Clinic"', 'name = " "')], "name"),
    "a name with escapes": ([("Example Clinic", "\\u001b[2J")], "name"),
    "a name too long": ([("Example Clinic", "x" * 200)], "name"),
    "a name that is a number": ([('"breast-cancer at Example Clinic"', "1")], "name"),
    "expires as text": ([("2027-03-31", '"2027-03-31"')], "expires"),
    "expires with a time": ([("2027-03-31", "2027-03-31T00:00:00Z")], "expires"),
    "an unknown section": ([("[software]", "[extra]\n[software]")], "extra"),
    "an unknown top key": ([("version = 1", "version = 1\nversions = 1")], "versions"),
    "not approved": (
        [("version = 1", "version = 1\nclaimed_not_approved = true")],
        "claimed_not_approved",
    ),
    "not approved, spelled false": (
        [("version = 1", "version = 1\nclaimed_not_approved = false")],
        "claimed_not_approved",
    ),
    "no platform": ([("[platform]\n" + case.SNP, "")], "platform"),
    "platform as text": ([("[platform]\n" + case.SNP, 'platform = "snp"')], "platform"),
    "no kind": ([(case.SNP, "")], "platform.kind"),
    "an unknown kind": ([(case.SNP, 'kind = "sgx"')], "platform.kind"),
    "kind as a list": ([(case.SNP, 'kind = ["snp"]')], "platform.kind"),
    "a key more in platform": ([(case.SNP, case.SNP + "\nkinds = 1")], "platform.kinds"),
    "a simulated root for hardware": (
        [(case.SNP, f'{case.SNP}\nsimulated_root_sha256 = "{"5e" * 32}"')],
        "platform.simulated_root_sha256",
    ),
    "simulated without its root": (
        [(case.SNP, 'kind = "simulated"')],
        "platform.simulated_root_sha256",
    ),
    "a simulated root of another length": (
        [(case.SNP, case.SIMULATED), (SIMULATED_ROOT.hex(), "5e" * 31)],
        "platform.simulated_root_sha256",
    ),
    "AMD's root as simulated": (
        [(case.SNP, case.SIMULATED), (SIMULATED_ROOT.hex(), ARK_SHA256["milan"])],
        "platform.simulated_root_sha256",
    ),
    "no lines": ([('lines = ["milan", "genoa", "turin"]\n', "")], "hardware.lines"),
    "lines empty": ([('["milan", "genoa", "turin"]', "[]")], "hardware.lines"),
    "lines as text": ([('["milan", "genoa", "turin"]', '"milan"')], "hardware.lines"),
    "an unknown line": ([('"turin"]', '"venice"]')], "hardware.lines[2]"),
    "a line twice": ([('"turin"]', '"turin", "milan"]')], "hardware.lines[3]"),
    "no age of revocation lists": ([(CRL + "\n", "")], "hardware.max_crl_age_days"),
    "age zero": ([(CRL, "max_crl_age_days = 0")], "hardware.max_crl_age_days"),
    "age forever": ([(CRL, "max_crl_age_days = 100000")], "hardware.max_crl_age_days"),
    "age as a fraction": ([(CRL, "max_crl_age_days = 4.5")], "hardware.max_crl_age_days"),
    "age a misspelled key": ([(CRL, f"{CRL}\nmax_crl_age_day = 1")], "hardware.max_crl_age_day"),
    "chips empty": (_hardware("chips = []"), "hardware.chips"),
    "a chip of another length": (_hardware(f'chips = ["{"dd" * 32}"]'), "hardware.chips[0]"),
    "a chip in capitals": (_hardware(f'chips = ["{"DD" * 64}"]'), "hardware.chips[0]"),
    "a chip twice": (_hardware(f'chips = ["{CHIP}", "{CHIP}"]'), "hardware.chips[1]"),
    "a masked chip": (_hardware(f'chips = ["{"00" * 64}"]'), "hardware.chips[0]"),
    "a Turin chip without Turin": (
        [*MILAN_ALONE, *_hardware(f'chips = ["{"dd" * 8}"]')],
        "hardware.chips[0]",
    ),
    "a Milan chip with Turin alone": (
        [*TURIN_ALONE, *_hardware(f'chips = ["{CHIP}"]')],
        "hardware.chips[0]",
    ),
    "denied chips empty": (_hardware("denied_chips = []"), "hardware.denied_chips"),
    "a denied chip of another length": (
        _hardware(f'denied_chips = ["{"dd" * 32}"]'),
        "hardware.denied_chips[0]",
    ),
    "a masked chip denied": (
        _hardware(f'denied_chips = ["{"00" * 64}"]'),
        "hardware.denied_chips[0]",
    ),
    "a chip listed and denied": (
        _hardware(f'chips = ["{CHIP}"]\ndenied_chips = ["{CHIP}"]'),
        "hardware.denied_chips",
    ),
    "a floor at launch as text": (
        _hardware('floor_at_launch = "yes"'),
        "hardware.floor_at_launch",
    ),
    "firmware of two numbers": (
        _hardware('minimum_firmware = "1.55"'),
        "hardware.minimum_firmware",
    ),
    "firmware as a number": (_hardware("minimum_firmware = 1.55"), "hardware.minimum_firmware"),
    "firmware beyond a byte": (
        _hardware('minimum_firmware = "1.256.0"'),
        "hardware.minimum_firmware",
    ),
    "firmware with zeros in front": (
        _hardware('minimum_firmware = "1.055.0"'),
        "hardware.minimum_firmware",
    ),
    "a report version nobody reads": (
        _hardware("minimum_report_version = 1"),
        "hardware.minimum_report_version",
    ),
    "a report version to come": (
        _hardware("minimum_report_version = 6"),
        "hardware.minimum_report_version",
    ),
    "mitigations below zero": (_hardware("mitigations = -1"), "hardware.mitigations"),
    "mitigations as a list": (_hardware("mitigations = [1]"), "hardware.mitigations"),
    "mitigations beyond the vector": (
        _hardware("mitigations = 0x8000_0000_0000_0000"),
        "hardware.mitigations",
    ),
    "platform bits empty": (_hardware("platform_info_set = []"), "hardware.platform_info_set"),
    "an unknown platform bit": (
        _hardware('platform_info_set = ["bit6"]'),
        "hardware.platform_info_set[0]",
    ),
    "a platform bit that is fixed": (
        _hardware('platform_info_clear = ["alias_check_complete"]'),
        "hardware.platform_info_clear[0]",
    ),
    "a platform bit both ways": (
        _hardware('platform_info_set = ["smt"]\nplatform_info_clear = ["smt"]'),
        "hardware.platform_info_clear",
    ),
    "a bit of the guest's policy that is fixed": (
        _launch('guest_policy_set = ["debug"]'),
        "launch.guest_policy_set[0]",
    ),
    "a bit of the guest's policy both ways": (
        _launch('guest_policy_set = ["smt"]\nguest_policy_clear = ["smt"]'),
        "launch.guest_policy_clear",
    ),
    "ID keys empty": (_launch("id_keys = []"), "launch.id_keys"),
    "an ID key of another length": (_launch(f'id_keys = ["{"1d" * 32}"]'), "launch.id_keys[0]"),
    "an ID key of zeros": (_launch(f'id_keys = ["{"00" * 48}"]'), "launch.id_keys[0]"),
    "an author key of zeros": (
        _launch(f'author_keys = ["{"00" * 48}"]'),
        "launch.author_keys[0]",
    ),
    "an ID key where an endorsement has one": (
        [ENDORSED, *_launch("id_key = 1")],
        "launch.id_key",
    ),
    "providers empty": (_hardware("vlek_providers = []"), "hardware.vlek_providers"),
    "an empty provider": (_hardware('vlek_providers = [""]'), "hardware.vlek_providers[0]"),
    "a provider twice": (
        _hardware('vlek_providers = ["CN=x", "CN=x"]'),
        "hardware.vlek_providers[1]",
    ),
    "no floor for a line": ([(case.MILAN_FLOOR, "")], "hardware.tcb.milan"),
    "an override without the line's floor": (
        [("[hardware.tcb.genoa]", "[hardware.tcb.genoa-11]")],
        "hardware.tcb.genoa",
    ),
    "a floor for a line that is not accepted": (
        [('"milan", "genoa"', '"genoa"')],
        "hardware.tcb.milan",
    ),
    "an override for a line that is not accepted": (
        [
            *MILAN_ALONE,
            (case.MILAN_FLOOR, case.MILAN_FLOOR + case.MILAN_FLOOR.replace("milan", "genoa-a0")),
        ],
        "hardware.tcb.genoa-a0",
    ),
    "an override of another family": (
        [("[hardware.tcb.genoa-a0]", "[hardware.tcb.genoa-01]")],
        "hardware.tcb.genoa-01",
    ),
    "an override in capitals": (
        [("[hardware.tcb.genoa-a0]", "[hardware.tcb.genoa-A0]")],
        "hardware.tcb.genoa-A0",
    ),
    "a component missing": ([("tee = 0\nsnp = 24", "snp = 24")], "hardware.tcb.milan.tee"),
    "a component too large": (
        [("microcode = 219", "microcode = 256")],
        "hardware.tcb.milan.microcode",
    ),
    "a component below zero": (
        [("microcode = 219", "microcode = -1")],
        "hardware.tcb.milan.microcode",
    ),
    "a component true": ([("snp = 24", "snp = true")], "hardware.tcb.milan.snp"),
    "fmc on Milan": ([("snp = 24", "snp = 24\nfmc = 1")], "hardware.tcb.milan.fmc"),
    "no fmc on Turin": ([("fmc = 1\n", "")], "hardware.tcb.turin.fmc"),
    "no launch": ([(case.MEASURED, "")], "launch"),
    "an empty launch": ([(case.MEASURED, "[launch]\n")], "launch.measurements"),
    "both kinds of launch": (
        [(case.MEASURED, case.MEASURED + case.ENDORSED.replace("[launch]\n", ""))],
        "launch.measurements",
    ),
    "a measurement and one uvm key": (
        [(case.MEASURED, case.MEASURED + "uvm_minimum_svn = 104\n")],
        "launch.measurements",
    ),
    "measurements on aci": ([(case.SNP, case.ACI)], "launch.measurements"),
    "no issuer": ([ENDORSED, (f'uvm_issuer = "{case.ISSUER}"\n', "")], "launch.uvm_issuer"),
    "no feed": ([ENDORSED, (f'uvm_feed = "{case.FEED}"\n', "")], "launch.uvm_feed"),
    "no svn": ([ENDORSED, ("uvm_minimum_svn = 104\n", "")], "launch.uvm_minimum_svn"),
    "an issuer of another method": ([ENDORSED, ("did:x509:0:", "did:web:")], "launch.uvm_issuer"),
    "an svn as text": ([ENDORSED, ("= 104", '= "104"')], "launch.uvm_minimum_svn"),
    "an svn below zero": ([ENDORSED, ("= 104", "= -1")], "launch.uvm_minimum_svn"),
    "measurements empty": (
        [(case.MEASURED, "[launch]\nmeasurements = []\n")],
        "launch.measurements",
    ),
    "a measurement of another length": (
        [(case.MEASUREMENT.hex(), "3f" * 32)],
        "launch.measurements[0].sha384",
    ),
    "a measurement without its digest": (
        [(f'sha384 = "{case.MEASUREMENT.hex()}", ', "")],
        "launch.measurements[0].sha384",
    ),
    "a measurement with more": (
        [('note = "image 1"', 'note = "image 1", sha256 = "x"')],
        "launch.measurements[0].sha256",
    ),
    "a measurement as text": (
        [(case.MEASURED, f'[launch]\nmeasurements = ["{case.MEASUREMENT.hex()}"]\n')],
        "launch.measurements[0]",
    ),
    "a measurement twice, other note": (
        [
            (
                'note = "image 1" }',
                f'note = "image 1" }}, {{ sha384 = "{case.MEASUREMENT.hex()}", note = "again" }}',
            )
        ],
        "launch.measurements[1]",
    ),
    "no policies": ([(f"policies = [{NOTED}]\n", "")], "software.policies"),
    "policies empty": ([(NOTED, "")], "software.policies"),
    "policies another word": ([(f"[{NOTED}]", '"any"')], "software.policies"),
    "none inside a list": ([(NOTED, '"none"')], "software.policies[0]"),
    "none on aci": (
        [(case.SNP, case.ACI), ENDORSED, (f"[{NOTED}]", '"none"')],
        "software.policies",
    ),
    "a policy of zeros": ([(POLICY.hex(), "00" * 32)], "software.policies[0]"),
    "a policy of another length": (
        [(POLICY.hex(), POLICY.hex()[:-2])],
        "software.policies[0].sha256",
    ),
    "half a digit": ([(POLICY.hex(), POLICY.hex()[:-1])], "software.policies[0].sha256"),
    "blanks in a digest": (
        [(POLICY.hex(), POLICY.hex()[:-1] + " ")],
        "software.policies[0].sha256",
    ),
    "a policy twice": ([(NOTED, f"{NOTED}, {NOTED}")], "software.policies[1]"),
    "a note that is no text": (
        [('note = "sealserve 0.1"', "note = 1")],
        "software.policies[0].note",
    ),
    "a key more in software": ([("[software]", "[software]\nimages = 1")], "software.images"),
    **{
        f"allow-all: {name}": ([(POLICY.hex(), digest.hex())], "software.policies[0]")
        for digest, name in PERMISSIVE.items()
    },
    "no models": ([(f'[models.breast-cancer]\nroots = ["{ROOT.hex()}"]\n', "")], "models"),
    "models empty": (
        [(f'[models.breast-cancer]\nroots = ["{ROOT.hex()}"]\n', "[models]\n")],
        "models",
    ),
    "a model without roots": (
        [(f'roots = ["{ROOT.hex()}"]\n', "")],
        "models.breast-cancer.roots",
    ),
    "roots empty": ([(f'"{ROOT.hex()}"', "")], "models.breast-cancer.roots"),
    "a root twice": (
        [(f'"{ROOT.hex()}"', f'"{ROOT.hex()}", "{ROOT.hex()}"')],
        "models.breast-cancer.roots[1]",
    ),
    "a root of another length": ([(ROOT.hex(), "9f" * 33)], "models.breast-cancer.roots[0]"),
    "a key more in a model": (
        [("[models.breast-cancer]", "[models.breast-cancer]\nroot = 1")],
        "models.breast-cancer.root",
    ),
    "a model's name with a slash": (
        [("[models.breast-cancer]", '[models."a/b"]')],
        "models.a/b",
    ),
    "an unknown danger": (_danger("allow_everything = true"), "danger.allow_everything"),
    "a danger as a number": (_danger("allow_debug = 1"), "danger.allow_debug"),
    "VMPL empty": (_danger("allow_vmpl = []"), "danger.allow_vmpl"),
    "VMPL 0, always allowed": (_danger("allow_vmpl = [0]"), "danger.allow_vmpl[0]"),
    "VMPL of the host": (_danger("allow_vmpl = [4294967295]"), "danger.allow_vmpl[0]"),
    "VMPL twice": (_danger("allow_vmpl = [1, 1]"), "danger.allow_vmpl[1]"),
    "VMPL a number": (_danger("allow_vmpl = 1"), "danger.allow_vmpl"),
    "CXL as text": (_danger('allow_cxl = "yes"'), "danger.allow_cxl"),
    "a nonce as text": (_danger('without_nonce = "yes"'), "danger.without_nonce"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_each_rule_refuses_and_names_the_place(name: str) -> None:
    changes, key = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        trust(*changes)
    error = caught.value
    assert (error.file, error.key) == ("trust.toml", key)
    assert 1 <= error.line <= edit(*changes).count(b"\n") + 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("an unknown top key", "versions = 1"),
        ("an unknown kind", 'kind = "sgx"'),
        ("a component too large", "microcode = 256"),
        ("fmc on Milan", "fmc = 1"),
        ("no fmc on Turin", "[hardware.tcb.turin]"),
        ("a component missing", "[hardware.tcb.milan]"),
        ("a root of another length", "roots ="),
        ("a policy twice", "policies ="),
        ("an unknown danger", "allow_everything"),
    ],
)
def test_the_line_is_the_one_a_person_has_to_change(name: str, text: str) -> None:
    changes, _ = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        trust(*changes)
    lines = edit(*changes).decode().split("\n")
    assert lines[caught.value.line - 1].startswith(text)


NOT_TOML: dict[str, tuple[bytes, int]] = {
    "not UTF-8": (TRUST.replace("Clinic", "\udcff").encode("utf-8", "surrogateescape"), 2),
    "an open table": (
        edit(("[software]", "[software")),
        TRUST[: TRUST.index("[software]")].count("\n") + 1,
    ),
    "a key twice": (edit((CRL, f"{CRL}\n{CRL}")), 11),
    "a section twice": (TRUST.encode() + b"[software]\n", TRUST.count("\n") + 1),
    "nothing but a bracket": (b"[", 1),
    "a number of 5000 digits": (b"version = " + b"9" * 5000, 1),
    "an open string at the end": (TRUST.encode() + b'x = "', TRUST.count("\n") + 1),
}


@pytest.mark.parametrize("name", NOT_TOML)
def test_what_is_not_toml_is_refused_with_the_line(name: str) -> None:
    data, line = NOT_TOML[name]
    with pytest.raises(ConfigError) as caught:
        Trust.parse(data, file="trust.toml")
    assert (caught.value.file, caught.value.line) == ("trust.toml", line)


def test_a_text_nested_beyond_any_stack_is_refused() -> None:
    with pytest.raises(ConfigError):
        Trust.parse(b"x = " + b"[" * 20000)


def test_the_size_is_limited(tmp_path: Path) -> None:
    assert Trust.parse(TRUST.encode() + b"#" * (MAX_FILE_BYTES - len(TRUST)))
    with pytest.raises(ConfigError, match="at most"):
        Trust.parse(TRUST.encode() + b"#" * (MAX_FILE_BYTES - len(TRUST) + 1))
    file = tmp_path / "trust.toml"
    file.write_bytes(TRUST.encode() + b"#" * MAX_FILE_BYTES)
    with pytest.raises(ConfigError, match="at most"):
        Trust.load(file)


def test_a_list_is_limited() -> None:
    many = ", ".join(f'"{index:064x}"' for index in range(1, 258))
    with pytest.raises(ConfigError, match="1 to 256"):
        Trust.parse(edit((f'"{ROOT.hex()}"', many)))


def test_load_reads_a_file_and_names_it(tmp_path: Path) -> None:
    file = tmp_path / "trust.toml"
    file.write_text(TRUST)
    assert Trust.load(file).file == str(file)
    with pytest.raises(ConfigError) as caught:
        Trust.load(tmp_path / "missing.toml")
    assert caught.value.file == str(tmp_path / "missing.toml")
    assert "No such file" in str(caught.value)
    with pytest.raises(ConfigError):
        Trust.load(tmp_path)


LONG = {
    "a word": (case.SNP, f'kind = "{"x" * 50_000}"'),
    "a number": (CRL, f"max_crl_age_days = 0x{'f' * 50_000}"),
    "a version": ("version = 1", f"version = 0x{'f' * 50_000}"),
}


@pytest.mark.parametrize("change", LONG.values(), ids=LONG)
def test_a_long_value_is_told_shortly(change: tuple[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        trust(change)
    assert len(str(caught.value)) < 500


def test_a_misspelled_key_gets_a_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        trust((CRL, f"{CRL}\nmax_crl_age_day = 1"))
    assert caught.value.hint == "did you mean max_crl_age_days?"


def test_an_endorsement_is_read() -> None:
    assert trust((case.SNP, case.ACI), ENDORSED).launch == UvmLaunch(case.ISSUER, case.FEED, 104)


def test_explain_says_every_value_and_every_danger() -> None:
    text = trust(text=TRUST + "[danger]\nallow_debug = true\n").explain()
    for word in (
        POLICY.hex(),
        ROOT.hex(),
        case.MEASUREMENT.hex(),
        "milan",
        "2027-03-31",
        "45 days",
    ):
        assert word in text
    assert "DANGER     debug machines" in text
    assert "proves nothing" in trust((case.SNP, case.SIMULATED)).explain()
    assert "NO execution policy" in trust((f"[{NOTED}]", '"none"')).explain()
    assert "endorsed" in trust(ENDORSED).explain()


WORDS = ["version", "name", "kind", '"snp"', "=", "[", "]", "{", "}", ",", "\n", '"', "'", '"""']
WORDS += ["[hardware.tcb.milan]", "1", "true", "#", " ", ".", "[[x]]", "2027-01-01", "\\"]


@given(st.lists(st.sampled_from(WORDS), max_size=12), st.integers(0, len(TRUST)))
def test_any_text_is_read_or_refused_as_documented(words: list[str], at: int) -> None:
    for text in ("".join(words), TRUST[:at] + "".join(words) + TRUST[at:]):
        with suppress(ConfigError):
            assert Trust.parse(text.encode()).explain()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_as_documented(data: bytes) -> None:
    with suppress(ConfigError):
        Trust.parse(data)


def test_the_table_in_docs_has_every_key_and_no_other() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/trust-file.md").read_text()
    first = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {key for cell in first for key in re.findall("`([^`]+)`", cell)}
    named = {"hardware.tcb.LINE", "hardware.tcb.LINE-MODEL", "models.NAME.roots"}
    used = _keys(case.EVERY_KEY) | _keys(edit((case.SNP, case.SIMULATED), ENDORSED).decode())
    plain = {key for key in used if not key.startswith(("hardware.tcb", "models."))}
    assert documented == plain | named | {"claimed_not_approved"}


def _keys(text: str) -> set[str]:
    return {
        f"{top}.{key}" if key else top
        for top, value in tomllib.loads(text).items()
        for key in (value if isinstance(value, dict) else [""])
    }
