"""deploy/aci: what Azure takes, the same in both languages, and a policy under which it starts.

Nothing here talks to Azure, and there is no Bicep compiler: shapes are compared with the fields
that the REST API's version lists, and Bicep is read by a parser of the part we write
(tests/support/bicep.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealserve.cli.main import run
from sealserve.policy.execution import lint, text
from sealserve.policy.execution.framework import Enforcer, Policy
from support.bicep import read
from support.models_cli import Ran
from support.policy_case import FEED, ISSUER
from support.policy_deployment import SERVICE, VAULT, sealed
from support.policy_guest import create, mounted
from support.policy_vectors import DIRECTORY

ACI = Path(__file__).resolve().parents[2] / "deploy" / "aci"
NAMES = ("serve", "skr")
IMAGES = DIRECTORY / "templates"
OURS, FOREIGN = "demo.example/app:1.4", "demo.example/tools/tool:2"

# Microsoft.ContainerInstance/containerGroups, 2023-05-01: members that are required, and others.
# A list has entries of the shape in it; a tuple is what a value may be.
Shape = dict[str, Any]
API_VERSION = "2023-05-01"
PORT: Shape = {"port!": int, "protocol": ("TCP", "UDP")}
CONTAINER: Shape = {
    "image!": str,
    "command": [str],
    "environmentVariables": [{"name!": str, "value": str, "secureValue": str}],
    "ports": [PORT],
    "resources!": {"requests!": {"cpu!": int, "memoryInGB!": int}},
    "securityContext": {
        "allowPrivilegeEscalation": bool,
        "capabilities": {"add": [str], "drop": [str]},
        "privileged": bool,
        "runAsGroup": int,
        "runAsUser": int,
        "seccompProfile": str,
    },
    "volumeMounts": [{"name!": str, "mountPath!": str, "readOnly": bool}],
}
AZURE_FILE: Shape = {
    "shareName!": str,
    "storageAccountName!": str,
    "storageAccountKey": str,
    "readOnly": bool,
}
GROUP: Shape = {
    "type!": ("Microsoft.ContainerInstance/containerGroups",),
    "apiVersion!": (API_VERSION,),
    "name!": str,
    "location!": str,
    "identity!": {"type!": ("UserAssigned",), "userAssignedIdentities!": dict},
    "properties!": {
        "containers!": [{"name!": str, "properties!": CONTAINER}],
        "osType!": ("Linux",),
        "sku!": ("Confidential",),
        "confidentialComputeProperties!": {"ccePolicy!": str},
        "imageRegistryCredentials": [{"server!": str, "identity": str}],
        "ipAddress": {"type!": ("Public", "Private"), "ports!": [PORT], "dnsNameLabel": str},
        "restartPolicy": ("Always", "OnFailure", "Never"),
        "volumes": [{"name!": str, "azureFile": AZURE_FILE}],
    },
}


def template(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((ACI / f"{name}.json").read_text())
    return document


def parameters(name: str) -> dict[str, Any]:
    document = json.loads((ACI / f"{name}.parameters.json").read_text())
    values: dict[str, Any] = document["parameters"]
    return values


def group(document: dict[str, Any]) -> dict[str, Any]:
    (resource,) = document["resources"]
    found: dict[str, Any] = resource
    return found


def faults(value: Any, shape: Any, where: str = "") -> Iterator[str]:
    """What of a value the shape does not have, and the other way round."""
    if isinstance(value, str) and re.fullmatch(r"\[parameters\('\w+'\)\]", value):
        return  # its type is the parameter's
    if isinstance(shape, list) and isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from faults(item, shape[0], f"{where}[{index}]")
    elif isinstance(shape, dict) and isinstance(value, dict):
        yield from _member_faults(value, shape, where)
    elif not (value in shape if isinstance(shape, tuple) else type(value) is shape):
        yield f"{where}: {value!r} is not of {shape}"


def _member_faults(value: dict[str, Any], shape: Shape, where: str) -> Iterator[str]:
    known = {key.removesuffix("!"): key for key in shape}
    yield from (f"{where}: {key} is not known" for key in value.keys() - known.keys())
    for name, key in known.items():
        if name in value:
            yield from faults(value[name], shape[key], f"{where}.{name}")
        elif key.endswith("!"):
            yield f"{where}: {name} is missing"


@pytest.mark.parametrize("name", NAMES)
def test_the_group_has_the_shape_that_azure_takes(name: str) -> None:
    assert list(faults(group(template(name)), GROUP)) == []


def test_the_shapes_refuse_what_is_missing_or_unknown() -> None:
    broken = group(template("serve"))
    del broken["properties"]["sku"]
    broken["properties"]["containers"][0]["properties"]["livenes"] = {}
    broken["properties"]["osType"] = "Windows"
    broken["properties"]["volumes"][0]["azureFile"]["readOnly"] = "yes"
    assert list(faults(broken, GROUP)) == [
        ".properties.containers[0].properties: livenes is not known",
        ".properties.osType: 'Windows' is not of ('Linux',)",
        ".properties: sku is missing",
        ".properties.volumes[0].azureFile.readOnly: 'yes' is not of <class 'bool'>",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_published_port_is_a_containers_and_a_mount_a_volume(name: str) -> None:
    properties = group(template(name))["properties"]
    inner = [each["properties"] for each in properties["containers"]]
    ports = [port["port"] for each in inner for port in each.get("ports", ())]
    assert [port["port"] for port in properties["ipAddress"]["ports"]] == ports
    mounts = {mount["name"] for each in inner for mount in each.get("volumeMounts", ())}
    assert mounts == {volume["name"] for volume in properties.get("volumes", ())}


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_declared_used_and_given(name: str) -> None:
    document = template(name)
    declared = document.pop("parameters")
    used = set(re.findall(r"parameters\('(\w+)'\)", json.dumps(document)))
    assert used == declared.keys()
    secrets = {key for key, entry in declared.items() if entry["type"].startswith("secure")}
    open_ = {key for key, entry in declared.items() if "defaultValue" not in entry}
    assert parameters(name).keys() == open_ - secrets


@pytest.mark.parametrize("name", NAMES)
def test_bicep_says_the_same(name: str) -> None:
    """All but the policy: generate puts it into the JSON, Bicep gets it as a parameter."""
    ours = template(name)
    for key in ("$schema", "contentVersion", "metadata"):
        del ours[key]
    bicep = read((ACI / f"{name}.bicep").read_text())
    assert bicep["parameters"].pop("ccePolicy")["type"] == "string"
    carried = group(bicep)["properties"]["confidentialComputeProperties"]
    assert carried == {"ccePolicy": "[parameters('ccePolicy')]"}
    carried["ccePolicy"] = ""
    assert bicep == ours


@pytest.mark.parametrize("name", NAMES)
def test_our_container_starts_as_our_image_does(name: str) -> None:
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", (ACI.parent / "Containerfile").read_text(), re.M)
    command = group(template(name))["properties"]["containers"][-1]["properties"]["command"]
    assert command[: len(json.loads(entry)) + 1] == [*json.loads(entry), name]


@pytest.mark.parametrize("words", ["param x bool", "var x = 1", "param x string = y", "x"])
def test_bicep_of_another_kind_is_not_guessed_at(words: str) -> None:
    with pytest.raises((SyntaxError, KeyError)):
        read(f"{words}\n")


# ---- the policy


class Deployment:
    """A folder with a template and its parameters for small images of the tests."""

    def __init__(self, folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.name = folder, name
        self._capsys = capsys
        self.template = folder / f"{name}.json"
        self.template.write_bytes((ACI / f"{name}.json").read_bytes())
        images = {"image": OURS, "appImage": FOREIGN}
        values = parameters(name)
        self.give({key: images[key] for key in images if key in values})

    def give(self, values: dict[str, str]) -> None:
        path = self.folder / f"{self.name}.parameters.json"
        document = json.loads((path if path.exists() else ACI / path.name).read_text())
        for key, value in values.items():
            document["parameters"][key] = {"value": value}
        path.write_text(json.dumps(document))

    def run(self, *arguments: str) -> Ran:
        status = run(list(arguments))
        return Ran(status, *self._capsys.readouterr())

    def generate(self) -> str:
        """Put the policy in, as the README has it; its hash as it was printed."""
        given = ("-p", str(self.folder / f"{self.name}.parameters.json"))
        tar = ("--tar", str(IMAGES / "images.json"), "--infrastructure-svn", "4")
        command = ("policy", "generate", "--template", str(self.template), *given, *tar)
        ran = self.run(*command)
        assert ran.status == 0, ran.err
        assert not ran.err
        return ran.out.split()[0]

    @property
    def policy(self) -> bytes:
        properties = group(json.loads(self.template.read_text()))["properties"]
        return base64.b64decode(properties["confidentialComputeProperties"]["ccePolicy"])


@pytest.fixture
def deployment(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Deployment:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "deployment"
    folder.mkdir()
    return Deployment(folder, request.param, capsys)


both = pytest.mark.parametrize("deployment", NAMES, indirect=True)


@both
def test_the_hash_that_is_printed_stands_in_the_template(deployment: Deployment) -> None:
    before = (ACI / deployment.template.name).read_text()
    printed = deployment.generate()
    assert hashlib.sha256(deployment.policy).hexdigest() == printed
    carried = base64.b64encode(deployment.policy).decode()
    assert deployment.template.read_text().replace(carried, "") == before


@both
def test_nothing_in_the_policy_is_left_to_the_host(deployment: Deployment) -> None:
    deployment.generate()
    remarks = lint.lint(Policy.parse(deployment.policy))
    assert [each for each in remarks if each.rank in ("critical", "danger")] == []


@both
def test_our_container_starts_with_its_words_and_no_others(deployment: Deployment) -> None:
    deployment.generate()
    container = next(
        each for each in text.parse(deployment.policy).containers if each["name"] == deployment.name
    )
    command = container["command"]
    fixed = [each["pattern"] for each in container["env_rules"] if each["strategy"] == "string"]
    places = [
        {**each, "source": each["source"].replace("sandbox://", "/sandbox").replace(".+", "v1")}
        for each in container["mounts"]
    ]
    wanted = {
        "argList": command,
        "envList": fixed,
        "workingDir": container["working_dir"],
        "mounts": places,
        "noNewPrivileges": True,
        "capabilities": container["capabilities"],
    }
    guest = Policy.parse(deployment.policy)

    def starts(**changes: object) -> bool:
        enforcer = mounted(Enforcer(guest), layers=container["layers"])
        return create(enforcer, **{**wanted, **changes}).allowed

    assert starts()
    assert not starts(argList=[*command, "--key", "other"])
    assert not starts(argList=[word.replace(VAULT, "other.example") for word in command])
    assert not starts(user={"id": "1000", "name": "somebody"})
    assert not starts(noNewPrivileges=False)


@pytest.mark.parametrize("deployment", ["skr"], indirect=True)
def test_the_sidecar_is_no_server_and_publishes_nothing(deployment: Deployment) -> None:
    deployment.generate()
    skr = group(template("skr"))["properties"]["containers"][1]["properties"]
    assert "ports" not in skr
    assert "serve" not in skr["command"]
    assert skr["command"][skr["command"].index("--host") + 1] == "127.0.0.1"


# ---- the way of the README: from a sealed model to a folder that agrees


def release_policy(deployment: Deployment, *source: str) -> None:
    out = str(deployment.folder / "release.json")
    ran = deployment.run("key", "policy", *source, "--attestation-service", SERVICE, "-o", out)
    assert ran.status == 0, ran.err


def agreement(deployment: Deployment) -> tuple[list[tuple[str, str]], int]:
    """What deploy lint remarks on, and how it ends."""
    ran = deployment.run("deploy", "lint", str(deployment.folder), "--json")
    return [(each["code"], each["rank"]) for each in ran.json["disagreements"]], ran.status


@pytest.mark.parametrize("deployment", ["serve"], indirect=True)
def test_a_server_and_all_its_files_agree(deployment: Deployment) -> None:
    root = sealed(deployment.folder / "net.sealed", "net")
    deployment.give({"root": root})
    deployment.generate()
    rego, trust = deployment.folder / "policy.rego", deployment.folder / "trust.toml"
    rego.write_bytes(deployment.policy)
    endorsed = ("--uvm-issuer", ISSUER, "--uvm-feed", FEED, "--uvm-minimum-svn", "104")
    made = ("--name", "clinic", "--platform", "aci", "--line", "genoa", "--expires", "2999-01-01")
    accepted = ("--policy", str(rego), "--model", f"net={root}")
    new = deployment.run("trust", "new", "-o", str(trust), *made, *endorsed, *accepted)
    assert new.status == 0, new.err
    release_policy(deployment, "--trust", str(trust))
    assert agreement(deployment) == ([], 0)


@pytest.mark.parametrize("deployment", ["skr"], indirect=True)
def test_a_sidecar_and_all_its_files_agree(deployment: Deployment) -> None:
    deployment.generate()
    rego = deployment.folder / "policy.rego"
    rego.write_bytes(deployment.policy)
    release_policy(deployment, "--policy", str(rego))
    assert agreement(deployment) == ([("no_trust", "note"), ("no_sealed", "note")], 0)
