"""What a deployment consists of: the parts of its files that others have to agree with."""

from __future__ import annotations

from dataclasses import dataclass

from sealserve.policy.execution.policy_file import PolicyFile
from sealserve.policy.release import ReleasePolicy
from sealserve.policy.trust import Trust

Commands = tuple[tuple[str, tuple[str, ...]], ...]  # name and words; two may have one name


@dataclass(frozen=True)
class Template:
    """One group of a template.

    sku: in lower case. identity: whether the group has a managed one. commands: of its containers,
    where the template writes one. allowed: those of the policy it carries; None where that is no
    data, so that nothing can be said of it.
    """

    policy: PolicyFile
    sku: str
    identity: bool
    commands: Commands
    allowed: Commands | None

    @property
    def where(self) -> str:
        """The file, and the group in it."""
        return self.policy.where


@dataclass(frozen=True)
class Release:
    """The release policy of the vault key, and the file it was read from."""

    file: str
    policy: ReleasePolicy


@dataclass(frozen=True)
class SealedFile:
    """root: 64 hexadecimal digits. vaults: hosts of the vault keys that it has slots for."""

    file: str
    name: str
    root: str
    vaults: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """One place that a command line asks for keys. vault: its host. service: URL, no slash behind.

    ours: a trust service, which attests itself; `service` is the URL of real machines then.
    """

    vault: str
    service: str
    ours: bool = False


@dataclass(frozen=True)
class Server:
    """A `serve` in the execution policy. where: policy and container. files, roots: in pairs.

    asked: None where an identity takes the place of a vault.
    """

    where: str
    files: tuple[str, ...]
    roots: tuple[str, ...]
    asked: Asked | None


@dataclass(frozen=True)
class Sidecar:
    """A `skr` in the execution policy."""

    where: str
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class Deployment:
    """The files, each None where there is none to compare; command lines are the policy's own.

    unread: kinds of files that are there and do not count, which whoever read them has said.
    """

    template: Template | None = None
    policy: PolicyFile | None = None
    release: Release | None = None
    trust: Trust | None = None
    sealed: tuple[SealedFile, ...] = ()
    servers: tuple[Server, ...] = ()
    sidecars: tuple[Sidecar, ...] = ()
    unread: frozenset[str] = frozenset()

    @property
    def deployed(self) -> PolicyFile | None:
        """The policy that machines will have: the template's, else the one on its own."""
        return self.template.policy if self.template else self.policy

    @property
    def asked(self) -> tuple[tuple[str, Asked], ...]:
        """Every place that is asked for keys, and by whom."""
        servers = [(each.where, each.asked) for each in self.servers if each.asked]
        return (*servers, *((each.where, one) for each in self.sidecars for one in each.asked))
