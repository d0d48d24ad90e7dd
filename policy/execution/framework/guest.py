"""What the guest itself brings along: mounts and capabilities that no policy has to name.

hcsshim pkg/securitypolicy/securitypolicy_linux.go and internal/guest, at 7c9ff7f48.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sealserve.policy.execution.framework.values import Fields
from sealserve.policy.execution.platform import ALL_CAPABILITIES, DEFAULT_CAPABILITIES


def _mount(destination: str, kind: str, source: str, options: str) -> Fields:
    return {
        "destination": destination,
        "options": options.split(),
        "source": source,
        "type": kind,
    }


def _cgroups(access: str) -> list[Fields]:
    options = f"nosuid noexec nodev relatime {access}"
    return [_mount("/sys/fs/cgroup", kind, kind, options) for kind in ("cgroup", "cgroup2")]


_PTS = "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"
_SHM = "nosuid noexec nodev mode=1777 size=65536k"
_TMPFS = "nosuid strictatime mode=755 size=65536k"

DEFAULT_MOUNTS: Sequence[object] = (
    _mount("/proc", "proc", "proc", "nosuid noexec nodev"),
    _mount("/dev", "tmpfs", "tmpfs", _TMPFS),
    _mount("/dev/pts", "devpts", "devpts", _PTS),
    _mount("/dev/shm", "tmpfs", "shm", _SHM),  # noqa: S108 - the guest's, not ours
    _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    _mount("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    _mount("/run", "tmpfs", "tmpfs", _TMPFS),
    *_cgroups("ro"),
)
PRIVILEGED_MOUNTS: Sequence[object] = (
    *_cgroups("rw"),
    _mount("/sys", "sysfs", "sysfs", "nosuid noexec nodev rw"),
)
# What the sandbox container gets instead of the read-only /sys when its pod is privileged.
SANDBOX_SYS = _mount("/sys", "sysfs", "sysfs", "nosuid noexec nodev rw")


# What the constants below are called in Rego.
DATA: Mapping[str, str] = {
    "defaultMounts": "default_mounts",
    "privilegedMounts": "privileged_mounts",
    "defaultUnprivilegedCapabilities": "unprivileged_capabilities",
    "defaultPrivilegedCapabilities": "privileged_capabilities",
    "sandboxPrefix": "sandbox_prefix",
    "hugePagesPrefix": "huge_pages_prefix",
    "plan9Prefix": "plan9_prefix",
}


@dataclass(frozen=True)
class Guest:
    """The constants a guest puts beside a policy (`data` in Rego)."""

    default_mounts: Sequence[object] = DEFAULT_MOUNTS
    privileged_mounts: Sequence[object] = PRIVILEGED_MOUNTS
    unprivileged_capabilities: Sequence[object] = DEFAULT_CAPABILITIES
    privileged_capabilities: Sequence[object] = ALL_CAPABILITIES
    sandbox_prefix: str = "sandbox://"
    huge_pages_prefix: str = "hugepages://"
    plan9_prefix: str = "plan9://"
