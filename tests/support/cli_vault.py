"""An owner's desk with a trust service to talk to, for the verbs that make vault keys."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from sealserve.keys.connection import Connection
from sealserve.keys.trustd.pages import Page
from support.keys_trustd import LocalTrustd, random_name
from support.models_cli import Desk, Ran

POLICY = b'package policy\n\napi_version := "0.10.0"\n'


class VaultDesk(Desk):
    """A desk with two execution policies, the way into a trust service, and a key name of its own.

    connection.toml lies in the folder; `vault` adds it, and the reference, to a command line.
    """

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str], trustd: LocalTrustd
    ) -> None:
        super().__init__(folder, capsys)
        self.trustd = trustd
        self.name = random_name()
        self.reference = f"trustd:{trustd.connection.address}/{self.name}"
        self.write("policy.rego", POLICY)
        self.write("other.rego", POLICY + b"# another one\n")
        self.connect(trustd.connection)

    def write(self, name: str, data: bytes) -> None:
        """Put a file into the folder."""
        (self.folder / name).write_bytes(data)

    def connect(self, connection: Connection, name: str = "connection.toml") -> None:
        """Write a connection file."""
        self.write(name, connection.to_toml().encode())

    def vault(self, *arguments: str) -> Ran:
        """Run a verb with our connection file."""
        return self.run(*arguments, "--connection", "connection.toml")

    def host_data(self, name: str = "policy.rego") -> str:
        """What HOST_DATA holds under a policy of the desk."""
        return hashlib.sha256((self.folder / name).read_bytes()).hexdigest()

    @property
    def versions(self) -> list[dict[str, Any]]:
        """What the service has under our key's name, oldest first."""
        answered = self.trustd.service.versions(self.trustd.owner, self.name, Page())
        versions: list[dict[str, Any]] = answered["value"]
        return versions

    @property
    def kids(self) -> list[str]:
        """Their URLs."""
        return [each["kid"] for each in self.versions]
