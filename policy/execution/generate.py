"""Policies out of what was asked for and the images it names."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sealserve.native.errors import ConfigError
from sealserve.policy.execution import fragments
from sealserve.policy.execution.complaints import Complaints, Place, Told, shown
from sealserve.policy.execution.containers.container import container_object
from sealserve.policy.execution.containers.platform_helpers import is_helper
from sealserve.policy.execution.image import Image
from sealserve.policy.execution.image_source import tagged
from sealserve.policy.execution.platform import (
    DEBUG_SHELLS,
    Fields,
    infrastructure_fragment,
    pause_container,
)
from sealserve.policy.execution.profile import ADVISED_SVN, Profile
from sealserve.policy.execution.text import MAX_POLICY_BYTES, NORMAL_FLAGS, PolicyText
from sealserve.policy.execution.wanted import Group, Process, Wanted

ImageOf = Callable[[str], Image]  # raises ConfigError where there is none of that name

_ANOTHER_SOURCE = "save the image anew, as `podman save` does, and name the file with --image"
_DEBUG_FLAGS = {"allow_dump_stacks": True, "allow_runtime_logging": True}


@dataclass(frozen=True)
class Options:
    """What a person chooses beside the profile.

    infrastructure_svn: in place of the profile's, digits. fragments: more imports. containers:
    ready container objects, put behind those of the source.
    """

    debug: bool = False
    allow_stdio: bool = True
    default_fragment: bool = True
    infrastructure_svn: str = ""
    omit_id: bool = False
    fragments: Sequence[Fields] = ()
    containers: Sequence[Fields] = ()


@dataclass(frozen=True)
class Generated:
    """One group's policy. text: the bytes whose SHA-256 is HOST_DATA."""

    group: Group
    profile: Profile
    text: bytes

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.text).digest()

    @property
    def base64(self) -> str:
        """As it travels in a template or an annotation."""
        return base64.b64encode(self.text).decode()


def generate(
    groups: Sequence[Group],
    image_of: ImageOf,
    profile: Profile,
    options: Options,
    complaints: Complaints,
) -> list[Generated]:
    """One policy per group. What is wrong goes to `complaints`; the caller asks it then."""
    if options.debug:
        complaints.place("").remark(
            "debug lets in shells and lets out stacks and logs: not for use"
        )
    maker = _Maker(image_of, profile, options, complaints, several=len(groups) > 1)
    return [Generated(group, profile, maker.text(group)) for group in groups]


