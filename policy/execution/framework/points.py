"""The enforcement points: since which API they exist, and what an older policy gets.

A policy that is older than a point and does not name it gets the default; one that is as new and
does not name it is denied (hcsshim api.rego, API 0.12.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sealserve.policy.execution.framework.values import Fields

OlderPolicies = Literal["allow", "deny", "framework"]


@dataclass(frozen=True)
class Point:
    """since: the API version that introduced it. older: what a policy before that gets.

    results: what comes back beside `allowed` where the policy's answer does not say.
    """

    since: str
    older: OlderPolicies
    results: tuple[tuple[str, object], ...] = ()
    windows: bool = False

    def defaults(self) -> Fields:
        """The answer where the policy gives none."""
        return {"allowed": self.older == "allow", **dict(self.results)}


_START = (("env_list", None), ("allow_stdio_access", False))

POINTS: Mapping[str, Point] = {
    "mount_device": Point("0.1.0", "deny"),
    "mount_overlay": Point("0.1.0", "deny"),
    "create_container": Point("0.1.0", "deny", _START),
    "unmount_device": Point("0.2.0", "allow"),
    "exec_in_container": Point("0.2.0", "allow", (("env_list", None),)),
    "exec_external": Point("0.3.0", "allow", _START),
    "shutdown_container": Point("0.4.0", "allow"),
    "signal_container_process": Point("0.5.0", "allow"),
    "unmount_overlay": Point("0.6.0", "allow"),
    "plan9_mount": Point("0.6.0", "allow"),
    "plan9_unmount": Point("0.6.0", "allow"),
    "get_properties": Point("0.7.0", "allow"),
    "dump_stacks": Point("0.7.0", "allow"),
    "runtime_logging": Point("0.8.0", "allow"),
    "load_fragment": Point("0.9.0", "deny", (("add_module", False),)),
    "scratch_mount": Point("0.10.0", "allow"),
    "scratch_unmount": Point("0.10.0", "allow"),
    "registry_changes": Point("0.10.0", "deny", windows=True),
    "rw_mount_device": Point("0.11.0", "framework"),
    "rw_unmount_device": Point("0.11.0", "framework"),
    "mount_cims": Point("0.11.0", "deny", windows=True),
    "log_provider": Point("0.11.0", "allow", windows=True),
    "mount_blockdev": Point("0.11.1", "deny"),
    "unmount_blockdev": Point("0.11.1", "deny"),
    "load_transparency_trust_list": Point("0.12.0", "deny"),
    "host_network": Point("0.12.0", "deny"),
}
