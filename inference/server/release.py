"""Where the models' keys come from: a vault that wants evidence, or a private key file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sealserve.inference.server.config import KeySource
from sealserve.inference.server.events import Event, log
from sealserve.keys.azure_identity import MANAGED, MachineIdentity
from sealserve.models import Opener, Slot
from sealserve.native.errors import ConfigError
from sealserve.native.secret import SecretBuffer

if TYPE_CHECKING:
    from sealserve.attestation.evidence import EvidenceSource


def opener_for(
    keys: KeySource, source: EvidenceSource, machine: MachineIdentity = MANAGED
) -> Opener:
    """The opener that the measured configuration means.

    machine: as whom a vault of Azure's is asked, which nobody measures.
    Raises ConfigError, and what reaching a vault can raise. A key file is for the simulated
    platform only: nothing about it proves to the model's owner where the key is used.
    """
    if keys.vault:
        return _vault(keys, source, machine)
    if source.platform != "simulated":
        raise ConfigError(
            f"a key from a file on platform {source.platform}; only the simulated one may",
            key="--identity",
            hint="use --vault: there the owner's release policy decides who gets the key",
        )
    from sealserve.keys.recipients import identity  # only where no vault is asked

    log(Event.IDENTITY_WITHOUT_ATTESTATION, platform=source.platform)
    return identity(keys.identity)


def _vault(keys: KeySource, source: EvidenceSource, machine: MachineIdentity) -> Opener:
    from sealserve.keys.opener import connect_vault  # the SDK takes its time
    from sealserve.keys.place import VaultOptions

    return connect_vault(
        VaultOptions(
            vault=keys.vault,
            attestation_service=keys.attestation_service,
            ca_sha256=keys.vault_ca_sha256,
            ca_file=Path(keys.vault_ca) if keys.vault_ca else None,
            credential=_credential(keys.vault_credential),
            identity=machine,
        ),
        source,
    )


def _credential(path: str) -> str:
    """The bearer token in the file; it is in a file because a command line is public."""
    if not path:
        return ""
    try:
        return Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "cannot be read as a token",
            file=path,
            key="--vault-credential",
            hint="one bearer token in ASCII, and nothing else, has to stand in it",
        ) from error


class TimedOpener:
    """An opener that remembers how long it took. seconds: of the last call."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self.seconds = 0.0

    def unwrap(self, slots: Sequence[Slot], root: bytes, header_sha256: bytes) -> SecretBuffer:
        """As the opener inside."""
        started = time.monotonic()
        try:
            return self._opener.unwrap(slots, root, header_sha256)
        finally:
            self.seconds = time.monotonic() - started
