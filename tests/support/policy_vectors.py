"""Cases of a directory of policy vectors: what goes in, with which options, and what comes out.

Two forms, each with an `index.json`: `templates` (cases of every source, with their images in
archives) and `confcom` (the tool's own samples, with what is known of their images).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealserve.policy.execution.image import Image

DIRECTORY = Path(__file__).parent.parent / "vectors" / "policy"

# What a row calls an option, and how it is typed.
OPTIONS = {
    "debug": ["--debug"],
    "no_stdio": ["--disable-stdio"],
    "no_default_fragments": ["--exclude-default-fragment"],
    "omit_id": ["--omit-id"],
    "yes": ["--approve-wildcards"],
    "inject": [],
}


@dataclass(frozen=True)
class Run:
    """One row of a case. folder: where its files are. archives: an image name to its archive."""

    folder: Path
    case: Mapping[str, Any]
    row: Mapping[str, Any]
    archives: Mapping[str, Path]

    @property
    def id(self) -> str:
        return f"{self.case['case']}-{self.row['variant']}"

    @property
    def injects(self) -> bool:
        return "file_after" in self.row

    def file(self, kind: str) -> Path | None:
        return self.folder / self.case[kind] if kind in self.case else None

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def options(self) -> list[str]:
        return [word for option in self.row["options"] for word in self._typed(option)]

    def _typed(self, option: str) -> list[str]:
        if option == "fragments":
            return ["--fragments-json", str(self.file("fragments"))]
        if option.startswith("svn="):
            return ["--infrastructure-svn", option.removeprefix("svn=")]
        return OPTIONS[option]


@dataclass(frozen=True)
class Sample:
    """One variant of a sample. policies: SHA-256 of each group's text."""

    folder: Path
    case: Mapping[str, Any]
    variant: Mapping[str, Any]

    @property
    def id(self) -> str:
        return f"{self.case['dir']}-{Path(self.variant['file']).stem}"


def templates_of(directory: Path) -> Path:
    """The folder of templates: there, or the directory itself."""
    return directory / "templates" if (directory / "templates").is_dir() else directory


def runs_of(directory: Path) -> list[Run]:
    return [*_runs(templates_of(directory))]


def confcom_of(directory: Path) -> Path:
    """The folder of samples: there, or the directory itself."""
    return directory / "confcom" if (directory / "confcom").is_dir() else directory


def samples_of(directory: Path) -> list[Sample]:
    folder = confcom_of(directory)
    return [
        Sample(folder / case["dir"], case, variant)
        for case in index_of(folder).get("cases", ())
        for variant in case.get("variants", ())
    ]


def index_of(folder: Path) -> dict[str, Any]:
    file = folder / "index.json"
    read: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return read


def facts_of(folder: Path) -> dict[str, Image]:
    """What is known of the images of samples, which are not there themselves."""
    return {name: _facts(entry) for name, entry in index_of(folder).get("images", {}).items()}


def _facts(entry: Mapping[str, Any]) -> Image:
    config = entry["config"]
    return Image(
        layers=tuple(entry["layers"]),
        entrypoint=tuple(config["Entrypoint"] or ()),
        cmd=tuple(config["Cmd"] or ()),
        env=tuple(config["Env"] or ()),
        working_dir=config["WorkingDir"] or "",
        user=config["User"] or "",
        stop_signal=config["StopSignal"] or "",
    )


def _runs(folder: Path) -> Iterator[Run]:
    archives = {}
    if (folder / "images.json").exists():
        named = json.loads((folder / "images.json").read_text())
        archives = {name: folder / archive for name, archive in named.items()}
    for case in index_of(folder).get("cases", ()):
        for row in case.get("runs", ()):
            yield Run(folder / case["case"], case, row, archives)
