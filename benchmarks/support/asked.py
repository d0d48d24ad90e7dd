"""One request to a model, and what plain ONNX Runtime says to it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
from support.h2load import Call, Target
from support.models import INPUT, Floats, Model, models

from sealserve.inference.client import channel
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.fetch import fetch_certificate
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.inference.wire.infer import InferRequest, encode_request
from sealserve.inference.wire.tensor import Tensor

SECONDS = 30.0


@dataclass(frozen=True)
class Question:
    """request: of one example, as it goes over the wire. right: the answer's values."""

    model: Model
    request: bytes
    right: Floats

    @classmethod
    def of(cls, model: Model) -> Question:
        example = model.example()
        given = Tensor(INPUT, "FP32", example.shape, example)
        session = onnxruntime.InferenceSession(model.proto.SerializeToString())
        (right,) = session.run(None, {INPUT: example})
        return cls(model, encode_request(InferRequest(model.name, "", (given,))), right)

    def call(self, target: Target, folder: Path) -> Call:
        """Ask once, look whether the answer is right, and record what was asked."""
        with plain_channel(target) as opened:
            answer: bytes = opened.unary_unary(names.MODEL_INFER)(self.request, timeout=SECONDS)
        np.testing.assert_allclose(_values(answer), self.right.ravel(), rtol=1e-4, atol=1e-6)
        return Call.recorded(folder, self.model.name, self.request, len(answer))


def saved_questions(folder: Path) -> tuple[list[Question], dict[str, Path]]:
    """One for every model, each saved there; the files by the models' names."""
    folder.mkdir()
    questions = [Question.of(model) for model in models()]
    return questions, {each.model.name: each.model.save(folder) for each in questions}


def plain_channel(target: Target) -> grpc.Channel:
    """To whatever answers there: pinned to the certificate it has, attested by nobody."""
    if not target.tls:
        return grpc.insecure_channel(f"127.0.0.1:{target.port}")
    certificate = fetch_certificate("127.0.0.1", target.port, Deadline(SECONDS))
    return channel.pinned("127.0.0.1", target.port, channel.ANSWER_BYTES, certificate)


def certificate(folder: Path) -> tuple[Path, Path]:
    """An ordinary one that a channel of ours can be pinned to, and its key."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", "/CN=benchmark", "-addext", f"subjectAltName=DNS:{names.SERVER_NAME}"),
        *("-days", "2", "-keyout", str(key), "-out", str(made)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


def _values(answer: bytes) -> Floats:
    """Of the one output, as protobuf reads it: others send typed contents, or both."""
    read = pb.ModelInferResponse.FromString(answer)
    if read.raw_output_contents:
        return np.frombuffer(read.raw_output_contents[0], np.float32)
    return np.array(read.outputs[0].contents.fp32_contents, np.float32)
