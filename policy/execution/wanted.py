"""What a template, a config or a pod asks for, before an image is looked at.

Values stand as they came: confcom writes a number in a command as a number, and the checks of the
strict profiles need to see it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sealserve.policy.execution.platform import PlatformMount, PlatformRule


@dataclass(frozen=True)
class Variable:
    """One entry of the environment. strategy: `string` or `re2`.

    pinned: a rule of the platform. secret: no message may show the value; the policy holds it.
    """

    name: Any
    value: Any
    strategy: str = "string"
    required: bool = False
    pinned: bool = False
    secret: bool = False

    @property
    def pattern(self) -> str:
        return f"{self.name}={self.value}"

    @classmethod
    def anything(cls, name: str) -> Variable:
        """Whatever value: a door that somebody opened on purpose."""
        return cls(name, ".*", "re2")

    @classmethod
    def of_platform(cls, rule: PlatformRule) -> Variable:
        return cls(rule.name, rule.value, rule.strategy, pinned=True)


@dataclass(frozen=True)
class Mount:
    """kind: a key of platform.MOUNT_SOURCES. options: in place of the usual three."""

    kind: Any
    destination: Any
    read_only: Any = False
    options: Sequence[str] = ()

    @classmethod
    def of_platform(cls, mount: PlatformMount) -> Mount:
        return cls(mount.kind, mount.destination, mount.read_only)


@dataclass(frozen=True)
class Process:
    """Something that may be started inside a running container."""

    command: Any
    signals: Any = ()


@dataclass(frozen=True)
class Wanted:
    """One container. image: its name as it was written.

    entrypoint: of a pod, in place of the image's; None elsewhere, where `command` replaces both.
    security: the securityContext, read by `security`. alone: nothing but an image was named.
    """

    name: Any
    image: Any
    command: Any = ()
    entrypoint: Any = None
    working_dir: Any = ""
    variables: Sequence[Variable] = ()
    mounts: Sequence[Mount] = ()
    processes: Sequence[Process] = ()
    security: Any = None
    is_pod: bool = False
    alone: bool = False

    def with_processes(self, more: Sequence[Process]) -> Wanted:
        """The same, and these may be started inside it."""
        return dataclasses.replace(self, processes=[*self.processes, *more])


@dataclass(frozen=True)
class Group:
    """Containers that run together under one policy, named as in the file.

    fragments: imports of its own, in front of the platform's. exclude_default: what a tag of the
    group says; None when there is none. existing: whether the file holds a policy for it already.
    path: where it stands in the file.
    """

    name: str
    containers: Sequence[Wanted]
    fragments: Sequence[dict[str, object]] = ()
    exclude_default: bool | None = None
    existing: bool = False
    path: Sequence[str | int] = ()

    @property
    def is_image(self) -> bool:
        """Whether nothing but an image was named."""
        return any(entry.alone for entry in self.containers)
