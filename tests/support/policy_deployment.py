"""A folder whose files agree, and ways to make exactly one thing in it differ."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sealserve.models.slots import Slot
from sealserve.native.secret import SecretBuffer
from sealserve.policy.execution.platform import pause_container
from sealserve.policy.execution.text import PolicyText
from sealserve.policy.expectations import Noted, UvmLaunch
from sealserve.policy.release_build import build
from sealserve.policy.trust_text import trust_text
from support.models_onnx import small
from support.models_sealed import seal_model
from support.policy_case import FEED, ISSUER

VAULT = "clinic.vault.azure.net"
SERVICE = "https://sharedneu.neu.attest.azure.net"
OTHER = "51" * 32  # a digest of something else
LAUNCH = UvmLaunch(ISSUER, FEED, 104)
PYTHON = ("/opt/sealserve/bin/python", "-I", "-m", "sealserve")
ASKS = ("--vault", VAULT, "--attestation-service", SERVICE)
Fields = dict[str, Any]


def digest(policy: bytes) -> str:
    """HOST_DATA under it."""
    return hashlib.sha256(policy).hexdigest()


@dataclass(frozen=True)
class Case:
    """What the files of a folder say; a good one is made by `agreeing`.

    commands: of the policy. written: of the template, where those differ. host_data: of the release
    policy. policies: of the trust file. launch: of the release policy, None for no clause.
    """

    commands: dict[str, Sequence[str]]
    models: dict[str, list[str]]
    written: dict[str, Sequence[str]] | None = None
    host_data: Sequence[str] | None = None
    authority: str = SERVICE
    launch: UvmLaunch | None = LAUNCH
    policies: Sequence[str] | None = None
    trust: Fields = field(default_factory=dict)

    @property
    def policy(self) -> bytes:
        containers = [
            {
                **pause_container(allow_stdio=True, signals=()),
                "name": name,
                "command": list(command),
            }
            for name, command in self.commands.items()
        ]
        return PolicyText(containers).encode()

    def changed(self, **changes: Any) -> Case:
        return replace(self, **changes)

    def write(self, folder: Path, policy: bytes | None = None) -> None:
        """Template, policy, release policy and trust file. policy: in place of our own."""
        policy = policy or self.policy
        here = digest(policy)
        (folder / "policy.rego").write_bytes(policy)
        (folder / "template.json").write_bytes(template(policy, self.written or self.commands))
        (folder / "release.json").write_bytes(
            build(
                self.authority,
                *(self.host_data or (here,)),
                simulated=self.authority.endswith("/simulated"),
                launch=self.launch,
            )
        )
        (folder / "trust.toml").write_text(self.trust_text(here))

    def trust_text(self, here: str) -> str:
        given: Fields = {
            "name": "clinic",
            "kind": "aci",
            "simulated_root_sha256": "",
            "lines": ("genoa",),
            "launch": LAUNCH,
            "expires": datetime.date(2999, 1, 1),
        }
        noted = [Noted(bytes.fromhex(each), "") for each in self.policies or (here,)]
        return trust_text(**{**given, **self.trust}, policies=noted, models=self.models)


def template(policy: bytes, commands: dict[str, Sequence[str]]) -> bytes:
    """An ARM template of one group that carries the policy."""
    containers = [
        {"name": name, "properties": {"image": "demo/app:1", "command": list(command)}}
        for name, command in commands.items()
    ]
    carried = {"ccePolicy": base64.b64encode(policy).decode()}
    properties = {"sku": "Confidential", "containers": containers}
    resource = {
        "type": "Microsoft.ContainerInstance/containerGroups",
        "name": "clinic",
        "identity": {"type": "SystemAssigned"},
        "properties": {**properties, "confidentialComputeProperties": carried},
    }
    return json.dumps({"resources": [resource]}, indent=2).encode()


@dataclass(frozen=True)
class VaultSlot:
    """A recipient that makes a slot for a vault key without any vault; nobody opens it."""

    host: str

    def wrap(self, key: SecretBuffer, root: bytes, header_sha256: bytes) -> Slot:
        del key, root, header_sha256
        url = f"https://{self.host}/keys/net/{'0123456789abcdef' * 2}"
        return Slot("azure", url, "RSA-OAEP-256", bytes(384))


def sealed(out: Path, name: str, vault: str = VAULT, seed: int = 1) -> str:
    """Seal a model with a slot for a key of this vault; its root."""
    return seal_model(small(seed), out, keys=[VaultSlot(vault)], name=name).root.hex()


def serve(*models: tuple[str, str], asks: Sequence[str] = ASKS) -> list[str]:
    """A server's command line for files and their roots."""
    roots = [word for _, root in models for word in ("--root", root)]
    return [*PYTHON, "serve", *(file for file, _ in models), *roots, *asks]


def skr(*asks: str) -> list[str]:
    """A sidecar's."""
    return [*PYTHON, "skr", *(asks or ASKS), "--key", "app-key"]


def agreeing(root: str) -> Case:
    """A deployment of one model."""
    return Case({"serve": serve(("/models/net.sealed", root))}, {"net": [root]})
