"""ONNX Runtime behind our session: what it keeps of a model, and what it says."""

from __future__ import annotations

import sys

import pytest
from onnx import TensorProto

from sealserve.inference.server.memory import AnonymousPlace
from sealserve.inference.server.runtime import Session
from sealserve.native.errors import FormatError
from support.server_case import echo


def test_a_loaded_graph_is_not_kept() -> None:
    graph = echo(TensorProto.FLOAT)
    before = sys.getrefcount(graph)
    session = Session(graph, AnonymousPlace(), threads=1)
    assert sys.getrefcount(graph) == before
    assert session.inputs


@pytest.mark.parametrize("error", [ValueError, RuntimeError])
def test_what_goes_wrong_is_not_printed_and_not_tried_again(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The runtime's own wrapper prints the text of an error, and loads a second time."""
    tried = []

    def fail(*_: object) -> None:
        tried.append(1)
        raise error("weight 31337")

    monkeypatch.setattr("onnxruntime.InferenceSession._create_inference_session", fail)
    with pytest.raises(FormatError):
        Session(echo(TensorProto.FLOAT), AnonymousPlace(), threads=1)
    assert tried == [1]
    assert capfd.readouterr() == ("", "")
