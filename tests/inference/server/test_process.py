"""Forks, each time of a fresh process, as pytest has threads; and what crosses between them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sealserve.inference.server import channel, failures
from sealserve.inference.server.catalog import Catalog
from sealserve.inference.server.channel import MAX_FRAME_BYTES, Channel, Kind
from sealserve.inference.server.commands import Command, KnownModel, Refusal, Verb
from sealserve.native import errors
from sealserve.native.errors import SealserveError, UnavailableError
from sealserve.native.secret import SecretBuffer
from support.process_tree import is_alive
from support.server_case import until

IMPORTS = """
import os, signal, sys, threading, time
from sealserve.inference.server import process
"""


def ran(program: str) -> subprocess.CompletedProcess[str]:
    """A Python program after it has loaded what forks."""
    before = (
        "import os, signal, sys, threading, time\nfrom sealserve.inference.server import process\n"
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", before + program], capture_output=True, text=True, timeout=30
    )


# ---- forking


def test_a_child_does_its_work_and_ends_with_its_status() -> None:
    told = ran("print(process.fork(lambda: print('here') or 7).reap())")
    assert told.stdout.split() == ["here", "7"]


def test_an_error_nobody_took_ends_the_child_and_never_comes_back_to_the_parents_code() -> None:
    told = ran("child = process.fork(lambda: 1 / 0)\nprint('once', child.reap())")
    assert told.stdout.split() == ["once", "70"]
    assert "ZeroDivisionError" not in told.stderr


def test_nothing_is_forked_while_there_is_another_thread() -> None:
    told = ran(
        "threading.Thread(target=time.sleep, args=(20,), daemon=True).start()\n"
        "try:\n"
        "    process.fork(lambda: 0)\n"
        "except process.UnavailableError as error:\n"
        "    print(error.message)\n"
    )
    assert told.stdout == "a process that has several threads cannot be forked safely\n"


def test_a_thread_that_was_joined_keeps_nobody_from_forking() -> None:
    told = ran(
        "for _ in range(50):\n"
        "    thread = threading.Thread(target=int)\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "    process.fork(lambda: 0).reap()\n"
        "print('done')\n"
    )
    assert told.stdout == "done\n"


def test_a_child_is_killed_when_its_parent_ends() -> None:
    told = ran(
        "child = process.fork(lambda: time.sleep(30) or 0)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    until(lambda: not is_alive(int(told.stdout)))


def test_a_terminals_signals_do_not_reach_a_child_and_sigterm_ends_it_with_success() -> None:
    told = ran(
        "ready, written = os.pipe()\n"
        "child = process.fork(lambda: os.write(written, b'x') and time.sleep(30) or 1)\n"
        "os.read(ready, 1)\n"
        "for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):\n"
        "    child.send(number)\n"
        "print(child.reap())\n"
    )
    assert told.stdout.split() == ["0"]


def test_a_child_has_none_of_what_it_was_told_to_close() -> None:
    told = ran(
        "ours, theirs = os.pipe()\n"
        "file = os.fdopen(ours)\n"
        "child = process.fork(lambda: os.path.exists(f'/proc/self/fd/{ours}'), closing=[file])\n"
        "print(child.reap(), os.path.exists(f'/proc/self/fd/{ours}'))\n"
    )
    assert told.stdout.split() == ["0", "True"]


# ---- errors on their way

ERRORS: list[SealserveError] = [
    errors.FormatError("no model", hint="get it again"),
    errors.IntegrityError("altered"),
    errors.EvidenceError("crl_old", "the list is old", seen="1 day", wanted="2"),
    errors.ReleaseError("denied", denied="trustd: clause 3", hint="ask the owner"),
    errors.ConfigError("is none", file="a.toml", line=3, key="--root", hint="give one"),
    errors.InputError("does not fit"),
    errors.UnavailableError("not now", retry_after_seconds=1.5),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_arrives_as_it_was(error: SealserveError) -> None:
    again = failures.raised(failures.told(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (str(again), again.exit_code) == (str(error), error.exit_code)


def test_an_error_of_ours_that_is_finer_arrives_as_its_class() -> None:
    class FinerError(errors.UnavailableError):
        """Of one module alone."""

    again = failures.raised(failures.told(FinerError("no room")))
    assert (type(again), str(again)) == (errors.UnavailableError, "no room")


def test_of_what_nobody_foresaw_only_type_and_place_arrive() -> None:
    try:
        SecretBuffer(-1)
    except ValueError as error:
        told = failures.told(error)
    assert "cannot be negative" not in str(told)
    again = failures.raised(told)
    assert str(again).startswith("unforeseen ValueError at ")
    assert failures.exit_code(ValueError()) == again.exit_code == 70


def test_a_package_that_is_missing_arrives_with_its_name() -> None:
    error = ModuleNotFoundError("No module named 'grpc_health'", name="grpc_health")
    again = failures.raised(failures.told(error))
    assert isinstance(again, ModuleNotFoundError)
    assert again.name == "grpc_health"


# ---- messages


@pytest.fixture
def ends():
    one, other = channel.pair()
    yield one, other
    one.close()
    other.close()


def test_a_message_and_its_secret_arrive(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    with SecretBuffer.from_bytes(b"key") as secret:
        one.send(Kind.KEY, data=b"\0\xff", words="so", number=1)
        one.send_secret(secret)
    message = other.receive()
    assert message
    assert (message.kind, message.data("data")) == (Kind.KEY, b"\0\xff")
    assert (message.values["words"], message.values["number"]) == ("so", 1)
    with other.receive_secret(inherited=False) as seen:
        assert bytes(seen) == b"key"


def test_a_side_that_has_ended_is_told_apart(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    one.close()
    assert other.receive() is None
    with pytest.raises(UnavailableError):
        other.receive_secret(inherited=False)
    other.send(Kind.KEY)  # nobody hears it


@pytest.mark.parametrize("sent", [b"\0", b"\0\0\0\x08{}", b"\0\0\0\x03key"])
def test_half_a_message_is_none(ends: tuple[Channel, Channel], sent: bytes) -> None:
    one, other = ends
    one._connection.sendall(sent[:6])
    one.close()
    assert other.receive() is None


def test_a_frame_that_is_too_long_is_not_read(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    one._connection.sendall((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(ValueError, match="at most"):
        other.receive()


# ---- what is served

NET, OTHER = ("net", "1", "aa"), ("other", "1", "bb")
TWO_OF_A_NAME = (NET, OTHER, ("net", "2", "cc"))


@pytest.fixture
def catalog() -> Catalog:
    catalog = Catalog(3)
    catalog.opened(catalog.all, TWO_OF_A_NAME)
    return catalog


def command(verb: Verb, model: str = "") -> Command:
    return Command(1, verb, model)


def test_a_name_means_all_its_versions(catalog: Catalog) -> None:
    assert catalog.wanted(command(Verb.UNLOAD, "net")) == {1}
    catalog.opened(frozenset({1}), [OTHER])
    assert [model.loaded for model in catalog.known()] == [False, True, False]
    assert catalog.wanted(command(Verb.RELOAD)) == {1}
    assert catalog.wanted(command(Verb.LOAD, "net")) == {0, 1, 2}


def test_the_last_one_stays(catalog: Catalog) -> None:
    catalog.opened(frozenset({1}), [OTHER])
    assert catalog.wanted(command(Verb.UNLOAD, "other")) is Refusal.LAST_MODEL


def test_a_file_that_was_replaced_is_known_as_what_it_is_now(catalog: Catalog) -> None:
    catalog.opened(catalog.all, (NET, ("other", "2", "dd"), ("net", "2", "cc")))
    assert KnownModel("other", "2", "dd", loaded=True) in catalog.known()


@pytest.mark.parametrize("verb", [Verb.LOAD, Verb.UNLOAD])
def test_nobody_knows_another_name(catalog: Catalog, verb: Verb) -> None:
    assert catalog.wanted(command(verb, "x")) is Refusal.UNKNOWN_MODEL


# ---- what each process loads before its first work


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("app", {"numpy", "grpc", "onnxruntime", "cryptography", "google.protobuf", "azure"}),
        ("attendant", {"numpy", "grpc", "onnxruntime", "azure", "httpx"}),
        ("generation", {"numpy", "grpc", "onnxruntime", "cryptography", "azure"}),
    ],
)
def test_a_process_begins_without_what_it_needs_later(module: str, absent: set[str]) -> None:
    told = ran(f"import sealserve.inference.server.{module}\nprint(*sys.modules)")
    loaded = set(told.stdout.split())
    assert f"sealserve.inference.server.{module}" in loaded, told.stderr
    assert not loaded & absent
