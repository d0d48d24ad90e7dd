"""Which of the command line's files are served, and what each was when it was last open."""

from __future__ import annotations

from collections.abc import Sequence

from sealserve.inference.server.commands import Command, KnownModel, Refusal, Verb

Files = frozenset[int]  # numbers of files on the command line, from 0
Opened = Sequence[Sequence[str]]  # name, version and root (hex) of each, in the same order


class Catalog:
    """All files are served at first. A name is known once its file was open."""

    def __init__(self, files: int) -> None:
        self.all: Files = frozenset(range(files))
        self.served = self.all
        self._seen: dict[int, tuple[str, str, str]] = {}

    def wanted(self, command: Command) -> Files | Refusal:
        """The files to serve once a command that changes them is done."""
        if command.verb is Verb.RELOAD:
            return self.served
        named = frozenset(n for n, (name, _, _) in self._seen.items() if name == command.model)
        if not named:
            return Refusal.UNKNOWN_MODEL
        if command.verb is Verb.LOAD:
            return self.served | named
        return self.served - named or Refusal.LAST_MODEL

    def opened(self, files: Files, models: Opened) -> None:
        """These are served from now on, as these models."""
        self.served = files
        for number, (name, version, root) in zip(sorted(files), models, strict=True):
            self._seen[number] = name, version, root

    def names_left_out(self, files: Files) -> frozenset[str]:
        """Names that none of these files has, as far as is known."""
        names = {number: name for number, (name, _, _) in self._seen.items()}
        kept = {name for number, name in names.items() if number in files}
        return frozenset(names.values()) - kept

    def known(self) -> tuple[KnownModel, ...]:
        """Every model of the command line."""
        return tuple(
            KnownModel(*seen, loaded=number in self.served)
            for number, seen in sorted(self._seen.items())
        )
