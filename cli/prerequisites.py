"""What a server needs of its machine, one check each: what was found, and the way out.

Nothing is changed and nothing is promised: `serve` looks for itself when it starts.
"""

from __future__ import annotations

import json
import os
import resource
import site
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from sealserve.attestation import tcb
from sealserve.attestation.devices import Detection, HardwareSource, Standing
from sealserve.attestation.devices.cache import directory_of
from sealserve.attestation.devices.detect import ABSENT, NOT_SET
from sealserve.attestation.devices.host_service import HostService
from sealserve.inference.server.guard import refusals
from sealserve.inference.server.memory import SHARED_MEMORY, swap_is_on
from sealserve.inference.server.port import HeldPort
from sealserve.native import crypto
from sealserve.native.errors import ConfigError, UnavailableError
from sealserve.native.http2 import require_library

State = Literal["ok", "warning", "missing"]

# What each release of Linux brought that a server makes use of.
GUEST_DEVICE_KERNEL: Final = (5, 19)
NOSWAP_KERNEL: Final = (6, 4)
LAPSING_DAYS: Final = 14  # AMD makes new lists well before the old ones lapse
LIBRARIES: Final = ("cryptography", "grpcio", "httpx", "numpy", "onnxruntime")
_NOT_ASKED: Final = "not asked: no hardware here"
_CONFIGFS: Final = "/sys/kernel/config"
_PORTABLE: Final = "libcrypto"  # the kernels of last resort, native/src/libcrypto.c
_PROBE: Final = (sys.executable, "-P", "-m", "sealserve.inference.server.memory_way")
_PROBE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Check:
    """One prerequisite. fix: the way out, empty where nothing has to be done."""

    name: str
    state: State
    found: str
    fix: str = ""


# ---- the machine, and what it can prove


def platform(detection: Detection) -> Check:
    """Is there a trusted execution environment?"""
    if detection.source is None:
        return Check(
            "platform",
            "missing",
            f"none: {detection.why}",
            "start in a confidential machine, or to try: `sealserve tee run --policy P -- CMD…`",
        )
    return Check("platform", "ok", f"{detection.source.platform}, {detection.why}")


def device(detection: Detection) -> Check:
    """Is there a device for reports that this user may read and write?"""
    if isinstance(detection.source, HardwareSource):
        return Check("device", "ok", detection.source.device.where)
    if detection.source is not None:
        return Check("device", "ok", "none needed on the simulated platform")
    obstacles = [each for each in detection.looked if each.found not in (ABSENT, NOT_SET)]
    devices = [f"{each.where} {each.found}" for each in obstacles if each.where.startswith("/")]
    if devices:
        fix = "it has to be AMD's, and this user has to be allowed to read and write it"
        return Check("device", "missing", "; ".join(devices), fix)
    return Check(
        "device",
        "missing",
        "neither /dev/sev-guest nor configfs-tsm nor /dev/sev",
        "load the sev-guest driver, and pass the device into the container",
    )


def kernel(release: str, *, swap: bool) -> Check:
    """Is Linux new enough for what a server makes use of?"""
    version = _version(release)
    if version < GUEST_DEVICE_KERNEL:
        return Check("kernel", "warning", f"Linux {release}", "5.19 brought /dev/sev-guest")
    if swap and version < NOSWAP_KERNEL:
        return Check("kernel", "warning", f"Linux {release}", "with swap on, 6.4 is needed")
    return Check("kernel", "ok", f"Linux {release}")


def configfs(detection: Detection, mounts: Path) -> Check:
    """Is configfs mounted? It is one of several ways to a report."""
    if any(line.split()[1] == _CONFIGFS for line in mounts.read_text().splitlines()):
        return Check("configfs", "ok", f"mounted on {_CONFIGFS}")
    if detection.source is not None:
        return Check("configfs", "ok", "not mounted, and not needed here")
    return Check(
        "configfs", "warning", "not mounted", f"`mount -t configfs none {_CONFIGFS}` as root"
    )


