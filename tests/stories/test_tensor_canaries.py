"""What callers send and get: in no log, on no page, in no file, and never told to anybody else.

Marks stand in every place of a request that a caller can fill: tensors of several types, typed and
raw, texts, names, ids, parameters, headers; in requests that are answered, refused, and fail inside
the model. A control shows that the search would find them.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from onnx import TensorProto

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.keys import new_identity
from support.attestation_simulated import machine_of
from support.core_files import DUMPS, LET_CORES, kept_in_folders, require_no_core, taken
from support.models_sealed import seal_model
from support.resident import family
from support.server_case import PINNED, echo, infer_request, lookup
from support.server_process import SECONDS, Server, certificate_of, serving

FLOATS = np.array([[31337.515625, -2718281.75]], "<f4")
HALVES = np.array([[1984.0, -27.1875], [-1333.0, 0.01953125]], "<f2")
NUMBER = 4611686018427387  # of a row that the lookup does not have
WORD = "canary"  # in every text a caller chose
TEXTS = [f"{WORD} of a text".encode(), f"{WORD} of another".encode()]
MODELS = {
    "floats": echo(TensorProto.FLOAT),
    "halves": echo(TensorProto.FLOAT16),
    "texts": echo(TensorProto.STRING),
    "lookup": lookup(),
}


def spellings(data: bytes) -> set[bytes]:
    """How bytes could stand in a text; of base64 what does not depend on what is beside them."""
    shifted = {_in_base64(data, skip) for skip in range(3)}
    return {data, data.hex().encode(), data.hex().upper().encode(), *shifted}


def _in_base64(data: bytes, skip: int) -> bytes:
    """With so many bytes before it, of three."""
    encoded = base64.b64encode(bytes(skip) + data)
    whole = encoded.rstrip(b"=")
    return whole[(0, 2, 3)[skip] : len(whole) - (whole != encoded)]


def of_tensors() -> set[bytes]:
    """What not even an error to him who sent it may hold."""
    numbers = [*FLOATS[0].tolist(), *HALVES.reshape(-1).tolist()]
    written = {str(number) for number in numbers} | {str(NUMBER)}
    written |= {np.format_float_positional(number, precision=2) for number in FLOATS[0]}
    found = {text.encode() for text in written}
    for data in (FLOATS.tobytes(), HALVES.tobytes(), NUMBER.to_bytes(8, "little"), *TEXTS):
        found |= spellings(data)
    return found


def marks() -> set[bytes]:
    """Everything that is looked for. A word of his own a caller may be told: that it is unknown."""
    return of_tensors() | spellings(WORD.encode())


def elements(texts: list[bytes]) -> bytes:
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def floats(model: str = "floats", name: str = "x", kind: str = "FP32") -> pb.ModelInferRequest:
    return infer_request(model, (name, kind, (1, 2), FLOATS.tobytes()))


def typed() -> pb.ModelInferRequest:
    request = floats()
    del request.raw_input_contents[:]
    request.inputs[0].contents.fp32_contents.extend(FLOATS[0].tolist())
    return request


def with_id() -> pb.ModelInferRequest:
    request = floats()
    request.id = f"{WORD} of an id"
    return request


def with_parameter(name: str) -> pb.ModelInferRequest:
    request = floats()
    request.parameters[name].string_param = f"{WORD} of a parameter"
    return request


def with_output() -> pb.ModelInferRequest:
    request = floats()
    request.outputs.add(name=f"{WORD} of an output")
    return request


def with_version() -> pb.ModelInferRequest:
    request = floats()
    request.model_version = f"{WORD}-version"
    return request


ANSWERED = {
    "raw": floats(),
    "typed": typed(),
    "halves": infer_request("halves", ("x", "FP16", (2, 2), HALVES.tobytes())),
    "texts": infer_request("texts", ("x", "BYTES", (1, 2), elements(TEXTS))),
    "an id": with_id(),
}
REFUSED = {
    "an unknown model": floats(model=f"{WORD}-model"),
    "an unknown version": with_version(),
    "an unknown input": floats(name=f"{WORD} of an input"),
    "an unknown output": with_output(),
    "an unknown type": floats(kind=f"{WORD}-type"),
    "an unknown parameter": with_parameter(f"{WORD} of a name"),
    "a known parameter": with_parameter("shared_memory_region"),
    "texts cut short": infer_request("texts", ("x", "BYTES", (1, 2), elements(TEXTS)[:-1])),
    "texts that are none": infer_request("texts", ("x", "BYTES", (1, 1), elements([b"\xff"]))),
    "one element less": infer_request("floats", ("x", "FP32", (1, 2), FLOATS.tobytes()[:-4])),
    "a row that is not there": infer_request(
        "lookup", ("x", "INT64", (1,), NUMBER.to_bytes(8, "little"))
    ),
}
HEADERS = [
    ("user-note", f"{WORD} of a header"),
    ("authorization", f"Bearer {WORD}"),
    ("note-bin", FLOATS.tobytes()),
    (names.MODEL_ROOT_KEY, f"{WORD} of a root"),
]


@dataclass(frozen=True)
class Running:
    """A server with these models. folder: where it runs. told: what others heard meanwhile.

    errors: what he who sent marks was told of those that were refused.
    """

    folder: Path
    server: Server
    told: list[str]
    errors: list[str]

    @contextmanager
    def caller(self) -> Iterator[grpc.Channel]:
        certificate = certificate_of(self.server.target).encode()
        own = [*PINNED, ("grpc.use_local_subchannel_pool", 1)]
        credentials = grpc.ssl_channel_credentials(certificate)
        with grpc.secure_channel(self.server.target, credentials, own) as channel:
            yield channel

    def everything(self) -> bytes:
        """What anybody but a caller himself could read."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        contents = [path.read_bytes() for path in files if path.suffix not in (".sealed", ".key")]
        said = [*self.told, self.server.ready, *(str(path) for path in files)]
        return b"\n".join([self.server.log.read_bytes(), *contents, *(t.encode() for t in said)])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with the sealed models, and how they are served."""
    folder = tmp_path_factory.mktemp("tensor canaries") / "desk"
    folder.mkdir()
    keys = [new_identity(folder / "owner.key").recipient]
    arguments = ["--identity", "owner.key", "--listen", "127.0.0.1:0"]
    arguments += ["--workers", "2", "--status-listen", "0"]
    for name, graph in MODELS.items():
        plain = folder / "plain.onnx"
        plain.write_bytes(graph)
        root = seal_model(plain, folder / f"{name}.sealed", keys=keys, name=name).root.hex()
        arguments += [f"{name}.sealed", "--root", root]
        plain.unlink()
    return folder, arguments


@pytest.fixture
def running(desk: tuple[Path, list[str]], simulated_root: SimulatedRoot) -> Iterator[Running]:
    folder, arguments = desk
    machine = machine_of(simulated_root)
    with serving(folder, arguments, machine, prefix=LET_CORES) as server:
        yield Running(folder, server, [], [])


def asked(channel: grpc.Channel, path: str, data: bytes, metadata=()) -> grpc.Call:
    call = channel.unary_unary(path).future(data, timeout=SECONDS, metadata=metadata)
    call.code()
    return call


def send_all(channel: grpc.Channel, errors: list[str]) -> None:
    """Every marked request, also in a stream, also with marked headers. errors: what is told."""
    requests = [*ANSWERED.values(), *REFUSED.values()]
    for request in requests:
        for metadata in ((), HEADERS):
            call = asked(channel, names.MODEL_INFER, request.SerializeToString(), metadata)
            errors.append(f"{call.details()} {call.initial_metadata()} {call.trailing_metadata()}")
    stream = channel.stream_stream(names.MODEL_STREAM_INFER)
    answers = list(stream(iter([each.SerializeToString() for each in requests]), timeout=SECONDS))
    assert len(answers) == len(requests)
    errors += [pb.ModelStreamInferResponse.FromString(each).error_message for each in answers]
    for path in (names.MODEL_METADATA, names.MODEL_READY, names.MODEL_CONFIG):
        message = pb.ModelMetadataRequest(name=f"{WORD}-model").SerializeToString()
        asked(channel, path, message, HEADERS)
    for path in (f"/{WORD}.Service/{WORD}", f"/{names.INFERENCE_SERVICE}/{WORD}"):
        asked(channel, path, FLOATS.tobytes(), HEADERS)
    asked(channel, names.GET_EVIDENCE, FLOATS.tobytes())
    asked(channel, names.MODEL_INFER, FLOATS.tobytes() * 10)


def listen_to_others(running: Running, channel: grpc.Channel) -> None:
    """What somebody else hears, of good requests and bad ones, and of every other call."""
    others = [
        (names.MODEL_INFER, infer_request("floats", ("x", "FP32", (1, 2), bytes(8)))),
        (names.MODEL_INFER, infer_request("texts", ("x", "BYTES", (1, 1), bytes(3)))),
        (names.MODEL_INFER, infer_request("lookup", ("x", "INT64", (1,), bytes([9] * 8)))),
        (names.MODEL_INFER, infer_request("absent")),
        (names.MODEL_METADATA, pb.ModelMetadataRequest(name="floats")),
        (names.MODEL_STATISTICS, pb.ModelStatisticsRequest()),
        (names.REPOSITORY_INDEX, pb.RepositoryIndexRequest()),
    ]
    for path, request in others:
        call = asked(channel, path, request.SerializeToString())
        data = call.result() if call.code() is grpc.StatusCode.OK else b""
        metadata = (call.initial_metadata(), call.trailing_metadata())
        running.told.append(f"{call.code()} {call.details()} {metadata} {data!r} {data.hex()}")


PAGES = ("/metrics", "/readyz", "/livez", f"/{WORD}", f"/metrics?{WORD}")


def read_pages(running: Running) -> None:
    """What the operator's pages say, also to somebody who marks what he asks them."""
    (port,) = [e["port"] for e in running.server.events if e["event"] == "status_listening"]
    for path in PAGES:
        for accept in ("*/*", "application/openmetrics-text", f"application/{WORD}"):
            headers = {"accept": accept, "user-agent": WORD}
            url = f"http://127.0.0.1:{port}{path}"
            said = httpx.get(url, headers=headers, trust_env=False, timeout=SECONDS)
            running.told.append(f"{said.status_code} {said.headers} {said.text}")


