"""`sealserve tee run --image`, with a podman that only writes down what it was told."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sealserve.attestation.simulated import BANNER
from sealserve.cli.main import run
from sealserve.policy.execution.platform import ALL_CAPABILITIES, DEFAULT_CAPABILITIES
from support.policy_guest import text
from support.policy_layers import MadeImage, entry, layer, oci_layout, write_folder

LAYERS = (layer(entry("app", b"program")), layer(entry("note", b"a")))
CONFIG = {
    "Entrypoint": ["/app"],
    "Cmd": ["-x"],
    "Env": ["PATH=/bin", "MODE=production"],
    "WorkingDir": "/srv",
    "User": "5:6",
}
IMAGE = MadeImage(LAYERS, ["app:1"], CONFIG)
NUMBER = "1" * 64
MOUNT = {
    "destination": "/data", "options": ["rbind", "rshared", "ro"], "source": "/volumes/0",
    "type": "bind",
}  # fmt: skip
CONTAINER = {
    "name": "app",
    "layers": [*IMAGE.roots],
    "command": ["/app", "-x"],
    "env_rules": [
        {"pattern": pattern, "strategy": "string", "required": False}
        for pattern in ("PATH=/bin", "MODE=production", "MORE=a b")
    ],
    "working_dir": "/srv",
    "mounts": [MOUNT],
}
# A program that podman's place on PATH belongs to: it writes its words, and what descriptor 3 is.
PODMAN = """#!/bin/sh
case "$1 $2" in
"image inspect") {inspect} ;;
"info "*) echo "{store}" ;;
"run "*) printf '%s\\n' "$@" >"{folder}/words"; readlink /proc/self/fd/3 >"{folder}/three"
    echo printed; exit 42 ;;
