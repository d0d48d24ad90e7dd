"""The workload as a container of podman's: what it may be, in podman's words and nothing beside.

Podman adds what no option of its keeps away: HOME, HOSTNAME, /etc/hostname and /run/.containerenv.
It keeps its own seccomp profile, which only takes away.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sealserve.attestation.simulated.frames import SOCKET_VARIABLE
from sealserve.attestation.simulated.process import UMASK, Launch
from sealserve.native.errors import ConfigError, printable

_SOCKET: Final = 3  # the first descriptor that podman hands on (podman-run, --preserve-fds)
# Between us and podman: puts our descriptor there (shells only know descriptors of one digit), and
# where nothing may leave, lets standard output lead nowhere.
_HAND_ON: Final = f"""
import os, sys
_, descriptor, stdio, program, *words = sys.argv
if stdio == "silent":
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
os.dup2(int(descriptor), {_SOCKET})
os.execv(program, [program, *words])
"""
_TOLD_CHARS: Final = 400


@dataclass(frozen=True)
class Bind:
    """A file or folder of the host's, as a container sees it. No comma or quote in either."""

    source: str
    destination: str
    read_only: bool

    def option(self) -> str:
        """For `--mount`. Private, whatever was allowed: no mount inside is seen outside."""
        read_only = ",ro=true" if self.read_only else ""
        places = f"src={self.source},dst={self.destination}"
        return f"type=bind,{places},bind-propagation=rprivate{read_only}"


@dataclass(frozen=True)
class Container:
    """`Startable`: a container that may start, all of it.

    image: an id in podman's store. working_dir: "" for the image's, which is made if need be.
    user, group: numbers, or a name in the image. capabilities: all it may have, of `known`. stdio:
    whether what it prints may leave.
    """

    image: str
    command: Sequence[str]
    environment: Mapping[str, str]
    working_dir: str
    user: str
    group: str
    binds: Sequence[Bind]
    capabilities: Sequence[str]
    known: Sequence[str]
    no_new_privileges: bool
    stdio: bool

    @contextlib.contextmanager
    def launching(self, announced: Mapping[str, str], descriptor: int) -> Iterator[Launch]:
        """As `Startable.launching`; the container is removed, whatever became of podman."""
        name = f"sealserve-tee-{secrets.token_hex(8)}"
        told = {**self.environment, **announced, SOCKET_VARIABLE: str(_SOCKET)}
        words = [*self._options(name, told), self.image, *self.command[1:]]
        stdio = "open" if self.stdio else "silent"
        hand_on = (sys.executable, "-I", "-S", "-c", _HAND_ON, str(descriptor), stdio)
        try:
            yield Launch((*hand_on, require_podman(), *words), os.environ, "/")
        finally:
            _podman("rm", "--force", "--ignore", name)

    def _options(self, name: str, environment: Mapping[str, str]) -> Iterator[str]:
        """Everything is said: podman's defaults differ by version and by configuration."""
        yield from ("run", "--rm", "--interactive", "--pull=never", f"--name={name}")
        yield from ("--log-driver=none", "--preserve-fds=1")
        # Policies do not speak of networks; reports and predictions go over the host's.
        yield from ("--network=host", "--dns=none", "--no-hosts")
        yield from ("--unsetenv-all", "--http-proxy=false", "--privileged=false")
        # What an image or its command would bring along: volumes, a shell now and then, tmpfs for
        # systemd, a line in /etc/passwd.
        yield from ("--image-volume=ignore", "--no-healthcheck", "--systemd=false")
        yield "--passwd=false"
        yield from (f"--env={name}={value}" for name, value in environment.items())
        yield f"--entrypoint={json.dumps([self.command[0]])}"
        if self.working_dir:
            yield f"--workdir={self.working_dir}"
        yield from (f"--umask={UMASK:04o}", f"--user={self.user}:{self.group}")
        yield from (f"--mount={bind.option()}" for bind in self.binds)
        yield from self._capabilities()
        if self.no_new_privileges:
            yield "--security-opt=no-new-privileges"

    def _capabilities(self) -> Iterator[str]:
        """Exactly these for root; for others no more than these, and none but in the bounding set.

        What is added for another user than root would be ambient as well, which nobody allowed.
        """
        if self.user in ("0", "root"):
            yield "--cap-drop=all"
            yield from (f"--cap-add={each}" for each in self.capabilities)
            return
        dropped = [each for each in self.known if each not in self.capabilities]
        yield from (f"--cap-drop={each}" for each in dropped)


def require_podman() -> str:
    """Where podman is. Raises ConfigError that says what to install."""
    found = shutil.which("podman")
    if found is None:
        raise ConfigError(
            "containers need podman, which is not installed",
            key="--image",
            hint="apt-get install podman, or dnf install podman",
        )
    return found


def podman_tells(*words: str) -> str:
    """What podman prints. Raises ConfigError with its own words where it fails."""
    ran = _podman(*words)
    if ran.returncode:
        told = printable(ran.stderr.strip()[-_TOLD_CHARS:])
        raise ConfigError(f"podman {words[0]} failed: {told}", key="--image")
    return ran.stdout.strip()


def _podman(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our words, and no shell
        [require_podman(), *words], capture_output=True, text=True, check=False
    )
