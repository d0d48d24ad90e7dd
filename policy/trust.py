"""The trust file: everything a client expects of a server, written down in one TOML file.

A missing expectation is an error, never a pass; what loosens a check stands in [danger] and is
repeated in every verdict. Loading reads no clock: whether the file has expired is decided when
something is appraised.
"""

from __future__ import annotations

import datetime
import difflib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sealserve.attestation.roots import Roots
from sealserve.native.errors import ConfigError, Finding, PolicyViolation
from sealserve.policy import toml_table, trust_schema
from sealserve.policy.expectations import (
    Danger,
    Guest,
    Hardware,
    Kind,
    MeasuredLaunch,
    Noted,
    UvmLaunch,
)
from sealserve.policy.trust_words import explain


@dataclass(frozen=True)
class Trust:
    """One trust file, every rule of the schema checked.

    expires: the last day on which it counts, in UTC; None if the file names none. policies: what
    HOST_DATA may be. models: accepted roots (32 bytes each) by model name.
    """

    name: str
    kind: Kind
    simulated_root_sha256: bytes | None
    hardware: Hardware
    launch: UvmLaunch | MeasuredLaunch
    guest: Guest
    policies: tuple[Noted, ...]
    models: Mapping[str, tuple[bytes, ...]]
    danger: Danger
    expires: datetime.date | None
    file: str

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trust:
        """Read a trust file. Raises ConfigError with file, line and key for anything amiss."""
        file = os.fspath(path)
        try:
            with Path(file).open("rb") as stream:
                data = stream.read(toml_table.MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                f"cannot be read: {error.strerror}",
                file=file,
                hint="`sealserve trust new` writes one",
            ) from error
        return cls.parse(data, file=file)

    @classmethod
    def parse(cls, data: bytes, *, file: str = "") -> Trust:
        """Read the bytes of a trust file; `file` is for messages."""
        top = toml_table.read(data, file)
        trust_schema.check_top(top)
        kind, root = trust_schema.platform(top["platform"].table())
        return cls(
            name=top["name"].words(),
            kind=kind,
            simulated_root_sha256=root,
            hardware=trust_schema.hardware(top["hardware"].table()),
            launch=trust_schema.launch(top["launch"].table(), kind),
            guest=trust_schema.guest(top["launch"].table()),
            policies=trust_schema.software(top["software"].table(), kind),
            models=trust_schema.models(top["models"].table()),
            danger=trust_schema.danger(top["danger"].table()) if "danger" in top else Danger(),
            expires=top["expires"].date() if "expires" in top else None,
            file=file,
        )

    def roots(self) -> Roots:
        """The root certificates evidence has to lead to: AMD's, or the one simulated root."""
        if self.simulated_root_sha256 is not None:
            return Roots.simulated(self.simulated_root_sha256)
        return Roots.amd()

    def policy(self, host_data: bytes) -> Noted | None:
        """The accepted execution policy with this SHA-256, if there is one."""
        return next((known for known in self.policies if known.digest == host_data), None)

    def model_roots(self, name: str) -> tuple[bytes, ...]:
        """The accepted roots of one model. Raises PolicyViolation for a model nobody named."""
        if name not in self.models:
            raise PolicyViolation(
                f'trust "{self.name}" does not accept this model',
                findings=[Finding("model_unknown", name, " or ".join(sorted(self.models)))],
                hint=_meant(name, self.models),
            )
        return self.models[name]

    def explain(self) -> str:
        """What this file accepts, in plain words, one expectation per line."""
        return explain(self)


def _meant(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return (
        f"did you mean {close[0]}?"
        if close
        else f"add [models.{name}] with the roots its owner published"
    )
