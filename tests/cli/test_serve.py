"""`sealserve serve`, each time as a process: what keeps it from starting, and how it ends."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from onnx import ModelProto, TensorProto

from sealserve.attestation.simulated import SOCKET_VARIABLE, Machine, SimulatedRoot
from sealserve.cli.main import run
from sealserve.inference.wire import names
from sealserve.inference.wire.infer import decode_response
from sealserve.inference.wire.open_inference_pb2 import ModelReadyRequest, ModelReadyResponse
from sealserve.keys import new_identity
from support.attestation_simulated import machine_of
from support.models_onnx import small
from support.models_sealed import seal_model
from support.ports import free_port
from support.server_case import PINNED, counter, infer_request, one_node, until
from support.server_process import (
    SEALSERVE,
    SECONDS,
    Ended,
    Server,
    certificate_of,
    clean_environment,
    serve,
    serving,
)
from support.system_calls import calls_in, child_of, strace

LIMITS = b"version = 1\n[limits]\nmessage_bytes = 2048\n"
LIMITS_SHA256 = hashlib.sha256(LIMITS).hexdigest()
OTHER = "11" * 32
MINE = ("--identity", "owner.key")
GOOD = ("net.sealed", "--root", "NET", *MINE)
ANYWHERE = ("--listen", "127.0.0.1:0")
VAULT = ("net.sealed", "--root", "NET", "--vault", "trustd:127.0.0.1:1")
AUTHORITY = ("--vault-ca-sha256", OTHER)


@dataclass(frozen=True)
class Desk:
    """A folder with sealed models, good and bad, and the key to them. roots: what NET, … mean."""

    folder: Path
    machine: Machine
    roots: dict[str, str] = field(default_factory=dict)

    def serve(self, *arguments: str, **environment: str) -> Ended:
        """Run it to its end; arguments that name a root mean that root."""
        return serve(self.folder, self.meant(arguments), self.machine, environment)

    def serving(self, *arguments: str) -> AbstractContextManager[Server]:
        """Run it until the `with` block ends."""
        return serving(self.folder, self.meant(arguments), self.machine)

    def meant(self, arguments: tuple[str, ...]) -> list[str]:
        return [self.roots.get(argument, argument) for argument in arguments]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot) -> Desk:
    folder = tmp_path_factory.mktemp("serve") / "desk"
    folder.mkdir()
    desk = Desk(folder, machine_of(simulated_root))
    keys = [new_identity(folder / "owner.key").recipient]
    new_identity(folder / "other.key")
    strange = folder / "strange.onnx"
    strange.write_bytes(one_node("NoSuchOperator", [("x", TensorProto.FLOAT, [1])], ("y", 1)))
    (folder / "counter.onnx").write_bytes(counter())
    models: dict[str, ModelProto | Path] = {
        "counter": folder / "counter.onnx",
        "net": small(),
        "twin": small(2),
        "second": small(3),
        "unloadable": strange,
    }
    for name, model in models.items():
        called = "net" if name == "twin" else name
        sealed = seal_model(model, folder / f"{name}.sealed", keys=keys, name=called)
        desk.roots[name.upper()] = sealed.root.hex()
    good = (folder / "net.sealed").read_bytes()
    (folder / "cut.sealed").write_bytes(good[:-20_000])
    (folder / "altered.sealed").write_bytes(good[:9000] + bytes([good[9000] ^ 1]) + good[9001:])
    (folder / "text.sealed").write_text("hello")
    (folder / "empty.sealed").write_bytes(b"")
    (folder / "limits.toml").write_bytes(LIMITS)
    (folder / "bad.toml").write_bytes(LIMITS.replace(b"message_bytes", b"massage_bytes"))
    os.mkfifo(folder / "pipe.sealed")
    return desk


# ---- what keeps it from starting

CONFIG = ("--config", "limits.toml", "--config-sha256")
BAD_SHA256 = hashlib.sha256(LIMITS.replace(b"message", b"massage")).hexdigest()

USAGE = {
    "no file": (("--root", "NET", *MINE), "Missing argument 'FILE…'"),
    "no root": (("net.sealed", *MINE), "Missing option '--root'"),
    "an unknown option": ((*GOOD, "--insecure"), "No such option '--insecure'"),
}

REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    # files and roots
    "a file that is not there": (("no.sealed", "--root", OTHER, *MINE), 8, "no.sealed, FILE"),
    "a folder": ((".", "--root", OTHER, *MINE), 8, "regular file"),
    "a pipe": (("pipe.sealed", "--root", OTHER, *MINE), 8, "regular file"),
    "two files, one root": (("net.sealed", *GOOD), 8, "2 sealed files and 1 roots"),
    "one file, two roots": ((*GOOD, "--root", OTHER), 8, "1 sealed files and 2 roots"),
    "a root twice": (("net.sealed", *GOOD, "--root", "NET"), 8, "twice"),
    "not a root": (("net.sealed", "--root", "9f2c", *MINE), 8, "'9f2c' is not the 64"),
    "another root": (("net.sealed", "--root", OTHER, *MINE), 4, f"wanted {OTHER}"),
    "another model's root": (("net.sealed", "--root", "TWIN", *MINE), 4, "root is"),
    "the files swapped": (
        ("twin.sealed", "unloadable.sealed", "--root", "UNLOADABLE", "--root", "TWIN", *MINE),
        4,
        "twin.sealed: root is",
    ),
    "not a sealed file": (("text.sealed", "--root", "NET", *MINE), 3, "not a sealed model"),
    "an empty file": (("empty.sealed", "--root", "NET", *MINE), 3, "empty.sealed"),
    "the plain key": (("owner.key", "--root", "NET", *MINE), 3, "not a sealed model"),
    "a file cut short": (("cut.sealed", "--root", "NET", *MINE), 4, "cut.sealed"),
    "one flipped bit": (("altered.sealed", "--root", "NET", *MINE), 4, "altered.sealed"),
    "two models of one name": (
        (*GOOD, "twin.sealed", "--root", "TWIN"),
        8,
        "two sealed files are 'net' version '1.0'",
    ),
    "a model the runtime cannot load": (
        ("unloadable.sealed", "--root", "UNLOADABLE", *MINE),
        3,
        "cannot load this model",
    ),
    "a good model, then a bad one": ((*GOOD, "text.sealed", "--root", OTHER), 3, "text.sealed"),
    # where the key comes from
    "no source of the key": (("net.sealed", "--root", "NET"), 8, "exactly one of them"),
    "two sources of the key": ((*GOOD, "--vault", "trustd:h:1"), 8, "exactly one of them"),
    "an identity that is not there": (
        ("net.sealed", "--root", "NET", "--identity", "no.key"),
        8,
        "no.key, --identity",
    ),
    "somebody else's identity": (
        ("net.sealed", "--root", "NET", "--identity", "other.key"),
        7,
        "no slot is addressed to",
    ),
    "the public key": (
        ("net.sealed", "--root", "NET", "--identity", "owner.key.pub"),
        8,
        "PUBLIC KEY",
    ),
    "no key at all in the file": (
        ("net.sealed", "--root", "NET", "--identity", "limits.toml"),
        8,
        "limits.toml",
    ),
    **{
        f"{option} without a vault": ((*GOOD, option, "limits.toml"), 8, f"{option}: means nothing")
        for option in (
            "--attestation-service",
            "--vault-ca",
            "--vault-ca-sha256",
            "--vault-credential",
        )
    },
    "a vault without its authority": (VAULT, 8, "--vault-ca-sha256"),
    "an authority that is not there": (
        (*VAULT, *AUTHORITY, "--vault-ca", "no.pem"),
        8,
        "no.pem, --vault-ca",
    ),
    "a credential that is not there": (
        (*VAULT, *AUTHORITY, "--vault-credential", "no.token"),
        8,
        "no.token, --vault-credential",
    ),
    "a credential that is no text": (
        (*VAULT, *AUTHORITY, "--vault-credential", "net.sealed"),
        8,
        "net.sealed, --vault-credential",
    ),
    # the configuration file
    "a configuration without a digest": ((*GOOD, *CONFIG[:2]), 8, "wants none"),
    "a configuration of another digest": ((*GOOD, *CONFIG, OTHER), 8, LIMITS_SHA256),
    "a configuration that is not there": (
        (*GOOD, "--config", "no.toml", *CONFIG[2:], OTHER),
        8,
        "no.toml, --config",
    ),
    "a digest without a configuration": ((*GOOD, *CONFIG[2:], OTHER), 8, "without --config"),
    "a configuration that says something else": (
        (*GOOD, "--config", "bad.toml", *CONFIG[2:], BAD_SHA256),
        8,
        "bad.toml:3",
    ),
    "callers of another digest": (
        (*GOOD, "--callers", "bad.toml", "--callers-sha256", OTHER),
        8,
        BAD_SHA256,
    ),
    "callers without a digest": ((*GOOD, "--callers", "bad.toml"), 8, "--callers-sha256"),
    "callers that are not there": ((*GOOD, "--callers", "no.toml"), 8, "no.toml, --callers"),
    "a digest without callers": (
        (*GOOD, "--callers-sha256", OTHER),
        8,
        "without --callers",
    ),
    # where to listen
    "a URL": ((*GOOD, "--listen", "https://0.0.0.0:8001"), 8, "is no address"),
    "a port out of range": ((*GOOD, "--listen", "0.0.0.0:65536"), 8, "is no address"),
    "an address that is not ours": ((*GOOD, "--listen", "192.0.2.1:8001"), 10, "192.0.2.1:8001"),
    "a name nobody has": ((*GOOD, "--listen", "no.invalid:8001"), 10, "no.invalid:8001"),
}


@pytest.mark.parametrize(("arguments", "says"), USAGE.values(), ids=USAGE)
def test_usage_is_explained(desk: Desk, arguments: tuple[str, ...], says: str) -> None:
    ended = desk.serve(*arguments)
    assert (ended.status, ended.out, ended.listened) == (2, "", False)
    assert says in ended.err
    assert "Try 'sealserve serve --help'" in ended.err


@pytest.mark.parametrize(("arguments", "status", "says"), REFUSED.values(), ids=REFUSED)
def test_it_refuses_says_why_and_never_listens(
    desk: Desk, arguments: tuple[str, ...], status: int, says: str
) -> None:
    require_refused(desk.serve(*ANYWHERE, *arguments), status, says)


def require_refused(ended: Ended, status: int, says: str) -> None:
    assert (ended.status, ended.out) == (status, ""), ended.err
    assert "sealserve: " in ended.words
    assert says in ended.words
    assert "\nhint: " in ended.words
    assert "Traceback" not in ended.err
    assert not ended.listened


def test_a_vault_where_nobody_listens(desk: Desk) -> None:
    ended = desk.serve(*ANYWHERE, *VAULT, *AUTHORITY)
    assert (ended.status, ended.out, ended.listened) == (10, "", False)
    assert "127.0.0.1:1" in ended.words
    assert "Traceback" not in ended.err


VARIABLES = {
    "LD_BIND_NOW": "the dynamic loader",
    "PYTHONPATH": "the interpreter",
    "OPENSSL_CONF": "OpenSSL",
    "SSL_CERT_FILE": "other certificates",
    "SSLKEYLOGFILE": "written to a file",
    "https_proxy": "somewhere else",
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_could_change_it_keeps_it_from_starting(desk: Desk, name: str) -> None:
    ended = desk.serve(*GOOD, *ANYWHERE, **{name: "/nowhere"})
    require_refused(ended, 8, f"may not hold {name} (")
    assert VARIABLES[name] in ended.words
    assert "/nowhere" not in ended.err  # a proxy's address may hold a password


def test_every_refused_variable_is_named_at_once(desk: Desk) -> None:
    ended = desk.serve(*GOOD, *ANYWHERE, https_proxy="x", SSLKEYLOGFILE="x")
    require_refused(ended, 8, "SSLKEYLOGFILE")
    assert "https_proxy" in ended.words


def test_other_variables_are_dropped_without_a_word(desk: Desk) -> None:
    """It comes as far as the file that is wrong."""
    ended = desk.serve("text.sealed", "--root", OTHER, *MINE, *ANYWHERE, GRPC_TRACE="all", X="y")
    require_refused(ended, 3, "not a sealed model")


def test_without_a_trusted_environment_it_does_not_start(desk: Desk) -> None:
    arguments = ["net.sealed", "--root", desk.roots["NET"], *MINE, *ANYWHERE]
    ended = serve(desk.folder, arguments, None)
    require_refused(ended, 8, "no trusted execution environment found")
    assert "sealserve tee run" in ended.words


@pytest.mark.parametrize("announced", ["99", "0", "three"])
def test_a_platform_that_is_announced_and_not_there(desk: Desk, announced: str) -> None:
    arguments = ["net.sealed", "--root", desk.roots["NET"], *MINE, *ANYWHERE]
    ended = serve(desk.folder, arguments, None, {SOCKET_VARIABLE: announced})
    require_refused(ended, 10, "the simulated platform cannot be reached")


# ---- a port in use


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "ready to share"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_never_shared(desk: Desk, host: str, shared: bool) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        other.bind((host, 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ended = desk.serve(*GOOD, "--listen", address)
    require_refused(ended, 10, f"cannot listen on {address}")
    assert "another port with --listen" in ended.words


def test_a_port_is_tried_before_a_key_is_asked_for(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ended = desk.serve(
            "net.sealed", "--root", OTHER, "--identity", "other.key", "--listen", address
        )
    require_refused(ended, 10, address)


# ---- what works


def test_it_says_in_one_line_that_it_is_ready_and_ends_with_success(desk: Desk) -> None:
    with desk.serving(*GOOD, *ANYWHERE) as server:
        model = f"model net version 1.0 root {desk.roots['NET']}"
        assert server.ready.startswith(f"ready: {model}; on {server.target}; platform simulated;")
        for part in ("evidence ", "release ", "open ", " s", "weights in "):
            assert part in server.ready
        assert server.stop() == (0, "")
        events = [event["event"] for event in server.events]
        attendant = ["platform_found", "identity_without_attestation", "certificates_made"]
        generation = ["hardened", "model_opened"]
        assert events[0] == "callers"
        assert sorted(events[1:6]) == sorted([*attendant, *generation])
        for each in (attendant, generation):  # at the same time as the other
            assert [event for event in events if event in each] == each
        assert events[6:] == ["ready", "draining", "stopped"]


def test_it_listens_once_and_the_trace_shows_it(desk: Desk) -> None:
    """So a refusal that listened would have been seen."""
    trace = desk.folder.with_name("good.trace")
    with serving(
        desk.folder, desk.meant((*GOOD, *ANYWHERE)), desk.machine, prefix=strace(trace, "listen")
    ) as server:
        os.kill(child_of(server.process.pid), signal.SIGTERM)
        assert server.process.wait(SECONDS) == 0
    assert [call.name for call in calls_in(trace)] == ["listen"]


def test_it_can_answer_before_weights_are_prepacked(desk: Desk) -> None:
    with desk.serving(*GOOD, *ANYWHERE, "--early") as server:
        with channel_to(server.target) as channel:
            assert ready(channel, "net")
        until(lambda: "settled" in [event["event"] for event in server.events])
        assert server.stop() == (0, "")


def test_it_says_aloud_that_nothing_guards_a_key_from_a_file(desk: Desk) -> None:
    with desk.serving(*GOOD, *ANYWHERE) as server:
        assert "warning: the key comes from a file and no attestation guards it" in server.err


def test_it_ends_with_success_when_interrupted_at_a_terminal(desk: Desk) -> None:
    with desk.serving(*GOOD, *ANYWHERE) as server:
        assert server.stop(signal.SIGINT) == (0, "")


def channel_to(target: str) -> grpc.Channel:
    pem = certificate_of(target).encode()
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(pem), PINNED)


def ready(channel: grpc.Channel, name: str, *roots: str) -> bool:
    request = ModelReadyRequest(name=name).SerializeToString()
    metadata = [(names.MODEL_ROOT_KEY, root) for root in roots]
    answer = channel.unary_unary(names.MODEL_READY)(request, timeout=SECONDS, metadata=metadata)
    return ModelReadyResponse.FromString(answer).ready


def test_one_server_serves_several_models_each_under_its_root(desk: Desk) -> None:
    with desk.serving(*GOOD, "second.sealed", "--root", "SECOND", *ANYWHERE) as server:
        for name in ("net", "second"):
            assert f"model {name} version 1.0 root {desk.roots[name.upper()]}" in server.ready
        with channel_to(server.target) as channel:
            assert ready(channel, "second", desk.roots["SECOND"])
            with pytest.raises(grpc.RpcError) as refused:
                ready(channel, "second", desk.roots["NET"])
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_limits_come_from_a_file_whose_digest_is_given(desk: Desk) -> None:
    with desk.serving(*GOOD, *ANYWHERE, *CONFIG, LIMITS_SHA256) as server:
        with channel_to(server.target) as channel:
            assert ready(channel, "net")
            with pytest.raises(grpc.RpcError) as refused:
                ready(channel, "n" * 2048)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_it_can_want_a_root_with_every_call(desk: Desk) -> None:
    with desk.serving(*GOOD, *ANYWHERE, "--require-root") as server:
        with channel_to(server.target) as channel:
            assert ready(channel, "net", desk.roots["NET"])
            with pytest.raises(grpc.RpcError) as refused:
                ready(channel, "net")
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("listen", ["[::1]:0", "localhost:0"])
def test_it_listens_where_it_is_told(desk: Desk, listen: str) -> None:
    with desk.serving(*GOOD, "--listen", listen) as server:
        assert server.target.startswith(listen[:-1])
        with channel_to(server.target) as channel:
            assert ready(channel, "net")


def test_a_prediction_that_never_ends_keeps_nobody_from_stopping(desk: Desk) -> None:
    limits = b"version = 1\n[limits]\ndrain_seconds = 1\nrunning = 1\nwaiting = 1\n"
    (desk.folder / "drain.toml").write_bytes(limits)
    pinned = ("--config", "drain.toml", "--config-sha256", hashlib.sha256(limits).hexdigest())
    counting = ("counter.sealed", "--root", "COUNTER", *MINE)
    with (
        desk.serving(*counting, *ANYWHERE, *pinned) as server,
        channel_to(server.target) as channel,
    ):
        assert decode_response(count(channel, 3).result()).outputs[0].data == np.float32(3)
        endless = [count(channel, 2**62) for _ in range(2)]
        assert count(channel, 3).code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # so they are there
        assert not any(call.done() for call in endless)
        assert server.stop() == (0, "")
        assert all(call.code() is not grpc.StatusCode.OK for call in endless)


def count(channel: grpc.Channel, turns: int) -> Any:
    """Start a prediction of so many turns; a future of its answer."""
    request = infer_request("counter", ("x", "INT64", (), turns.to_bytes(8, "little")))
    infer = channel.unary_unary(names.MODEL_INFER)
    return infer.future(request.SerializeToString(), timeout=SECONDS)


def test_a_start_that_is_given_up_ends_with_success(desk: Desk) -> None:
    """The platform does not answer, so it still waits for evidence when SIGTERM comes."""
    port = free_port()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        root = desk.roots["NET"]
        arguments = ("net.sealed", "--root", root, *MINE, "--listen", f"127.0.0.1:{port}")
        process = subprocess.Popen(
            [*SEALSERVE, "serve", *arguments],
            cwd=desk.folder,
            env=clean_environment(**{SOCKET_VARIABLE: str(theirs.fileno())}),
            pass_fds=(theirs.fileno(),),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        ours.settimeout(SECONDS)
        asked, way_back, *_ = socket.recv_fds(ours, 4096, 1)
        assert asked  # for a report, and it waits
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        process.terminate()
        out, err = process.communicate(timeout=SECONDS)
        os.close(way_back[0])
    assert (process.returncode, out) == (0, ""), err
    assert "sealserve: " not in err


# ---- help


def test_help_has_an_example_and_says_what_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["serve", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Example: sealserve serve model.sealed --root 9f2c… --vault trustd:" in text
    assert "The command line is the configuration that the execution policy measures" in text
    assert "No attestation guards it: simulated platform only." in text
