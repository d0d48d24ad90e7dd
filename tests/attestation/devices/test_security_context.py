"""The security context of a confidential container: three files, each of which may be missing."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from sealserve.attestation import Report
from sealserve.attestation.devices import security_context
from sealserve.attestation.devices.security_context import MAX_POLICY_BYTES, SecurityContext
from sealserve.attestation.thim import HostCertificate
from sealserve.errors import ConfigError
from support.attestation_vectors import DIRECTORY, vector

ROW = vector("sidecar/aci-milan-v2")
DOCUMENT = ROW.read("host_amd_cert.json")
POLICY = (DIRECTORY.parent / "policy/samples/uvm_security_policy_base64.txt").read_bytes()
HOST, ENDORSEMENT = "host-amd-cert-base64", "reference-info-base64"


def real_endorsement() -> bytes:
    """Of a real request to an attestation service; base64url inside base64url."""
    text = (DIRECTORY.parent / "azure/cleanroom/maa-request.json").read_text()
    report = json.loads(unpadded(json.loads(text)["report"]))
    (uvm,) = json.loads(unpadded(report["Endorsements"]))["Uvm"]
    return unpadded(uvm)


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "security-context-2415883"
    directory.mkdir()
    (directory / HOST).write_bytes(base64.b64encode(DOCUMENT))
    (directory / ENDORSEMENT).write_bytes(base64.b64encode(real_endorsement()) + b"\n")
    (directory / "security-policy-base64").write_bytes(POLICY)
    return directory


def test_the_files_of_a_real_machine_fit_its_report(directory):
    context = security_context.read(directory)
    report = Report.parse(ROW.read("report.bin"))
    assert context.policy_sha256 == report.host_data
    assert context.certificate == HostCertificate.parse(DOCUMENT)
    assert context.certificate.tcb == report.reported_tcb
    assert context.endorsement == real_endorsement()
    assert context.endorsement.startswith(b"\xd2\x84")  # COSE_Sign1
    assert context.where == str(directory)


def test_missing_and_empty_files_are_none(directory):
    (directory / HOST).unlink()
    (directory / ENDORSEMENT).write_bytes(b"")
    (directory / "security-policy-base64").write_bytes(b"\n")
    assert security_context.read(directory) == SecurityContext(str(directory), None, None, None)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (HOST, b"not base64!", "not base64"),
        (HOST, base64.b64encode(b"{}"), "vcekCert"),
        (HOST, b"A" * 44000, "more than 32768 bytes"),
        (ENDORSEMENT, b"A", "not base64"),
        (ENDORSEMENT, b"\xff\xff\xff\xff", "not base64"),
        (ENDORSEMENT, b"A" * 44000, "more than 32768 bytes"),
        ("security-policy-base64", b"A" * (4 * MAX_POLICY_BYTES // 3 + 8), "more than 1048576"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(directory, name, content, told):
    (directory / name).write_bytes(content)
    with pytest.raises(ConfigError, match=told) as refusal:
        security_context.read(directory)
    assert refusal.value.file == str(directory / name)


def test_a_folder_in_place_of_a_file_is_told(directory):
    (directory / HOST).unlink()
    (directory / HOST).mkdir()
    with pytest.raises(ConfigError, match="is a directory"):
        security_context.read(directory)


def test_the_variable_names_it_and_the_root_is_searched(tmp_path, directory):
    assert security_context.find({}, tmp_path) == directory
    named = {"UVM_SECURITY_CONTEXT_DIR": "/elsewhere"}
    assert security_context.find(named, tmp_path) == tmp_path / "elsewhere"
    assert security_context.find(named) == Path("/elsewhere")
    assert security_context.find({}, directory) is None
