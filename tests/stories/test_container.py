"""deploy/Containerfile builds, and what it builds starts, under a policy of its own and no other.

On a Debian made here by debootstrap.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealserve.policy.execution.image import open_images
from support.podman import Podman

ROOT = Path(__file__).resolve().parents[2]
BASE = "localhost/sealserve-test-base:1"
IMAGE = "localhost/sealserve-test:1"
CHANGED = "localhost/sealserve-test:2"
ISOLATION = ("--isolation", "chroot")
IN_IMAGE = "opt/sealserve/pyvenv.cfg"

pytestmark = pytest.mark.long


def debian(podman: Podman, folder: Path) -> None:
    """A minimal Debian 12 that trusts the authorities this machine trusts for its packages."""
    podman.run("debootstrap", "--variant=minbase", "bookworm", folder)
    for source in Path("/etc/apt/sources.list.d").iterdir():
        shutil.copy(source, folder / "etc/apt/sources.list.d")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", folder / "host-authorities.crt")
    (folder / "etc/pip.conf").write_text("[global]\ncert = /host-authorities.crt\n")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, simulated_root_dir: Path) -> Iterator[Podman]:
    """A store with the server's image, and the policy that `policy generate` writes for it."""
    podman = Podman(tmp_path_factory.mktemp("podman"), simulated_root_dir)
    podman.configure()
    debian(podman, podman.folder / "debian")
    base = podman.run("buildah", "from", *ISOLATION, "scratch").out.strip()
    podman.run("buildah", "add", "-q", base, podman.folder / "debian", "/")
    podman.run("buildah", "commit", "-q", base, BASE)
    shutil.rmtree(podman.folder / "debian")
    build = ("buildah", "build", *ISOLATION, "--network", "host", "--build-arg", f"BASE={BASE}")
    podman.run(*build, "-f", ROOT / "deploy/Containerfile", "-t", IMAGE, ROOT)
    podman.write_policy(IMAGE)
    yield podman
    podman.run("buildah", "rm", "--all")
    podman.run("buildah", "rmi", "--all", "--force")


@pytest.fixture(scope="module")
def container(built: Podman) -> str:
    """A working container of the image, as buildah has them."""
    return built.run("buildah", "from", IMAGE).out.strip()


def inside(built: Podman, container: str, *command: str) -> str:
    return built.run("buildah", "run", *ISOLATION, container, "--", *command).out.strip()


def test_the_server_is_in_the_image(built: Podman, container: str) -> None:
    entry = ("/opt/sealserve/bin/python", "-I", "-m", "sealserve")
    assert "--root" in inside(built, container, *entry, "serve", "--help")


def test_the_image_runs_as_nobody_in_particular(built: Podman, container: str) -> None:
    told = built.run("buildah", "inspect", "--format", "{{.OCIv1.Config.User}}", container)
    assert told.out.strip() == "65532:65532"


def test_the_image_holds_no_compiler_and_no_source(built: Podman, container: str) -> None:
    look = "command -v gcc || test -e /src || echo neither"
    assert inside(built, container, "sh", "-c", look) == "neither"


def test_it_starts_under_its_policy_with_the_words_of_the_image(built: Podman) -> None:
    ran = built.run(*built.words(IMAGE))
    assert ran.out.startswith("Usage: ")
    assert "serve" in ran.out
    assert built.containers() == ""


def test_another_command_is_refused(built: Podman) -> None:
    ran = built.run(*built.words(IMAGE), "--", "/bin/sh", status=6)
    assert ran.out == ""
    assert "  - command: seen " in ran.err
    assert built.containers() == ""


def test_a_build_with_one_byte_changed_is_refused(built: Podman) -> None:
    """One byte of one file, and the layer it is in has another root than the policy names."""
    container = built.run("buildah", "from", IMAGE).out.strip()
    place = Path(built.run("buildah", "mount", container).out.strip()) / IN_IMAGE
    changed = bytearray(place.read_bytes())
    changed[-2] ^= 1
    place.write_bytes(changed)
    built.run("buildah", "umount", container)
    built.run("buildah", "commit", "-q", container, CHANGED)
    store = open_images(built.folder / "store")
    assert store.find(CHANGED).layers != store.find(IMAGE).layers
    ran = built.run(*built.words(CHANGED), status=6)
    assert ran.out == ""
    assert "guest: deviceHash not found" in ran.err
    assert built.containers() == ""


def test_one_byte_changed_in_the_store_is_refused(built: Podman) -> None:
    """The image still goes by every name and digest that it had."""
    layers = sorted((built.folder / "store/vfs/dir").glob(f"*/{IN_IMAGE}"))
    kept = [place.read_bytes() for place in layers]
    for place, content in zip(layers, kept, strict=True):
        place.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    ran = built.run(*built.words(IMAGE), status=4)
    for place, content in zip(layers, kept, strict=True):
        place.write_bytes(content)
    assert ran.out == ""
    assert built.containers() == ""
