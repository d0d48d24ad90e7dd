"""`sealserve trust`: what `new` writes loads again and says what was asked; nothing by default."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealserve.attestation.roots import ARK_SHA256
from sealserve.attestation.tcb import LINES
from sealserve.cli.main import run
from sealserve.policy import Trust, floors, revocation
from sealserve.policy.execution import generate_process
from sealserve.policy.expectations import NO_POLICY, MeasuredLaunch, UvmLaunch
from sealserve.policy.floors import RECOMMENDED
from sealserve.policy.known import PERMISSIVE
from support import policy_case as case
from support.models_cli import Ran
from support.policy_case import FEED, ISSUER
from support.policy_deployment import template

SIMULATED_ROOT = "5e" * 32
MEASUREMENT = "3f" * 48
POLICY = "73" * 32
ROOT = "9f" * 32
Options = dict[str, str | None]

GOOD: Options = {
    "-o": "trust.toml",
    "--name": "clinic",
    "--platform": "simulated",
    "--simulated-root-sha256": SIMULATED_ROOT,
    "--measurement": MEASUREMENT,
    "--policy": POLICY,
    "--model": f"net={ROOT}",
}
HEX = {
    "--simulated-root-sha256": SIMULATED_ROOT,
    "--measurement": MEASUREMENT,
    "--policy": POLICY,
}
ENDORSED: Options = {
    "--measurement": None,
    "--uvm-issuer": ISSUER,
    "--uvm-feed": FEED,
    "--uvm-minimum-svn": "104",
}
REAL: Options = {"--platform": "snp", "--simulated-root-sha256": None, "--line": "milan"}


class Owner:
    """Writes trust files in a folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    @property
    def file(self) -> Path:
        return self.folder / "trust.toml"

    def run(self, *arguments: str) -> Ran:
        return Ran(run(list(arguments)), *self._capsys.readouterr())

    def new(self, changes: Options | None = None, *more: str) -> Ran:
        """The good command with these options replaced; None leaves one out."""
        options = {**GOOD, **(changes or {})}
        given = [word for name, value in options.items() if value for word in (name, value)]
        return self.run("trust", "new", *given, *more)

    def written(self, changes: Options | None = None, *more: str) -> Trust:
        """What loads again."""
        ran = self.new(changes, *more)
        assert ran.status == 0, ran.err
        return Trust.load(self.file)

    def refused(self, status: int, changes: Options, *words: str) -> None:
        """It is refused with these words, and no file appears."""
        ran = self.new(changes)
        assert (ran.status, ran.out) == (status, ""), ran
        for word in words:
            assert word in ran.err
        assert "Traceback" not in ran.err
        assert not list(self.folder.glob("*trust.toml*"))


@pytest.fixture
def owner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Owner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(floors, "DATE", datetime.now(UTC).date())  # it ages, these tests do not
    return Owner(tmp_path, capsys)


# ---- what new writes loads again


def test_the_simulated_platform(owner: Owner) -> None:
    trust = owner.written()
    assert (trust.name, trust.kind) == ("clinic", "simulated")
    assert trust.simulated_root_sha256 == bytes.fromhex(SIMULATED_ROOT)
    assert trust.hardware.lines == ("milan",)
    assert isinstance(trust.launch, MeasuredLaunch)
    assert [noted.digest.hex() for noted in trust.launch.measurements] == [MEASUREMENT]
    assert [noted.digest.hex() for noted in trust.policies] == [POLICY]
    assert trust.models == {"net": (bytes.fromhex(ROOT),)}
    assert trust.expires is None
    assert trust.danger.sentences() == ()


def test_real_machines(owner: Owner) -> None:
    trust = owner.written(REAL, "--line", "genoa", "--line", "turin")
    assert (trust.kind, trust.simulated_root_sha256) == ("snp", None)
    assert trust.hardware.lines == ("milan", "genoa", "turin")
    for line in trust.hardware.lines:
        for name, floor in RECOMMENDED[line].items():
            assert trust.hardware.floors[name] == floor
    assert trust.hardware.max_crl_age_days == revocation.RECOMMENDED_DAYS


def test_endorsed_launches(owner: Owner) -> None:
    trust = owner.written({**REAL, **ENDORSED, "--platform": "aci"})
    assert trust.launch == UvmLaunch(ISSUER, FEED, 104)


def test_an_endorsement_from_its_first_version_on(owner: Owner) -> None:
    trust = owner.written({**REAL, **ENDORSED, "--uvm-minimum-svn": "0"})
    assert trust.launch == UvmLaunch(ISSUER, FEED, 0)


