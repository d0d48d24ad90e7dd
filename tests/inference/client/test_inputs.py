"""What a person hands over becomes the model's tensors, exactly, rounded where said, or refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.inference.client.inputs import Cast, array_of, tensors
from sealserve.inference.wire.datatypes import DATA_TYPES
from sealserve.inference.wire.spec import TensorSpec
from sealserve.inference.wire.tensor import Tensor
from sealserve.native.errors import InputError

FLOATS = {"FP16": 65504.0, "BF16": 3.3895313892515355e38, "FP32": 3.4028234663852886e38}
INTEGERS = sorted(name for name in DATA_TYPES if "INT" in name)


def sent(datatype: str, value: object, cast: Cast = "safe") -> Any:
    """What the model would get for this value, as a nested list."""
    return array_of(tensor(datatype, value, cast)).tolist()


def tensor(datatype: str, value: object, cast: Cast = "safe") -> Tensor:
    shape = (-1,) * np.ndim(np.asarray(value, object))
    (made,) = tensors({"x": value}, [TensorSpec("x", datatype, shape)], cast)
    return made


def bounds(datatype: str) -> tuple[int, int]:
    storage = DATA_TYPES[datatype].storage
    assert storage is not None
    info = np.iinfo(storage.name)
    return int(info.min), int(info.max)


# ---- lists

LISTS: dict[str, tuple[str, list[Any], list[Any]]] = {
    "integers for floats": ("FP32", [1, 2], [1.0, 2.0]),
    "truths for floats": ("FP32", [True, 0], [1.0, 0.0]),
    "rounded to FP32": ("FP32", [0.1], [0.10000000149011612]),
    "an integer rounded to FP32": ("FP32", [2**24 + 1], [float(2**24)]),
    "an integer beyond 64 bits": ("FP32", [2**70, 0.5], [float(2**70), 0.5]),
    "rounded to FP16": ("FP16", [0.1], [0.0999755859375]),
    "rounded to BF16": ("BF16", [0.1], [0.10009765625]),
    "rounded to BF16, ties to even": ("BF16", [1 + 2**-8, 1 + 3 * 2**-8], [1.0, 1.015625]),
    "exact in BF16": ("BF16", [1.5, -2], [1.5, -2.0]),
    "too small for FP32": ("FP32", [1e-300], [0.0]),
    "infinite on purpose": ("FP32", [math.inf, -math.inf], [math.inf, -math.inf]),
    "infinite on purpose in BF16": ("BF16", [math.inf], [math.inf]),
    "truths": ("BOOL", [True, False], [True, False]),
    "truths for integers": ("INT8", [True, 2], [1, 2]),
    "the upper half of UINT64": ("UINT64", [2**63, 1], [2**63, 1]),
    "arrays inside": ("INT8", [np.array([1, 2]), [3, 4]], [[1, 2], [3, 4]]),
    "nested": ("INT64", [[1], [2]], [[1], [2]]),
    "words": ("BYTES", ["ä", b"\xff"], ["ä".encode(), b"\xff"]),
    "nothing": ("FP32", [], []),
    "no integers": ("INT8", [], []),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_take_the_type_of_the_model(name: str) -> None:
    datatype, value, wanted = LISTS[name]
    assert sent(datatype, value) == wanted


@pytest.mark.parametrize("datatype", INTEGERS)
def test_the_bounds_of_integers_fit_and_what_is_beyond_them_does_not(datatype: str) -> None:
    low, high = bounds(datatype)
    assert sent(datatype, [low, high]) == [low, high]
    for beyond in (low - 1, high + 1):
        with pytest.raises(InputError, match="'x'"):
            sent(datatype, [beyond])


@pytest.mark.parametrize("datatype", FLOATS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_finite_number_never_becomes_infinite(datatype: str, sign: int) -> None:
    largest = sign * FLOATS[datatype]
    assert sent(datatype, [largest]) == [largest]
    for value in (largest * 1.01, sign * 1e300):
        with pytest.raises(InputError, match=f"beyond the range of {datatype}"):
            sent(datatype, [[0.0, value]])


def test_nan_stays_nan() -> None:
    for datatype in (*FLOATS, "FP64"):
        assert math.isnan(sent(datatype, [math.nan])[0])


BAD_LISTS: dict[str, tuple[str, Any]] = {
    "a fraction for an integer": ("INT32", [1.0]),
    "a fraction that is a large integer": ("UINT64", [2.0**63, 1]),
    "a number for a truth": ("BOOL", [1]),
    "a word for a number": ("FP32", ["1.0"]),
    "nothing for a number": ("FP32", [None]),
    "a complex number": ("FP32", [1j]),
    "ragged": ("FP32", [[1.0], [1.0, 2.0]]),
    "an integer beyond every float": ("FP64", [10**400]),
    "an array inside that does not fit": ("INT8", [np.array([300]), [1]]),
    "a number for a word": ("BYTES", [1]),
    "a word outside UTF-8": ("BYTES", ["\udcff"]),
    "an object": ("INT8", [object()]),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_lists_that_do_not_fit(name: str) -> None:
    datatype, value = BAD_LISTS[name]
    with pytest.raises(InputError, match="'x'"):
        tensors({"x": value}, [TensorSpec("x", datatype, (-1,))], "safe")


# ---- arrays

HELD = {
    "text": ["a" * 160],
    "bytes": [b"a"],
    "complex numbers": [1j],
    "values that are not all numbers": [None],
}


@pytest.mark.parametrize("words", HELD)
def test_what_a_list_holds_is_told_in_words(words: str) -> None:
    with pytest.raises(InputError, match=f"input 'x' holds {words}; the model takes FP32$"):
        sent("FP32", HELD[words])


@pytest.mark.parametrize(("words", "value"), [("numbers with fractions", 0.5), ("integers", 2)])
def test_what_numbers_a_list_holds_is_told_too(words: str, value: float) -> None:
    with pytest.raises(InputError, match=f"holds {words}; the model takes BOOL"):
        sent("BOOL", [value])


ARRAYS: dict[str, tuple[str, Any, Cast]] = {
    "its own type": ("FP32", np.array([0.5], "<f4"), "safe"),
    "big endian": ("FP32", np.array([0.5], ">f4"), "safe"),
    "a narrower float": ("FP32", np.array([0.5], "<f2"), "safe"),
    "a narrower integer": ("INT64", np.array([1], "i1"), "safe"),
    "integers that fit": ("FP64", np.array([2**53]), "safe"),
    "a scalar": ("FP32", np.float32(0.5), "safe"),
    "exact in BF16": ("BF16", np.array([0.5], "<f4"), "safe"),
    "a wider float, on purpose": ("FP32", np.array([0.5]), "same_kind"),
    "a wider integer, on purpose": ("INT8", np.array([-128, 127]), "same_kind"),
    "integers, on purpose": ("FP32", np.array([3]), "same_kind"),
    "infinite, on purpose": ("FP32", np.array([math.inf]), "same_kind"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_fit(name: str) -> None:
    datatype, value, cast = ARRAYS[name]
    assert sent(datatype, value, cast) == value.tolist()


BAD_ARRAYS: dict[str, tuple[str, Any, Cast]] = {
    "a wider float": ("FP32", np.array([0.5]), "safe"),
    "a wider integer": ("INT32", np.array([1]), "safe"),
    "integers beyond 2^53": ("FP64", np.array([2**53 + 1]), "safe"),
    "not exact in BF16": ("BF16", np.array([0.1], "<f4"), "safe"),
    "a fraction for an integer": ("INT32", np.array([1.0]), "same_kind"),
    "a signed integer for an unsigned": ("UINT8", np.array([1]), "same_kind"),
    "an integer that would wrap": ("INT8", np.array([128]), "same_kind"),
    "an unsigned one that would": ("INT64", np.array([2**63], "<u8"), "same_kind"),
    "beyond FP32": ("FP32", np.array([1e300]), "same_kind"),
    "beyond FP16": ("FP16", np.array([70000]), "same_kind"),
    "beyond BF16": ("BF16", np.array([3.4e38], "<f4"), "same_kind"),
    "words": ("FP32", np.array(["1"]), "same_kind"),
    "times": ("INT64", np.array(["2026-01-01"], "M8[D]"), "same_kind"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_that_do_not_fit(name: str) -> None:
    datatype, value, cast = BAD_ARRAYS[name]
    with pytest.raises(InputError, match="'x'") as caught:
        sent(datatype, value, cast)
    assert caught.value.exit_code == 9


def test_an_array_of_its_own_type_is_not_copied() -> None:
    value = np.zeros(3, "<f4")
    assert tensor("FP32", value).data is value


def test_a_rule_nobody_knows_is_misuse() -> None:
    with pytest.raises(ValueError, match="same_kind"):
        sent("FP32", [1.0], "unsafe")  # type: ignore[arg-type]


@given(
    st.sampled_from(sorted(set(DATA_TYPES) - {"BYTES", "BOOL"})),
    st.lists(st.integers(-(2**66), 2**66) | st.floats(), max_size=5),
)
def test_whatever_is_sent_is_what_was_given_or_the_nearest_to_it(
    datatype: str, value: list[float]
) -> None:
    try:
        made = sent(datatype, value)
    except InputError:
        return
    for given_one, sent_one in zip(value, made, strict=True):
        if datatype in INTEGERS:
            assert sent_one == given_one
        else:
            assert math.isinf(sent_one) == (isinstance(given_one, float) and math.isinf(given_one))
            assert math.isnan(sent_one) == math.isnan(given_one)
