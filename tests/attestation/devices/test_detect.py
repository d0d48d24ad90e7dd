"""Detection: one order, and reasons for what was taken and what was not."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sealserve.attestation.devices import HardwareSource, detect, look
from sealserve.errors import ConfigError
from support.attestation_devices import TsmTree, recorded
from support.attestation_hardware import GENOA
from support.attestation_vectors import vector

PLACES = [
    "SEALSERVE_TEE_FD",
    "/dev/sev-guest",
    "/sys/kernel/config/tsm/report",
    "/dev/sev",
    "security context",
]
GUEST, TSM, OLD = PLACES[1:4]
DOCUMENT = vector("ccfdns/aci-genoa-v3").read("host_amd_cert.json")
NOBODY = 65534


class FileSystem:
    """What a machine's root directory holds. attributes: of a fresh request in configfs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.attributes = {"provider": b"sev_guest\n"}

    def add(self, *places: str) -> None:
        for place in places:
            path = self.root / place.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if place == TSM else path.touch()

    def add_context(self, document: bytes = DOCUMENT) -> Path:
        directory = self.root / "security-context-1"
        directory.mkdir()
        (directory / "host-amd-cert-base64").write_bytes(base64.b64encode(document))
        (directory / "reference-info-base64").write_bytes(base64.b64encode(b"cose"))
        return directory

    def look(self, **environ: str):
        return look(environ, self.root, self._tree)

    def found(self) -> dict[str, str]:
        return {each.where: each.found for each in self.look().looked}

    def _tree(self, path: Path) -> TsmTree:
        tree = TsmTree(path, recorded(GENOA.read("report.bin")))
        tree.attributes |= self.attributes
        return tree


@pytest.fixture
def machine(tmp_path):
    return FileSystem(tmp_path)


def test_nothing_is_nothing(machine):
    detection = machine.look()
    assert detection.source is None
    assert [each.where for each in detection.looked] == PLACES
    assert set(machine.found().values()) == {"not set", "not there"}
    assert detection.explain().splitlines()[-1] == "platform: none, no device there gives reports"


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ((GUEST,), GUEST),
        ((TSM,), TSM),
        ((OLD,), OLD),
        ((OLD, TSM), TSM),
        ((OLD, TSM, GUEST), GUEST),
    ],
)
def test_the_best_device_is_taken_and_it_is_said_why(machine, there, chosen):
    machine.add(*there)
    detection = machine.look()
    assert isinstance(detection.source, HardwareSource)
    assert detection.source.platform == "snp"
    assert detection.source.device.where == str(machine.root / chosen.lstrip("/"))
    assert detection.explain().splitlines()[-1] == (
        f"platform: snp, as {detection.source.device.where} is the first that gives reports"
    )
    assert all(machine.found()[place].startswith("there") for place in there)


def test_a_security_context_means_container_instances(machine):
    machine.add(GUEST)
    directory = machine.add_context()
    detection = machine.look()
    assert detection.source.platform == "aci"
    assert detection.source._endorsement == b"cose"
    assert detection.context.certificate is not None
    assert detection.why.endswith(f"with {directory} beside it")
    assert machine.found()["security context"] == str(directory)


def test_a_security_context_alone_is_no_machine(machine):
    machine.add_context()
    assert machine.look().source is None


def test_a_security_context_that_cannot_be_read_is_told(machine):
    machine.add(GUEST)
    machine.add_context(b"{}")
    with pytest.raises(ConfigError, match="host-amd-cert-base64"):
        machine.look()


@pytest.mark.parametrize(
    ("provider", "words"),
    [(b"tdx_guest\n", "there, but answered by 'tdx_guest'"), (b"x" * 65, "there, but ")],
)
def test_configfs_of_another_machine_is_not_taken(machine, provider, words):
    machine.add(TSM)
    machine.attributes["provider"] = provider
    assert machine.look().source is None
    assert machine.found()[TSM].startswith(words)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, so tests of permissions are somebody else's."""
    us = os.geteuid()
    if us == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(us)


def test_a_device_of_another_user_is_not_taken():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        machine = FileSystem(root)
        machine.add(GUEST, OLD)
        (root / "dev/sev-guest").chmod(0)
        (root / "dev/sev").chmod(0o666)
        with as_nobody():
            detection = machine.look()
            found = machine.found()
        assert found[GUEST] == "there, but this user may not read and write it"
        assert detection.source.device.where.endswith(OLD)
        (root / "dev").chmod(0)
        with as_nobody():
            found = machine.found()
        (root / "dev").chmod(0o755)
        assert found[OLD] == "cannot be looked at: permission denied"


def test_a_machine_without_any_is_told_with_the_way_out():
    """The machine that runs the tests is none."""
    with pytest.raises(ConfigError, match="no trusted execution environment found") as refusal:
        detect({})
    assert all(place in refusal.value.message for place in PLACES)
    assert "sealserve tee run" in refusal.value.hint
