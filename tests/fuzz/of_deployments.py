"""Files that deployments are written in: what is read becomes a policy, or is complained about."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fuzz.ground import VECTORS, same
from sealserve.native.errors import ConfigError
from sealserve.policy.deployment import reading
from sealserve.policy.execution import text
from sealserve.policy.execution.deployments import json_places, yaml_reader
from sealserve.policy.execution.deployments.pod_injection import into_pods
from sealserve.policy.execution.deployments.template_injection import into_template
from sealserve.policy.execution.generate import Generated
from support.fuzz_mutations import Target
from support.policy_generation import (
    APP,
    CONFCOM,
    STRICT,
    Read,
    attempt,
    from_config,
    from_pods,
    from_template,
)

CASES = VECTORS / "policy/templates"
IMAGES = dict.fromkeys(
    ("demo.example/app:1.4", "demo.example/tools/tool:2", "demo.example/init:latest"), APP
)
TOKENS = (
    *(b"[parameters('a')]", b"[variables('v')]", b"[concat('a')]", b"[[", b"ALL", b"CAP_CHOWN"),
    *(b"azureFile", b"re2", b"(a+)+$", b"securityContext", b"seccompProfile", b"e30=", b"// x\n"),
    *(b"/*", b"*/", b"k8s.gcr.io/pause:3", b"===CONFIDENTIAL.THIM.ENDPOINT===", b"copy"),
)


def arm_template() -> Target:
    """Read, generated from with and without faults of confcom, and put back."""

    def run(data: bytes) -> None:
        words = _decoded(data)
        document = json_places.loads(words)
        made = _both(from_template(document, approve=True))
        changed = into_template(words, made)
        same(into_template(changed, made).encode(), changed.encode())

    return Target(run, _seeds("template.json"), (ConfigError,), TOKENS)


def deployment_file() -> Target:
    """Told apart by its content, and a template with the parameters it may be itself."""

    def run(data: bytes) -> None:
        for name in ("x.json", "x.toml"):
            with suppress(ConfigError):
                reading.kind_by_content(data, file=name)
        with suppress(ConfigError):
            reading.template(data, data, file="x.json")
        reading.template(data, None, file="x.json")

    more = (b"ccePolicy", b"anyOf", b"[platform]")
    return Target(run, _carrying(), (ConfigError,), (*TOKENS, *more))


def container_config() -> Target:
    """confcom's own form, both versions."""

    def run(data: bytes) -> None:
        _both(from_config(json_places.loads(_decoded(data))))

    return Target(run, _seeds("config.json"), (ConfigError,), TOKENS)


def pod_yaml() -> Target:
    """Pods and the ConfigMaps beside them, and the annotation."""

    def run(data: bytes) -> None:
        words = _decoded(data)
        made = _both(from_pods(words, approve=True))
        changed = into_pods(words, made)
        assert len(yaml_reader.read_documents(changed)) == len(yaml_reader.read_documents(words))

    more = (b"&a", b"*a", b"<<: ", b"? ", b"!!int ", b"|\n", b"---\n", b"$(A)")
    return Target(run, _seeds("pod.yaml"), (ConfigError,), (*TOKENS, *more))


def _both(read: Read) -> Sequence[Generated]:
    """The policies of the strict default. Raises ConfigError for its complaints."""
    _, found = attempt(read, CONFCOM, images=IMAGES)
    made, complaints = attempt(read, STRICT, images=IMAGES)
    complaints.check()
    if not found.found:
        for each in made:
            same(text.parse(each.text).encode(), each.text)
    return made


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8") from None


def _carrying() -> list[bytes]:
    """Templates with the policies that were put into them."""
    found = []
    for data in _seeds("template.json"):
        made = _both(from_template(json.loads(data), approve=True))
        if len(made) == 1:  # of several nobody says which is meant
            found.append(into_template(data.decode(), made).encode())
    return found


def _seeds(name: str) -> list[bytes]:
    """Files of the vectors that the strict default takes."""
    read: dict[str, Callable[[bytes], Read]] = {
        "template.json": lambda data: from_template(json.loads(data), approve=True),
        "config.json": lambda data: from_config(json.loads(data)),
        "pod.yaml": lambda data: from_pods(data.decode(), approve=True),
    }
    found = [path.read_bytes() for path in sorted(Path(CASES).glob(f"*/{name}"))]
    return [data for data in found if not attempt(read[name](data), STRICT, images=IMAGES)[1].found]
