"""Container objects that somebody made beforehand, as confcom's `containers from_image` prints."""

from __future__ import annotations

from sealserve.policy.execution.complaints import NOTHING, Place
from sealserve.policy.execution.lookup import find
from sealserve.policy.execution.platform import Fields

# What framework 0.2.3 needs of each (hcsshim pkg/securitypolicy/framework.rego): a container that
# lacks one of them vanishes from the policy without a word, and one it does not know is dropped.
_NEEDED = frozenset(
    {
        *("allow_elevated", "allow_stdio_access", "capabilities", "command", "env_rules"),
        *("exec_processes", "layers", "mounts", "no_new_privileges", "seccomp_profile_sha256"),
        *("signals", "user", "working_dir"),
    }
)
_KNOWN = _NEEDED | {"id", "name"}


def read_ready(document: object, place: Place) -> list[Fields]:
    """The objects of a file: one, a list of them, or a list under `containers`."""
    if isinstance(document, dict):
        document = find(document, "containers") if "containers" in document else [document]
    entries = place.entries(document, "a list of container objects")
    return [made for here, entry in entries if (made := _one(entry, here))]


def _one(entry: object, place: Place) -> Fields | None:
    if not isinstance(entry, dict):
        place.refuse(
            entry, "a container object", "an entry is a container as it stands in a policy"
        )
        return None
    for name in sorted(_NEEDED - entry.keys()):
        hint = "without it the guest drops the whole container, and says nothing"
        place.at(name).refuse_if_strict(NOTHING, "a value", hint)
    for name in sorted(entry.keys() - _KNOWN):
        place.at(name).refuse_if_strict(
            entry[name], "a member the guest knows", "leave it out: no guest asks about it"
        )
    return dict(entry)
