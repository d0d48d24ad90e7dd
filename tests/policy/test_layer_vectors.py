"""Judges a directory of layers: of each row the root or a refusal, of each image all roots.

    pytest tests/policy/test_layer_vectors.py --vectors DIR

DIR has a `roots.json` of the form of tests/vectors/layers, which is judged without the option.
Layers and images go through `sealserve layers root`; the ext4 image it writes has to be the
reference's too, where its digest is stated.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from sealserve.cli.main import run
from sealserve.errors import ConfigError

DIRECTORY = Path(__file__).parent.parent / "vectors" / "layers"
Row = dict[str, Any]


def directory_of(config: pytest.Config) -> Path:
    return Path(config.getoption("--vectors") or DIRECTORY)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    table = json.loads((directory_of(metafunc.config) / "roots.json").read_text())
    for name in ("layer", "image"):
        if name in metafunc.fixturenames:
            rows = table.get(f"{name}s", [])
            metafunc.parametrize(name, rows, ids=[row["name"] for row in rows])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def plain_tar(row: Row, directory: Path, tmp_path: Path) -> Path:
    """The layer's file; what is xz, unpacked."""
    path = directory / row["file"]
    if path.suffix != ".xz":
        return path
    unpacked = tmp_path / path.stem
    unpacked.write_bytes(lzma.decompress(path.read_bytes()))
    return unpacked


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_there_are_rows(pytestconfig: pytest.Config) -> None:
    assert json.loads((directory_of(pytestconfig) / "roots.json").read_text())["layers"]


def test_layer(
    layer: Row, pytestconfig: pytest.Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = plain_tar(layer, directory_of(pytestconfig), tmp_path)
    assert sha256(tar) == layer.get("tar_sha256", sha256(tar))
    written = tmp_path / "layer.ext4"
    status = run(["layers", "root", str(tar), "--ext4", str(written), "--json"])
    told = capsys.readouterr()
    if "error" in layer:
        assert (status, told.out) == (ConfigError.exit_code, "")
        assert told.err.startswith(f"sealserve: {tar}: ")
        assert not written.exists()
        return
    assert status == 0, told.err
    if "ext4_size" in layer:
        assert written.stat().st_size == layer["ext4_size"]
    if "ext4_sha256" in layer:
        assert sha256(written) == layer["ext4_sha256"]
    assert json.loads(told.out) == {"layers": [layer["root_hash"]]}


def test_image(image: Row, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]) -> None:
    path = directory_of(pytestconfig) / image["file"]
    for _ in range(2):  # the second time out of the cache
        assert run(["layers", "root", str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"layers": image["layers"]}
