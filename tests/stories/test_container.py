"""deploy/Containerfile builds, and what it builds starts: on a Debian made here by debootstrap."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = "localhost/sealserve-test-base"
IMAGE = "localhost/sealserve-test"
ISOLATION = ("--isolation", "chroot")

pytestmark = pytest.mark.long


def run(*command: str | Path) -> str:
    ran = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-4000:]
    return ran.stdout.strip()


def debian(folder: Path) -> None:
    """A minimal Debian 12 that trusts the authorities this machine trusts for its packages."""
    run("debootstrap", "--variant=minbase", "bookworm", folder)
    for source in Path("/etc/apt/sources.list.d").iterdir():
        shutil.copy(source, folder / "etc/apt/sources.list.d")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", folder / "host-authorities.crt")
    (folder / "etc/pip.conf").write_text("[global]\ncert = /host-authorities.crt\n")


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A working container of the built image."""
    folder = tmp_path_factory.mktemp("debian")
    debian(folder)
    base = run("buildah", "from", *ISOLATION, "scratch")
    run("buildah", "add", "-q", base, folder, "/")
    run("buildah", "commit", "-q", base, BASE)
    build = ("buildah", "build", *ISOLATION, "--network", "host", "--build-arg", f"BASE={BASE}")
    run(*build, "-f", "deploy/Containerfile", "-t", IMAGE, ".")
    name = run("buildah", "from", IMAGE)
    yield name
    run("buildah", "rm", name, base)
    run("buildah", "rmi", IMAGE, BASE)


def inside(container: str, *arguments: str) -> str:
    entry = ("/opt/sealserve/bin/python", "-I", "-m", "sealserve")
    return run("buildah", "run", *ISOLATION, container, "--", *entry, *arguments)


def test_the_server_is_in_the_image(container):
    assert "--root" in inside(container, "serve", "--help")


def test_the_image_runs_as_nobody_in_particular(container):
    told = run("buildah", "inspect", "--format", "{{.OCIv1.Config.User}}", container)
    assert told == "65532:65532"


def test_the_image_holds_no_compiler_and_no_source(container):
    look = "command -v gcc || test -e /src || echo neither"
    assert run("buildah", "run", *ISOLATION, container, "--", "sh", "-c", look) == "neither"
