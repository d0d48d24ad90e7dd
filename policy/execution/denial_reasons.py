"""The guest's reasons for a denial, and what an owner can do about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """One of the guest's texts, and what it means. meaning: "" for a text that is not known."""

    text: str
    meaning: str = ""
    hint: str = ""


def meant(text: str) -> Reason:
    """The text itself, or its beginning where names follow."""
    head = text.partition(":")[0]
    for known in (text, head, *_BEGINNINGS):
        if known in _MEANINGS and text.startswith(known):
            return Reason(text, *_MEANINGS[known])
    return Reason(text)


_WRITE = "write the policy anew from what is deployed (`sealserve policy generate`)"
_COMPARE = "compare the image with the one the policy was written from"
_MEANINGS: Mapping[str, tuple[str, str]] = {
    "deviceHash not found": (
        "a layer is of no container of the policy or of a loaded fragment",
        f"{_COMPARE}; tags move",
    ),
    "device already mounted at path": ("something is mounted there", "it was not unmounted before"),
    "mountpoint invalid": (
        "the host chose a place that is not for devices",
        "it is the host's fault",
    ),
    "no device at path to unmount": ("nothing is mounted there", "it was unmounted before"),
    "overlay has already been mounted": (
        "the container of this name has its root already",
        "a name is good for one container",
    ),
    "no matching containers for overlay": (
        "these layers, in this order, are of no container of the policy",
        f"{_COMPARE}: the number of layers, then each root (`sealserve layers root`)",
    ),
    "no overlay at path to unmount": ("no root is mounted there", "it was unmounted before"),
    "container already started": ("a container is started once", "create it under another name"),
    "container not started": ("there is no such container", "look for why it did not start"),
    "privileged escalation not allowed": (
        "the container was asked for as privileged",
        "take privileged out of the deployment, or write the policy for it",
    ),
    "invalid command": ("no container of these layers has this command", _WRITE),
    "invalid env list": (
        "variables have no rule, or no container has rules for all of them together",
        "the names stand behind it, if it has any; values are not told",
    ),
    "missing required environment variable": (
        "a rule asks for a variable that was not set, or not to such a value",
        "set it in the deployment",
    ),
    "invalid working directory": ("the container starts in another folder", _WRITE),
    "invalid mount list": (
        "mounts are not in the policy, or with other options or from elsewhere",
        f"their places stand behind it; {_WRITE}",
    ),
    "target isn't allowed to receive the signal": (
        "the policy does not list this signal for this process",
        "framework versions before 0.4.1 allow 9 and 15 always; later ones list every signal",
    ),
    "invalid fragment issuer": (
        "the policy names no fragments of whoever signed this one",
        "compare the issuer, a did:x509, with the policy's",
    ),
    "invalid fragment feed": (
        "the policy names the issuer with other feeds",
        "compare the feed with the policy's",
    ),
    "fragment svn is below the specified minimum": (
        "the fragment is older than the policy asks for",
        "load a newer one",
    ),
    "fragment svn and the specified minimum are different types": (
        "one is a number, the other of the form 1.2.3",
        "use numbers on both sides",
    ),
    "invalid noNewPrivileges": (
        "the container must not gain privileges and was not asked for like that; for a process in "
        "a container it stands in every denial and means nothing",
        "set allowPrivilegeEscalation to false in the deployment",
    ),
    "invalid user": (
        "user, group or umask are others; for a process in a container it stands in every denial "
        "and means nothing",
        "compare runAsUser and runAsGroup with the policy's",
    ),
    "capabilities don't match": (
        "capabilities are missing, or too many and not to be dropped",
        "compare add and drop with the policy's",
    ),
    "containers only distinguishable by": (
        "several containers fit, and they would start differently",
        "make them differ in something that is asked: command, folder or layers",
    ),
    "external processes only distinguishable by": (
        "several processes fit, and they would start differently",
        "make them differ in command or folder",
    ),
    "invalid seccomp": ("the seccomp profile is another one", "give the profile of the policy"),
    "devices not supported": ("a device was asked for", "no policy can allow one"),
    "unencrypted scratch not allowed": (
        "what containers write would have reached a disk in clear",
        "the host has to ask for encryption",
    ),
    "framework_version is missing. Current version": (
        "the policy does not say its framework version: no container can start",
        'write framework_version := "0.2.3"',
    ),
    "framework_version is ahead of the current version": (
        "the policy is newer than the guest: no container can start",
        "write the policy for the framework that the guest has",
    ),
    "missing receipt from": (
        "the fragment has no receipt that the policy asks for",
        "register it with that ledger",
    ),
}
_BEGINNINGS = (
    "containers only distinguishable by",
    "external processes only distinguishable by",
    "unencrypted scratch not allowed",
    "missing receipt from",
)
