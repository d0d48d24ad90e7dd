"""A client's certificate on the command line: to servers that want one, its key never shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.server.config import Callers
from sealserve.inference.wire import names
from support import client_case as case
from support.client_authority import Authority, Issued
from support.client_cli import Clinic
from support.client_server import MODEL
from support.models_cli import Ran
from support.ready_process import ReadyProcess, started
from support.server_case import Served, doubler, infer_request, root_of
from support.server_process import SEALSERVE, clean_environment
from support.server_process import verb as as_process

AUTHORITY = Authority()
GOOD = AUTHORITY.issue()
OPTIONS = ("--certificate", "client.pem", "--key", "client.key")
HINT = "hint: the server wants a client's certificate: --certificate and --key"
TRUST = ("--trust", "trust.toml")
VERBS: dict[str, tuple[str, ...]] = {
    "check": ("check", "TARGET", *TRUST),
    "predict": ("predict", "TARGET", MODEL, *TRUST, "--input", "x=[[1,2,3]]"),
    "bench": ("bench", "TARGET", MODEL, *TRUST, "--seconds", "0.05", "--warm-up", "0"),
    "evidence get": ("evidence", "get", "TARGET", "-o", "kept"),
    "evidence get --trust": ("evidence", "get", "TARGET", "-o", "kept", *TRUST),
    "trust new": ("trust", "new", "-o", "new.toml", "--name", "x", "--platform", "simulated",
                  "--simulated-root-sha256", "ARK", "--from", "TARGET"),
}  # fmt: skip
PROXY = ("proxy", "TARGET", *TRUST, "--listen", "127.0.0.1:0")
ASK = infer_request(MODEL, ("x", "FP32", (1, 3), bytes(12))).SerializeToString()


@pytest.fixture(scope="module")
def server(simulated_root: SimulatedRoot) -> Iterator[Served]:
    callers = Callers(client_ca=AUTHORITY.own.decode())
    with Served(case.machine(simulated_root), doubler(MODEL), callers=callers) as served:
        yield served


@pytest.fixture
def clinic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], simulated_root: SimulatedRoot
) -> Clinic:
    clinic = Clinic(tmp_path, capsys, simulated_root)
    clinic.trust((case.ROOT.hex(), root_of(MODEL).hex()))
    GOOD.written(tmp_path)
    return clinic


def words_of(clinic: Clinic, command: tuple[str, ...], target: str) -> list[str]:
    places = {"TARGET": target, "ARK": clinic.root.ark_sha256.hex()}
    return [places.get(word, word) for word in command]


def run(clinic: Clinic, verb: str, target: str, *options: str) -> Ran:
    if verb == "proxy":  # a process of its own, whose log goes to its own stderr
        done = as_process(clinic.folder, *words_of(clinic, PROXY, target), *options)
        ran = Ran(done.returncode, done.stdout, done.stderr)
    else:
        ran = clinic.run(*words_of(clinic, VERBS[verb], target), *options)
    for private in (clinic.folder / "client.key").read_bytes().split(b"\n")[1:-2]:
        assert private.decode() not in ran.out + ran.err
    return ran


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_shows_it(clinic: Clinic, server: Served, verb: str) -> None:
    ran = run(clinic, verb, server.target, *OPTIONS)
    assert ran.status == 0, ran.err


def test_the_proxy_shows_it(clinic: Clinic, server: Served) -> None:
    command = [*SEALSERVE, *words_of(clinic, PROXY, server.target), *OPTIONS]
    log = clinic.folder / "log"
    with started(ReadyProcess, command, clinic.folder, log, env=clean_environment()) as proxy:
        with grpc.insecure_channel(proxy.ready.split()[3]) as channel:
            assert channel.unary_unary(names.MODEL_INFER)(ASK, timeout=10)
        assert proxy.stop() == (0, "")
        assert GOOD.private.decode() not in proxy.err + proxy.ready


@pytest.mark.parametrize("verb", [*VERBS, "proxy"])
def test_without_one_the_way_out_is_named(clinic: Clinic, server: Served, verb: str) -> None:
    ran = run(clinic, verb, server.target)
    assert (ran.status, ran.out) == (8, "")
    assert f"{server.target} takes no connection without a client's certificate" in ran.err
    assert HINT in ran.err


@pytest.mark.parametrize("verb", [*VERBS, "proxy"])
def test_with_a_foreign_one_it_is_named_too(clinic: Clinic, server: Served, verb: str) -> None:
    Authority("another").issue().written(clinic.folder)
    ran = run(clinic, verb, server.target, *OPTIONS)
    assert (ran.status, ran.out) == (10, "")
    assert "wants a client's certificate, and the connection with ours broke" in ran.err
    assert HINT in ran.err


@pytest.mark.parametrize("given", [OPTIONS[:2], OPTIONS[2:]], ids=["certificate", "key"])
@pytest.mark.parametrize("verb", [*VERBS, "proxy"])
def test_both_or_none(clinic: Clinic, verb: str, given: tuple[str, ...]) -> None:
    ran = run(clinic, verb, "127.0.0.1:1", *given)
    assert ran.status == 2
    assert "give both --certificate and --key, or neither" in ran.err


BAD: dict[str, tuple[Issued, int, str]] = {
    "an old one": (
        AUTHORITY.issue(ends=timedelta(minutes=-1)),
        0o600,
        "client.pem: the client's certificate expired at 20",
    ),
    "another's key": (
        Issued(GOOD.chain, AUTHORITY.issue().key, b""),
        0o600,
        "client.key: the key does not fit the certificate in client.pem",
    ),
    "a key that everybody may read": (GOOD, 0o604, "client.key, --key: everybody may read it"),
    "no key": (Issued(GOOD.chain, b"", b""), 0o600, "client.key: holds no private key in PEM"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("verb", [*VERBS, "proxy"])
def test_files_that_hold_none(clinic: Clinic, verb: str, name: str) -> None:
    issued, mode, words = BAD[name]
    issued.written(clinic.folder)
    (clinic.folder / "client.key").chmod(mode)
    ran = run(clinic, verb, "127.0.0.1:1", *OPTIONS)
    assert (ran.status, ran.out) == (8, "")
    assert words in ran.err
    assert "hint: " in ran.err


def test_a_trust_file_of_what_people_know_asks_nobody(clinic: Clinic) -> None:
    known = ("trust", "new", "-o", "new.toml", "--name", "x", "--platform", "snp", *OPTIONS)
    ran = clinic.run(*known)
    assert ran.status == 2
    assert "--certificate and --key are for --from" in ran.err


def test_answers_do_not_replace_them(clinic: Clinic, server: Served) -> None:
    for file in ("client.pem", "client.key"):
        (clinic.folder / "answers.npz").unlink(missing_ok=True)
        (clinic.folder / "answers.npz").symlink_to(file)
        ran = run(clinic, "predict", server.target, *OPTIONS, "-o", "answers.npz")
        assert (ran.status, "is also an input" in ran.err) == (8, True)
    assert (clinic.folder / "client.key").read_bytes() == GOOD.key


@pytest.mark.parametrize(
    "verb", [("check",), ("predict",), ("bench",), ("proxy",), ("evidence", "get")]
)
def test_help(clinic: Clinic, verb: tuple[str, ...]) -> None:
    told = clinic.help(*verb)
    for words in ("--certificate FILE", "--key FILE", "for servers that want one; with --key"):
        assert words in told
