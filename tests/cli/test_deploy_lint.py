"""`sealserve deploy lint`: each disagreement alone, what is missing, and what cannot be read."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sealserve.cli.main import run
from sealserve.policy.execution.process import generate_process
from sealserve.policy.expectations import MeasuredLaunch, Noted, UvmLaunch
from sealserve.policy.release_build import MEASUREMENT, build
from support.models_cli import Ran
from support.policy_case import FEED, ISSUER
from support.policy_deployment import (
    OTHER,
    SERVICE,
    VAULT,
    Case,
    agreeing,
    digest,
    sealed,
    serve,
    skr,
)

SVN = "x-ms-sevsnpvm-uvm-endorsement.x-ms-sevsnpvm-guestsvn"
MEASURED = MeasuredLaunch((Noted(bytes(48), "zeros"),))


@dataclass(frozen=True)
class Sealed:
    """Files sealed once, and their roots: net and second for our vault, elsewhere for another."""

    folder: Path
    net: str
    second: str
    elsewhere: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    folder = tmp_path_factory.mktemp("sealed")
    return Sealed(
        folder,
        sealed(folder / "net.sealed", "net"),
        sealed(folder / "second.sealed", "second", seed=2),
        sealed(folder / "elsewhere.sealed", "net", "other.vault.azure.net", seed=3),
    )


class Desk:
    """A folder of one deployment."""

    def __init__(self, folder: Path, files: Sealed, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.files = files
        self.case = agreeing(files.net)
        self._capsys = capsys
        self.copy("net.sealed")

    def copy(self, name: str, new: str = "") -> None:
        shutil.copy(self.files.folder / name, self.folder / (new or name))

    def write(self, **changes: Any) -> None:
        """The case with these changes, as files."""
        self.case = self.case.changed(**changes)
        self.case.write(self.folder)

    def edit(self, name: str, change: Callable[[Any], None]) -> None:
        """Change a JSON file."""
        document = json.loads((self.folder / name).read_text())
        change(document)
        (self.folder / name).write_text(json.dumps(document))

    def lint(self, *options: str) -> Ran:
        status = run(["deploy", "lint", str(self.folder), *options])
        out, err = self._capsys.readouterr()
        assert "unforeseen" not in err
        return Ran(status, out, err)

    @property
    def found(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.lint("--json").json["disagreements"]
        return found

    @property
    def codes(self) -> list[str]:
        return [each["code"] for each in self.found]


@pytest.fixture
def desk(tmp_path: Path, files: Sealed, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, files, capsys)


def test_a_deployment_that_agrees_has_nothing_to_say(desk: Desk) -> None:
    desk.write()
    ran = desk.lint()
    assert ran.status == 0
    assert "DANGER" not in ran.out
    assert "looked at, template: template.json" in ran.out
    assert desk.lint("--json").json == {
        "disagreements": [],
        "files": {
            "policy": ["policy.rego"],
            "release_policy": ["release.json"],
            "sealed": ["net.sealed"],
            "template": ["template.json"],
            "trust": ["trust.toml"],
        },
    }


# ---- each disagreement alone


def _two_models(desk: Desk, **changes: Any) -> None:
    """Both are served, and the second is in the folder unless a test takes it away."""
    both = (("/models/net.sealed", desk.files.net), ("/models/second.sealed", desk.files.second))
    models = {"net": [desk.files.net], "second": [desk.files.second]}
    desk.copy("second.sealed")
    desk.write(**{"commands": {"serve": serve(*both)}, "models": models, **changes})


def _policy_file(desk: Desk) -> None:
    desk.write()
    (desk.folder / "policy.rego").write_bytes(desk.case.policy + b"\n")


def _release_host_data(desk: Desk) -> None:
    here = digest(desk.case.policy)
    desk.write(host_data=(OTHER,), policies=(here, OTHER))


def _release_any(desk: Desk) -> None:
    def without_host_data(document: Any) -> None:
        clauses = document["anyOf"][0]["allOf"]
        clauses[:] = [each for each in clauses if "hostdata" not in json.dumps(each)]

    desk.write()
    desk.edit("release.json", without_host_data)


def _trust_host_data(desk: Desk) -> None:
    desk.write(host_data=(digest(desk.case.policy), OTHER), policies=(OTHER,))


def _released_not_trusted(desk: Desk) -> None:
    desk.write(host_data=(digest(desk.case.policy), OTHER))


def _trusted_not_released(desk: Desk) -> None:
    desk.write(policies=(digest(desk.case.policy), OTHER))


def _allows_everything(desk: Desk) -> None:
    allowed = re.sub(rb"data\.framework\.(?!errors)\w+", b'{"allowed": true}', desk.case.policy)
    desk.case.write(desk.folder, allowed)


def _command(desk: Desk) -> None:
    desk.write(written={"serve": [*desk.case.commands["serve"], "--require-root"]})


def _command_unknown(desk: Desk) -> None:
    desk.write(written={**desk.case.commands, "helper": ["/bin/helper"]})


def _sealed_root(desk: Desk) -> None:
    _two_models(desk)
    (desk.folder / "second.sealed").unlink()


def _sealed_file(desk: Desk) -> None:
    desk.write()
    (desk.folder / "net.sealed").rename(desk.folder / "other.sealed")


def _sealed_not_served(desk: Desk) -> None:
    desk.write()
    desk.copy("second.sealed")


def _trust_root(desk: Desk) -> None:
    _two_models(desk, models={"net": [desk.files.net]})


def _model_name(desk: Desk) -> None:
    desk.write(models={"other": [desk.files.net]})


def _trust_root_not_served(desk: Desk) -> None:
    desk.write(models={"net": [desk.files.net, OTHER]})


def _slot_vault(desk: Desk) -> None:
    root = desk.files.elsewhere
    desk.copy("elsewhere.sealed", "net.sealed")
    desk.write(commands={"serve": serve(("/models/net.sealed", root))}, models={"net": [root]})


def _authority(desk: Desk) -> None:
    desk.write(authority="https://other.attest.azure.net")


def _authority_of_a_sidecar(desk: Desk) -> None:
    other = ("--vault", VAULT, "--attestation-service", "https://other.attest.azure.net")
    desk.write(commands={**desk.case.commands, "skr": skr(*other)})


def _identity(desk: Desk) -> None:
    model = ("/models/net.sealed", desk.files.net)
    desk.write(commands={"serve": serve(model, asks=("--identity", "/models/owner.key"))})


def _managed_identity(desk: Desk) -> None:
    desk.write()
    desk.edit("template.json", lambda document: document["resources"][0].pop("identity"))


def _sku(desk: Desk) -> None:
    desk.write()

    def standard(document: Any) -> None:
        document["resources"][0]["properties"]["sku"] = "Standard"

    desk.edit("template.json", standard)


def _platform_template(desk: Desk) -> None:
    desk.write(trust={"kind": "snp"})


def _platform_authority(desk: Desk) -> None:
    """A second authority, so that the one that is asked is there all the same."""
    desk.write()
    simulated = build(f"{SERVICE}/simulated", digest(desk.case.policy), simulated=True)

    def add(document: Any) -> None:
        document["anyOf"] += json.loads(simulated)["anyOf"]
        document["anyOf"][1]["allOf"] += document["anyOf"][0]["allOf"][-2:]  # the endorsement

    desk.edit("release.json", add)


def _uvm_issuer(desk: Desk) -> None:
    desk.write(launch=UvmLaunch("did:x509:0:sha256:other::eku:1.2", FEED, 104))


def _uvm_feed(desk: Desk) -> None:
    desk.write(launch=UvmLaunch(ISSUER, "Other-UVM", 104))


def _uvm_not_asked(desk: Desk) -> None:
    desk.write(launch=None)


def _clause(claim: str, value: str) -> Callable[[Any], None]:
    return lambda document: document["anyOf"][0]["allOf"].append({"claim": claim, "equals": value})


def _uvm_svn(desk: Desk) -> None:
    desk.write()
    desk.edit("release.json", _clause(SVN, "103"))


def _expired(desk: Desk) -> None:
    desk.write(trust={"expires": datetime.date(2020, 1, 1)})


def _no_command(desk: Desk) -> None:
    desk.write(commands={"app": ["/srv/app"]})


def _command_refused(desk: Desk) -> None:
    desk.write(commands={"serve": [*desk.case.commands["serve"], "--verbose"]})


def _command_without_service(desk: Desk) -> None:
    asks = ("--vault", VAULT)
    model = ("/models/net.sealed", desk.files.net)
    desk.write(commands={"serve": serve(model, asks=asks)})


def _command_without_authority(desk: Desk) -> None:
    desk.write(commands={**desk.case.commands, "skr": skr("--vault", "trustd:127.0.0.1:8443")})


def _command_without_vault(desk: Desk) -> None:
    desk.write(commands={"serve": serve(("/models/net.sealed", desk.files.net), asks=())})


def _command_without_host(desk: Desk) -> None:
    asks = ("--vault", "a b", "--attestation-service", SERVICE)
    desk.write(commands={**desk.case.commands, "skr": skr(*asks)})


DISAGREEMENTS: dict[str, tuple[Callable[[Desk], None], str]] = {
    "policy_file": (_policy_file, "danger"),
    "release_host_data": (_release_host_data, "danger"),
    "release_host_data: any": (_release_any, "danger"),
    "trust_host_data": (_trust_host_data, "danger"),
    "released_not_trusted": (_released_not_trusted, "doubt"),
    "trusted_not_released": (_trusted_not_released, "doubt"),
    "allows_everything": (_allows_everything, "critical"),
    "command": (_command, "danger"),
    "command: no such container": (_command_unknown, "danger"),
    "sealed_root": (_sealed_root, "danger"),
    "sealed_file": (_sealed_file, "danger"),
    "sealed_not_served": (_sealed_not_served, "doubt"),
    "trust_root": (_trust_root, "danger"),
    "model_name": (_model_name, "danger"),
    "trust_root_not_served": (_trust_root_not_served, "note"),
    "slot_vault": (_slot_vault, "danger"),
    "authority": (_authority, "danger"),
    "authority: sidecar": (_authority_of_a_sidecar, "danger"),
    "managed_identity": (_managed_identity, "danger"),
    "identity": (_identity, "danger"),
    "sku": (_sku, "danger"),
    "platform_template": (_platform_template, "danger"),
    "platform_authority": (_platform_authority, "danger"),
    "uvm_issuer": (_uvm_issuer, "danger"),
    "uvm_feed": (_uvm_feed, "danger"),
    "uvm_not_asked": (_uvm_not_asked, "note"),
    "uvm_svn": (_uvm_svn, "danger"),
    "expires": (_expired, "danger"),
    "no_command": (_no_command, "danger"),
    "command_refused": (_command_refused, "danger"),
    "command_refused: no service": (_command_without_service, "danger"),
    "command_refused: no authority": (_command_without_authority, "danger"),
    "command_refused: no vault": (_command_without_vault, "danger"),
    "command_refused: no host": (_command_without_host, "danger"),
}


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_each_disagreement_is_found_alone_with_its_sides(desk: Desk, name: str) -> None:
    change, rank = DISAGREEMENTS[name]
    change(desk)
    told = [(each["code"], each["rank"]) for each in desk.found]
    assert told == [(name.partition(":")[0], rank)]
    (only,) = desk.found
    assert only["hint"]
    assert all(side["where"] and side["says"] for side in only["sides"])
    one_sided = ("allows_everything", "no_command", "command_refused", "expires")
    assert len(only["sides"]) == (1 if only["code"] in one_sided else 2)
    assert desk.lint().status == (0 if rank == "note" else 1)


def test_a_measurement_that_no_client_accepts(desk: Desk) -> None:
    desk.write(trust={"kind": "snp", "launch": MEASURED}, launch=None)
    (desk.folder / "template.json").unlink()
    assert desk.codes == ["no_template"]
    desk.edit("release.json", _clause(MEASUREMENT, "ab" * 48))
    assert desk.codes == ["measurement", "no_template"]


def test_both_sides_and_both_files_are_in_the_words(desk: Desk) -> None:
    _slot_vault(desk)
    out = desk.lint().out
    assert "DANGER  slot_vault: the sealed model has no slot" in out
    assert "template.json, group clinic, container serve, --vault: clinic.vault.azure.net" in out
    assert "net.sealed, slots: other.vault.azure.net" in out
    assert "hint: `sealserve publish` gives it one" in out


def test_a_date_that_comes_near_is_a_doubt(desk: Desk) -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    desk.write(trust={"expires": today + datetime.timedelta(days=7)})
    assert [(each["code"], each["rank"]) for each in desk.found] == [("expires", "doubt")]


# ---- what is not there

PIECES = {
    "template.json": "no_template",
    "policy.rego": "no_policy",
    "release.json": "no_release_policy",
    "trust.toml": "no_trust",
    "net.sealed": "no_sealed",
}


@pytest.mark.parametrize("name", PIECES)
def test_what_is_missing_is_named(desk: Desk, name: str) -> None:
    desk.write()
    (desk.folder / name).unlink()
    assert [(each["code"], each["rank"]) for each in desk.found] == [(PIECES[name], "danger")]
    assert desk.lint().status == 1


def test_an_empty_folder_lacks_everything(desk: Desk) -> None:
    (desk.folder / "net.sealed").unlink()
    assert desk.codes == list(PIECES.values())


def test_a_sidecar_alone_needs_no_sealed_model(desk: Desk) -> None:
    (desk.folder / "net.sealed").unlink()
    desk.write(commands={"app": ["/srv/app"], "skr": skr()})
    assert [(each["code"], each["rank"]) for each in desk.found] == [("no_sealed", "note")]
    assert desk.lint().status == 0


def test_a_simulated_machine_needs_no_template(desk: Desk) -> None:
    """Its policy is of one process, and its trust service signs as another issuer."""
    vault = "127.0.0.1:8443"
    root = sealed(desk.folder / "net.sealed", "net", vault)
    asks = ("--vault", f"trustd:{vault}", "--vault-ca-sha256", OTHER)
    command = ["/usr/bin/sealserve", *serve(("/models/net.sealed", root), asks=asks)[4:]]
    case = Case(
        {},
        {"net": [root]},
        authority=f"https://{vault}/simulated",
        launch=None,
        trust={"kind": "simulated", "simulated_root_sha256": OTHER, "launch": MEASURED},
    )
    case.write(desk.folder, generate_process(command))
    (desk.folder / "template.json").unlink()
    assert [(each["code"], each["rank"]) for each in desk.found] == [("no_template", "note")]
    (desk.folder / "release.json").write_bytes(build(f"https://{vault}", OTHER, simulated=False))
    assert {"authority", "platform_authority"} <= set(desk.codes)


# ---- what does not count


@pytest.mark.parametrize("name", [name for name in PIECES if name != "net.sealed"])
def test_of_two_files_of_one_kind_none_counts(desk: Desk, name: str) -> None:
    desk.write()
    shutil.copy(desk.folder / name, desk.folder / f"old.{name}")
    kind = PIECES[name].removeprefix("no_")
    assert desk.codes == [f"several_{kind}"]
    assert [side["where"] for side in desk.found[0]["sides"]] == sorted([name, f"old.{name}"])


BROKEN = {
    "template.json": b'{"resources": [{"type": "Microsoft.ContainerInstance/containerGroups"}]}',
    "policy.rego": b"package policy\n\nallow { true }\n",
    "release.json": b'{"anyOf": []}',
    "trust.toml": b'[platform]\nkind = "aci"\n',
    "net.sealed": b"not sealed",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named_and_the_rest_compared(desk: Desk, name: str) -> None:
    desk.write()
    if name == "policy.rego":
        (desk.folder / "template.json").unlink()
    (desk.folder / name).write_bytes(BROKEN[name])
    assert desk.codes[0] == "unreadable"
    assert desk.found[0]["sides"][0]["where"].startswith(name)
    assert PIECES[name] not in desk.codes
    assert desk.lint().status == 1


def test_other_files_are_named_and_not_looked_at(desk: Desk) -> None:
    desk.write()
    (desk.folder / "connection.toml").write_text('address = "127.0.0.1:8443"\n')
    (desk.folder / "notes.txt").write_text("no\x1b[2J")
    (desk.folder / "list.json").write_text("[]")
    ran = desk.lint()
    assert ran.status == 0
    assert "not looked at: connection.toml, list.json, notes.txt" in ran.out


def test_neither_json_nor_toml_is_unreadable(desk: Desk) -> None:
    desk.write()
    (desk.folder / "a.json").write_text("{")
    (desk.folder / "b.toml").write_text("= [")
    assert desk.codes == ["unreadable", "unreadable"]


def test_a_strangers_words_move_no_cursor(desk: Desk) -> None:
    desk.write(models={"net": [desk.files.net]})
    (desk.folder / "net.sealed").rename(desk.folder / "n\x1b[2Jet.sealed")
    out = desk.lint().out
    assert "\x1b" not in out
    assert "sealed_file" in out


def test_parameters_are_put_in(desk: Desk) -> None:
    desk.write()
    given = {"parameters": {"root": {"value": desk.files.net}}}
    (desk.folder / "template.parameters.json").write_text(json.dumps(given))

    def refer(document: Any) -> None:
        document["parameters"] = {"root": {"type": "string"}}
        command = document["resources"][0]["properties"]["containers"][0]["properties"]["command"]
        command[command.index(desk.files.net)] = "[parameters('root')]"

    desk.edit("template.json", refer)
    assert desk.codes == []
    given["parameters"]["root"]["value"] = OTHER
    (desk.folder / "template.parameters.json").write_text(json.dumps(given))
    assert desk.codes == ["command"]


def test_a_group_is_chosen_by_name(desk: Desk) -> None:
    desk.write()

    def second(document: Any) -> None:
        document["resources"].append({**document["resources"][0], "name": "second"})

    desk.edit("template.json", second)
    assert desk.codes == ["unreadable"]
    assert "--group" in desk.lint().out
    assert desk.lint("--group", "second").status == 0
    assert desk.lint("--group", "third").status == 1


def test_a_folder_of_everything_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write()
    monkeypatch.setattr("sealserve.cli.deploy_folder.MAX_FILES", 3)
    ran = desk.lint()
    assert ran.status == 8
    assert "at most 3 are looked at" in ran.err
