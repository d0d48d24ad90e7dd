"""One container object of a policy: what was asked for, filled up from the image.

Members as the framework knows them (hcsshim pkg/securitypolicy/framework.rego); `id` and `name`
are for people and tools.
"""

from __future__ import annotations

from sealserve.policy.execution.complaints import NOTHING, Place
from sealserve.policy.execution.containers import security
from sealserve.policy.execution.containers.command import check_text, command_of
from sealserve.policy.execution.containers.mounts import mounts
from sealserve.policy.execution.containers.platform_helpers import is_filled
from sealserve.policy.execution.containers.rules import env_rules
from sealserve.policy.execution.containers.signals import exec_processes, signals
from sealserve.policy.execution.image import Image
from sealserve.policy.execution.platform import Fields
from sealserve.policy.execution.profile import Profile
from sealserve.policy.execution.wanted import Wanted


def container_object(
    wanted: Wanted, image: Image, profile: Profile, place: Place, *, allow_stdio: bool
) -> Fields:
    """What goes into the policy; complaints about it are at `place`."""
    context = place.at("securityContext")
    elevated = security.privileged(wanted.security, context)
    made: Fields = {
        "allow_elevated": elevated,
        "allow_stdio_access": allow_stdio,
        "capabilities": security.capabilities(
            wanted.security, context, elevated=elevated, is_pod=wanted.is_pod
        ),
        "command": command_of(wanted, image, place.at("command")),
        "env_rules": env_rules(wanted, image, profile, place.at("environmentVariables")),
        "exec_processes": exec_processes(wanted.processes, place.at("execProcesses")),
        "id": wanted.image,
        "layers": list(image.layers),
        "mounts": mounts(wanted, place.at("volumeMounts")),
        "name": wanted.name,
        "no_new_privileges": security.no_new_privileges(wanted.security, context),
        "seccomp_profile_sha256": security.seccomp_sha256(wanted.security, context),
        "signals": signals(wanted, image, profile, place.at("image")),
        "user": security.user(
            wanted.security, image.user if is_filled(wanted, place) else "", context
        ),
        "working_dir": _working_dir(wanted, image, place.at("workingDir")),
    }
    if not image.layers:
        place.at("image").refuse(NOTHING, "layers", "an image without layers holds no program")
    return made


def _working_dir(wanted: Wanted, image: Image, place: Place) -> object:
    path = wanted.working_dir or image.working_dir or "/"
    if not isinstance(path, str) or not path.startswith("/"):
        if wanted.working_dir or place.strict:
            place.refuse(path, "an absolute path", "begin it with /")
    elif place.strict:
        check_text(path, place)
    return path
