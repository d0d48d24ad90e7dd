"""Models by name and version; and under their own root only."""

from __future__ import annotations

from typing import cast

import pytest

from sealserve.inference.server.registry import (
    Registry,
    RootMismatchError,
    ServedSession,
    UnknownModelError,
    require_root,
)
from sealserve.inference.server.runtime import Session
from sealserve.inference.wire.spec import TensorSpec
from sealserve.native.errors import ConfigError
from support.client_server import Doubler

ROOT = bytes([0xAB] * 32)
OTHER = bytes([0xCD] * 32)


def model(name: str = "net", version: str = "1", root: bytes = ROOT) -> ServedSession:
    return ServedSession(name, version, root, cast(Session, Doubler()))


def test_a_model_is_found_by_name_and_version() -> None:
    registry = Registry([model(), model(version="2", root=OTHER), model("tree")])
    assert registry.find("net", "2").root == OTHER
    assert registry.find("tree", "1").name == "tree"


def test_the_first_version_given_is_the_default_one() -> None:
    registry = Registry([model(version="2", root=OTHER), model(version="1")])
    assert registry.find("net", "").version == "2"


@pytest.mark.parametrize(
    ("name", "version"), [("ne", ""), ("net", "2"), ("net", "01"), ("NET", "1"), ("", "")]
)
def test_no_other_name_or_version_is_found(name: str, version: str) -> None:
    with pytest.raises(UnknownModelError, match="no model"):
        Registry([model()]).find(name, version)


def test_a_long_name_is_not_quoted_whole() -> None:
    with pytest.raises(UnknownModelError) as refused:
        Registry([model()]).find("n" * 10_000, "v" * 10_000)
    assert len(refused.value.message) < 300


def test_one_name_and_version_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="two sealed files are 'net' version '1'"):
        Registry([model(), model(root=OTHER)])


def test_metadata_tells_what_the_model_takes_and_every_version_there_is() -> None:
    registry = Registry([model(), model(version="2", root=OTHER)])
    told = registry.metadata(registry.find("net", "2"))
    assert (told.name, told.versions, told.platform) == ("net", ("1", "2"), "onnxruntime_onnx")
    assert told.inputs == (TensorSpec("x", "FP32", (-1, 3)),)
    assert [spec.name for spec in told.outputs] == ["twice", "rows"]


ACCEPTED = {
    "the root": ([ROOT.hex()], True),
    "the root, not asked for": ([ROOT.hex()], False),
    "the root twice": ([ROOT.hex(), ROOT.hex()], True),
    "none, and none is required": ([], False),
}
REFUSED = {
    "none, but one is required": ([], True),
    "another": ([OTHER.hex()], False),
    "the root and another": ([ROOT.hex(), OTHER.hex()], False),
    "an empty one": ([""], False),
    "in upper case": ([ROOT.hex().upper()], False),
    "with a space": ([f"{ROOT.hex()} "], False),
    "cut short": ([ROOT.hex()[:-2]], False),
    "two in one value": ([f"{ROOT.hex()},{ROOT.hex()}"], False),
}


@pytest.mark.parametrize(("named", "required"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_root_that_fits(named: list[str], required: bool) -> None:
    require_root(model(), named, required=required)


@pytest.mark.parametrize(("named", "required"), REFUSED.values(), ids=REFUSED.keys())
def test_a_root_that_does_not(named: list[str], required: bool) -> None:
    with pytest.raises(RootMismatchError, match=ROOT.hex()):
        require_root(model(), named, required=required)