@dataclass(frozen=True)
class _Maker:
    image_of: ImageOf
    profile: Profile
    options: Options
    complaints: Complaints
    several: bool

    def text(self, group: Group) -> bytes:
        place = self.complaints.place(f"group {group.name}" if group.name else "")
        containers = [
            self._container(wanted, self._place(wanted, group, at))
            for at, wanted in enumerate(group.containers)
        ]
        containers += [dict(entry) for entry in self.options.containers]
        of_platform = self._is_of_platform(group, place)
        imports = self._fragments(group, place)
        if self.complaints.found:
            return b""
        if of_platform:
            return self._written(containers).encode_sidecar()
        if not group.containers or not all(is_helper(entry.image) for entry in group.containers):
            containers.append(self._pause())
            if not self.options.allow_stdio:
                containers = [{**entry, "allow_stdio_access": False} for entry in containers]
        text = self._written(containers, imports).encode()
        if len(text) > MAX_POLICY_BYTES:
            place.refuse(
                Told(f"a policy of {len(text)} bytes"),
                f"at most {MAX_POLICY_BYTES}",
                "spread the containers over several groups: each has a policy of its own",
            )
        return text

    def _place(self, wanted: Wanted, group: Group, at: int) -> Place:
        name = wanted.name if isinstance(wanted.name, str) and wanted.name else f"containers[{at}]"
        title = f"group {group.name}, {name}" if self.several else name
        return self.complaints.place(title)

    def _container(self, wanted: Wanted, place: Place) -> Fields:
        image = self._image(wanted, place.at("image"))
        made = container_object(
            self._with_shells(wanted),
            image,
            self.profile,
            place,
            allow_stdio=self.options.allow_stdio,
        )
        if self.options.omit_id:
            if made["name"] == made["id"]:
                del made["name"]
            del made["id"]
        return made

    def _image(self, wanted: Wanted, place: Place) -> Image:
        if not wanted.image or not isinstance(wanted.image, str):
            return _UNKNOWN  # whoever read the source has said so
        if tagged(wanted.image).endswith(":latest"):
            place.remark(f"{shown(wanted.image)} is another image tomorrow: name a version")
        try:
            return self.image_of(wanted.image)
        except ConfigError as error:
            seen = Told(f"{shown(wanted.image)}: {shown(error.message)}")
            place.refuse(seen, "an image that can be read", error.hint or _ANOTHER_SOURCE)
            return _UNKNOWN

    def _with_shells(self, wanted: Wanted) -> Wanted:
        """Debug mode lets shells in; of confcom's sources the bare image forgets them."""
        if not self.options.debug or (wanted.alone and not self.profile.strict):
            return wanted
        return wanted.with_processes([Process([shell]) for shell in DEBUG_SHELLS])

    def _is_of_platform(self, group: Group, place: Place) -> bool:
        """Where a helper of the platform is first, confcom writes a fragment's text."""
        helpers = [entry for entry in group.containers if is_helper(entry.image)]
        if helpers:
            place.refuse_if_strict(
                helpers[0].image,
                "images of your own",
                "the platform's helpers come in through its fragment",
            )
        return bool(group.containers) and is_helper(group.containers[0].image)

    def _pause(self) -> Fields:
        return pause_container(allow_stdio=self.options.allow_stdio, signals=self.profile.signals)

    def _fragments(self, group: Group, place: Place) -> list[Fields]:
        if group.is_image and not self.profile.strict:  # confcom hears of no option here
            return [infrastructure_fragment(self.profile.infrastructure_svn)]
        default = []
        if not self._excludes_default(group):
            default = [infrastructure_fragment(self.profile.infrastructure_svn)]
        imports = [*group.fragments, *default]
        if self.options.infrastructure_svn:
            imports = fragments.with_svn(imports, self.options.infrastructure_svn, place)
        self._remark_old(imports, place)
        return [*imports, *self.options.fragments]

    def _excludes_default(self, group: Group) -> bool:
        excluded = not self.options.default_fragment
        if group.exclude_default is None:
            return excluded
        return group.exclude_default or (excluded and self.profile.strict)

    def _remark_old(self, imports: Sequence[Fields], place: Place) -> None:
        for entry in imports:
            svn = f"{entry.get('minimum_svn')}"
            if self.profile.strict and entry == infrastructure_fragment(svn) and _is_old(svn):
                place.remark(
                    f"the platform's fragment may be as old as svn {shown(svn)}; {ADVISED_SVN} is "
                    f"advised (--infrastructure-svn {ADVISED_SVN}), and is another hash"
                )

    def _flags(self) -> dict[str, bool]:
        debug = _DEBUG_FLAGS if self.options.debug else {}
        return {**NORMAL_FLAGS, "allow_host_network": False, **debug}

    def _written(self, containers: Sequence[Fields], imports: Sequence[Fields] = ()) -> PolicyText:
        return PolicyText(
            containers,
            imports,
            self._flags(),
            api_version=self.profile.api_version,
            framework_version=self.profile.framework_version,
            binds_rw_unmount=self.profile.strict,
        )


def _is_old(svn: str) -> bool:
    return svn.isdecimal() and int(svn[:9]) < ADVISED_SVN


_UNKNOWN = Image(layers=("0" * 64,), entrypoint=("/",))  # of an image that was complained about