def security_context(detection: Detection) -> Check:
    """Are the files of Azure Container Instances there?"""
    context = detection.context
    if context is None:
        return Check("security context", "ok", "none: not Azure Container Instances")
    parts = {
        "host-amd-cert-base64": context.certificate,
        "reference-info-base64": context.endorsement,
        "security-policy-base64": context.policy_sha256,
    }
    missing = [name for name, value in parts.items() if value is None]
    if missing:
        fix = "start the container group again; clients want the endorsement"
        found = f"{context.where} without {', '.join(missing)}"
        return Check("security context", "warning", found, fix)
    return Check("security context", "ok", context.where)


def host_service(detection: Detection, service: HostService) -> Check:
    """Does the host's metadata service hand out certificates? Asked on hardware alone."""
    if not isinstance(detection.source, HardwareSource):
        return Check("host service", "ok", _NOT_ASKED)
    try:
        service.certificate()
    except UnavailableError as error:
        if detection.source.platform == "aci":
            return Check("host service", "warning", error.message, "the security context will do")
        return Check("host service", "ok", f"{error.message}; only Azure has one")
    return Check("host service", "ok", f"{service.url} has certificates")


def certificates(standing: Standing | None, now: datetime) -> list[Check]:
    """Are the leaf and the revocation list at hand? standing: None without hardware."""
    if standing is None:
        return [
            Check("certificate", "ok", _NOT_ASKED),
            Check("revocation list", "ok", _NOT_ASKED),
        ]
    return [_leaf(standing), _list(standing, now)]


def _leaf(standing: Standing) -> Check:
    if standing.endorsed is None:
        return Check(
            "certificate",
            "warning",
            "none at hand for this chip at its firmware",
            "`serve` asks the host and AMD's service; let it reach https://kdsintf.amd.com once",
        )
    signed = standing.endorsed.signed
    level = tcb.decode(signed.report.reported_tcb, signed.line)
    origin = standing.endorsed.candidate.origin
    return Check("certificate", "ok", f"{signed.line}, {level}, from: {origin}")


def _list(standing: Standing, now: datetime) -> Check:
    fix = "let `serve` reach https://kdsintf.amd.com; clients refuse evidence without a list of now"
    if standing.revocation_list is None:
        return Check("revocation list", "warning", "none at hand", fix)
    age, left = (
        (now - standing.revocation_list.this_update).days,
        (standing.revocation_list.next_update - now).days,
    )
    found = f"{age} days old, lapses in {left}"
    if left < LAPSING_DAYS:
        return Check("revocation list", "warning", found, fix)
    return Check("revocation list", "ok", found)


def cache(environ: Mapping[str, str]) -> Check:
    """Can certificates be kept for the next start?"""
    directory = directory_of(environ)
    existing = next(place for place in (directory, *directory.parents) if _is_there(place))
    if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        return Check(
            "AMD cache",
            "warning",
            f"{directory} cannot be written",
            "set HOME to a folder of this user; without it every start asks AMD's service",
        )
    if existing != directory:
        return Check("AMD cache", "ok", f"{directory}, not made yet")
    held = sum(1 for path in directory.iterdir() if path.suffix in (".vcek", ".crl"))
    return Check("AMD cache", "ok", f"{directory}, {held} files")


# ---- memory and secrets


def swap(*, on: bool) -> Check:
    """Could the kernel write memory to a disk?"""
    if not on:
        return Check("swap", "ok", "off")
    return Check("swap", "warning", "on", "switch it off: `swapoff -a` as root")


def locked_memory(*, swap_on: bool) -> Check:
    """May a server lock its memory? It has to while swap is on."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    found = "no limit" if limit == resource.RLIM_INFINITY else f"at most {limit >> 10} KiB"
    if limit == resource.RLIM_INFINITY or os.geteuid() == 0:
        return Check("locked memory", "ok", found)
    if not swap_on:
        return Check("locked memory", "ok", f"{found}; enough while swap is off")
    return Check("locked memory", "missing", found, "`ulimit -l unlimited`, or CAP_IPC_LOCK")


def core_files() -> Check:
    """A server forbids them to itself before it has anything to lose."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    if soft == 0:
        return Check("core files", "ok", "off")
    return Check("core files", "ok", "on here; `serve` switches them off for itself")


def shared_memory() -> Check:
    """How large is /dev/shm, the second best place for weights?"""
    name = str(SHARED_MEMORY)
    try:
        state = os.statvfs(SHARED_MEMORY)
    except OSError:
        return Check(name, "warning", "not there", "mount a tmpfs there")
    free = state.f_bavail * state.f_frsize
    return Check(name, "ok", f"{free / 2**30:.1f} GiB free")


