"""Sealed files become models, whatever way their weights take, and nothing stays to be opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto

from sealserve.inference.server import runtime
from sealserve.inference.server.config import (
    KeySource,
    ModelOptions,
    ServedModel,
    ServerConfig,
)
from sealserve.inference.server.hardening import Hardened
from sealserve.inference.server.memory import Memory, choose
from sealserve.inference.server.opening import open_all, weights_bytes
from sealserve.inference.server.registry import ServedSession
from sealserve.inference.wire.infer import InferRequest
from sealserve.inference.wire.tensor import Tensor
from sealserve.models import RawKey, SealedModel
from sealserve.native.errors import ConfigError, FormatError, IntegrityError
from support.models_onnx import batch, classifier, predict, small
from support.models_sealed import KEY, seal_model
from support.server_case import one_node

NO_MOUNT = Hardened(None, "unshare: Operation not permitted")
WAYS: dict[str, Callable[[], Memory]] = {
    "shared-memory": lambda: choose(NO_MOUNT, 1, swap=False),
    "anonymous-memory": lambda: choose(NO_MOUNT, 1 << 60, swap=False),
}
way = pytest.mark.parametrize("memory", WAYS.values(), ids=WAYS)


def config(*models: SealedModel, roots: tuple[str, ...] = ()) -> ServerConfig:
    served = tuple(ServedModel(str(each.path), roots or (each.root.hex(),)) for each in models)
    return ServerConfig(models=served, keys=KeySource(identity="none is read"))


def answer(model: ServedSession) -> bytes:
    x = batch()["x"]
    (y,) = model.session.run(InferRequest("net", "", (Tensor("x", "FP32", x.shape, x),)))
    return y.data.tobytes()


def plain_numbers() -> np.ndarray:
    return np.frombuffer(plain_answer(classifier()), "<f4")


def plain_answer(model: ModelProto) -> bytes:
    (y,) = predict(model.SerializeToString(), batch())
    return y.tobytes()


@pytest.fixture
def sealed(tmp_path: Path) -> SealedModel:
    """Weights with an entry of their own, some that share one, and some in the graph."""
    return seal_model(classifier(), tmp_path / "net.sealed")


def left(memory: Memory) -> list[Path]:
    return list(memory.folder.rglob("*")) if memory.folder else []


@way
def test_a_model_answers_bit_by_bit_and_its_weights_cannot_be_opened_again(
    memory: Callable[[], Memory], sealed: SealedModel
) -> None:
    with memory() as place:
        assert place.way in WAYS
        (model,) = open_all(config(sealed), RawKey(KEY), place).registry
        assert left(place) == []
    assert answer(model) == plain_answer(classifier())
    assert (model.name, model.version, model.root) == ("net", "1.0", sealed.root)


@way
def test_it_says_when_the_weights_of_each_are_decrypted(
    memory: Callable[[], Memory], sealed: SealedModel, tmp_path: Path
) -> None:
    other = seal_model(classifier(2), tmp_path / "two", version="2")
    told: list[int] = []
    with memory() as place:
        open_all(config(sealed, other), RawKey(KEY), place, lambda: told.append(len(left(place))))
    assert len(told) == 2
    assert place.folder is None or all(told)


@way
def test_models_keep_their_weights_apart(memory: Callable[[], Memory], tmp_path: Path) -> None:
    one = seal_model(classifier(1), tmp_path / "one")
    two = seal_model(classifier(2), tmp_path / "two", version="2")
    with memory() as place:
        opened = open_all(config(one, two), RawKey(KEY), place)
    answers = [answer(model) for model in opened.registry]
    assert answers == [plain_answer(classifier(1)), plain_answer(classifier(2))]
    assert opened.open_seconds > opened.release_seconds > 0


@way
def test_nothing_stays_of_a_model_that_the_runtime_refuses(
    memory: Callable[[], Memory], tmp_path: Path
) -> None:
    broken = classifier()
    broken.graph.node[0].op_type = "NoSuchOperator"
    (tmp_path / "broken.onnx").write_bytes(broken.SerializeToString())
    sealed = seal_model(tmp_path / "broken.onnx", tmp_path / "broken.sealed")
    with memory() as place:
        with pytest.raises(FormatError, match="cannot load this model"):
            open_all(config(sealed), RawKey(KEY), place)
        assert left(place) == []


@way
def test_nothing_stays_of_a_model_that_was_altered(
    memory: Callable[[], Memory], sealed: SealedModel
) -> None:
    path = Path(sealed.path)
    data = bytearray(path.read_bytes())
    data[-30_000] ^= 1
    path.write_bytes(data)
    with memory() as place:
        with pytest.raises(IntegrityError):
            open_all(config(sealed), RawKey(KEY), place)
        assert left(place) == []


def test_another_root_is_not_opened(sealed: SealedModel) -> None:
    with WAYS["anonymous-memory"]() as place, pytest.raises(IntegrityError, match="11" * 32):
        open_all(config(sealed, roots=("11" * 32,)), RawKey(KEY), place)


@way
def test_an_early_model_answers_before_and_after_it_is_settled(
    memory: Callable[[], Memory], sealed: SealedModel
) -> None:
    """Before, its weights are not prepacked and still in their place; then neither."""
    early = dataclasses.replace(config(sealed), early=True)
    with memory() as place:
        (model,) = open_all(early, RawKey(KEY), place).registry
        first, session = answer(model), model.session._session
        plain = plain_numbers()
        assert np.allclose(np.frombuffer(first, "<f4"), plain, rtol=0, atol=1e-5 * plain.max())
        model.session.settle()
        assert left(place) == []
    assert model.session._session is not session
    assert answer(model) == plain_answer(classifier())
    settled = model.session._session
    model.session.settle()
    assert model.session._session is settled  # there is nothing to be done twice


@way
def test_a_model_that_cannot_be_settled_goes_on_as_it_was(
    memory: Callable[[], Memory], sealed: SealedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that an early session has mapped are never emptied under it."""
    early = dataclasses.replace(config(sealed), early=True)

    def fail(*_: object) -> None:
        raise FormatError("no memory")

    with memory() as place:
        (model,) = open_all(early, RawKey(KEY), place).registry
        first = answer(model)
        monkeypatch.setattr(runtime, "_loaded", fail)
        with pytest.raises(FormatError):
            model.session.settle()
        assert left(place) == []
    assert answer(model) == first


