"""What the platform adds to every container, and the numbers and names it knows.

Facts of Azure's container platform as confcom 1.2.8 pins them (Azure/azure-cli-extensions,
src/confcom/azext_confcom/data/internal_config.json). The order of rules and of the pause
container's capabilities is part of a policy's hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Fields = dict[str, object]


@dataclass(frozen=True)
class PlatformRule:
    """A variable the platform sets. name, value: the two halves of the pattern.

    A rule steps back for a variable of exactly this name text: `HOSTNAME`, not what it matches.
    """

    name: str
    value: str = ".+"
    strategy: str = "re2"


@dataclass(frozen=True)
class PlatformMount:
    """A mount the platform adds. kind: a key of MOUNT_SOURCES."""

    destination: str
    kind: str = "emptyDir"
    read_only: bool = False


RULES: Sequence[PlatformRule] = (
    PlatformRule("TERM", "xterm", "string"),
    PlatformRule("(?i)(FABRIC)_.+"),
    PlatformRule("HOSTNAME"),
    PlatformRule("T(E)?MP"),
    PlatformRule("FabricPackageFileName"),
    PlatformRule("HostedServiceName"),
    PlatformRule("IDENTITY_API_VERSION"),
    PlatformRule("IDENTITY_HEADER"),
    PlatformRule("IDENTITY_SERVER_THUMBPRINT"),
    PlatformRule("azurecontainerinstance_restarted_by"),
)
# On virtual nodes Kubernetes tells every container about every service.
POD_RULES: Sequence[PlatformRule] = tuple(
    PlatformRule(f"[A-Z0-9_]+_{ending}")
    for ending in (
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_[A-Z0-9_]+",
        "PORT",
        "PORT_[0-9]+_TCP",
        "PORT_[0-9]+_TCP_PROTO",
        "PORT_[0-9]+_TCP_PORT",
        "PORT_[0-9]+_TCP_ADDR",
    )
)
IDENTITY_RULES: Sequence[PlatformRule] = tuple(
    PlatformRule(f"AZURE_{ending}")
    for ending in ("CLIENT_ID", "TENANT_ID", "FEDERATED_TOKEN_FILE", "AUTHORITY_HOST")
)

MOUNT_SOURCES: Mapping[str, str] = {
    "azureFile": "sandbox:///tmp/atlas/azureFileVolume/.+",
    "secret": "sandbox:///tmp/atlas/secretsVolume/.+",
    "secretsSource": "plan9://",
    "emptyDir": "sandbox:///tmp/atlas/emptydir/.+",
    "resolvconf": "sandbox:///tmp/atlas/resolvconf/.+",
    "gitRepo": "sandbox:///tmp/atlas/gitRepoVolume/.+",
}
MOUNT_OPTIONS = ("rbind", "rshared")

RESOLV_CONF = PlatformMount("/etc/resolv.conf", "resolvconf")
CONFIG_MAP = PlatformMount("/mnt/configmap")
POD_RESOLV_CONF = PlatformMount("/etc/resolv.conf")
POD_MOUNTS: Sequence[PlatformMount] = (
    PlatformMount("/var/run/secrets/kubernetes.io/serviceaccount", read_only=True),
    PlatformMount("/etc/hosts"),
    PlatformMount("/dev/termination-log"),
    PlatformMount("/etc/hostname"),
)
POD_PRIVILEGED_MOUNTS: Sequence[PlatformMount] = (
    PlatformMount("/sys/fs/cgroup"),
    PlatformMount("/sys"),
)
IDENTITY_MOUNT = PlatformMount("/var/run/secrets/azure/tokens", read_only=True)

_REGISTRY = "mcr.microsoft.com"
# Images of the platform's own helpers: they get no platform rules, and alone they need no pause.
SIDECARS = frozenset(
    {
        "k8s.gcr.io/pause",
        *(
            f"{_REGISTRY}/aci/{name}"
            for name in (
                "msi-atlas-adapter",
                "atlas-mount-azure-file-volume",
                "atlas-mount-secrets-volume",
                "atlas-netstats",
                "atlas-mount-resolv-conf",
                "atlas-mount-gitrepo-volume",
                "sc-proxy",
                "vk-metrics-sidecar",
                "configmaps-adapter-linux",
            )
        ),
    }
)

# In the order of the pause container; user containers' lists are sorted.
DEFAULT_CAPABILITIES: Sequence[str] = tuple(
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
        *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
    )
)
# Linux, include/uapi/linux/capability.h: all 41.
ALL_CAPABILITIES: Sequence[str] = tuple(
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID"),
        *("SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST"),
        *("NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO"),
        *("SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
        *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE"),
        *("AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM"),
        *("BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE"),
    )
)

# signal(7) for x86-64; names as images give them in StopSignal.
SIGNALS: Mapping[str, int] = {
    f"SIG{name}": number
    for number, names in enumerate(
        (
            *("HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT IOT", "BUS", "FPE", "KILL", "USR1"),
            *("SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP"),
            *("TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR"),
            "SYS UNUSED",
        ),
        start=1,
    )
    for name in names.split()
}

DEBUG_SHELLS: Sequence[str] = ("/bin/sh", "/bin/bash")

# The helpers for volumes, managed identity and DNS come in through this fragment.
INFRASTRUCTURE_ISSUER = (
    "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.3"
)
INFRASTRUCTURE_FEED = f"{_REGISTRY}/aci/aci-cc-infra-fragment"

_PAUSE_LAYER = "16b514057a06ad665f92c02863aca074fd5976c755d26bff16365299169e8415"
_PAUSE_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def infrastructure_fragment(minimum_svn: str) -> Fields:
    """The import of the platform's sidecars. minimum_svn: digits."""
    return {
        "feed": INFRASTRUCTURE_FEED,
        "includes": ["containers", "fragments"],
        "issuer": INFRASTRUCTURE_ISSUER,
        "minimum_svn": minimum_svn,
    }


def any_user() -> Fields:
    """`user` of a container that says nothing of it."""
    return {
        "group_idnames": [{"pattern": "", "strategy": "any"}],
        "umask": "0022",
        "user_idname": {"pattern": "", "strategy": "any"},
    }


def pause_container(*, allow_stdio: bool, signals: Sequence[int]) -> Fields:
    """The container every group has besides its own, last in the list."""
    capabilities = list(DEFAULT_CAPABILITIES)
    return {
        "allow_elevated": False,
        "allow_stdio_access": allow_stdio,
        "capabilities": {
            "ambient": [],
            "bounding": capabilities,
            "effective": capabilities,
            "inheritable": [],
            "permitted": capabilities,
        },
        "command": ["/pause"],
        "env_rules": [
            {"pattern": _PAUSE_PATH, "required": True, "strategy": "string"},
            {"pattern": "TERM=xterm", "required": False, "strategy": "string"},
        ],
        "exec_processes": [],
        "layers": [_PAUSE_LAYER],
        "mounts": [],
        "name": "pause-container",
        "no_new_privileges": False,
        "seccomp_profile_sha256": "",
        "signals": list(signals),
        "user": any_user(),
        "working_dir": "/",
    }
