"""An image that buildah made: the same roots wherever it lies, and none for a changed byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAME = "localhost/app:2"

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Buildah:
    """One store of its own, which nobody else's images are in."""

    folder: Path
    driver: str = "vfs"

    @property
    def store(self) -> Path:
        return self.folder / self.driver

    def __call__(self, *arguments: str | Path) -> str:
        places = ("--root", self.store, "--runroot", self.folder / "run")
        command = ["buildah", *places, "--storage-driver", self.driver, *arguments]
        ran = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr[-4000:]
        return ran.stdout.strip()


def content(folder: Path) -> Path:
    """Files as an application has them: links, modes, long names, more than one block."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/app").write_bytes(os.urandom(300_000))
    (folder / "bin/app").chmod(0o4755)
    os.link(folder / "bin/app", folder / "bin/again")
    (folder / "bin/link").symlink_to("/" + "t" * 120)
    for number in range(300):
        path = folder / f"lib/{'p' * 60}/{'q' * 60}/module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 7))
    return folder


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """A store with an image of two layers, the second of which takes a file away."""
    folder = tmp_path_factory.mktemp("buildah")
    made = Buildah(folder)
    base = made("from", "scratch")
    made("add", "-q", base, content(folder / "content"), "/")
    made("config", "--entrypoint", '["/bin/app"]', "--env", "A=1", "--user", "5", base)
    made("commit", "-q", base, "localhost/base:1")
    top = made("from", "localhost/base:1")
    (folder / "note").write_text("second layer")
    made("add", "-q", top, folder / "note", "/lib/note")
    (Path(made("mount", top)) / "bin/again").unlink()
    made("umount", top)
    made("commit", "-q", top, NAME)
    yield made
    made("rm", "--all")


def layers(path: Path, *options: str, status: int = 0) -> Any:
    command = [
        sys.executable,
        "-m",
        "sealserve",
        "layers",
        "root",
        str(path),
        "--no-cache",
        *options,
    ]
    ran = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert ran.returncode == status, ran.stderr
    return json.loads(ran.stdout)["layers"] if ran.stdout else ran.stderr


@pytest.fixture(scope="module")
def roots(buildah: Buildah) -> list[str]:
    found: list[str] = layers(buildah.store, "--image", NAME)
    return found


def test_the_store_tells_them(roots: list[str]) -> None:
    assert len(roots) == len(set(roots)) == 2


@pytest.mark.parametrize(
    "form", ["docker-archive:{}:" + NAME, "oci-archive:{}:" + NAME, "oci:{}:two", "oci:{}"]
)
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_every_other_place_tells_the_same(
    form: str, compression: str, buildah: Buildah, roots: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "image"
    buildah("push", "-q", "--compression-format", compression, NAME, form.format(path))
    assert layers(path) == roots


def test_a_store_of_overlays_tells_the_same(
    buildah: Buildah, roots: list[str], tmp_path: Path
) -> None:
    buildah("push", "-q", NAME, f"oci-archive:{tmp_path / 'image'}:{NAME}")
    other = Buildah(tmp_path, "overlay")
    other("pull", "-q", f"oci-archive:{tmp_path / 'image'}")
    assert layers(other.store) == roots


def test_a_changed_byte_is_no_layer_of_the_image(
    buildah: Buildah, roots: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "image.tar"
    buildah("push", "-q", NAME, f"docker-archive:{path}:{NAME}")
    data = bytearray(path.read_bytes())
    data[data.index(b"second layer")] ^= 1
    path.write_bytes(data)
    assert "a layer has the digest" in layers(path, status=4)
    assert roots