@way
def test_nothing_stays_of_an_early_model_that_the_runtime_refuses(
    memory: Callable[[], Memory], tmp_path: Path
) -> None:
    broken = classifier()
    broken.graph.node[0].op_type = "NoSuchOperator"
    (tmp_path / "broken.onnx").write_bytes(broken.SerializeToString())
    sealed = seal_model(tmp_path / "broken.onnx", tmp_path / "broken.sealed")
    early = dataclasses.replace(config(sealed), early=True)
    with memory() as place:
        with pytest.raises(FormatError, match="cannot load this model"):
            open_all(early, RawKey(KEY), place)
        assert left(place) == []


def test_any_root_of_several_is_opened_and_the_model_has_that_one(sealed: SealedModel) -> None:
    several = config(sealed, roots=("11" * 32, sealed.root.hex(), "22" * 32))
    with WAYS["anonymous-memory"]() as place:
        (model,) = open_all(several, RawKey(KEY), place).registry
    assert model.root == sealed.root
    assert answer(model) == plain_answer(classifier())


def test_a_file_of_no_root_among_several_is_not_opened(sealed: SealedModel) -> None:
    several = config(sealed, roots=("11" * 32, "22" * 32))
    with WAYS["anonymous-memory"]() as place, pytest.raises(IntegrityError, match="22" * 32):
        open_all(several, RawKey(KEY), place)


def test_a_file_that_claims_a_root_it_does_not_have_is_not_opened(sealed: SealedModel) -> None:
    """Its claim says which root is meant; what is compared is everything below that root."""
    path = Path(sealed.path)
    data = bytearray(path.read_bytes())
    data[-30_000] ^= 1
    path.write_bytes(data)
    several = config(sealed, roots=("11" * 32, sealed.root.hex()))
    with WAYS["anonymous-memory"]() as place, pytest.raises(IntegrityError):
        open_all(several, RawKey(KEY), place)


def test_an_input_the_protocol_cannot_carry_is_refused(tmp_path: Path) -> None:
    sequence = onnx.helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    model = onnx.load_from_string(
        one_node("SequenceLength", [("x", TensorProto.FLOAT, [1])], ("y", TensorProto.INT64))
    )
    model.graph.input[0].CopyFrom(sequence)
    (tmp_path / "sequence.onnx").write_bytes(model.SerializeToString())
    sealed = seal_model(tmp_path / "sequence.onnx", tmp_path / "sequence.sealed")
    with WAYS["anonymous-memory"]() as place, pytest.raises(FormatError, match="seq"):
        open_all(config(sealed), RawKey(KEY), place)


@pytest.mark.parametrize("declared", [False, True])
def test_requests_share_runs_where_the_owner_declares_it(declared: bool, tmp_path: Path) -> None:
    options = {"net": ModelOptions(batch_rows=16)}
    sealed = seal_model(classifier(), tmp_path / "net", batch_independent=declared)
    with WAYS["anonymous-memory"]() as place:
        wanted = dataclasses.replace(config(sealed), options=options)
        (model,) = open_all(wanted, RawKey(KEY), place).registry
    assert model.shares_runs is declared
    assert model.options.batch_rows == 16
    assert model.run_seconds < 60


def test_options_of_a_model_that_no_file_is_of_are_refused(sealed: SealedModel) -> None:
    options = {"nett": ModelOptions()}
    wrong = dataclasses.replace(config(sealed), options=options)
    with WAYS["anonymous-memory"]() as place, pytest.raises(ConfigError, match="a model nett"):
        open_all(wrong, RawKey(KEY), place)


def test_room_is_asked_for_all_models_together(tmp_path: Path) -> None:
    files = [seal_model(small(seed), tmp_path / str(seed)) for seed in (1, 2)]
    assert weights_bytes(config(*files)) == sum(Path(each.path).stat().st_size for each in files)


def test_room_for_a_file_that_is_gone_is_not_guessed(sealed: SealedModel) -> None:
    Path(sealed.path).unlink()
    with pytest.raises(ConfigError, match="FILE"):
        weights_bytes(config(sealed))


def test_the_answer_does_not_depend_on_a_buffer_that_was_given_back(sealed: SealedModel) -> None:
    """The runtime keeps no reference to what it is handed, and answers zeros if it is gone."""
    with WAYS["anonymous-memory"]() as place:
        (model,) = open_all(config(sealed), RawKey(KEY), place).registry
    noise = [np.random.default_rng(seed).random(1 << 18) for seed in range(8)]
    assert answer(model) == plain_answer(classifier())
    assert noise
