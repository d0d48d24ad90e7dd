"""`sealserve doctor`: every prerequisite found and missing, and the way out."""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from dataclasses import replace
from datetime import timedelta
from importlib import metadata
from pathlib import Path

import pytest

from sealserve.attestation import devices
from sealserve.attestation.certificate_table import VCEK
from sealserve.attestation.devices.detect import Detection, Look
from sealserve.attestation.devices.host_service import HostService
from sealserve.attestation.devices.security_context import SecurityContext
from sealserve.attestation.thim import HostCertificate
from sealserve.cli import doctor, prerequisites
from sealserve.cli.main import run
from sealserve.errors import ConfigError, UnavailableError
from sealserve.native import crypto
from support.attestation_hardware import GENOA, Place, own_place
from support.attestation_table import table
from support.attestation_vectors import vector
from support.keys_server import Reply, serve_plainly

NAMES = [
    "platform",
    "device",
    "kernel",
    "configfs",
    "security context",
    "host service",
    "certificate",
    "revocation list",
    "AMD cache",
    "swap",
    "locked memory",
    "core files",
    "/dev/shm",
    "memory for weights",
    "processor",
    "python",
    "libraries",
    "environment",
    "port",
]
NOTHING = Detection((Look("/dev/sev-guest", "not there"),), None, "no device there gives reports")
DOCUMENT = vector("ccfdns/aci-genoa-v3").read("host_amd_cert.json")


class Source:
    """A platform that is no hardware."""

    platform = "simulated"


SIMULATED = Detection((), Source(), "as SEALSERVE_TEE_FD says")


def hardware(kind: str = "snp", context: SecurityContext | None = None) -> Detection:
    source = Place.of(GENOA).source()
    source.platform = kind
    return Detection((), source, "as /dev/test is the first that gives reports", context)


def require(check: prerequisites.Check, state: str, found: str) -> None:
    assert (check.state, found in check.found) == (state, True), check
    assert bool(check.fix) == (state != "ok"), check


