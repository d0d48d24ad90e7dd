"""`sealserve tee`: a machine that decides, answers and hides its key, and a command it runs."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation import Claims, Roots, decode, pem, verify
from sealserve.attestation.simulated import (
    BANNER,
    FAULTS,
    MEASUREMENT,
    SimulatedEndorser,
    SimulatedRoot,
)
from sealserve.attestation.simulated.process import FORWARDED, Forwarder
from sealserve.attestation.simulated.root import FILE_NAME, issue_intermediate, validity
from sealserve.cli.main import run
from sealserve.policy.execution import generate_process
from support.attestation_simulated import CLAIMS, NOW

SEALSERVE = (sys.executable, "-P", "-m", "sealserve")
PYTHON = (sys.executable, "-I", "-c")
SECONDS = 20.0


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Tee:
    """A folder with a policy for one command, and a root that is already made."""

    def __init__(self, folder: Path, root_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.root_dir = root_dir
        self.policy = folder / "policy.rego"
        self._capfd = capfd

    def verb(self, *words: str) -> Ran:
        """Run `tee WORDS` here."""
        return Ran(run(["tee", *words]), *self._capfd.readouterr())

    def info(self, *options: str) -> Ran:
        return self.verb("info", "--root-dir", str(self.root_dir), *options)

    def allow(self, *command: str, env_rules: Sequence[str] = (), workdir: str = "/") -> None:
        """Write the policy under which this command may run."""
        self.policy.write_bytes(generate_process(command, env_rules=env_rules, working_dir=workdir))

    def words(self, *command: str, options: Sequence[str] = ()) -> tuple[str, ...]:
        place = ("--policy", str(self.policy), "--root-dir", str(self.root_dir))
        return ("run", *place, *options, "--", *command)

    def run(self, *command: str, options: Sequence[str] = ()) -> Ran:
        """`tee run` of this command to its end, under the policy that stands there.

        As a process: it forks, and a library that the tests have loaded may not bear that.
        """
        return finished(*self.words(*command, options=options))

    def allowed(self, *command: str, options: Sequence[str] = ()) -> Ran:
        """`tee run` of this command under the policy for it."""
        self.allow(*command)
        return self.run(*command, options=options)

    @contextmanager
    def running(self, *command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """`tee run` of this command as a process, and the line that says it is ready."""
        self.allow(*command)
        with subprocess.Popen(
            [*SEALSERVE, "tee", *self.words(*command)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as process:  # fmt: skip
            try:
                assert process.stdout is not None
                yield process, process.stdout.readline()
            finally:
                process.kill()


def finished(*words: str, **more: Any) -> Ran:
    """Run `tee WORDS` as a process of its own."""
    ran = subprocess.run(
        [*SEALSERVE, "tee", *words], capture_output=True, text=True, check=False, timeout=SECONDS,
        **more,
    )  # fmt: skip
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def tee(tmp_path: Path, simulated_root_dir: Path, capfd: pytest.CaptureFixture[str]) -> Tee:
    return Tee(tmp_path, simulated_root_dir, capfd)


# ---- the command's life


@pytest.mark.parametrize("status", [0, 6, 255])
def test_the_exit_status_is_the_commands(tee: Tee, status: int) -> None:
    assert tee.allowed("/bin/sh", "-c", f"exit {status}").status == status


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_command_ended_by_a_signal_has_a_shells_status(tee: Tee, number: int) -> None:
    assert tee.allowed("/bin/sh", "-c", f"kill -{int(number)} $$").status == 128 + number


def test_standard_streams_are_the_commands(tee: Tee) -> None:
    tee.allow(*(command := ("/bin/sh", "-c", "cat; echo words >&2; exit 42")))
    ran = finished(*tee.words(*command), input="what it was told\n")
    assert (ran.status, ran.out) == (42, "what it was told\n")
    assert ran.err == f"{BANNER}\nwords\n"


LOST = {
    "a name": (("no-such-command",), (), "or let a PATH through: `sealserve policy generate --env"),
    "a path from here": (("./no-such",), (), "or name with --workdir, here and in the policy"),
    "a folder": (("/bin/true",), ("--workdir", "/no/such"), "hint: --workdir names a directory"),
}


@pytest.mark.parametrize("name", LOST)
def test_a_command_that_cannot_be_found_is_told_with_the_way_out(tee: Tee, name: str) -> None:
    command, options, words = LOST[name]
    tee.allow(*command, workdir=options[1] if options else "/")
    ran = tee.run(*command, options=options)
    assert ran.status == 8
    assert f"cannot start {command[0]!r} in " in ran.err
    assert words in ran.err


def test_a_whole_path_that_is_wrong_needs_no_hint(tee: Tee) -> None:
    ran = tee.allowed("/no/such")
    assert (ran.status, "hint" in ran.err) == (8, False)


def test_what_is_no_policy_is_told_as_that(tee: Tee) -> None:
    tee.policy.write_text("version = 1\n")
    ran = tee.run("/bin/true")
    assert ran.status == 8
    assert "policy.rego: is not an execution policy: " in ran.err


TRAP = """
import signal, sys
signal.signal(int(sys.argv[1]), lambda number, frame: sys.exit(64 + number))
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("number", FORWARDED)
def test_a_signal_reaches_the_command(tee: Tee, number: signal.Signals) -> None:
    with tee.running(*PYTHON, TRAP, str(int(number))) as (process, line):
        assert line == "ready\n"
        process.send_signal(number)
        assert process.wait(SECONDS) == 64 + number


