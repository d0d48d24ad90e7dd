"""Fragment imports: which signed modules may add containers at run time."""

from __future__ import annotations

from collections.abc import Sequence

from sealserve.policy.execution.complaints import Place
from sealserve.policy.execution.lookup import find
from sealserve.policy.execution.platform import INFRASTRUCTURE_FEED, Fields

_MEMBERS = ("feed", "includes", "issuer", "minimum_svn")
# hcsshim pkg/securitypolicy/framework.rego; the last two since framework 0.5.0.
_INCLUDES = frozenset(
    {
        *("containers", "fragments", "external_processes", "namespace"),
        *("transparency_trust_lists", "platform_rules"),
    }
)


def read(document: object, place: Place) -> list[Fields]:
    """The imports of a file `{"fragments": […]}`, in order."""
    if not isinstance(document, dict):
        place.refuse_if_strict(
            document, "an object with fragments", 'write {"fragments": [{"feed": "…", …}]}'
        )
    names = ("fragments", "standaloneFragments")
    entries = [pair for name in names for pair in place.entries(find(document, name))]
    return [made for here, entry in entries if (made := _one(entry, here))]


def with_svn(fragments: Sequence[Fields], svn: str, place: Place) -> list[Fields]:
    """The same list with another least svn for the platform's fragment.

    confcom changes whichever comes first, and stops when the list is empty.
    """
    at = next(
        (
            index
            for index, entry in enumerate(fragments)
            if not place.strict or entry.get("feed") == INFRASTRUCTURE_FEED
        ),
        None,
    )
    if at is None:
        place.at("fragments").refuse(
            svn,
            "the platform's fragment in the policy",
            "leave out --infrastructure-svn, or what leaves out the default fragment",
        )
        return list(fragments)
    changed = {**fragments[at], "minimum_svn": svn}
    return [*fragments[:at], changed, *fragments[at + 1 :]]


def _one(entry: object, place: Place) -> Fields | None:
    """Only the members a policy holds; others, as the path of a file, are left behind."""
    if not isinstance(entry, dict):
        place.refuse(
            entry, "a fragment import, an object", 'write {"feed": "…", "issuer": "did:x509:…", …}'
        )
        return None
    for name in ("feed", "issuer"):
        if not isinstance(find(entry, name), str):
            place.at(name).refuse(
                find(entry, name), "text", "copy it from whoever signs the fragment"
            )
    _check_svn(find(entry, "minimum_svn"), place.at("minimum_svn"))
    includes = find(entry, "includes")
    if not isinstance(includes, list):
        place.at("includes").refuse(includes, "a list", 'write ["containers"]')
    elif unknown := [item for item in includes if f"{item}" not in _INCLUDES]:
        place.at("includes").refuse_if_strict(
            unknown, f"some of {', '.join(sorted(_INCLUDES))}", "leave out what no fragment brings"
        )
    if place.strict:
        return {name: find(entry, name) for name in _MEMBERS}
    return {name: entry[name] for name in _MEMBERS if name in entry}


def _check_svn(svn: object, place: Place) -> None:
    if not (isinstance(svn, str) and svn.isdecimal() and svn.isascii()):
        place.refuse(svn, 'text of digits, as "3"', "semver was the form of confcom before 0.2.14")
