"""Which machine is this? Looks in a fixed order and can say what it looked for and found.

A simulated platform is announced by whoever started it, so it comes first. Then the devices of
real hardware, best first: /dev/sev-guest also brings the host's certificates, configfs-tsm does the
same on kernels without that device node, and the older /dev/sev brings a report alone. A security
context beside one of them means Azure Container Instances.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sealserve.attestation.devices import (
    cache,
    configfs,
    security_context,
    sev,
    sev_guest,
    simulated,
)
from sealserve.attestation.devices.cache import Cache
from sealserve.attestation.devices.configfs import Configfs, Tree
from sealserve.attestation.devices.hardware import HardwareSource
from sealserve.attestation.devices.host_service import HostService
from sealserve.attestation.devices.ioctl import ReportDevice
from sealserve.attestation.devices.kds import Kds
from sealserve.attestation.devices.leaves import Leaves
from sealserve.attestation.devices.lists import Lists
from sealserve.attestation.devices.security_context import SecurityContext
from sealserve.attestation.devices.sev import Sev
from sealserve.attestation.devices.sev_guest import SevGuest
from sealserve.attestation.evidence import EvidenceSource
from sealserve.attestation.roots import Roots
from sealserve.attestation.simulated.frames import SOCKET_VARIABLE
from sealserve.native.errors import ConfigError, UnavailableError

FOUND: Final = "there"
ABSENT: Final = "not there"
NOT_SET: Final = "not set"


@dataclass(frozen=True, slots=True)
class Look:
    """One place that was looked at: where, and what was there."""

    where: str
    found: str


@dataclass(frozen=True, slots=True)
class Detection:
    """What was looked at, in order; the source that was chosen, if any, and why."""

    looked: tuple[Look, ...]
    source: EvidenceSource | None
    why: str
    context: SecurityContext | None = None

    def explain(self) -> str:
        """One line per place, then the choice."""
        lines = [f"{look.where}: {look.found}" for look in self.looked]
        chosen = self.source.platform if self.source else "none"
        return "\n".join([*lines, f"platform: {chosen}, {self.why}"])


def look(
    environ: Mapping[str, str], root: Path = Path("/"), tree: Callable[[Path], Tree] = Tree
) -> Detection:
    """Look at every place; asks no network and no device for a report.

    root: where the file system starts. tree: how configfs is reached. UnavailableError if a
    simulated platform is announced but not there, ConfigError for a security context that cannot
    be read.
    """
    announced = simulated.source(environ)
    words = f"announces descriptor {environ[SOCKET_VARIABLE]}" if announced else NOT_SET
    looked = [Look(SOCKET_VARIABLE, words)]
    devices = [_try(place, root, tree) for place in _PLACES]
    looked += [tried.look for tried in devices]
    directory = security_context.find(environ, root)
    looked.append(Look("security context", str(directory) if directory else ABSENT))
    if announced is not None:
        return Detection(tuple(looked), announced, f"as {SOCKET_VARIABLE} says")
    device = next((tried.device for tried in devices if tried.device), None)
    if device is None:
        return Detection(tuple(looked), None, "no device there gives reports")
    context = security_context.read(directory) if directory else None
    return Detection(
        tuple(looked), _hardware(device, context, environ), _why(device, context), context
    )


def detect(
    environ: Mapping[str, str], tell: Callable[[str], None] = lambda _words: None
) -> EvidenceSource:
    """The source of evidence on this machine, ready to be asked.

    On hardware that is with everything a verifier needs at hand, and kept current from now on:
    `tell` hears of what fails meanwhile. ConfigError, explaining itself, if there is no platform;
    UnavailableError if it cannot prove itself yet.
    """
    detection = look(environ)
    if detection.source is None:
        raise ConfigError(
            f"no trusted execution environment found\n{detection.explain()}",
            hint="to try without hardware: `sealserve tee run --policy P -- CMD…`",
        )
    if isinstance(detection.source, HardwareSource):
        detection.source.prepare(tell)
    return detection.source


def now() -> datetime:
    """The time by which certificates at hand are judged."""
    return datetime.now(UTC)


# In the order they are preferred.
_PLACES: Final = (sev_guest.DEVICE, configfs.DIRECTORY, sev.DEVICE)


@dataclass(frozen=True, slots=True)
class _Tried:
    """A place with what was found there, and the device if it can be used."""

    look: Look
    device: ReportDevice | None = None


def _try(place: str, root: Path, tree: Callable[[Path], Tree]) -> _Tried:
    path = _below(root, place)
    try:
        path.stat()
    except FileNotFoundError:
        return _Tried(Look(place, ABSENT))
    except OSError as error:
        return _Tried(Look(place, f"cannot be looked at: {str(error.strerror).lower()}"))
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return _Tried(Look(place, f"{FOUND}, but this user may not read and write it"))
    if place == configfs.DIRECTORY:
        return _try_configfs(Configfs(tree(path)))
    kind = SevGuest if place == sev_guest.DEVICE else Sev
    return _Tried(Look(place, FOUND), kind(device=str(path)))


def _try_configfs(device: Configfs) -> _Tried:
    """Other machines than AMD's have this directory too: who would answer there decides."""
    try:
        provider = device.provider()
    except UnavailableError as error:
        return _Tried(Look(configfs.DIRECTORY, f"{FOUND}, but {error.message}"))
    if provider != configfs.PROVIDER:
        return _Tried(Look(configfs.DIRECTORY, f"{FOUND}, but answered by {provider!r}"))
    return _Tried(Look(configfs.DIRECTORY, f"{FOUND}, answered by {provider}"), device)


def _below(root: Path, place: str) -> Path:
    return root / place.lstrip("/")


def _hardware(
    device: ReportDevice, context: SecurityContext | None, environ: Mapping[str, str]
) -> HardwareSource:
    roots, store, service = Roots.amd(), Cache(cache.directory_of(environ)), Kds()
    leaves = Leaves(
        roots=roots,
        cache=store,
        clock=now,
        context=context.certificate if context else None,
        host=HostService(),
        service=service,
    )
    lists = Lists(roots=roots, cache=store, clock=now, service=service)
    return HardwareSource(
        device,
        "aci" if context else "snp",
        leaves,
        lists,
        endorsement=context.endorsement if context else None,
    )


def _why(device: ReportDevice, context: SecurityContext | None) -> str:
    beside = f", with {context.where} beside it" if context else ""
    return f"as {device.where} is the first that gives reports{beside}"
