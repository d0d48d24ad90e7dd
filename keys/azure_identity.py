"""As whom we ask Azure: credentials of `azure-identity`, each side's chosen as it may be.

An owner is whoever Azure's own tools would take him for: DefaultAzureCredential, from the
environment down to `az login`. A machine has the workload identity it was given, else its managed
one, and no chain, which would end in programs that PATH chooses. Nobody measured either: an
identity opens the vault's door and no key; a key needs the attestation too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from sealserve.native.errors import ConfigError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

# Fixed, as the variable that would move it (AZURE_AUTHORITY_HOST) is not among those we read.
AUTHORITY: Final = "login.microsoftonline.com"
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 20.0
RETRIES: Final = 2
CLIENT, TENANT, TOKEN_FILE = "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"
VARIABLES: Final = (CLIENT, TENANT, TOKEN_FILE)
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MAX_PATH: Final = 4096


@dataclass(frozen=True, slots=True)
class MachineIdentity:
    """client_id: which managed identity, "" for the only one; with the others a workload's.

    tenant_id, token_file: of a workload identity (Kubernetes); both or none.
    """

    client_id: str = ""
    tenant_id: str = ""
    token_file: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str], client_id: str = "") -> MachineIdentity:
        """A workload's, if all three variables that Kubernetes sets are there; else managed.

        client_id: of the managed one. Raises ConfigError naming the variable.
        """
        given = {name: environ.get(name, "") for name in VARIABLES}
        if not all(given.values()):
            return cls(client_id)
        for name in (CLIENT, TENANT):
            if not is_guid(given[name]):
                raise ConfigError("is not a GUID", file="environment", key=name)
        if len(given[TOKEN_FILE]) > _MAX_PATH:
            raise ConfigError("is no file name", file="environment", key=TOKEN_FILE)
        return cls(given[CLIENT], given[TENANT], given[TOKEN_FILE])

    def credential(self) -> TokenCredential:
        """The same one each time: it keeps its tokens until they expire."""
        return _credential(self)


MANAGED: Final = MachineIdentity()  # the one that a machine has which was told nothing


def is_guid(text: str) -> bool:
    """Whether this is how Azure names clients and tenants."""
    return _GUID.fullmatch(text) is not None


def owner_credential() -> TokenCredential:
    """Of whoever Azure's tools would take the user of this process for."""
    from azure.identity import DefaultAzureCredential  # heavy, and only Azure needs it

    return DefaultAzureCredential()


@cache
def _credential(who: MachineIdentity) -> TokenCredential:
    # heavy, and only Azure needs it
    from azure.identity import ManagedIdentityCredential, WorkloadIdentityCredential

    if not who.token_file:
        return ManagedIdentityCredential(client_id=who.client_id or None, retry_total=RETRIES)
    return WorkloadIdentityCredential(
        tenant_id=who.tenant_id,
        client_id=who.client_id,
        token_file_path=who.token_file,
        authority=AUTHORITY,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        retry_total=RETRIES,
    )
