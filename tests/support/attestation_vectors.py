"""Reads tests/vectors/evidence: rows of `vectors.json` and the files they name."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sealserve.attestation import Evidence, roots
from sealserve.attestation.certs import Leaf

DIRECTORY = Path(__file__).parent.parent / "vectors" / "evidence"


@dataclass(frozen=True)
class Vector:
    """One row. failures: the codes a verifier must find, without what stands in brackets.

    bind: which field of the report is the SHA-256 of which of its files.
    """

    id: str
    kind: str
    files: dict[str, str]
    verdict: str
    failures: tuple[str, ...]
    at: datetime
    measured: dict[str, Any]
    bind: dict[str, str]
    directory: Path

    def path(self, name: str) -> Path:
        """Where one of its files is."""
        return self.directory / self.files[name]

    def read(self, name: str) -> bytes:
        """One of its files."""
        return self.path(name).read_bytes()

    def evidence(self) -> Evidence:
        """Its report and leaf under AMD's intermediate; claims where the origin has them."""
        leaf = Leaf.parse(self.read("leaf.der"))
        line = leaf.certificate.issuer.common_name.split("-")[-1].lower()
        claims = self.read("runtime_data.bin") if "runtime_data.bin" in self.files else b""
        return Evidence(
            report=self.read("report.bin"),
            leaf=leaf.certificate.der,
            intermediate=roots.intermediate(line, leaf.kind),  # type: ignore[arg-type]
            claims=claims,
        )


def rows_of(directory: Path) -> list[Vector]:
    """All rows of a directory."""
    return [
        Vector(
            id=row["id"],
            kind=row["kind"],
            files=row["files"],
            verdict=row["verdict"]["class"],
            failures=tuple(re.sub(r"\(.*", "", code) for code in row["verdict"]["failures"]),
            at=datetime.fromisoformat(row["verdict"]["at"]),
            measured=row.get("measured") or {},
            bind=row.get("bind") or {},
            directory=directory,
        )
        for row in json.loads((directory / "vectors.json").read_text())
    ]


def vectors(kind: str, *required: str) -> list[Vector]:
    """Our own rows of this kind that have these files."""
    return [
        row for row in rows_of(DIRECTORY) if row.kind == kind and set(required) <= row.files.keys()
    ]


def vector(name: str) -> Vector:
    """The SNP row with this id."""
    return next(row for row in vectors("snp") if row.id == name)


def digests(directory: Path) -> dict[Path, str]:
    """Every file of the directory whose row states its SHA-256, and that."""
    rows = json.loads((directory / "vectors.json").read_text())
    return {
        directory / path: row["sha256"][name]
        for row in rows
        for name, path in row["files"].items()
        if name in row.get("sha256", {})
    }


def sha256(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