def test_several_of_everything(owner: Owner) -> None:
    trust = owner.written(
        {},
        *("--measurement", "aa" * 48),
        *("--policy", "bb" * 32),
        *("--model", f"net={'cc' * 32}"),
        *("--model", f"other.model={'dd' * 32}"),
    )
    assert isinstance(trust.launch, MeasuredLaunch)
    assert len(trust.launch.measurements) == len(trust.policies) == 2
    assert trust.models == {
        "net": (bytes.fromhex(ROOT), bytes([0xCC] * 32)),
        "other.model": (bytes([0xDD] * 32),),
    }


def test_a_policy_by_its_file(owner: Owner) -> None:
    text = generate_process(["serve"])
    (owner.folder / "policy.rego").write_bytes(text)
    (policy,) = owner.written({"--policy": "policy.rego"}).policies
    assert policy.digest == hashlib.sha256(text).digest()
    assert policy.note == "policy.rego"


def test_a_policy_where_a_template_carries_it(owner: Owner) -> None:
    text = generate_process(["serve"])
    (owner.folder / "template.json").write_bytes(template(text, {"app": ["/srv/app"]}))
    (policy,) = owner.written({"--policy": "template.json"}).policies
    assert policy.digest == hashlib.sha256(text).digest()


def test_no_policy_on_purpose(owner: Owner) -> None:
    (policy,) = owner.written({"--policy": "none"}).policies
    assert policy.digest == NO_POLICY


def test_a_day_on_which_it_ends(owner: Owner) -> None:
    assert str(owner.written({"--expires": "2027-03-31"}).expires) == "2027-03-31"


def test_a_last_day_that_is_past_is_told(owner: Owner) -> None:
    today = datetime.now(UTC).date()
    ran = owner.new({"--expires": str(today - timedelta(days=1))})
    assert ran.status == 0
    assert ran.err.startswith(f"warning: --expires {today - timedelta(days=1)} is past: ")
    owner.file.unlink()
    assert owner.new({"--expires": str(today + timedelta(days=1))}).err == ""


def test_upper_case_is_written_in_lower_case(owner: Owner) -> None:
    trust = owner.written({name: value.upper() for name, value in HEX.items()})
    assert trust.simulated_root_sha256 == bytes.fromhex(SIMULATED_ROOT)


@pytest.mark.parametrize("name", ['"quoted" \\back', "Klinik Müller 診療所", "a = [b] # c", "'''"])
def test_names_of_every_kind(owner: Owner, name: str) -> None:
    assert owner.written({"--name": name}).name == name


def test_says_what_it_wrote(owner: Owner) -> None:
    ran = owner.new()
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("wrote trust.toml\n\nclinic\n")
    assert f"model      net: root {ROOT}" in ran.out
    assert ran.out.partition("\n\n")[2] == owner.run("trust", "explain", "trust.toml").out


def test_says_it_to_programs(owner: Owner) -> None:
    ran = owner.new({}, "--json")
    assert ran.json == {"file": "trust.toml", "name": "clinic", "platform": "simulated"}


def test_never_overwrites(owner: Owner) -> None:
    owner.file.write_bytes(b"approved")
    ran = owner.new()
    assert (ran.status, ran.out) == (8, "")
    assert "trust.toml: exists already" in ran.err
    assert owner.file.read_bytes() == b"approved"


def test_never_overwrites_what_a_link_names(owner: Owner) -> None:
    owner.file.symlink_to("elsewhere")
    assert owner.new().status == 8
    assert owner.file.is_symlink()


# ---- each missing option, each pair that excludes each other: usage

