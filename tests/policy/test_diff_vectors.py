"""Judges templates that carry a policy: is it the one that would be generated, in meaning?

    pytest tests/policy/test_diff_vectors.py --vectors DIR

DIR has `templates/index.json` of the form of tests/vectors/policy, with `diff_cases`, or is that
folder. confcom does not see what only the policy has, and counts names; ours looks both ways, and
names mean nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sealserve.cli.main import run
from support.policy_vectors import DIRECTORY, templates_of

SAME, DIFFERENT, REFUSED = 0, 1, 8

# Of our own directory: what is the same to a machine, and where the others differ.
SEEN = {"match": SAME, "container_renamed": SAME}
FIELDS = {
    "env_added": {"env_rules"},
    "command_changed": {"command"},
    "mount_added": {"mounts"},
    "probe_removed": {"exec_processes"},
    "capability_and_user": {"capabilities.bounding", "user.user_idname", "user.group_idnames"},
}


@dataclass(frozen=True)
class Row:
    """One template. fields: per container, the fields that confcom finds different."""

    name: str
    template: Path
    status: int
    fields: dict[str, list[str]]

    @property
    def expected(self) -> tuple[int, ...]:
        """What confcom takes for a match may have more in its policy: that it does not see."""
        if self.status == 0:
            return SAME, DIFFERENT
        if self.status == 1:
            return (REFUSED,)
        names_alone = bool(self.fields) and all(f == ["name"] for f in self.fields.values())
        return (SAME if names_alone else DIFFERENT,)


def rows_of(directory: Path) -> Iterator[Row]:
    folder = templates_of(directory)
    index = json.loads((folder / "index.json").read_bytes())
    for case in index["diff_cases"]:
        fields = {name: _fields(told) for name, told in case.get("differences", {}).items()}
        template = folder / index["diff_folder"].strip("/") / case["template"]
        yield Row(case["case"], template, case["exit"], fields)


def _fields(told: Any) -> list[str]:
    if isinstance(told, str):
        return []
    inner = [field for key, of in told.items() if key.startswith("values_") for field in of]
    return [*inner, *(["env_rules"] if "env_rules" in told else [])]


def directory_of(config: pytest.Config) -> Path:
    return Path(config.getoption("--vectors") or DIRECTORY)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "row" in metafunc.fixturenames:
        rows = [*rows_of(directory_of(metafunc.config))]
        metafunc.parametrize("row", rows, ids=[row.name for row in rows])


def generated(row: Row, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The policy of the template's containers, written anew."""
    template = folder / "template.json"
    shutil.copyfile(row.template, template)
    images = row.template.parent.parent / "images.json"
    options = ["--compatible", "confcom-1.2", "--tar", str(images), "--print"]
    assert run(["policy", "generate", "--template", str(template), *options]) == 0
    policy = folder / "generated.rego"
    policy.write_text(capsys.readouterr().out)
    return policy


def test_diff(row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = generated(row, tmp_path, capsys)
    arguments = ["policy", "diff", str(row.template), str(policy)]
    status = run([*arguments, "--json"])
    told = capsys.readouterr()
    assert status in row.expected, told
    if status == REFUSED:
        assert "ccePolicy" in told.err or "is not an execution policy" in told.err
        return
    read = json.loads(told.out)
    keys = {found["key"] for side in ("only_a", "only_b") for found in read[side]}
    assert bool(keys) == (status == DIFFERENT)
    assert row.status != 0 or read["only_b"] == []  # nothing that the policy would not allow
    if row.template.is_relative_to(DIRECTORY):
        assert status == SEEN.get(row.name, DIFFERENT)
        assert FIELDS.get(row.name, set()) <= {key.partition(").")[2] for key in keys}
    assert run(arguments) == status
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())
