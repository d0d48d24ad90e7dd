"""`sealserve layers root`: what it prints, what it refuses, and where a layer's image goes."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from sealserve.cli.main import run
from support.policy_layers import (
    MadeImage,
    docker_archive,
    entry,
    image_of,
    layer,
    root_of,
    sha256,
)

LAYER = layer(entry("d", type=tarfile.DIRTYPE), entry("d/f", b"data"))
APP = MadeImage([LAYER], ["app:1"])
TWICE = layer(entry("f", b"data"), entry("f", b"data"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    path = tmp_path / "layer.tar"
    path.write_bytes(LAYER)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.tar"
    path.write_bytes(docker_archive(APP, MadeImage([LAYER, LAYER], ["tool"])))
    return path


def test_a_layer(tar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layers", "root", str(tar)]) == 0
    assert capsys.readouterr() == (f"{root_of(LAYER)}\n", "")


def test_an_image_by_name(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layers", "root", str(image), "--image", "tool", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"layers": [root_of(LAYER)] * 2}


def test_no_name_for_several(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layers", "root", str(image)]) == 8
    told = capsys.readouterr().err
    assert "2 images are here; there are 'app:1', 'tool'" in told
    assert "choose one with --image NAME" in told


def test_a_name_for_a_layer(tar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layers", "root", str(tar), "--image", "app"]) == 8
    assert "--image: is one layer, and no image" in capsys.readouterr().err


def test_another_platform(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["layers", "root", str(image), "--image", "app:1", "--platform"]
    assert run([*words, "linux/arm64"]) == 8
    assert "'app:1' is for linux/amd64; wanted linux/arm64" in capsys.readouterr().err
    assert run([*words, "arm64"]) == 8
    assert "--platform: 'arm64' is no platform" in capsys.readouterr().err


def test_an_altered_layer(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image.write_bytes(image.read_bytes().replace(b"data" + bytes(508), b"Data" + bytes(508)))
    assert run(["layers", "root", str(image), "--image", "app:1"]) == 4
    assert f"the image's configuration names {sha256(LAYER)}" in capsys.readouterr().err


def test_a_refusal_names_file_and_entry(tar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar.write_bytes(TWICE)
    assert run(["layers", "root", str(tar)]) == 8
    wanted = f"sealserve: {tar}: entry 'f': the same file again, which has data already\n"
    assert capsys.readouterr() == ("", wanted)


def test_the_cache_is_used_or_not(
    image: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["layers", "root", str(image), "--image", "app:1"]
    assert run([*words, "--no-cache"]) == 0
    assert not cache.exists()
    assert run(words) == 0
    assert [path.name for path in (cache / "sealserve/layers").rglob("*") if path.is_file()] == [
        sha256(LAYER)
    ]


@pytest.mark.parametrize("home", ["", "relative"])
def test_the_cache_has_a_place_without_xdg(
    home: str, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert run(["layers", "root", str(image), "--image", "app:1"]) == 0
    assert [*(tmp_path / "home/.cache/sealserve/layers").rglob(sha256(LAYER))]


class TestExt4:
    def test_the_image_is_written(self, tar: Path, tmp_path: Path) -> None:
        assert run(["layers", "root", str(tar), "--ext4", str(tmp_path / "ext4")]) == 0
        assert (tmp_path / "ext4").read_bytes() == image_of(LAYER)

    def test_nothing_is_left_of_a_refused_one(self, tar: Path, tmp_path: Path) -> None:
        (tmp_path / "ext4").write_bytes(b"before")
        tar.write_bytes(TWICE)
        assert run(["layers", "root", str(tar), "--ext4", str(tmp_path / "ext4")]) == 8
        assert (tmp_path / "ext4").read_bytes() == b"before"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ext4", "layer.tar"]

    def test_the_layer_is_not_replaced(self, tar: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["layers", "root", str(tar), "--ext4", str(tar)]) == 8
        assert "is also an input" in capsys.readouterr().err
        assert tar.read_bytes() == LAYER

    def test_an_image_has_several(self, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["layers", "root", str(image), "--ext4", "x"]) == 8
        assert "--ext4: is for one layer, and this is an image" in capsys.readouterr().err

    def test_a_place_that_cannot_be_written(
        self, tar: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["layers", "root", str(tar), "--ext4", "/dev/full/x"]) == 8
        assert "cannot be written" in capsys.readouterr().err
