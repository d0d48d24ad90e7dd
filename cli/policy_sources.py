"""What `sealserve policy generate` reads: the options of a deployment, and the files they name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sealserve.cli import files
from sealserve.cli.output import say
from sealserve.native.errors import ConfigError, printable
from sealserve.policy.execution import fragments, profile
from sealserve.policy.execution.complaints import Complaints, Told
from sealserve.policy.execution.containers import ready
from sealserve.policy.execution.deployments import (
    config_file,
    json_places,
    template,
    template_injection,
)
from sealserve.policy.execution.generate import Generated, Options
from sealserve.policy.execution.profile import Profile
from sealserve.policy.execution.wanted import Group

MAX_BYTES = json_places.MAX_TEMPLATE_BYTES


@dataclass(frozen=True)
class Source:
    """What was read. inject: from the file's text and the policies to its new text.

    mark: the byte order mark in front of the text, or nothing.
    """

    groups: Sequence[Group]
    path: Path | None = None
    mark: str = ""
    text: str = ""
    inject: Callable[[str, Sequence[Generated]], str] | None = None


@dataclass(frozen=True)
class Request:
    """The options, by their names on the command line."""

    template: Path | None
    parameters: Path | None
    config: Path | None
    pod: Path | None
    only_image: str
    images: Sequence[str]
    archives: Sequence[Path]
    compatible: str | None
    profile: str
    api_version: str
    framework_version: str
    debug: bool
    disable_stdio: bool
    infrastructure_svn: str
    exclude_default_fragment: bool
    omit_id: bool
    fragments_json: Path | None
    with_containers: Sequence[Path]
    approve_wildcards: bool
    overwrite: bool
    print_policy: bool
    out: Path | None
    as_json: bool
    complaints: Complaints = field(init=False)
    chosen: Profile = field(init=False)

    def __post_init__(self) -> None:
        chosen = profile.named(self.compatible or self.profile).changed(
            api_version=self.api_version, framework_version=self.framework_version
        )
        object.__setattr__(self, "chosen", chosen)
        object.__setattr__(self, "complaints", Complaints(chosen.strict))

    def injects(self, source: Source) -> bool:
        """Whether the policies are put into the file they were made for."""
        return source.inject is not None and not (self.print_policy or self.out)


def read(request: Request) -> Source:
    """The one source that was named."""
    if request.template:
        return _template(request, request.template)
    if request.pod:
        return _pods(request, request.pod)
    if request.config:
        document = _json_file(request.config)
        return Source(config_file.read_config(document, request.complaints), request.config)
    if request.only_image:
        return Source(config_file.of_image(request.only_image, request.complaints))
    return Source([Group("", ())])


def _template(request: Request, path: Path) -> Source:
    mark, text = _text_file(path, MAX_BYTES)
    document = json_places.loads(text, file=str(path))
    given = _json_file(request.parameters) if request.parameters else None
    groups = template.read_template(document, given, request.complaints, _approve(request))
    return Source(groups, path, mark, text, template_injection.into_template)


def _pods(request: Request, path: Path) -> Source:
    # Imported here: every other source is read without PyYAML.
    from sealserve.policy.execution.deployments import pod, pod_injection, yaml_reader

    mark, text = _text_file(path, yaml_reader.MAX_YAML_BYTES)
    documents = yaml_reader.read_documents(text, file=str(path))
    values = [each.value for each in documents]
    groups = pod.read_pods(values, request.complaints, _approve(request))
    return Source(groups, path, mark, text, pod_injection.into_pods)


def refuse_existing(request: Request, source: Source) -> None:
    """A policy that is there already is replaced on purpose or not at all; confcom asks later."""
    if not request.injects(source) or request.overwrite:
        return
    for group in source.groups:
        if group.existing:
            request.complaints.place(f"group {group.name}").at("policy").refuse_if_strict(
                Told("one that is there already"),
                "none",
                "--overwrite replaces it; --print shows the new one",
            )


def read_options(request: Request) -> Options:
    place = request.complaints.place
    containers = [
        entry
        for path in request.with_containers
        for entry in ready.read_ready(_json_file(path), place(path.name))
    ]
    return Options(
        debug=request.debug,
        allow_stdio=not request.disable_stdio,
        default_fragment=not request.exclude_default_fragment,
        infrastructure_svn=request.infrastructure_svn,
        omit_id=request.omit_id,
        fragments=_imports(request),
        containers=containers,
    )


def _imports(request: Request) -> Sequence[dict[str, object]]:
    if request.fragments_json is None:
        return ()
    place = request.complaints.place("fragments")
    imports = fragments.read(_json_file(request.fragments_json), place)
    if request.chosen.strict or request.template or request.pod:
        return imports
    place.remark("confcom adds imports to templates and pods only: they were left out")
    return ()


def _json_file(path: Path) -> object:
    return json_places.loads(_text_file(path, MAX_BYTES)[1], file=str(path))


def _text_file(path: Path, limit: int) -> tuple[str, str]:
    """The byte order mark, if there is one, and the text behind it."""
    try:
        text = files.read(path, limit).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 at byte {error.start}", file=str(path)) from None
    return ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)


def named_images(request: Request) -> Mapping[str, Path]:
    """Images that were given an archive, one by one or in a file of them."""
    named: dict[str, Path] = {}
    for path in request.archives:
        if path.suffix == ".json":
            named |= _mapping(path)
    for text in request.images:
        name, equals, path_text = text.rpartition("=")
        if not (name and equals and path_text):
            raise ConfigError(f"{printable(text)[:80]} is not NAME=PATH", key="--image")
        named[name] = Path(path_text)
    return named


def _mapping(path: Path) -> dict[str, Path]:
    """Archives beside the file that names them."""
    document = _json_file(path)
    entries = document.items() if isinstance(document, dict) else ()
    if not entries or not all(isinstance(value, str) for _, value in entries):
        raise ConfigError('is not {"NAME": "ARCHIVE"}', file=str(path), key="--tar")
    return {name: path.parent / str(value) for name, value in entries}


def archives(request: Request) -> list[Path]:
    return [path for path in request.archives if path.suffix != ".json"]


def _approve(request: Request) -> Callable[[str], bool]:
    """Strict profiles never ask: what may have any value is said on the command line."""
    if request.approve_wildcards or request.chosen.strict:
        return lambda _: request.approve_wildcards
    return lambda name: asked(f"create a wildcard policy for {name}")


def asked(question: str) -> bool:
    say(f"{printable(question)}? (y/n)")
    return sys.stdin.readline().strip().lower() == "y"