def test_the_search_finds_what_it_looks_for() -> None:
    """In the requests themselves, where everything stands."""
    requests = [*ANSWERED.values(), *REFUSED.values()]
    sent = b"".join(request.SerializeToString() for request in requests)
    for data in (FLOATS.tobytes(), HALVES.tobytes(), NUMBER.to_bytes(8, "little"), WORD.encode()):
        assert data in marks()
        assert data in sent
        for skip in range(3):
            shown = base64.b64encode(bytes(skip) + b"\0" * 3 + data + b"\0" * 3)
            assert any(mark in shown for mark in marks())
    for number in (*FLOATS[0].tolist(), NUMBER):
        assert str(number).encode() in marks()


def test_no_mark_is_found_anywhere(running: Running) -> None:
    before = {path.name for path in running.folder.iterdir()}
    with running.caller() as marked, running.caller() as other:
        send_all(marked, running.errors)
        listen_to_others(running, other)
    read_pages(running)
    assert b"sealserve_requests_total" in running.everything()
    logged = {event["event"] for event in running.server.events}
    assert not logged & {"request_failed", "unforeseen"}  # every refusal is one we know
    found = {mark for mark in marks() if mark in running.everything()}
    assert found == set()
    errors = "\n".join(running.errors).encode()
    assert errors.count(b"is served here") >= 2
    assert {mark for mark in of_tensors() if mark in errors} == set()
    assert {path.name for path in running.folder.iterdir()} == before


@pytest.mark.parametrize("number", DUMPS)
def test_no_process_leaves_what_it_knew(running: Running, number: signal.Signals) -> None:
    """Each dies in a way that leaves a core of others, the first of them last."""
    with running.caller() as marked:
        send_all(marked, running.errors)
    for pid in reversed(family(running.server.process.pid)):
        require_no_core(pid)
        os.kill(pid, number)
    assert running.server.process.wait(SECONDS) == -number
    assert taken(running.folder) == []


@pytest.mark.skipif(not kept_in_folders(), reason="the kernel gives cores to a program")
@pytest.mark.parametrize("number", DUMPS)
def test_a_process_like_others_leaves_a_core(tmp_path: Path, number: signal.Signals) -> None:
    """As a control: run as the server is, and killed as it is."""
    command = [*LET_CORES, "python3", "-c", f"import os; os.kill(os.getpid(), {int(number)})"]
    assert subprocess.run(command, cwd=tmp_path).returncode == -number
    assert len(taken(tmp_path)) == 1