MISSING: dict[str, tuple[Options, str]] = {
    "file": ({"-o": None}, "'-o'"),
    "name": ({"--name": None}, "'--name'"),
    "platform": ({"--platform": None}, "'--platform'"),
    "simulated root": ({"--simulated-root-sha256": None}, "--simulated-root-sha256"),
    "launch": ({"--measurement": None}, "--measurement"),
    "policy": ({"--policy": None}, "'--policy'"),
    "model": ({"--model": None}, "'--model'"),
    "line": ({**REAL, "--line": None}, "--line"),
    "issuer": ({**ENDORSED, "--uvm-issuer": None}, "--uvm-issuer"),
    "feed": ({**ENDORSED, "--uvm-feed": None}, "--uvm-feed"),
    "version": ({**ENDORSED, "--uvm-minimum-svn": None}, "--uvm-minimum-svn"),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_option_is_a_usage_error(owner: Owner, name: str) -> None:
    changes, option = MISSING[name]
    owner.refused(2, changes, "Usage: sealserve trust new", "Error: Missing option", option)


EXCLUSIVE: dict[str, tuple[Options, tuple[str, str]]] = {
    "measured and endorsed": (
        {**ENDORSED, "--measurement": MEASUREMENT},
        ("--measurement", "--uvm-issuer"),
    ),
    "measured, from some version on": (
        {"--uvm-minimum-svn": "0"},
        ("--measurement", "--uvm-minimum-svn"),
    ),
    "real and simulated": (
        {**REAL, "--simulated-root-sha256": SIMULATED_ROOT},
        ("--simulated-root-sha256", "--platform"),
    ),
}


@pytest.mark.parametrize("name", EXCLUSIVE)
def test_options_that_exclude_each_other_are_a_usage_error(owner: Owner, name: str) -> None:
    changes, options = EXCLUSIVE[name]
    owner.refused(2, changes, "Usage: sealserve trust new", "Error: ", *options)


UNUSABLE: Options = {
    "--platform": "laptop",
    "--line": "zen",
    "--uvm-minimum-svn": "-1",
    "--expires": "soon",
}


@pytest.mark.parametrize("option", UNUSABLE)
def test_a_value_there_is_not_is_a_usage_error(owner: Owner, option: str) -> None:
    owner.refused(2, {option: UNUSABLE[option]}, "Error: Invalid value", option)


# ---- values nobody can use

BAD: dict[str, tuple[Options, tuple[str, ...]]] = {
    "a root that is too short": (
        {"--simulated-root-sha256": "5e"},
        ("--simulated-root-sha256: ", "64 hexadecimal digits"),
    ),
    "AMD's root": (
        {"--simulated-root-sha256": ARK_SHA256["milan"]},
        ("this is a root of AMD's, not a simulated one",),
    ),
    "a measurement that is none": (
        {"--measurement": "zz" * 48},
        ("--measurement: ", "96 hexadecimal digits"),
    ),
    "a measurement with spaces": ({"--measurement": "aa " * 32}, ("--measurement: ",)),
    "a policy that is neither": (
        {"--policy": "policy.rego"},
        ("--policy: 'policy.rego' is neither a file nor 64 hexadecimal digits",),
    ),
    "a policy too long to be a file's name": ({"--policy": "7" * 300}, ("is neither a file nor",)),
    "a policy that allows everything": (
        {"--policy": "73973b78d70cc68353426de188db5dfc57e5b766e399935fb73a61127ea26d20"},
        ("allow-all",),
    ),
    "a model without a root": ({"--model": "net"}, ("--model: 'net' is not NAME=ROOT",)),
    "a model without a name": ({"--model": f"={ROOT}"}, ("--model: ", "is not NAME=ROOT")),
    "a model with a name nobody can seal": ({"--model": f"a b={ROOT}"}, ("a b",)),
    "a model with half a root": ({"--model": "net=9f9f"}, ("--model: '9f9f' is not 64",)),
    "no policy for confidential containers": (
        {**REAL, **ENDORSED, "--platform": "aci", "--policy": "none"},
        ('"none" is not for kind = "aci"',),
    ),
    "measured confidential containers": (
        {**REAL, "--platform": "aci"},
        ('not for kind = "aci"', "hint: "),
    ),
    "an issuer that is none": ({**ENDORSED, "--uvm-issuer": "Microsoft"}, ("did:x509",)),
    "a name of two lines": ({"--name": "a\nb"}, ("name",)),
    "a name that is too long": ({"--name": "a" * 201}, ("name",)),
    "a name outside UTF-8": ({"--name": "\udcff"}, ("--name", "UTF-8")),
    "a model's name outside UTF-8": ({"--model": f"\udcff={ROOT}"}, ("--model", "UTF-8")),
    "a feed outside UTF-8": ({**ENDORSED, "--uvm-feed": "\udcff"}, ("--uvm-feed", "UTF-8")),
    "a folder that is not there": ({"-o": "nowhere/trust.toml"}, ("cannot be written",)),
}


@pytest.mark.parametrize("name", BAD)
def test_values_nobody_can_use(owner: Owner, name: str) -> None:
    changes, words = BAD[name]
    owner.refused(8, changes, "sealserve: ", *words)


def test_the_same_model_root_twice(owner: Owner) -> None:
    ran = owner.new({}, "--model", f"net={ROOT}")
    assert ran.status == 8
    assert "stands in the list twice" in ran.err


# ---- floors


def test_prints_floors_as_a_trust_file_has_them(owner: Owner) -> None:
    ran = owner.run("trust", "floors")
    assert (ran.status, ran.err) == (0, "")
    assert f"recommended on {floors.DATE}." in ran.out
    assert "has to review it" in " ".join(ran.out.split())
    read = tomllib.loads(ran.out)["hardware"]["tcb"]
    assert read == {
        table: tcb.components() for line in LINES for table, tcb in RECOMMENDED[line].items()
    }


def test_prints_floors_of_the_lines_asked_for(owner: Owner) -> None:
    ran = owner.run("trust", "floors", "--line", "genoa", "--line", "milan", "--line", "genoa")
    assert [*tomllib.loads(ran.out)["hardware"]["tcb"]] == ["genoa", "genoa-a0", "milan"]


def test_the_floors_that_are_printed_load(owner: Owner) -> None:
    owner.new({**REAL, "--line": "genoa"})
    text = owner.file.read_text()
    printed = owner.run("trust", "floors", "--line", "genoa").out
    assert printed in text
    assert Trust.parse(text.replace(printed, "").replace("[launch]", f"{printed}[launch]").encode())


def test_prints_floors_for_programs(owner: Owner) -> None:
    ran = owner.run("trust", "floors", "--line", "turin", "--json")
    turin = {"fmc": 1, "bootloader": 1, "tee": 1, "snp": 4, "microcode": 81}
    date = floors.DATE.isoformat()
    assert ran.json == {"date": date, "compared_with_amd": False, "tcb": {"turin": turin}}


@pytest.mark.parametrize("verb", ["floors", "new"])
def test_floors_older_than_a_year_are_told(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def told() -> str:
        owner.file.unlink(missing_ok=True)
        ran = owner.new() if verb == "new" else owner.run("trust", "floors")
        assert ran.status == 0
        return ran.err

    today = datetime.now(UTC).date()
    monkeypatch.setattr(floors, "DATE", today - timedelta(days=365))
    assert told() == ""
    monkeypatch.setattr(floors, "DATE", today - timedelta(days=366))
    assert told().startswith(f"warning: the recommended firmware is of {floors.DATE}")


# ---- diff and lint


def given(owner: Owner, name: str, *changes: tuple[str, str], text: str = case.TRUST) -> str:
    (owner.folder / name).write_bytes(case.edit(*changes, text=text))
    return name


def test_files_that_accept_the_same(owner: Owner) -> None:
    one = given(owner, "a.toml")
    other = given(owner, "b.toml", ("sealserve 0.1", "another note"))
    ran = owner.run("trust", "diff", one, other)
    assert (ran.status, ran.out, ran.err) == (0, "a.toml and b.toml accept the same\n", "")
    assert owner.run("trust", "diff", one, other, "--json").json == {"only_a": [], "only_b": []}


def test_files_that_differ_both_ways(owner: Owner) -> None:
    one = given(owner, "a.toml", ("microcode = 25", "microcode = 26"))
    other = given(owner, "b.toml", (case.ROOT.hex(), "ab" * 32))
    ran = owner.run("trust", "diff", one, other)
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.splitlines() == [
        "accepted by a.toml, not by b.toml:",
        f"  models.breast-cancer.roots: {case.ROOT.hex()}",
        "accepted by b.toml, not by a.toml:",
        "  hardware.tcb.genoa-a0: microcode 25; wanted at least 26",
        f"  models.breast-cancer.roots: {'ab' * 32}",
    ]
    told = owner.run("trust", "diff", one, other, "--json")
    assert told.status == 1
    key = "models.breast-cancer.roots"
    assert told.json["only_a"] == [{"key": key, "accepted": case.ROOT.hex(), "wanted": ""}]
    assert [found["key"] for found in told.json["only_b"]] == ["hardware.tcb.genoa-a0", key]


def test_a_file_that_is_none_cannot_be_compared(owner: Owner) -> None:
    one, other = given(owner, "a.toml"), given(owner, "b.toml", ("version = 1", "version = 2"))
    for files in ((one, other), (other, one), (one, "missing.toml")):
        ran = owner.run("trust", "diff", *files)
        assert (ran.status, ran.out) == (8, "")


def test_remarks_are_ranked(owner: Owner) -> None:
    every = given(owner, "a.toml", ("2027-03-31", "2199-01-01"), text=case.EVERY_KEY)
    ran = owner.run("trust", "lint", every)
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.startswith("  DANGER  danger.allow_debug: debug machines are accepted")
    assert "\n          hint: " in ran.out
    assert "\n  note    hardware.lines: milan: a paper" in ran.out
    told = owner.run("trust", "lint", every, "--json")
    assert told.status == 1
    assert {remark["rank"] for remark in told.json["remarks"]} == {"danger", "doubt", "note"}
    assert told.json["remarks"][0].keys() == {"rank", "key", "what", "hint"}


@pytest.mark.parametrize("verb", ["lint", "explain"])
@pytest.mark.parametrize("sha256", PERMISSIVE)
def test_a_policy_that_allows_everything_is_refused_by_name(
    owner: Owner, verb: str, sha256: bytes
) -> None:
    given(owner, "a.toml", (case.POLICY.hex(), sha256.hex()))
    ran = owner.run("trust", verb, "a.toml")
    assert (ran.status, ran.out) == (8, "")
    assert f"key software.policies[0]: this is {PERMISSIVE[sha256]}\n" in ran.err


def test_notes_alone_are_no_failure(owner: Owner) -> None:
    options = {**REAL, **ENDORSED, "--line": "genoa", "--expires": "2199-01-01"}
    owner.new(options)
    ran = owner.run("trust", "lint", "trust.toml")
    assert (ran.status, ran.out, ran.err) == (0, "nothing to remark on\n", "")
    owner.file.unlink()
    owner.new(options, "--policy", "ab" * 32)
    ran = owner.run("trust", "lint", "trust.toml")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("  note    software.policies: 2 are accepted")
    assert owner.run("trust", "lint", "missing.toml").status == 8


# ---- explain


def test_explains_for_programs(owner: Owner) -> None:
    owner.new({"--expires": "2027-03-31"})
    with owner.file.open("a") as file:
        file.write("[danger]\nallow_debug = true\n")
    ran = owner.run("trust", "explain", "trust.toml", "--json")
    assert (ran.status, ran.err) == (0, "")
    assert ran.json == {
        "name": "clinic",
        "platform": "simulated",
        "expires": "2027-03-31",
        "policies": [POLICY],
        "models": {"net": [ROOT]},
        "dangers": ["debug machines are accepted: the host can read their memory"],
        "simulated_root_sha256": ran.json["simulated_root_sha256"],
        "hardware": ran.json["hardware"],
        "launch": ran.json["launch"],
        "guest": ran.json["guest"],
    }


def test_explains_every_expectation_to_programs(owner: Owner) -> None:
    owner.new()
    hardware = "[hardware]\n"
    optional = 'minimum_firmware = "1.55.29"\n'
    owner.file.write_text(owner.file.read_text().replace(hardware, hardware + optional))
    ran = owner.run("trust", "explain", "trust.toml", "--json")
    assert (ran.status, ran.err) == (0, "")
    told = ran.json
    trust = Trust.load(owner.file)
    assert told["simulated_root_sha256"] == (trust.simulated_root_sha256 or b"").hex()
    for part in ("hardware", "launch", "guest"):
        assert told[part].keys() == {each.name for each in fields(getattr(trust, part))}
    assert told["hardware"]["minimum_firmware"] == "1.55.29"
    line, floor = next(iter(trust.hardware.floors.items()))
    assert told["hardware"]["floors"][line]["snp"] == floor.snp


def test_explains_dangers_to_people(owner: Owner) -> None:
    owner.new()
    assert "DANGER" not in owner.run("trust", "explain", "trust.toml").out
    with owner.file.open("a") as file:
        file.write("[danger]\nwithout_nonce = true\n")
    assert "  DANGER     no nonce is required" in owner.run("trust", "explain", "trust.toml").out


@pytest.mark.parametrize("text", [None, "", "version = 1\nversion = 1", "\xff"])
def test_a_file_that_is_none_cannot_be_explained(owner: Owner, text: str | None) -> None:
    if text is not None:
        owner.file.write_bytes(text.encode("latin-1"))
    ran = owner.run("trust", "explain", "trust.toml")
    assert (ran.status, ran.out) == (8, "")
    assert ran.err.startswith("sealserve: trust.toml")


@pytest.mark.parametrize(
    "arguments", [[], ["explain"], ["explain", "."], ["diff", "a.toml"], ["lint"], ["write"]]
)
def test_usage(owner: Owner, arguments: list[str]) -> None:
    ran = owner.run("trust", *arguments)
    assert ran.status == 2
    assert "Usage: sealserve trust" in ran.out + ran.err


def test_help(owner: Owner) -> None:
    told = " ".join(owner.run("trust", "new", "--help").out.split())
    assert "Example: sealserve trust new" in told
    for option in (*GOOD, *ENDORSED, *REAL, "--expires", "--json"):
        assert option in told
