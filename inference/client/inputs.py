"""What a person hands over, as the tensors a model takes: nothing is lost silently on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from sealserve.inference.wire import bfloat16
from sealserve.inference.wire.datatypes import data_type
from sealserve.inference.wire.spec import TensorSpec, same_names
from sealserve.inference.wire.tensor import Array, Tensor
from sealserve.native.errors import InputError

Cast = Literal["safe", "same_kind"]
CASTS: tuple[Cast, ...] = ("safe", "same_kind")


def tensors(
    inputs: Mapping[str, object], specs: Sequence[TensorSpec], cast_rule: Cast
) -> tuple[Tensor, ...]:
    """One tensor for each input of the model, in its order. Raises InputError."""
    if cast_rule not in CASTS:
        raise ValueError(f"cast is {cast_rule!r}; it is one of {', '.join(CASTS)}")
    same_names("input", inputs, [spec.name for spec in specs])
    return tuple(_tensor(spec, inputs[spec.name], cast_rule) for spec in specs)


def array_of(tensor: Tensor) -> Array:
    """What the caller gets for an output: BF16 as float32, everything else as it is."""
    if tensor.datatype == "BF16":
        return bfloat16.from_bits(cast("NDArray[np.uint16]", tensor.data))
    return tensor.data


def _tensor(spec: TensorSpec, value: object, cast_rule: Cast) -> Tensor:
    if spec.datatype == "BYTES":
        data = _texts(spec, value)
    elif spec.datatype == "BF16":
        data = _bfloat16(spec, _fixed(spec, value, np.dtype("<f4"), cast_rule), cast_rule)
    else:
        storage = data_type(spec.datatype).storage
        assert storage is not None  # BYTES alone has none
        data = _fixed(spec, value, storage, cast_rule)
    spec.check(spec.datatype, data.shape)
    return Tensor(spec.name, spec.datatype, data.shape, data)


def _fixed(
    spec: TensorSpec, value: object, storage: np.dtype[np.generic], cast_rule: Cast
) -> Array:
    if isinstance(value, np.ndarray | np.generic):
        return _converted(spec, np.asarray(value), storage, cast_rule)
    return _from_list(spec, value, storage)


def _from_list(spec: TensorSpec, value: object, storage: np.dtype[np.generic]) -> Array:
    """Lists have no type of their own and take the model's, if each value is one of its kind."""
    try:
        natural = np.asarray(value)
        fits = natural.size == 0 or _same_kind(natural.dtype, storage)
        data = natural.astype(storage) if natural.size == 0 else np.array(value, storage)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"input {spec.name!r} cannot be read as {spec.datatype}: {error}",
            hint="give nested lists of equal lengths, or a numpy array",
        ) from error
    if not fits:
        raise InputError(
            f"input {spec.name!r} holds {natural.dtype.name} values; the model takes"
            f" {spec.datatype}"
        )
    return data


def _same_kind(given: np.dtype[np.generic], wanted: np.dtype[np.generic]) -> bool:
    """Numbers stay numbers of their kind: no fraction for an integer, no number for a truth."""
    ranks = {"b": "b", "u": "bu", "i": "biu", "f": "biuf", "c": "biufc"}
    if wanted.kind == "b":
        return given.kind == "b"
    return given.kind in ranks["i" if wanted.kind == "u" else wanted.kind]


def _converted(
    spec: TensorSpec, array: Array, storage: np.dtype[np.generic], cast_rule: Cast
) -> Array:
    if not np.can_cast(array.dtype, storage, cast_rule):
        raise InputError(
            f"input {spec.name!r} is {array.dtype.name}; the model takes {spec.datatype}"
            f" ({storage.name}), and that cast loses something",
            hint=f"round it yourself: {spec.name}.astype(np.{storage.name})",
        )
    data: Array = array.astype(storage, copy=False)
    integers_to_floats = array.dtype.kind in "iu" and storage.kind == "f"
    if cast_rule == "safe" and integers_to_floats and not _survived(array, data):
        raise InputError(
            f"input {spec.name!r} has integers that {spec.datatype} does not hold exactly",
            hint=f"round them yourself: {spec.name}.astype(np.{storage.name})",
        )
    return data


def _survived(integers: Array, floats: Array) -> bool:
    """numpy calls int64 to float64 safe, though beyond 2^53 it is not."""
    with np.errstate(invalid="ignore"):
        return bool(np.array_equal(floats.astype(integers.dtype), integers))


def _bfloat16(spec: TensorSpec, values: Array, cast_rule: Cast) -> Array:
    floats = cast("NDArray[np.float32]", values)
    if cast_rule == "safe" and not bfloat16.is_exact(floats):
        raise InputError(
            f"input {spec.name!r} has values that BF16 does not hold exactly",
            hint='let them be rounded: cast="same_kind"',
        )
    return bfloat16.to_bits(floats)


def _texts(spec: TensorSpec, value: object) -> Array:
    given = np.asarray(value, dtype=object)
    flat: list[Any] = given.reshape(-1).tolist()
    data: Array = np.empty(len(flat), dtype=object)
    for index, element in enumerate(flat):
        if not isinstance(element, bytes | str):
            raise InputError(
                f"input {spec.name!r} takes texts or bytes; element {index} is"
                f" {type(element).__name__}"
            )
        data[index] = element if isinstance(element, bytes) else element.encode()
    return data.reshape(given.shape)
