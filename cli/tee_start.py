"""What `sealserve tee run` is to start: the policy is asked, then exactly that is started."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from sealserve.attestation import simulated
from sealserve.attestation.simulated import Bind, Command, Container, Startable
from sealserve.native.errors import ConfigError, printable
from sealserve.policy.execution import ExecutionPolicy
from sealserve.policy.execution.image import Image, open_images
from sealserve.policy.execution.platform import ALL_CAPABILITIES, DEFAULT_CAPABILITIES, Fields
from sealserve.policy.execution.start import Decider, Permitted, Person, Start, User

_MAX_SHOWN = 80  # characters of an option in a message
_ROOT, _TOP = "0", "/"


class Asked(Protocol):
    """A start that somebody asks for."""

    def under(self, policy: bytes, file: str, context: Path | None) -> simulated.MayStart:
        """The question to this policy. context: a folder that the platform itself lets it see.

        Raises ConfigError for a policy or an image that cannot be read.
        """
        ...


@dataclass(frozen=True)
class AsProcess:
    """`Asked`: a process of this machine, which is us in all but its command."""

    words: Sequence[str]
    working_dir: str

    def under(self, policy: bytes, file: str, context: Path | None) -> simulated.MayStart:
        """As `Asked.under`."""
        return partial(self._decided, ExecutionPolicy.parse(policy, file=file))

    def _decided(self, policy: ExecutionPolicy) -> Startable:
        outside = {n: v for n, v in os.environ.items() if n != simulated.SOCKET_VARIABLE}
        kept = policy.may_start(self.words, outside, self.working_dir, _ourselves())
        return Command(self.words, kept, self.working_dir)


@dataclass(frozen=True)
class InContainer:
    """`Asked`: a container of podman's. words, workdir, user: in place of the image's own."""

    image: str
    words: Sequence[str]
    workdir: str | None
    variables: Sequence[str]
    user: str | None
    mounts: Sequence[str]
    sandbox_dir: str | None
    capabilities: Sequence[str]
    no_new_privileges: bool

    def under(self, policy: bytes, file: str, context: Path | None) -> simulated.MayStart:
        """As `Asked.under`."""
        decider = Decider.parse(policy, file=file)
        binds = [_bind(text) for text in self.mounts]
        variables = dict(_variable(text) for text in self.variables)
        offered = [*DEFAULT_CAPABILITIES, *map(_capability, self.capabilities)]
        number, image = _found(self.image)
        start = self._start(image, variables, binds, offered)
        own_place = start.working_dir == (image.working_dir or _TOP)
        shown = [] if context is None else [_seen(context)]
        make = partial(
            _container,
            start,
            image=number,
            working_dir="" if own_place else start.working_dir,
            binds=[*binds, *shown],
        )
        return lambda: make(decider.ask(start, hint=_OTHER_IMAGE))

    def _start(
        self,
        image: Image,
        variables: Mapping[str, str],
        binds: Sequence[Bind],
        offered: Sequence[str],
    ) -> Start:
        command = [*self.words] or [*image.command]
        if not command:
            raise ConfigError(
                "the image names no command", key="--image", hint="give one behind --"
            )
        return Start(
            command=command,
            environment={**dict(_variable(text) for text in image.env), **variables},
            working_dir=self.workdir or image.working_dir or _TOP,
            user=_user(self.user or image.user),
            layers=image.layers,
            mounts=[_asked_for(bind) for bind in binds],
            sandbox_dir=self.sandbox_dir or "",
            no_new_privileges=self.no_new_privileges,
            capabilities=offered,
        )


_OTHER_IMAGE = (
    "start exactly what the policy says, or write a policy for this image with `sealserve policy "
    "generate`: clients and keys then have to accept it"
)


def _container(
    start: Start, permitted: Permitted, *, image: str, working_dir: str, binds: Sequence[Bind]
) -> Container:
    (group,) = start.user.groups
    return Container(
        image=image,
        command=start.command,
        environment=permitted.environment,
        working_dir=working_dir,
        user=start.user.person.id or start.user.person.name,
        group=group.id or group.name,
        binds=binds,
        capabilities=permitted.capabilities,
        known=ALL_CAPABILITIES,
        no_new_privileges=start.no_new_privileges,
        stdio=permitted.stdio,
    )


def _found(name: str) -> tuple[str, Image]:
    """The id of an image in podman's store, and the image read there: every byte, no cache."""
    simulated.require_podman()
    told = simulated.podman_tells("image", "inspect", "--format={{.Id}} {{.Digest}}", name)
    number, _, digest = told.partition(" ")
    store = simulated.podman_tells("info", "--format={{.Store.GraphRoot}}")
    return number, open_images(Path(store)).find(f"{name.partition('@')[0]}@{digest}")


def _asked_for(bind: Bind) -> Fields:
    """As the runtime specification has it, with the options that policies have."""
    options = ["rbind", "rshared", "ro" if bind.read_only else "rw"]
    return {
        "destination": bind.destination,
        "options": options,
        "source": bind.source,
        "type": "bind",
    }


# ---- options


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise _unusable(text, "NAME=VALUE", "--env")
    return name, value


def _capability(text: str) -> str:
    if text not in ALL_CAPABILITIES:
        raise _unusable(text, "a capability of Linux, such as CAP_NET_ADMIN", "--cap-add")
    return text


def _bind(text: str) -> Bind:
    parts = text.split(":")
    read_only = parts[2:] == ["ro"]
    whole = len(parts) == (3 if read_only else 2) and all(p.startswith("/") for p in parts[:2])
    if not whole or any(letter in text for letter in ',"'):
        raise _unusable(text, "SOURCE:PATH or SOURCE:PATH:ro, both absolute, no comma", "--mount")
    return Bind(parts[0], parts[1], read_only)


def _seen(folder: Path) -> Bind:
    place = str(folder.absolute())
    return _bind(f"{place}:{place}:ro")


def _unusable(text: str, wanted: str, key: str) -> ConfigError:
    return ConfigError(f"{printable(text)[:_MAX_SHOWN]!r} is not {wanted}", key=key)


# ---- who starts


def _user(text: str) -> User:
    """`USER[:GROUP]`, numbers or names of the image's; without any root, without a group 0.

    A number has no name here and a name no number: only the image could tell, and it does not
    decide. The guest looks them up, so what a policy asks for in the other form is denied here.
    """
    person, _, group = (text or _ROOT).partition(":")
    return User(_person(person), (_person(group or _ROOT),))


def _person(text: str) -> Person:
    return Person(text) if text.isdecimal() and text.isascii() else Person("", text)


def _ourselves() -> User:
    """Who we are, and so who the command will be."""
    person = Person(str(os.geteuid()))
    with contextlib.suppress(KeyError):  # nobody has to be in the system's lists
        person = Person(person.id, pwd.getpwuid(os.geteuid()).pw_name)
    groups = sorted({os.getegid(), *os.getgroups()})
    return User(person, tuple(map(_group, groups)))


def _group(number: int) -> Person:
    with contextlib.suppress(KeyError):
        return Person(str(number), grp.getgrgid(number).gr_name)
    return Person(str(number))
