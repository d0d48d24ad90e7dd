"""A securityContext read: who the process is, what it may, which system calls it has."""

from __future__ import annotations

from collections.abc import Sequence

from sealserve.policy.execution.complaints import Place, Told
from sealserve.policy.execution.containers import seccomp
from sealserve.policy.execution.lookup import find
from sealserve.policy.execution.platform import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
    Fields,
    any_user,
)

_SETS = ("bounding", "effective", "permitted")
_ALL = "ALL"
_MAX_ID = (1 << 32) - 1


def privileged(context: object, place: Place) -> bool:
    """Whether the container is to be elevated; text counts, as `"true"`."""
    return _flag(find(context, "privileged"), place.at("privileged"), default=False)


def no_new_privileges(context: object, place: Place) -> bool:
    """True only where escalation is ruled out in so many words."""
    allowed = find(context, "allowPrivilegeEscalation")
    return not _flag(allowed, place.at("allowPrivilegeEscalation"), default=True)


def user(context: object, image_user: str, place: Place) -> Fields:
    """The context's numbers; without any, what the image says."""
    made = any_user()
    person = _number(find(context, "runAsUser"), place.at("runAsUser"))
    group = _number(find(context, "runAsGroup"), place.at("runAsGroup"))
    if person is None and group is None:
        return _of_image(image_user)
    if person is not None:
        made["user_idname"] = {"pattern": person, "strategy": "id"}
    if group is not None:
        made["group_idnames"] = [{"pattern": group, "strategy": "id"}]
    return made


def capabilities(context: object, place: Place, *, elevated: bool, is_pod: bool) -> Fields:
    """The five lists. is_pod: names stand without `CAP_`, as Kubernetes writes them."""
    asked = find(context, "capabilities")
    here = place.at("capabilities")
    if asked and not isinstance(asked, dict):
        here.refuse(
            asked, "an object with add and drop", 'write {"add": ["CAP_…"], "drop": ["CAP_…"]}'
        )
        asked = None
    added = _names(find(asked, "add"), here.at("add"), is_pod)
    dropped = _names(find(asked, "drop"), here.at("drop"), is_pod)
    kept = list(ALL_CAPABILITIES if elevated or _means_all(added, here) else DEFAULT_CAPABILITIES)
    if _means_all(dropped, here):
        kept = []
    names = sorted({*kept, *_plain(added, here)} - {*_plain(dropped, here)})
    sets: Fields = dict.fromkeys(_SETS, names)
    return {**sets, "ambient": [], "inheritable": names if elevated else []}


def seccomp_sha256(context: object, place: Place) -> str:
    """Lower-case hex, or nothing where no profile is given."""
    profile = find(context, "seccompProfile")
    here = place.at("seccompProfile")
    if isinstance(profile, dict):
        _no_own_profile(profile, here)
        return ""
    if profile is None or (profile == "" and place.strict):
        return ""
    if not isinstance(profile, str):
        here.refuse_if_strict(profile, "a profile in base64", "base64 -w0 profile.json")
        return ""
    try:
        confcom = "" if place.strict else seccomp.confcom_sha256(profile)
        return confcom or seccomp.guest_sha256(profile)
    except seccomp.UnreadableError as error:
        here.refuse(
            Told(f"{error}"[:200]),
            "base64 of a seccomp profile in JSON",
            "base64 -w0 profile.json",
        )
        return ""


def _no_own_profile(profile: object, place: Place) -> None:
    """Kubernetes names profiles; which calls `Localhost` allows, the file does not say."""
    kind = find(profile, "type")
    if kind == "Localhost":
        place.refuse(
            kind, "RuntimeDefault or Unconfined", "the profile's own text is not in the pod"
        )
    elif kind not in ("RuntimeDefault", "Unconfined"):
        place.at("type").refuse_if_strict(
            kind, "RuntimeDefault or Unconfined", "the text of another profile is not in the pod"
        )


def _flag(value: object, place: Place, *, default: bool) -> bool:
    if value is None or (value in ("", 0, [], {}) and not place.strict and not default):
        return default
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value.lower() not in ("true", "false"):
            place.refuse_if_strict(value, "true or false", "write true or false, without quotes")
        return value.lower() == "true"
    place.refuse(value, "true or false", "write true or false, without quotes")
    return default


def _number(value: object, place: Place) -> str | None:
    """An id as text; confcom takes true for a number, and it ends up in the policy."""
    is_number = type(value) is int or (isinstance(value, int) and not place.strict)
    if value is None:
        return None
    if not is_number or not isinstance(value, int) or value < 0:
        place.refuse(value, "a number from 0 up", "names are looked up in the image, not here")
        return None
    if value > _MAX_ID:
        place.refuse_if_strict(
            value, f"at most {_MAX_ID}", "no user or group of Linux has a higher number"
        )
    return str(value)


def _of_image(text: str) -> Fields:
    """`user`, `user:group`, `uid:gid` and mixtures of them; nothing means anybody."""
    made = any_user()
    if not text:
        return made
    person, colon, group = text.partition(":")
    made["user_idname"] = _id_or_name(person)
    if colon:
        made["group_idnames"] = [_id_or_name(group)]
    return made


def _id_or_name(text: str) -> Fields:
    return {"pattern": text, "strategy": "id" if text.isdigit() else "name"}


def _names(value: object, place: Place, is_pod: bool) -> list[str]:
    names = []
    for here, item in place.entries(value, "a list of capabilities"):
        if isinstance(item, str):
            names.append(_name(item, here, is_pod))
        else:
            here.refuse(item, "the name of a capability", "write it in letters, as CAP_CHOWN")
    return names


def _name(text: str, place: Place, is_pod: bool) -> str:
    """The name as it stands; what Linux does not know is refused by the strict profiles."""
    if not place.strict or text in ALL_CAPABILITIES or text == _ALL:
        return text
    known = f"CAP_{text.upper().removeprefix('CAP_')}"
    if is_pod and known in ALL_CAPABILITIES:
        return known
    hint = f"write {known}" if known in ALL_CAPABILITIES else "names are CAP_CHOWN and the like"
    place.refuse(text, "a capability of Linux", hint)
    return text


def _means_all(names: Sequence[str], place: Place) -> bool:
    """confcom takes ALL for a name, so that `drop: ["ALL"]` drops nothing."""
    return place.strict and _ALL in names


def _plain(names: Sequence[str], place: Place) -> list[str]:
    return [name for name in names if not (place.strict and name == _ALL)]