def memory_way() -> Check:
    """Which memory would weights live in? Tried in a process of its own, as `serve` does."""
    try:
        ran = subprocess.run(  # noqa: S603  ourselves
            _PROBE, capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
        told = json.loads(ran.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        return Check("memory for weights", "missing", "cannot be tried", "report this as a bug")
    if "refused" in told:
        return Check("memory for weights", "missing", told["refused"], told["hint"])
    way, why = told["way"], told["why_no_mount"]
    if way == "private-tmpfs":
        return Check("memory for weights", "ok", way)
    fix = "allow unprivileged user namespaces, or run with CAP_SYS_ADMIN, for private-tmpfs"
    return Check("memory for weights", "warning", f"{way} ({why})", fix)


# ---- the program


def kernels() -> Check:
    """Which routines does this processor run?"""
    first = {family: names[0] for family, names in crypto.kernels().items()}
    found = ", ".join(f"{family} {name}" for family, name in first.items())
    if _PORTABLE in first.values():
        fix = "a processor with VAES and SHA extensions opens models several times faster"
        return Check("processor", "warning", found, fix)
    return Check("processor", "ok", found)


def python() -> Check:
    """Which interpreter runs this, and does it run code from below HOME?"""
    found = f"{sys.version.split()[0]}, {sys.executable}"
    if site.ENABLE_USER_SITE:
        return Check(
            "python",
            "missing",
            f"{found}, which runs code from below HOME",
            "`python -I -m sealserve serve …`, or a virtual environment",
        )
    return Check("python", "ok", found)


def libraries() -> Check:
    """Are the packages of a server installed, and HTTP/2's library?"""
    versions = {name: _installed(name) for name in ("sealserve", *LIBRARIES)}
    missing = [name for name, version in versions.items() if version is None]
    found = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    if missing:
        return Check("libraries", "missing", found, "pip install 'sealserve[server]'")
    try:
        require_library()
    except UnavailableError as error:
        return Check("libraries", "missing", error.message, error.hint)
    return Check("libraries", "ok", found)


def environment(environ: Mapping[str, str]) -> Check:
    """Is there a variable that `serve` refuses?"""
    refused = refusals(environ)
    if not refused:
        return Check("environment", "ok", "nothing that `serve` refuses")
    found = "; ".join(f"{name} ({why})" for name, why in refused.items())
    return Check("environment", "missing", found, f"unset {' '.join(refused)}")


def port(host: str, number: int) -> Check:
    """May a server listen there?"""
    try:
        HeldPort(host, number).close()
    except UnavailableError as error:
        return Check("port", "missing", error.message, error.hint)
    return Check("port", "ok", f"{number} on {host} is free")


def every(
    detection: Detection, environ: Mapping[str, str], now: datetime, listen: tuple[str, int]
) -> list[Check]:
    """All checks, in the order a start needs them."""
    swapping = swap_is_on()
    return [
        platform(detection),
        device(detection),
        kernel(os.uname().release, swap=swapping),
        configfs(detection, Path("/proc/self/mounts")),
        security_context(detection),
        host_service(detection, HostService()),
        *_proofs(detection, now),
        cache(environ),
        swap(on=swapping),
        locked_memory(swap_on=swapping),
        core_files(),
        shared_memory(),
        memory_way(),
        kernels(),
        python(),
        libraries(),
        environment(environ),
        port(*listen),
    ]


def _proofs(detection: Detection, now: datetime) -> list[Check]:
    if not isinstance(detection.source, HardwareSource):
        return certificates(None, now)
    try:
        return certificates(detection.source.standing(), now)
    except UnavailableError as error:
        fix = error.hint or "ask who runs this host: firmware or driver is at fault"
        return [Check("report", "missing", error.message, fix)]


def unreadable(error: ConfigError | UnavailableError) -> Check:
    """A platform that is announced, or half there, and cannot be used."""
    return Check("platform", "missing", error.message, error.hint)


def _version(release: str) -> tuple[int, int]:
    """Major and minor of a kernel's release; (0, 0) for one that says neither."""
    major, _, rest = release.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return (int(major), int(digits)) if major.isdigit() and digits else (0, 0)


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