def test_a_signal_that_comes_before_the_command_waits_for_it() -> None:
    sent: list[int] = []

    class Started:
        def signal(self, number: int) -> None:
            sent.append(number)

    forwarder = Forwarder()
    for number in (signal.SIGTERM, signal.SIGHUP):
        forwarder.handle(number, None)
    assert sent == []
    forwarder.attach(Started())  # type: ignore[arg-type]
    forwarder.handle(signal.SIGUSR1, None)
    assert sent == [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


DAEMON = """
import os, time
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.write(writing, str(os.getpid()).encode())
    time.sleep(600)
    os._exit(0)
print("ready", os.read(reading, 20).decode(), flush=True)
"""


def test_nothing_the_command_started_outlives_it(tee: Tee) -> None:
    ran = tee.allowed(*PYTHON, DAEMON)
    assert ran.status == 0
    assert not _lives(int(ran.out.split()[1]))


LONG = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


def test_the_command_dies_with_its_machine(tee: Tee) -> None:
    with tee.running(*PYTHON, LONG) as (process, line):
        assert _lives(int(line))
        process.kill()
        process.wait()
        until(lambda: not _lives(int(line)))


def _lives(pid: int) -> bool:
    """Whether it runs; a zombie waits for its burial and does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def until(met: Callable[[], object]) -> None:
    """Wait for something that must happen."""
    end = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < end
        time.sleep(0.01)


# ---- what may start


LEAVES_A_TRACE = ("/bin/sh", "-c", 'touch "$0"')


@pytest.mark.parametrize(
    "change",
    [
        lambda words: (*words, "more"),
        lambda words: words[:-1],
        lambda words: ("/bin/dash", *words[1:]),
        lambda words: (*words[:-1], words[-1] + "x"),
        lambda words: (words[0], *reversed(words[1:])),
    ],
    ids=["a word more", "a word less", "another program", "another word", "another order"],
)
def test_another_command_is_not_started(tee: Tee, change: Callable[..., tuple[str, ...]]) -> None:
    trace = tee.folder / "trace"
    tee.allow(*(allowed := (*LEAVES_A_TRACE, str(trace))))
    ran = tee.run(*(started := change(allowed)))
    assert (ran.status, ran.out) == (6, "")
    assert not [*tee.folder.glob("trace*")]
    assert f"seen {json.dumps(list(started))}" in ran.err
    assert f"wanted {json.dumps(list(allowed))}" in ran.err


def test_the_command_of_the_policy_leaves_that_trace(tee: Tee) -> None:
    trace = tee.folder / "trace"
    assert tee.allowed(*LEAVES_A_TRACE, str(trace)).status == 0
    assert trace.exists()


def test_another_directory_is_not_started_in(tee: Tee) -> None:
    tee.allow("/bin/pwd", workdir="/usr")
    ran = tee.run("/bin/pwd")
    assert (ran.status, ran.out) == (6, "")
    assert 'seen "/"; wanted "/usr"' in ran.err
    ran = tee.run("/bin/pwd", options=["--workdir", "/usr"])
    assert (ran.status, ran.out) == (0, "/usr\n")


def test_another_user_is_not_started(tee: Tee) -> None:
    tee.allow("/usr/bin/id", "-u")
    text = tee.policy.read_text()
    anybody = '"user_idname":{"pattern":"","strategy":"any"}'
    for number, status in ((os.geteuid() + 1, 6), (os.geteuid(), 0)):
        named = f'"user_idname":{{"pattern":"{number}","strategy":"id"}}'
        tee.policy.write_text(text.replace(anybody, named))
        ran = tee.run("/usr/bin/id", "-u")
        assert (ran.status, ran.out) == (status, "" if status else f"{number}\n")
        assert ("user: seen " in ran.err) == bool(status)


def test_the_command_has_the_umask_that_the_policy_was_asked_for(tee: Tee) -> None:
    before = os.umask(0o077)
    try:
        assert tee.allowed("/bin/sh", "-c", "umask").out == "0022\n"
    finally:
        os.umask(before)


def test_a_denial_is_decoded(tee: Tee) -> None:
    """What decided, which conditions held and which did not, both sides and the way out."""
    tee.allow("/bin/true")
    err = tee.run("/bin/false").err
    for words in (
        "create_container is denied by line 24 of the policy: create_container := data.framework",
        "not containers[0] (process): command failed; no_new_privileges, user, allow_elevated, "
        "working_dir, mounts, seccomp_profile_sha256, devices held",
        "guest: invalid command",
        'command: seen ["/bin/false"]; wanted ["/bin/true"]',
        "hint: ",
    ):
        assert words in err


def test_a_denied_start_says_nothing_of_a_platform(tee: Tee) -> None:
    tee.allow("/bin/true")
    assert BANNER not in tee.run("/bin/false").err


UNUSABLE: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "no policy": b"hello",
    "allows all": b"package policy\n\nallow := true\n",
    "too long": b"#" * (8 << 20),
}


@pytest.mark.parametrize("form", UNUSABLE)
def test_a_policy_that_cannot_be_read_makes_nothing(tee: Tee, form: str) -> None:
    if (content := UNUSABLE[form]) is not None:
        tee.policy.write_bytes(content)
    tee.root_dir = tee.folder / "roots"
    ran = tee.run("/bin/true")
    assert (ran.status, ran.out) == (8, "")
    assert f"sealserve: {tee.policy}" in ran.err
    assert not tee.root_dir.exists()


def test_a_policy_without_end_is_not_read_to_it(tee: Tee) -> None:
    tee.policy = Path("/dev/zero")
    memory = (2 << 30, 2 << 30)
    ran = finished(
        *tee.words("/bin/true"), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, memory)
    )
    assert ran.status == 8
    assert "/dev/zero: is longer than" in ran.err


def test_a_command_that_is_not_there(tee: Tee) -> None:
    ran = tee.allowed("/no/such/command")
    assert (ran.status, ran.out) == (8, "")
    assert "'/no/such/command'" in ran.err
    assert "No such file" in ran.err


@pytest.mark.parametrize("arguments", [[], ["--policy", "x"], ["--", "/bin/true"]], ids=str)
def test_usage(tee: Tee, arguments: list[str]) -> None:
    ran = tee.verb("run", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("Usage: ")


# ---- the environment


def environment(ran: Ran) -> dict[str, str]:
    return dict(line.split("=", 1) for line in ran.out.splitlines())


OUTSIDE = {
    "LANG": "C.UTF-8",
    "TOKEN_A": "a=b",
    "TOKEN_b": "another alphabet",
    "XTOKEN_A": "a longer name",
    "TOKEN_": "a shorter name",
    "LD_PRELOAD": "",
    "PYTHONPATH": "/evil",
    "SSLKEYLOGFILE": "/evil",
    "A_SECRET": "TOKEN_A=x",
}


def test_the_environment_is_cut_to_the_policy(tee: Tee, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OUTSIDE.items():
        monkeypatch.setenv(name, value)
    tee.allow("/usr/bin/env", env_rules=["LANG=C.UTF-8", "re2:TOKEN_[A-Z]+=.*"])
    told = environment(tee.run("/usr/bin/env"))
    assert told.pop("SEALSERVE_TEE_FD").isdigit()
    assert told == {"LANG": "C.UTF-8", "TOKEN_A": "a=b"}


def test_another_value_of_a_variable_is_dropped(tee: Tee, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    tee.allow("/usr/bin/env", env_rules=["LANG=C.UTF-8"])
    assert environment(tee.run("/usr/bin/env")).keys() == {"SEALSERVE_TEE_FD"}


def test_a_socket_announced_outside_is_not_the_commands(
    tee: Tee, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALSERVE_TEE_FD", "0")
    tee.allow("/usr/bin/env", env_rules=["re2:SEALSERVE_TEE_FD=.*"])
    assert environment(tee.run("/usr/bin/env"))["SEALSERVE_TEE_FD"] not in {"0", "1", "2"}


# ---- what it proves


ASK = f"""
import os
from sealserve.attestation import encode
from sealserve.attestation.devices import detect
print(encode(detect(os.environ).evidence({CLAIMS!r})).hex())
"""


def proven(tee: Tee, roots: Roots, *options: str) -> Claims:
    """The claims of evidence that a command in the machine asked for."""
    ran = tee.allowed(*PYTHON, ASK, options=options)
    return verify(decode(bytes.fromhex(ran.out)), roots, datetime.now(UTC))


def test_the_policy_and_the_claims_are_in_the_report(tee: Tee, simulated_roots: Roots) -> None:
    claims = proven(tee, simulated_roots)
    assert claims.runtime == CLAIMS
    assert claims.report.host_data == hashlib.sha256(tee.policy.read_bytes()).digest()
    assert claims.report.measurement == MEASUREMENT
    assert claims.platform == "simulated"
    assert not claims.report.policy.debug


def test_a_fault_is_the_machines(tee: Tee, simulated_roots: Roots) -> None:
    assert proven(tee, simulated_roots, "--fault", "debug").report.policy.debug


def test_faults_add_up(tee: Tee, simulated_roots: Roots) -> None:
    claims = proven(tee, simulated_roots, "--fault", "debug", "--fault", "vmpl")
    assert (claims.report.policy.debug, claims.report.vmpl) == (True, 1)


def test_a_fault_nobody_knows(tee: Tee) -> None:
    tee.root_dir = tee.folder / "roots"
    ran = tee.allowed("/bin/true", options=["--fault", "debugg"])
    assert (ran.status, ran.out) == (8, "")
    assert "--fault: no fault is called 'debugg'" in ran.err
    assert "tee info" in ran.err
    assert not tee.root_dir.exists()


MACHINES = {
    "genoa-a0": ("genoa", 5, "vcek", False),
    "turin --report-version 2": ("turin", 2, "vcek", False),
    "turin --vlek --uvm hash": ("turin", 5, "vlek", True),
    "milan --uvm json": ("milan", 3, "vcek", True),
}


@pytest.mark.parametrize("options", MACHINES)
def test_the_machine_can_be_chosen(tee: Tee, options: str) -> None:
    line, version, key, endorsed = MACHINES[options]
    root = SimulatedRoot.load_or_create(tee.root_dir, line)  # type: ignore[arg-type]
    claims = proven(tee, Roots.simulated(root.ark_sha256), "--machine", *options.split())
    assert (claims.line, claims.report.version, claims.signing_key) == (line, version, key)
    assert (claims.endorsement is not None) == endorsed


IMPOSSIBLE = {
    "--fault fmc-level": "the fault 'fmc-level' shows only on machines of the line turin",
    "--fault old-uvm": "the fault 'old-uvm' shows only on machines with an endorsement",
    "--vlek --fault hwid": "the fault 'hwid' shows only on machines that sign with a VCEK",
    "--report-version 2 --fault line": "shows only on reports of version 3 and later",
    "--security-context x": "a confidential container has an endorsed launch",
    "--security-context x --vlek --uvm json": "and signs with its chip's key",
}


@pytest.mark.parametrize("options", IMPOSSIBLE)
def test_a_machine_that_cannot_be(tee: Tee, options: str) -> None:
    tee.root_dir = tee.folder / "roots"
    ran = tee.allowed("/bin/true", options=options.split())
    assert (ran.status, ran.out) == (8, "")
    assert IMPOSSIBLE[options] in ran.err
    assert not tee.root_dir.exists()


def test_the_security_context_is_announced(tee: Tee) -> None:
    context = tee.folder / "a" / "context"
    options = ["--uvm", "json", "--security-context", str(context)]
    told = environment(tee.allowed("/usr/bin/env", options=options))
    assert told["UVM_SECURITY_CONTEXT_DIR"] == str(context)
    assert sorted(file.name for file in context.iterdir()) == [
        "host-amd-cert-base64", "reference-info-base64", "security-policy-base64",
    ]  # fmt: skip


def test_a_security_context_that_cannot_be_written(tee: Tee) -> None:
    (tee.folder / "file").write_text("")
    options = ["--uvm", "json", "--security-context", str(tee.folder / "file" / "context")]
    ran = tee.allowed("/bin/true", options=options)
    assert (ran.status, ran.out) == (8, "")
    assert "cannot hold a security context" in ran.err


def test_a_denied_start_writes_no_security_context(tee: Tee) -> None:
    tee.allow("/bin/true")
    context = tee.folder / "context"
    ran = tee.run("/bin/false", options=["--uvm", "json", "--security-context", str(context)])
    assert ran.status == 6
    assert not context.exists()


HOSTILE = f"""
import array, os, socket
from sealserve.attestation import report_data
from sealserve.attestation.devices import detect
from sealserve.attestation.simulated import frames
platform = socket.socket(fileno=os.dup(int(os.environ["SEALSERVE_TEE_FD"])))
good = frames.request(report_data(b""))
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
null = os.open("/dev/null", os.O_RDWR)
def send(message, *descriptors):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    platform.sendmsg([message], rights if descriptors else [])
send(good)
send(good, null)
send(good, b.fileno(), null)
send(good[:-1], b.fileno())
send(good + b"x", b.fileno())
send(b"x" + good[1:], b.fileno())
send(b"x" * 60000, b.fileno())
send(b"", b.fileno())
a.setblocking(False)
detect(os.environ).evidence({CLAIMS!r})
try:
    a.recv(1)
except BlockingIOError:
    print("silence, then an answer")
"""


def test_what_is_no_request_is_dropped_and_the_next_one_answered(tee: Tee) -> None:
    ran = tee.allowed(*PYTHON, HOSTILE)
    assert (ran.status, ran.out) == (0, "silence, then an answer\n"), ran.err


def test_a_whole_family_asks_at_once(tee: Tee) -> None:
    """Nobody takes another's answer: each of eight gets a report for its own claims."""
    family = """
import os, sys
from sealserve.attestation import Report, report_data
from sealserve.attestation.devices import detect
source = detect(os.environ)
children = []
for child in range(8):
    if (pid := os.fork()) == 0:
        for turn in range(5):
            claims = b"%d %d" % (child, turn)
            report = Report.parse(source.evidence(claims).report)
            if report.report_data != report_data(claims):
                os._exit(1)
        os._exit(0)
    children.append(pid)
sys.exit(max(os.waitpid(pid, 0)[1] for pid in children) and 1)
"""
    assert tee.allowed(*PYTHON, family).status == 0


# ---- the key stays where it is


PRYING = """
import json, os
parent, seen = os.getppid(), {}
for name in ("mem", "maps", "environ", "auxv"):
    try:
        with open(f"/proc/{parent}/{name}", "rb") as file:
            seen[name] = len(file.read(1)) if name != "mem" else 1
    except PermissionError:
        seen[name] = 0
try:
    seen["fd"] = len(os.listdir(f"/proc/{parent}/fd") and os.readlink(f"/proc/{parent}/fd/0"))
except PermissionError:
    seen["fd"] = 0
print(json.dumps(seen))
"""


def without_capabilities() -> None:
    """What a user has who is not root: after the next exec no capability can come back."""
    prctl = ctypes.CDLL(None).prctl
    for capability in range(64):
        prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; others than root have none to drop


def test_the_machines_memory_is_closed_to_the_command(tee: Tee) -> None:
    tee.allow(*(command := (*PYTHON, PRYING)))
    ran = finished(*tee.words(*command), preexec_fn=without_capabilities)
    assert ran.status == 0, ran.err
    assert not any(ran.json.values()), ran.json


def test_the_pryer_reads_a_memory_that_is_open() -> None:
    """So the test above would see it."""
    parent = f"import subprocess; subprocess.run({[*PYTHON, PRYING]!r})"
    told = subprocess.run(
        [*PYTHON, parent], preexec_fn=without_capabilities, capture_output=True, check=True
    )
    assert all(json.loads(told.stdout).values())


# What `tee run` ends with, and then PR_GET_DUMPABLE of the process in which it ran.
AFTERWARDS = """
import ctypes, sys
from sealserve.cli.main import run
print(run(["tee", *sys.argv[1:]]), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_afterwards_memory_is_as_open_as_before(tee: Tee) -> None:
    """Others of our user may look again: a debugger, a profiler, the system's core dumps."""
    tee.allow("/bin/true")
    told = subprocess.run(
        [sys.executable, "-P", "-c", AFTERWARDS, *tee.words("/bin/true")],
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )
    assert told.stdout == "0 1\n"


def test_the_command_inherits_one_socket_and_nothing_else(tee: Tee) -> None:
    listing = """
import json, os
fds = {}
for name in os.listdir("/proc/self/fd"):
    try:
        fds[name] = os.readlink(f"/proc/self/fd/{name}")
    except OSError:  # the directory being listed
        pass
print(json.dumps([fds, os.environ["SEALSERVE_TEE_FD"]]))
"""
    secret = os.open(tee.root_dir / FILE_NAME, os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        fds, announced = tee.allowed(*PYTHON, listing).json
    finally:
        os.close(secret)
    assert fds.keys() == {"0", "1", "2", announced}
    assert fds[announced].startswith("socket:")


# ---- the root


def test_everything_there_is_kept_like_a_key(tee: Tee) -> None:
    assert tee.info().status == 0
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tee.root_dir.iterdir()}
    assert modes.keys() >= {FILE_NAME, "simulated-endorser.pem"}
    assert set(modes.values()) == {0o600}


def test_a_disk_that_is_full_leaves_no_half_of_a_root(tmp_path: Path) -> None:
    roots = tmp_path / "state" / "roots"
    ran = finished(
        "info", "--root-dir", str(roots),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    assert (ran.status, ran.out) == (10, "")
    assert "cannot keep a simulated root here: File too large" in ran.err
    assert not roots.parent.exists()


def test_an_interrupted_start_leaves_no_half_of_a_root(tmp_path: Path) -> None:
    roots = tmp_path / "state" / "roots"
    with subprocess.Popen(
        [*SEALSERVE, "tee", "info", "--root-dir", str(roots)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        until(roots.exists)  # now it makes two keys of 4096 bits
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err.strip()) == (130, "sealserve: interrupted")
    assert [*roots.iterdir()] == []
    assert stat.S_IMODE(roots.stat().st_mode) == 0o700


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "a byte more": lambda data: data + b"\n",
    "another header": lambda data: data.replace(b"simulated", b"Simulated", 1),
    "keys swapped": lambda data: _swapped(data, 0, 1),
    "certificates swapped": lambda data: _swapped(data, 2, 3),
    "a key that is none": lambda data: data.replace(b"MII", b"AAA", 1),
    "too long": lambda data: data.ljust(1 << 20, b"\n"),
}


def _swapped(data: bytes, one: int, other: int) -> bytes:
    header, *blocks = data.replace(b"-----BEGIN", b"\0-----BEGIN").split(b"\0")
    blocks[one], blocks[other] = blocks[other], blocks[one]
    return header + b"".join(blocks)


@pytest.mark.parametrize("form", SPOILED)
def test_a_file_that_is_no_root_is_named_and_left_alone(
    tee: Tee, simulated_root_dir: Path, form: str
) -> None:
    tee.root_dir = tee.folder
    file = tee.folder / FILE_NAME
    file.write_bytes(SPOILED[form]((simulated_root_dir / FILE_NAME).read_bytes()))
    before = file.read_bytes()
    ran = tee.info()
    assert (ran.status, ran.out) == (8, "")
    assert f"sealserve: {file}: this is not the file of a simulated root" in ran.err
    assert file.read_bytes() == before


@pytest.mark.parametrize("place", ["file/roots", "/proc/roots"])
def test_a_place_that_cannot_hold_a_root(tee: Tee, place: str) -> None:
    (tee.folder / "file").write_text("")
    tee.root_dir = tee.folder / place
    ran = tee.info()
    assert (ran.status, ran.out) == (8, "")
    assert "cannot keep a simulated root here" in ran.err


@pytest.mark.long
def test_two_that_come_first_together_share_a_root(tmp_path: Path) -> None:
    command = [*SEALSERVE, "tee", "info", "--root-dir", str(tmp_path / "roots"), "--json"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    told = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert told[0] == told[1]
    names = sorted(path.name for path in (tmp_path / "roots").iterdir())
    assert names == ["simulated-endorser.pem", FILE_NAME]


# ---- info


def test_info_for_programs(tee: Tee, simulated_root: SimulatedRoot) -> None:
    told = tee.info("--json").json
    assert told["platform"] is None
    assert [look["where"] for look in told["looked"]] == [
        "SEALSERVE_TEE_FD", "/dev/sev-guest", "/sys/kernel/config/tsm/report", "/dev/sev",
        "security context",
    ]  # fmt: skip
    assert told["simulated_root_dir"] == str(tee.root_dir)
    assert told["simulated_root_sha256"] == hashlib.sha256(simulated_root.ark).hexdigest()
    assert told["measurement"] == MEASUREMENT.hex()
    assert told["uvm_issuer"] == SimulatedEndorser.load_or_create(tee.root_dir).issuer
    assert (told["uvm_feed"], told["uvm_svn"]) == ("ContainerPlat-AMD-UVM", 104)
    assert told["vlek_provider"] == "CN=simulated-provider.invalid"
    assert told["faults"] == {name: fault.what for name, fault in FAULTS.items()}


def test_info_for_people(tee: Tee, simulated_root: SimulatedRoot) -> None:
    ran = tee.info()
    assert (ran.status, ran.err) == (0, "")
    assert "SEALSERVE_TEE_FD: not set" in ran.out
    assert "platform: none" in ran.out
    assert f"simulated_root_sha256: {simulated_root.ark_sha256.hex()}" in ran.out
    assert f"with --uvm:            {tee.info('--json').json['uvm_issuer']}" in ran.out
    assert all(f"  {name} " in ran.out for name in FAULTS)


def test_every_line_has_a_root_of_its_own(tee: Tee) -> None:
    """And every machine of one root directory the same endorser."""
    told = [tee.info("--machine", model, "--json").json for model in ("milan", "turin")]
    milan, turin = (line["simulated_root_sha256"] for line in told)
    assert milan != turin
    assert turin == SimulatedRoot.load_or_create(tee.root_dir, "turin").ark_sha256.hex()
    assert told[0]["uvm_issuer"] == told[1]["uvm_issuer"]


def test_a_root_of_another_line_is_no_root(tee: Tee, simulated_root_dir: Path) -> None:
    tee.root_dir = tee.folder
    file = tee.folder / "simulated-root-genoa.pem"
    file.write_bytes((simulated_root_dir / FILE_NAME).read_bytes())
    ran = tee.info("--machine", "genoa")
    assert (ran.status, ran.out) == (8, "")
    assert f"{file}: this is not the file of a simulated root" in ran.err


def test_a_provider_under_another_root_is_no_provider(
    tee: Tee, simulated_root: SimulatedRoot
) -> None:
    """Its certificate has the key of the file and every name it should have, and another issuer."""
    root_file = (tee.root_dir / FILE_NAME).read_bytes()
    _, _, key, *_ = root_file.split(b"-----BEGIN")
    public = simulated_root.ask_key.public_key()
    made = issue_intermediate(simulated_root.ask_key, public, "milan", "vlek", validity(NOW))
    header = b"# Provider of a simulated platform. It proves nothing about hardware.\n"
    file = tee.folder / "simulated-provider-milan.pem"
    file.write_bytes(header + b"-----BEGIN" + key + pem.write(made))
    (tee.folder / FILE_NAME).write_bytes(root_file)
    tee.root_dir = tee.folder
    ran = tee.allowed("/bin/true", options=["--vlek"])
    assert (ran.status, ran.out) == (8, "")
    assert f"{file}: this is not the file of a simulated provider" in ran.err


def test_info_inside_knows_where_it_is(tee: Tee) -> None:
    command = (*SEALSERVE, "tee", "info", "--root-dir", str(tee.root_dir), "--json")
    told = tee.allowed(*command).json
    assert told["platform"] == "simulated"
    assert told["looked"][0]["found"].startswith("announces descriptor")


def test_doctor_inside_finds_the_platform(tee: Tee) -> None:
    ran = tee.allowed(*SEALSERVE, "doctor", "--listen", "127.0.0.1:0", "--json")
    checks = {check["name"]: check for check in ran.json["checks"]}
    assert checks["platform"]["found"] == "simulated, as SEALSERVE_TEE_FD says"
    assert checks["device"]["state"] == "ok"
    assert ran.status == (8 if ran.json["missing"] else 0)


ANNOUNCED = ["", "x", "-1", "0", "999999", "12345678", "٣", " 3"]


@pytest.mark.parametrize("announced", ANNOUNCED)
def test_a_platform_that_is_announced_and_not_there(
    tee: Tee, monkeypatch: pytest.MonkeyPatch, announced: str
) -> None:
    monkeypatch.setenv("SEALSERVE_TEE_FD", announced)
    ran = tee.info()
    assert (ran.status, ran.out) == (10, "")
    assert "the simulated platform cannot be reached" in ran.err


STATES = [("{}/state", "state"), ("", "home/.local/state"), ("relative", "home/.local/state")]


@pytest.mark.parametrize(("state", "expected"), STATES)
def test_where_the_root_is_kept_by_default(
    tee: Tee, monkeypatch: pytest.MonkeyPatch, state: str, expected: str
) -> None:
    place = tee.folder / expected / "sealserve" / "simulated"
    place.mkdir(parents=True)
    for file in tee.root_dir.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    monkeypatch.setenv("HOME", str(tee.folder / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", state.format(tee.folder))
    assert tee.verb("info", "--json").json["simulated_root_dir"] == str(place)
