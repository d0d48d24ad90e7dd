"""A container in the simulated platform: built by buildah, hashed here, run by podman."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealserve.attestation import Roots, verify
from sealserve.attestation.simulated import frames
from sealserve.native.errors import PolicyViolation
from sealserve.policy.execution.image import open_images
from sealserve.policy.execution.start import Decider, Permitted, Person, Start, User
from support.attestation_simulated import CLAIMS
from support.podman import Podman, Ran

NAME = "localhost/workload:1"
CHANGED = "localhost/workload:2"
SOURCE = Path(__file__).parent.parent / "support" / "workload.c"
REPORT_DATA = hashlib.sha256(CLAIMS).hexdigest() + "00" * 32
# The form of deploy/Containerfile: a build stage, no root, a program and its words.
CONTAINERFILE = f"""
FROM scratch AS build
COPY app /opt/app
FROM scratch
COPY --from=build /opt/app /opt/app
COPY note /note
ENV MODE=production
USER 65532:65532
ENTRYPOINT ["/opt/app"]
CMD ["{REPORT_DATA}"]
"""

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Place(Podman):
    """The workload's image in a store of its own."""

    def build(self, name: str = NAME) -> None:
        """The image, of what lies in the context now."""
        containerfile = self.folder / "Containerfile"
        containerfile.write_text(CONTAINERFILE)
        context = self.folder / "context"
        self.run("buildah", "build", "--isolation", "chroot", "-f", containerfile, "-t", name,
                 context)  # fmt: skip

    def build_changed(self) -> None:
        """The same with one byte of one file changed."""
        (self.folder / "context/note").write_text("one bite of a layer")
        self.build(CHANGED)

    def start(
        self, *words: str | Path, status: int = 7, policy: str = "policy.rego", image: str = NAME
    ) -> Ran:
        """`tee run` of the image. 7 is the workload's own status."""
        return self.run(*self.words(image, policy), *words, status=status)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, simulated_root_dir: Path) -> Iterator[Place]:
    """The image, and the policy that `policy generate` writes for it."""
    made = Place(tmp_path_factory.mktemp("podman"), simulated_root_dir)
    made.configure()
    context = made.folder / "context"
    context.mkdir()
    made.run("cc", "-O1", "-static", "-o", context / "app", SOURCE)
    (context / "note").write_text("one byte of a layer")
    made.build()
    made.write_policy(NAME)
    yield made
    made.run("buildah", "rmi", "--all", "--force")


def decided(place: Place, name: str) -> Permitted:
    """The guest's answer to the image as buildah keeps it, started as it says itself."""
    image = open_images(place.folder / "store").find(name)
    start = Start(
        command=image.command,
        environment=dict(text.split("=", 1) for text in image.env),
        working_dir=image.working_dir or "/",
        user=User(Person("65532"), (Person("65532"),)),
        layers=image.layers,
    )
    return Decider.parse((place.folder / "policy.rego").read_bytes()).ask(start)


def test_the_guests_answer_needs_no_podman(place: Place) -> None:
    """The image of the policy may start; with one changed byte of a layer it may not."""
    assert decided(place, NAME).environment["MODE"] == "production"
    place.build_changed()
    with pytest.raises(PolicyViolation, match="guest: deviceHash not found"):
        decided(place, CHANGED)


def test_it_starts_as_the_policy_says_and_proves_which_policy(
    place: Place, simulated_roots: Roots
) -> None:
    ran = place.start("--env", "EXTRA=1", "--env", "HOSTNAME=box")
    assert ran.told("word") == ["/opt/app", REPORT_DATA]
    assert {*ran.told("variable")} == {
        "MODE=production", "HOSTNAME=box", "SEALSERVE_TEE_FD=3", "HOME=/",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }  # fmt: skip
    assert ran.told("place") == ["/"]
    assert ran.told("person") == ["65532:65532"]
    assert ran.status_of("Groups") == "65532"
    assert ran.status_of("Umask") == "0022"
    assert int(ran.status_of("CapAmb"), 16) == int(ran.status_of("CapEff"), 16) == 0
    (answer,) = ran.told("answer")
    evidence = frames.parse_answer(bytes.fromhex(answer), CLAIMS)
    claims = verify(evidence, simulated_roots, datetime.now(UTC))
    policy = (place.folder / "policy.rego").read_bytes()
    assert claims.report.host_data == hashlib.sha256(policy).digest()
    assert place.containers() == ""


