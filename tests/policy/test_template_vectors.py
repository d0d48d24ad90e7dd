"""Judges a directory of policy vectors: confcom's bytes, its hashes, and what it refuses.

    pytest tests/policy/test_template_vectors.py --vectors DIR

DIR has `templates/index.json` and `confcom/index.json`, or one of them, or is such a folder, of the
form of tests/vectors/policy, which is judged without the option. Rows of `templates` go through
`sealserve policy generate --compatible confcom-1.2` with their archives; samples, whose images are
not there, through Python. Where confcom leaves with 1, ours leaves with ConfigError's 8.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from sealserve.cli.main import run
from sealserve.native.errors import ConfigError
from sealserve.policy.execution import text as policy_text
from sealserve.policy.execution.complaints import Complaints
from sealserve.policy.execution.deployments.template import read_template
from sealserve.policy.execution.generate import Generated, Options, generate
from sealserve.policy.execution.image import Image
from sealserve.policy.execution.profile import Profile, named
from support.policy_vectors import (
    DIRECTORY,
    Run,
    Sample,
    confcom_of,
    facts_of,
    index_of,
    runs_of,
    samples_of,
    templates_of,
)

SOURCES = {"template": "--template", "config": "--config", "pod_yaml": "--pod"}
SAMPLE_OPTIONS: dict[str, dict[str, Any]] = {
    "debug mode": {"debug": True},
    "stdio off": {"allow_stdio": False},
    "no default fragment": {"default_fragment": False},
    "infrastructure svn 99": {"infrastructure_svn": "99"},
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    directory = directory_of(metafunc.config)
    if "row" in metafunc.fixturenames:
        rows = runs_of(directory)
        metafunc.parametrize("row", rows, ids=[row.id for row in rows])
    if "sample" in metafunc.fixturenames:
        samples = samples_of(directory)
        metafunc.parametrize("sample", samples, ids=[sample.id for sample in samples])


def directory_of(config: pytest.Config) -> Path:
    return Path(config.getoption("--vectors") or DIRECTORY)


def test_there_are_cases(pytestconfig: pytest.Config) -> None:
    directory = directory_of(pytestconfig)
    assert runs_of(directory) or samples_of(directory)


# ---- templates, through the command


def test_row(
    row: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    answers = "".join(f"{answer}\n" for answer in row.row.get("answers", ()))
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    source = copied_source(row, tmp_path)
    out = [] if row.injects else ["--out", str(tmp_path / "out.rego")]
    status = run(["policy", "generate", *source, *row.options(), *images(row), *COMPATIBLE, *out])
    told = capsys.readouterr()
    if row.row["exit"]:
        assert status == ConfigError.exit_code
        assert "seen" in told.err
        assert not list(tmp_path.glob("*.rego"))
        return
    assert status == 0, told.err
    if row.injects:
        judge_injected(row, Path(source[1]), told.out)
        return
    written = sorted(tmp_path.glob("out*.rego"))
    assert len(written) == len(row.row["policies"])
    for file, policy in zip(written, row.row["policies"], strict=True):
        assert file.read_bytes() == row.read(policy["file"])
        assert hashlib.sha256(file.read_bytes()).hexdigest() == policy["sha256"]
        assert policy["sha256"] in told.out


COMPATIBLE = ("--compatible", "confcom-1.2")


def copied_source(row: Run, folder: Path) -> list[str]:
    """The source's option and a copy of its file, for it may be written to."""
    if "image" in row.case:
        return ["--only-image", row.case["image"]]
    for kind, option in SOURCES.items():
        file = row.file(kind)
        if file:
            parameters = row.file("parameters")
            given = ["--parameters", str(parameters)] if parameters else []
            return [option, shutil.copy(file, folder / file.name), *given]
    raise AssertionError(f"{row.id} has no source that is known")


def images(row: Run) -> list[str]:
    return [f"--image={name}={archive}" for name, archive in row.archives.items()]


def judge_injected(row: Run, file: Path, out: str) -> None:
    """The same document. confcom lays it out anew, ours keeps what was there: the same bytes where
    that was confcom's layout."""
    before, after, wanted = row.read(file.name), file.read_bytes(), row.read(row.row["file_after"])
    if file.suffix == ".json":
        assert json.loads(after) == json.loads(wanted)
        if before.decode() == json.dumps(json.loads(before), indent=2):
            assert after == wanted
    else:
        assert [*yaml.safe_load_all(after)] == [*yaml.safe_load_all(wanted)]
    assert [line.split()[0] for line in out.splitlines()] == row.row["printed_sha256"]


def test_images_of_one_archive_are_told_apart(
    pytestconfig: pytest.Config,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = templates_of(directory_of(pytestconfig))
    together = index_of(folder).get("three_in_one")
    rows = [row for row in runs_of(folder) if row.id == "three_images-plain"]
    if together is None or not rows:
        pytest.skip("no archive of several images here")
    (row,) = rows
    out = tmp_path / "out.rego"
    source = [*copied_source(row, tmp_path), "--tar", str(folder / together["file"])]
    status = run(["policy", "generate", *source, *COMPATIBLE, "--out", str(out)])
    assert status == 0, capsys.readouterr().err
    assert out.read_bytes() == row.read("plain.rego")


# ---- the tool's own samples


def test_sample(sample: Sample, pytestconfig: pytest.Config) -> None:
    options: dict[str, Any] = {}
    for name in sample.variant["options"]:
        options |= SAMPLE_OPTIONS[name]
    made = sample_policies(sample, directory_of(pytestconfig), named("confcom-1.2"), options)
    texts = [policy.text for policy in made]
    assert b"".join(text + b"\n\n\n" for text in texts) == sample_text(sample)
    assert [policy.sha256.hex() for policy in made] == [
        policy["sha256"] for policy in sample.variant["policies"]
    ]


def test_later_sample(pytestconfig: pytest.Config) -> None:
    """As later versions of the tool write three of them."""
    folder = confcom_of(directory_of(pytestconfig))
    for later in index_of(folder).get("newer", ()):
        text = (folder / later["file"]).read_bytes()
        text = text[: text.index(b"data.framework.errors}") + len(b"data.framework.errors}")]
        assert later_policy(folder, later, policy_text.parse(text)).text == text


def later_policy(folder: Path, later: dict[str, Any], wanted: policy_text.PolicyText) -> Generated:
    name = Path(later["file"]).stem.removesuffix("_fragment_infra_svn")
    sample = next(each for each in samples_of(folder.parent) if each.case["dir"] == name)
    profile = named("confcom-2.0").changed(
        api_version=wanted.api_version, framework_version=wanted.framework_version
    )
    options: dict[str, Any] = {"fragments": wanted.fragments[1:]}
    if "svn 99" in later["versions"]:
        options["infrastructure_svn"] = "99"
    (made,) = sample_policies(sample, folder.parent, profile, options)
    return made


def sample_policies(
    sample: Sample, directory: Path, profile: Profile, options: dict[str, Any]
) -> list[Generated]:
    complaints = Complaints(profile.strict)
    parameters = sample.case["parameters"]
    given = json.loads((sample.folder / parameters).read_text()) if parameters else None
    template = json.loads((sample.folder / sample.case["template"]).read_text())
    groups = read_template(template, given, complaints, lambda _: False)
    facts = facts_of(confcom_of(directory))

    def image_of(name: str) -> Image:
        return facts[name]

    made = generate(groups, image_of, profile, Options(**options), complaints)
    complaints.check(sample.id)
    return made


def sample_text(sample: Sample) -> bytes:
    return (sample.folder / sample.variant["file"]).read_bytes()