"rm "*) printf '%s\\n' "$@" >"{folder}/removed" ;;
esac
"""


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


@dataclass
class Place:
    """A folder with a policy, an image in a layout, and podman on PATH."""

    folder: Path
    root_dir: Path
    capfd: pytest.CaptureFixture[str]
    inspected: str = ""
    policy: str = field(default_factory=lambda: text(CONTAINER))

    def run(self, *options: str, image: Sequence[str] = ("--image", "app:1")) -> Ran:
        (self.folder / "policy.rego").write_text(self.policy)
        podman = self.folder / "bin/podman"
        podman.parent.mkdir(exist_ok=True)
        told = {"store": self.folder / "store", "folder": self.folder}
        podman.write_text(PODMAN.format(inspect=self.inspected, **told))
        podman.chmod(0o755)
        place = ["--policy", str(self.folder / "policy.rego"), "--root-dir", str(self.root_dir)]
        return Ran(run(["tee", "run", *place, *image, *options]), *self.capfd.readouterr())

    @property
    def words(self) -> list[str]:
        """What podman was to run; nothing if it never was."""
        file = self.folder / "words"
        return file.read_text().splitlines() if file.exists() else []

    def option(self, name: str) -> list[str]:
        return [word.partition("=")[2] for word in self.words if word.startswith(f"--{name}=")]


@pytest.fixture
def place(
    tmp_path: Path,
    simulated_root_dir: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    files = oci_layout(IMAGE)
    write_folder(tmp_path / "store", files)
    digest = json.loads(files["index.json"])["manifests"][0]["digest"]
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return Place(tmp_path, simulated_root_dir, capfd, f"echo '{NUMBER} {digest}'")


def test_podman_is_told_everything_that_was_allowed_and_nothing_else(place: Place) -> None:
    ran = place.run("--env", "MORE=a b", "--env", "OTHER=1", "--mount", "/volumes/0:/data:ro")
    assert (ran.status, ran.out) == (42, "printed\n")
    assert BANNER in ran.err
    assert place.words[-2:] == [NUMBER, "-x"]
    (name,) = place.option("name")
    dropped = sorted({*ALL_CAPABILITIES} - {*DEFAULT_CAPABILITIES})
    assert sorted(place.words[1:-2]) == sorted(
        [
            "--rm", "--interactive", "--pull=never", f"--name={name}", "--log-driver=none",
            "--preserve-fds=1", "--network=host", "--dns=none", "--no-hosts", "--unsetenv-all",
            "--http-proxy=false", "--privileged=false", "--image-volume=ignore",
            "--no-healthcheck", "--systemd=false", "--passwd=false", "--env=PATH=/bin",
            "--env=MODE=production",
            "--env=MORE=a b", "--env=SEALSERVE_TEE_FD=3", '--entrypoint=["/app"]', "--umask=0022",
            "--user=5:6",
            "--mount=type=bind,src=/volumes/0,dst=/data,bind-propagation=rprivate,ro=true",
            *(f"--cap-drop={each}" for each in dropped),
        ]
    )  # fmt: skip
    assert (place.folder / "three").read_text().startswith("socket:")
    assert (place.folder / "removed").read_text().split() == ["rm", "--force", "--ignore", name]


def test_the_options_of_a_start_replace_the_images(place: Place) -> None:
    place.policy = text({**CONTAINER, "command": ["/other"], "working_dir": "/tmp"})
    options = ("--workdir", "/tmp", "--user", "app", "--env", "MODE=x", "--no-new-privileges")
    assert place.run(*options, "--", "/other").status == 42
    assert place.option("entrypoint") == ['["/other"]']
    assert place.words[-1] == NUMBER
    assert place.option("workdir") == ["/tmp"]
    assert place.option("user") == ["app:0"]
    assert place.option("security-opt") == ["no-new-privileges"]
    assert "MODE=x" not in place.option("env")


def test_root_is_given_its_capabilities_one_by_one(place: Place) -> None:
    names = ["CAP_CHOWN", "CAP_SYS_ADMIN"]
    lists = dict.fromkeys(("bounding", "effective", "permitted"), names)
    capabilities = {**lists, "ambient": [], "inheritable": []}
    place.policy = text({**CONTAINER, "capabilities": capabilities})
    assert place.run("--user", "0", "--cap-add", "CAP_SYS_ADMIN").status == 42
    assert (place.option("cap-drop"), place.option("cap-add")) == (["all"], names)
    assert place.option("user") == ["0:0"]


def test_what_must_not_leave_does_not(place: Place) -> None:
    place.policy = text({**CONTAINER, "allow_stdio_access": False})
    ran = place.run()
    assert (ran.status, ran.out) == (42, "")


def test_the_security_context_is_shown_and_announced(place: Place) -> None:
    context = place.folder / "context"
    assert place.run("--uvm", "json", "--security-context", str(context)).status == 42
    assert f"UVM_SECURITY_CONTEXT_DIR={context}" in place.option("env")
    (mount,) = place.option("mount")
    assert mount.endswith(f"src={context},dst={context},bind-propagation=rprivate,ro=true")


DENIED = {
    "another command": ["--", "/app", "-y"],
    "another folder": ["--workdir", "/"],
    "a mount": ["--mount", "/volumes/0:/data"],
}


@pytest.mark.parametrize("name", DENIED)
def test_what_is_denied_is_not_started(place: Place, name: str) -> None:
    ran = place.run(*DENIED[name])
    assert (ran.status, ran.out, place.words) == (6, "", [])
    assert "create_container is denied by line " in ran.err
    assert BANNER not in ran.err


def test_another_layer_is_not_started(place: Place) -> None:
    other = layer(entry("note", b"b"))
    files = oci_layout(MadeImage([LAYERS[0], other], ["app:1"], CONFIG))
    write_folder(place.folder / "store", files)
    digest = json.loads(files["index.json"])["manifests"][0]["digest"]
    place.inspected = f"echo '{NUMBER} {digest}'"
    ran = place.run()
    assert (ran.status, ran.out, place.words) == (6, "", [])
    assert "guest: deviceHash not found" in ran.err


def test_a_layer_that_is_not_the_images_is_not_started(place: Place) -> None:
    for blob in (place.folder / "store/blobs/sha256").iterdir():
        if blob.read_bytes() == LAYERS[1]:
            blob.write_bytes(layer(entry("note", b"b")))
    ran = place.run()
    assert (ran.status, ran.out, place.words) == (4, "", [])


def test_a_policy_that_cannot_be_read_makes_nothing(place: Place) -> None:
    place.root_dir = place.folder / "roots"
    place.policy = "package policy\n\nallow := x"
    ran = place.run()
    assert (ran.status, ran.out, place.words) == (8, "", [])
    assert f"sealserve: {place.folder}/policy.rego:3: " in ran.err
    assert not place.root_dir.exists()


def test_without_podman_nothing_starts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    ran = place.run()
    assert (ran.status, ran.out) == (8, "")
    assert "--image: containers need podman, which is not installed" in ran.err
    assert "apt-get install podman" in ran.err


def test_an_image_that_podman_does_not_know(place: Place) -> None:
    place.inspected = "echo 'no such \033[2Jimage' >&2; exit 125"
    ran = place.run()
    assert (ran.status, place.words) == (8, [])
    assert "--image: podman image failed: no such " in ran.err
    assert "\033" not in ran.err


def test_an_image_without_a_command(place: Place) -> None:
    files = oci_layout(MadeImage(LAYERS, ["app:1"]))
    write_folder(place.folder / "store", files)
    digest = json.loads(files["index.json"])["manifests"][0]["digest"]
    place.inspected = f"echo '{NUMBER} {digest}'"
    ran = place.run()
    assert (ran.status, place.words) == (8, [])
    assert "--image: the image names no command" in ran.err


UNUSABLE = [
    ("--env", "MORE"),
    ("--env", "=x"),
    ("--mount", "/a"),
    ("--mount", "a:/b"),
    ("--mount", "/a:b"),
    ("--mount", "/a:/b:rw"),
    ("--mount", "/a:/b:ro:ro"),
    ("--mount", "/a,ro=false:/b"),
    ("--mount", '/a":/b'),
    ("--cap-add", "CAP_EVERYTHING"),
    ("--cap-add", "\033[2J"),
]


@pytest.mark.parametrize(("option", "value"), UNUSABLE)
def test_an_option_that_cannot_be_read(place: Place, option: str, value: str) -> None:
    ran = place.run(option, value)
    assert (ran.status, ran.out, place.words) == (8, "", [])
    assert f"sealserve: {option}: " in ran.err
    assert "\033" not in ran.err


OPTIONS = [
    ("--env", "A=1"),
    ("--user", "5"),
    ("--mount", "/a:/b"),
    ("--sandbox-dir", "/a"),
    ("--cap-add", "CAP_KILL"),
    ("--no-new-privileges",),
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda words: words[0])
def test_options_of_containers_go_with_an_image(place: Place, options: tuple[str, ...]) -> None:
    ran = place.run(*options, "--", "/bin/true", image=())
    assert (ran.status, ran.out) == (2, "")
    assert "go with --image" in ran.err
