"""The folder of a deployment, read: its pieces, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from sealserve import models
from sealserve.cli import deploy_commands, files
from sealserve.cli.deploy_commands import Started
from sealserve.keys.keyid import KeyId
from sealserve.native.errors import ConfigError, SealserveError
from sealserve.policy import toml_table
from sealserve.policy.deployment import reading
from sealserve.policy.deployment.disagreement import Disagreement, Side
from sealserve.policy.deployment.pieces import Deployment, Release, SealedFile, Template
from sealserve.policy.deployment.reading import Kind
from sealserve.policy.execution import policy_file
from sealserve.policy.execution.policy_file import MAX_FILE_BYTES, PolicyFile
from sealserve.policy.release import MAX_POLICY_BYTES, ReleasePolicy
from sealserve.policy.trust import Trust

MAX_FILES = 1000  # a deployment has about six; somebody named another folder
T = TypeVar("T")

_SINGLE: tuple[Kind, ...] = ("template", "parameters", "policy", "release_policy", "trust")


@dataclass(frozen=True)
class Folder:
    """files: names by what they are. faults: what could not be read, or is there twice."""

    deployment: Deployment
    files: Mapping[str, Sequence[str]]
    faults: Sequence[Disagreement]

    @classmethod
    def read(cls, path: Path, group: str) -> Folder:
        """Raises ConfigError for a folder that cannot be listed, or has too many files."""
        reader = _Reader(path, group)
        reader.sort()
        return cls(reader.deployment(), reader.names, reader.faults)


@dataclass
class _Reader:
    path: Path
    group: str
    names: dict[str, list[str]] = field(default_factory=dict)
    faults: list[Disagreement] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)

    def sort(self) -> None:
        for name in _listed(self.path):
            kind = self._tried("other", name, partial(self._kind, name))
            if kind is not None:
                self.names.setdefault(kind, []).append(name)
        for single in _SINGLE:
            if len(self.names.get(single, ())) > 1:
                self.unread.add(single)
                self.faults.append(_several(single, self.names[single]))

    def deployment(self) -> Deployment:
        template = self._one("template", self._template)
        policy = self._one("policy", self._policy)
        started = self._started(template.policy if template else policy)
        release = self._one("release_policy", self._release)
        trust = self._one("trust", self._trust)
        sealed = tuple(self._sealed())
        return Deployment(
            template=template,
            policy=policy,
            release=release,
            trust=trust,
            sealed=sealed,
            servers=tuple(started.servers),
            sidecars=tuple(started.sidecars),
            unread=frozenset(self.unread),
        )

    def _started(self, deployed: PolicyFile | None) -> Started:
        """What the policy that counts lets start; nothing where that cannot be told."""
        if deployed is None:
            return Started()
        read = partial(deploy_commands.read, deployed)
        started = self._tried("command", deployed.where, read) or Started()
        if started.faults:
            self.unread.add("command")
        self.faults += started.faults
        return started

    def _kind(self, name: str) -> Kind:
        kind = reading.kind_by_name(name)
        return kind or reading.kind_by_content(self._bytes(name), file=name)

    def _one(self, kind: Kind, read: Callable[[str], T]) -> T | None:
        """The only piece of its kind: of several none counts, and that was said."""
        names = self.names.get(kind, [])
        return self._tried(kind, names[0], partial(read, names[0])) if len(names) == 1 else None

    def _template(self, name: str) -> Template:
        given = self._one("parameters", self._bytes)
        data = self._bytes(name)
        return reading.template(data, given, file=name, group=self.group)

    def _policy(self, name: str) -> PolicyFile:
        return policy_file.read_one(self._bytes(name), file=name)

    def _release(self, name: str) -> Release:
        data = self._bytes(name, MAX_POLICY_BYTES)
        return Release(name, ReleasePolicy.parse(data, file=name))

    def _trust(self, name: str) -> Trust:
        return Trust.parse(self._bytes(name, toml_table.MAX_FILE_BYTES), file=name)

    def _sealed(self) -> Iterator[SealedFile]:
        for name in self.names.get("sealed", ()):
            sealed = self._tried("sealed", name, partial(_sealed, self.path, name))
            if sealed is not None:
                yield sealed

    def _bytes(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        return files.read(self.path / name, limit)

    def _tried(self, kind: str, name: str, read: Callable[[], T]) -> T | None:
        """What cannot be read disagrees with everything; the others are compared all the same."""
        try:
            return read()
        except SealserveError as error:
            self.unread.add(kind)
            self.faults.append(_unreadable(name, error))
            return None


def _listed(path: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
    except OSError as error:
        raise ConfigError(f"cannot be listed: {error.strerror}", file=str(path)) from error
    if len(names) > MAX_FILES:
        raise ConfigError(
            f"has {len(names)} files; at most {MAX_FILES} are looked at",
            file=str(path),
            hint="give the folder of one deployment",
        )
    return [name for name in names if not name.startswith(".")]


def _sealed(path: Path, name: str) -> SealedFile:
    """Raises as `models.inspect`."""
    told = models.inspect(path / name)
    urls = [slot.recipient for slot in told.slots if slot.kind == "azure"]
    hosts = tuple(KeyId.parse(url).host for url in urls)
    return SealedFile(name, told.name, told.root.hex(), hosts)


def _several(kind: Kind, names: Sequence[str]) -> Disagreement:
    return Disagreement(
        "danger",
        f"several_{kind}",
        "several files of one kind: which of them counts?",
        tuple(Side(name, kind.replace("_", " ")) for name in names),
        "keep the files of one deployment in one folder",
    )


def _unreadable(name: str, error: SealserveError) -> Disagreement:
    return Disagreement(
        "danger",
        "unreadable",
        "a file that cannot be read is compared with nothing",
        (_place(name, error),),
        error.hint or "put it right, or take it away",
    )


def _place(name: str, error: SealserveError) -> Side:
    if not isinstance(error, ConfigError):
        return Side(name, error.message)
    line = f"line {error.line}" if error.line else ""
    return Side(", ".join(part for part in (name, line, error.key) if part), error.reason)