REFUSED = {
    "another command": (["--", "/opt/app", "x"], "command"),
    "another folder": (["--workdir", "/opt"], "working_dir"),
    "another user": (["--user", "0:0"], "user"),
    "another group": (["--user", "65532:0"], "user"),
    "a mount": (["--mount", "/usr:/data"], "mounts"),
    "a capability": (["--cap-add", "CAP_SYS_ADMIN"], ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_start_is_refused_or_cut_down(place: Place, name: str) -> None:
    """A capability too many is dropped, as the policy has it; nothing else can be."""
    options, field = REFUSED[name]
    ran = place.start(*options, status=6 if field else 7)
    if field:
        assert ran.out == ""
        assert f"  - {field}: seen " in ran.err
        assert f"containers[0] ({NAME}): {field} failed; " in ran.err
    else:
        assert int(ran.status_of("CapBnd"), 16) >> 21 & 1 == 0  # CAP_SYS_ADMIN
    assert place.containers() == ""


def policy_with(place: Place, **changes: object) -> str:
    """The name of the policy with other fields of its first container."""
    lines = (place.folder / "policy.rego").read_text().splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("containers := "))
    first, *others = json.loads(lines[at].removeprefix("containers := "))
    lines[at] = f"containers := {json.dumps([{**first, **changes}, *others])}"
    (place.folder / "other.rego").write_text("\n".join(lines))
    return "other.rego"


ROOT = {
    "group_idnames": [{"pattern": "0", "strategy": "id"}],
    "umask": "0022",
    "user_idname": {"pattern": "0", "strategy": "id"},
}
SETS = ("bounding", "effective", "permitted")


def test_root_has_the_capabilities_of_the_policy_and_no_other(place: Place) -> None:
    lists = {
        **{name: ["CAP_CHOWN", "CAP_SYS_ADMIN"] for name in SETS},
        "ambient": [],
        "inheritable": [],
    }
    policy = policy_with(place, user=ROOT, capabilities=lists)
    ran = place.start("--user", "0:0", "--cap-add", "CAP_SYS_ADMIN", policy=policy)
    for name in ("CapBnd", "CapEff", "CapPrm"):
        assert int(ran.status_of(name), 16) == 1 << 21 | 1 << 0
    assert place.start("--user", "0:0", policy=policy, status=6).out == ""  # one is missing


def test_a_mount_of_the_policy_is_there(place: Place) -> None:
    shared = place.folder / "pod/tmp/atlas/emptydir/0"
    shared.mkdir(parents=True)
    (shared / "note").write_text("of the pod\n")
    allowed = {
        "destination": "/data", "options": ["rbind", "rshared", "ro"], "type": "bind",
        "source": "sandbox:///tmp/atlas/emptydir/.+",
    }  # fmt: skip
    policy = policy_with(place, mounts=[allowed])
    mount = ("--mount", f"{shared}:/data:ro")
    ran = place.start("--sandbox-dir", place.folder / "pod", *mount, policy=policy)
    assert ran.told("note") == ["of the pod"]
    for options in (
        mount,
        ("--sandbox-dir", place.folder, *mount),
        ("--sandbox-dir", place.folder / "pod", "--mount", f"{shared}:/data"),
    ):
        ran = place.start(*options, policy=policy, status=6)
        assert (ran.out, "  - mounts: seen " in ran.err) == ("", True)


def test_what_must_not_leave_does_not(place: Place) -> None:
    policy = policy_with(place, allow_stdio_access=False)
    assert place.start(policy=policy).out == ""


def test_it_finds_its_security_context(place: Place) -> None:
    context = place.folder / "context-files"
    ran = place.start("--uvm", "json", "--security-context", context)
    assert f"UVM_SECURITY_CONTEXT_DIR={context}" in ran.told("variable")


def test_a_signal_reaches_it_and_nothing_is_left(place: Place) -> None:
    command = ["/opt/app", "wait"]
    policy = policy_with(place, command=command)
    words = [*place.words(NAME, policy), "--", *command]
    with subprocess.Popen(
        words, cwd=place.folder, env=place.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        assert place.containers() != ""
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 64 + signal.SIGTERM
    assert place.containers() == ""


def test_one_changed_byte_of_a_layer_is_refused(place: Place) -> None:
    """The next build of the same Containerfile, with one byte of one file changed."""
    place.build_changed()
    ran = place.start(image=CHANGED, status=6)
    assert ran.out == ""
    assert "mount_device is denied by line " in ran.err
    assert "guest: deviceHash not found" in ran.err
    assert "  - deviceHash: seen " in ran.err
    assert place.containers() == ""


def test_one_changed_byte_in_the_store_is_refused(place: Place) -> None:
    """The image still goes by every name and digest that it had."""
    notes = (place.folder / "store/vfs/dir").glob("*/note")
    (stored,) = [each for each in notes if each.read_text() == "one byte of a layer"]
    stored.write_text("one bite of a layer")
    ran = place.start(status=4)
    stored.write_text("one byte of a layer")
    assert ran.out == ""
    assert place.containers() == ""
    assert place.start().told("word")
