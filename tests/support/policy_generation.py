"""Small templates, configs and pods, and what generating from them gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import HealthCheck, settings

from sealserve.native.errors import ConfigError
from sealserve.policy.execution import text
from sealserve.policy.execution.complaints import Complaint, Complaints
from sealserve.policy.execution.deployments import config_file, pod, yaml_reader
from sealserve.policy.execution.deployments.template import TYPES, read_template
from sealserve.policy.execution.generate import Generated, Options, generate
from sealserve.policy.execution.image import Image
from sealserve.policy.execution.profile import Profile, named
from sealserve.policy.execution.wanted import Group

LAYER = "a5" * 32
APP = Image(layers=(LAYER,), entrypoint=("/srv/app",), cmd=("--serve",), env=("PATH=/bin",))
POD = """
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: app
    image: demo/app:1
"""

# A machine that is busy with others may take its time over one example.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

STRICT, CONFCOM = named("aci-2025"), named("confcom-1.2")

Read = Callable[[Complaints], list[Group]]
Fields = dict[str, Any]


def template(
    properties: Fields | None = None, group: Fields | None = None, **more: object
) -> Fields:
    """One group of one container `app`. more: members of the template."""
    container = {"name": "app", "properties": {"image": "demo/app:1", **(properties or {})}}
    resource = {
        "type": TYPES[0],
        "name": "one",
        "properties": {"containers": [container], **(group or {})},
    }
    return {"resources": [resource], **more}


def config(properties: Fields | None = None, **more: object) -> Fields:
    """One container `app` in confcom's own form. more: members beside the containers."""
    members = {"image": "demo/app:1", **(properties or {})}
    return {"version": "1.0", "containers": [{"name": "app", "properties": members}], **more}


def from_template(document: object, given: object = None, *, approve: bool = False) -> Read:
    return lambda complaints: read_template(document, given, complaints, lambda _: approve)


def from_config(document: object) -> Read:
    return lambda complaints: config_file.read_config(document, complaints)


def from_pods(words: str, *, approve: bool = False) -> Read:
    values = [each.value for each in yaml_reader.read_documents(words)]
    return lambda complaints: pod.read_pods(values, complaints, lambda _: approve)


def attempt(
    read: Read,
    profile: Profile = STRICT,
    options: Options | None = None,
    images: Mapping[str, Image] | None = None,
) -> tuple[list[Generated], Complaints]:
    """What comes out, and what was complained about on the way."""
    known = images or {"demo/app:1": APP}

    def image_of(name: str) -> Image:
        if name not in known:
            raise ConfigError("none of the archives has it", hint="--image NAME=FILE")
        return known[name]

    complaints = Complaints(profile.strict)
    policies = generate(read(complaints), image_of, profile, options or Options(), complaints)
    return policies, complaints


def faults(read: Read, profile: Profile = STRICT, **options: Any) -> Sequence[Complaint]:
    return attempt(read, profile, **options)[1].found


def policy(read: Read, profile: Profile = STRICT, **options: Any) -> text.PolicyText:
    """The one policy that comes out without a complaint, read again."""
    (made,), complaints = attempt(read, profile, **options)
    complaints.check()
    return text.parse(made.text)


def container(read: Read, profile: Profile = STRICT, **options: Any) -> Fields:
    """The first container of that policy."""
    return policy(read, profile, **options).containers[0]