# ---- the verb


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that nothing refuses, and a HOME nobody has used."""
    for name in prerequisites.refusals(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("clean")
def test_a_machine_without_hardware_is_told_what_is_missing(capfd):
    assert run(["doctor", "--listen", "127.0.0.1:0", "--json"]) == 8
    told = json.loads(capfd.readouterr().out)
    assert [check["name"] for check in told["checks"]] == NAMES
    states = {check["name"]: check["state"] for check in told["checks"]}
    missing = [name for name, state in states.items() if state == "missing"]
    assert {"platform", "device"} <= set(missing)
    assert told["missing"] == len(missing)
    assert told["warnings"] == list(states.values()).count("warning")
    assert all(bool(check["fix"]) == (check["state"] != "ok") for check in told["checks"])


@pytest.mark.usefixtures("clean")
def test_for_people_no_line_is_wider_than_their_screen(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("HOME", "/")  # paths are never broken
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(prerequisites, "memory_way", lambda: prerequisites.Check("m", "ok", "x"))
    assert run(["doctor", "--listen", "127.0.0.1:0"]) == 8
    out, err = capfd.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 80
    heads = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert len(heads) == len(NAMES)
    assert set(heads) <= {"ok", "warning", "missing"}
    assert "fix: start in a confidential machine" in out


@pytest.mark.usefixtures("clean")
def test_names_of_variables_cannot_move_a_cursor(capfd, monkeypatch):
    monkeypatch.setenv("LD_\x1b[2J", "x")
    assert run(["doctor", "--listen", "127.0.0.1:0"]) == 8
    out = capfd.readouterr().out
    assert r"LD_\x1b[2J" in out
    assert "\x1b" not in out


def test_nothing_missing_is_success(capfd, monkeypatch):
    good = [prerequisites.Check("a", "ok", "b"), prerequisites.Check("c", "warning", "d", "e")]
    monkeypatch.setattr(prerequisites, "every", lambda *_: good)
    assert run(["doctor", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["missing"], told["warnings"]) == (0, 1)


@pytest.mark.parametrize(
    "error", [ConfigError("no context", hint="h"), UnavailableError("x", hint="h")]
)
def test_a_platform_that_is_half_there_is_missing_and_the_rest_is_still_told(monkeypatch, error):
    def look(_environ):
        raise error

    monkeypatch.setattr(devices, "look", look)
    checks = doctor._checks(("127.0.0.1", 0))
    assert [check.name for check in checks] == NAMES
    assert checks[0] == prerequisites.Check("platform", "missing", error.message, "h")


def test_it_is_said_in_words_what_is_not_an_address(capfd):
    assert run(["doctor", "--listen", "::::"]) == 8
    assert "sealserve:" in capfd.readouterr().err


# ---- the machine


def test_platform_and_device():
    require(prerequisites.platform(NOTHING), "missing", "no device there")
    require(prerequisites.platform(SIMULATED), "ok", "simulated, as SEALSERVE_TEE_FD says")
    require(prerequisites.device(NOTHING), "missing", "neither /dev/sev-guest")
    require(prerequisites.device(SIMULATED), "ok", "none needed")
    require(prerequisites.device(hardware()), "ok", "/dev/test")
    closed = Detection((Look("/dev/sev-guest", "there, but closed"),), None, "")
    require(prerequisites.device(closed), "missing", "/dev/sev-guest there, but closed")
    context = Detection((Look("security context", "/security-context-1"),), None, "")
    require(prerequisites.device(context), "missing", "neither /dev/sev-guest")


@pytest.mark.parametrize(
    ("release", "swap", "state"),
    [
        ("6.8.0-azure", True, "ok"),
        ("6.4", True, "ok"),
        ("6.3.9", True, "warning"),
        ("6.3.9", False, "ok"),
        ("5.19.1", False, "ok"),
        ("5.15.0-1064-azure-cvm", False, "warning"),
        ("6.18-rc1", False, "ok"),
        ("custom", False, "warning"),
    ],
)
def test_kernel(release, swap, state):
    require(prerequisites.kernel(release, swap=swap), state, release)


def test_configfs(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\n")
    require(prerequisites.configfs(NOTHING, mounts), "warning", "not mounted")
    require(prerequisites.configfs(SIMULATED, mounts), "ok", "not needed")
    mounts.write_text("none /sys/kernel/config configfs rw 0 0\n")
    require(prerequisites.configfs(NOTHING, mounts), "ok", "mounted on")


def test_security_context():
    certificate = HostCertificate.parse(DOCUMENT)
    whole = SecurityContext("/security-context-1", certificate, b"cose", bytes(32))
    require(prerequisites.security_context(NOTHING), "ok", "none")
    require(prerequisites.security_context(hardware("aci", whole)), "ok", "/security-context-1")
    half = SecurityContext("/security-context-1", None, None, bytes(32))
    check = prerequisites.security_context(hardware("aci", half))
    require(check, "warning", "without host-amd-cert-base64, reference-info-base64")


def test_host_service():
    with serve_plainly(lambda request: Reply(body=DOCUMENT)) as server:
        service = HostService(server.url)
        require(prerequisites.host_service(SIMULATED, service), "ok", "not asked")
        assert server.requests == []
        require(prerequisites.host_service(hardware(), service), "ok", "has certificates")
        server.answer = lambda request: Reply(404)
        require(prerequisites.host_service(hardware(), service), "ok", "only Azure has one")
        require(prerequisites.host_service(hardware("aci"), service), "warning", "HTTP 404")


# ---- what it can prove


def test_certificate_and_list_of_a_machine(simulated_root):
    machine = own_place(simulated_root)
    standing = machine.source().standing()
    leaf, _ = prerequisites.certificates(standing, machine.now)
    require(leaf, "ok", "from: certificate table")
    ends = standing.revocation_list.next_update
    for left, state in ((14, "ok"), (13, "warning")):
        at = ends - timedelta(days=left)
        _, found = prerequisites.certificates(standing, at)
        require(
            found,
            state,
            f"{(at - standing.revocation_list.this_update).days} days old, lapses in {left}",
        )
    _, found = prerequisites.certificates(replace(standing, revocation_list=None), machine.now)
    require(found, "warning", "none at hand")


def test_a_machine_without_its_certificate(simulated_root):
    machine = own_place(simulated_root)
    machine.machine.table = b""
    detection = Detection((), machine.source(), "")
    leaf, found = prerequisites._proofs(detection, machine.now)
    require(leaf, "warning", "none at hand for this chip")
    require(found, "warning", "none at hand")


def test_real_hardware_is_told_by_line_and_level():
    machine = Place.of(GENOA)
    chain = machine.leaves().at_hand(
        GENOA.read("report.bin"), table({VCEK: GENOA.read("leaf.der")})
    )
    standing = devices.Standing(chain.signed.report, chain, None)
    leaf, _ = prerequisites.certificates(standing, machine.now)
    require(leaf, "ok", "genoa, bootloader 10 tee 0 snp 23 microcode 84, from: certificate table")


def test_a_device_that_gives_no_report_is_missing():
    machine = Place.of(GENOA)
    machine.machine.make = lambda data: b""
    (check,) = prerequisites._proofs(Detection((), machine.source(), ""), machine.now)
    require(check, "missing", "a report that nobody accepts")


def test_cache(tmp_path, monkeypatch):
    environ = {"HOME": str(tmp_path)}
    require(prerequisites.cache(environ), "ok", "not made yet")
    folder = tmp_path / ".cache/sealserve/amd"
    folder.mkdir(parents=True)
    for name in ("a.vcek", "b.crl", ".beside"):
        (folder / name).touch()
    require(prerequisites.cache(environ), "ok", f"{folder}, 2 files")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # as for anybody but root
    require(prerequisites.cache(environ), "warning", "cannot be written")


# ---- memory and secrets


def test_swap():
    require(prerequisites.swap(on=False), "ok", "off")
    require(prerequisites.swap(on=True), "warning", "on")


@pytest.mark.parametrize(
    ("limit", "user", "swap", "state"),
    [
        (resource.RLIM_INFINITY, 1000, True, "ok"),
        (8 << 20, 0, True, "ok"),
        (8 << 20, 1000, False, "ok"),
        (8 << 20, 1000, True, "missing"),
    ],
)
def test_locked_memory(monkeypatch, limit, user, swap, state):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (limit, limit))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    found = "no limit" if limit < 0 else "at most 8192 KiB"
    require(prerequisites.locked_memory(swap_on=swap), state, found)


@pytest.mark.parametrize(("limit", "found"), [(0, "off"), (-1, "switches them off for itself")])
def test_core_files(monkeypatch, limit, found):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (limit, limit))
    require(prerequisites.core_files(), "ok", found)


def test_shared_memory(monkeypatch, tmp_path):
    require(prerequisites.shared_memory(), "ok", "GiB free")
    monkeypatch.setattr(prerequisites, "SHARED_MEMORY", tmp_path / "none")
    require(prerequisites.shared_memory(), "warning", "not there")


def answers(monkeypatch, script: str) -> None:
    monkeypatch.setattr(prerequisites, "_PROBE", ("/bin/sh", "-c", script))


def test_the_memory_way_is_tried_as_a_server_does():
    check = prerequisites.memory_way()
    assert check.found.startswith(("private-tmpfs", "shared-memory", "anonymous-memory")), check
    assert resource.getrlimit(resource.RLIMIT_CORE) is not None
    assert Path("/proc/self/mounts").read_text().count("sealserve /dev/shm") == 0


@pytest.mark.parametrize(
    ("told", "state", "found"),
    [
        ({"way": "private-tmpfs", "why_no_mount": ""}, "ok", "private-tmpfs"),
        ({"way": "shared-memory", "why_no_mount": "mount: no"}, "warning", "(mount: no)"),
        ({"refused": "swap is on", "hint": "switch it off"}, "missing", "swap is on"),
    ],
)
def test_the_memory_ways(monkeypatch, told, state, found):
    answers(monkeypatch, f"echo '{json.dumps(told)}'")
    require(prerequisites.memory_way(), state, found)


def test_a_probe_that_says_nothing_is_told(monkeypatch):
    answers(monkeypatch, "exit 1")
    require(prerequisites.memory_way(), "missing", "cannot be tried")
    monkeypatch.setattr(prerequisites, "_PROBE_SECONDS", 0.05)
    answers(monkeypatch, "exec sleep 20")
    require(prerequisites.memory_way(), "missing", "cannot be tried")


# ---- the program


@pytest.mark.parametrize(
    ("names", "state", "found"),
    [
        ({"gcm": ["vaes512", "libcrypto"], "sha256": ["ni"]}, "ok", "gcm vaes512, sha256 ni"),
        ({"gcm": ["libcrypto"], "sha256": ["ni"]}, "warning", "gcm libcrypto"),
    ],
)
def test_processor(monkeypatch, names, state, found):
    monkeypatch.setattr(crypto, "kernels", lambda: names)
    require(prerequisites.kernels(), state, found)


def test_the_portable_kernels_are_called_as_we_call_them():
    assert {names[-1] for names in crypto.kernels().values()} == {prerequisites._PORTABLE}


@pytest.mark.parametrize(("from_home", "state"), [(False, "ok"), (None, "ok"), (True, "missing")])
def test_python(monkeypatch, from_home, state):
    monkeypatch.setattr(prerequisites.site, "ENABLE_USER_SITE", from_home)
    require(prerequisites.python(), state, "python")


def test_libraries(monkeypatch):
    require(prerequisites.libraries(), "ok", f"cryptography {metadata.version('cryptography')}")
    monkeypatch.setattr(prerequisites, "LIBRARIES", ("numpy", "sealserve-no-such-package"))
    require(prerequisites.libraries(), "missing", "sealserve-no-such-package missing")


def test_environment():
    require(prerequisites.environment({"HOME": "/", "X": "y"}), "ok", "nothing")
    check = prerequisites.environment({"LD_PRELOAD": "x", "https_proxy": "y"})
    require(check, "missing", "LD_PRELOAD (the dynamic loader runs other code)")
    assert check.fix == "unset LD_PRELOAD https_proxy"


def test_port():
    require(prerequisites.port("127.0.0.1", 0), "ok", "free")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        require(prerequisites.port(*taken.getsockname()), "missing", "cannot listen on 127.0.0.1")


# ---- tee info on hardware


def info(monkeypatch, capfd, detection, root_dir, *options):
    monkeypatch.setattr(devices, "look", lambda _environ: detection)
    assert run(["tee", "info", "--root-dir", str(root_dir), *options]) == 0
    return capfd.readouterr().out


def test_tee_info_shows_what_hardware_says_of_itself(
    monkeypatch, capfd, simulated_root, simulated_root_dir
):
    context = SecurityContext("/security-context-1", None, None, bytes(range(32)))
    machine = own_place(simulated_root)
    source = machine.source()
    source.platform = "aci"
    detection = Detection((), source, "as told", context)
    told = json.loads(info(monkeypatch, capfd, detection, simulated_root_dir, "--json"))
    report = source.standing().report
    assert (told["platform"], told["why"]) == ("aci", "as told")
    assert told["report"] == {
        "version": "3",
        "chip_id": report.chip_id.hex(),
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "vmpl": "0",
        "reported_tcb": report.reported_tcb.hex(),
        "line": "milan",
        "certificate_from": "certificate table",
        "policy_sha256": bytes(range(32)).hex(),
    }
    words = info(monkeypatch, capfd, detection, simulated_root_dir)
    assert f"chip_id:               {report.chip_id.hex()}" in words
    assert "platform: aci, as told" in words


def test_tee_info_of_a_device_that_gives_no_report_says_why(monkeypatch, capfd, simulated_root_dir):
    machine = Place.of(GENOA)
    machine.machine.make = lambda data: b""
    detection = Detection((), machine.source(), "as told")
    words = info(monkeypatch, capfd, detection, simulated_root_dir)
    assert "unavailable:           /dev/test gave a report that nobody accepts" in words
