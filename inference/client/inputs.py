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
    """One tensor for each input of the model, in its order. Raises InputError.

    TypeError for inputs without names.
    """
    if not isinstance(inputs, Mapping):
        example = ", ".join(f'"{spec.name}": …' for spec in specs)
        raise TypeError(
            f"inputs is a {type(inputs).__name__}; it maps the name of each input to an array or"
            f" nested lists: {{{example}}}"
        )
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
        data = _bfloat16(spec, value, cast_rule)
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
        kind = _kind(natural, value)
        if natural.size and not _same_kind(kind, storage):
            held = _words(natural, kind)
            raise InputError(f"input {spec.name!r} holds {held}; the model takes {spec.datatype}")
        # Python's own integers are refused beyond the bounds of a type; arrays inside would wrap.
        exact = np.asarray(value, object) if kind in "iu" else natural
        return _nearest(spec, exact, storage)
    except (ValueError, TypeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"input {spec.name!r} cannot be read as {spec.datatype}: {error}",
            hint="give nested lists of equal lengths, or a numpy array",
        ) from error


def _kind(natural: Array, value: object) -> str:
    """The kind of number in a list; numpy joins large integers of both signs to floats."""
    if natural.dtype.kind in "fO" and natural.size:
        every = np.asarray(value, object).reshape(-1)
        if all(isinstance(element, int | np.integer) for element in every):
            return "i"
        if all(isinstance(element, int | float | np.number) for element in every):
            return "f"
    return natural.dtype.kind


def _words(values: Array, kind: str) -> str:
    words = {
        "b": "truths",
        "i": "integers",
        "u": "integers",
        "f": "numbers with fractions",
        "c": "complex numbers",
        "U": "text",
        "S": "bytes",
    }
    return words.get(kind, "values that are not all numbers" if kind == "O" else values.dtype.name)


def _same_kind(given: str, wanted: np.dtype[np.generic]) -> bool:
    """Numbers stay numbers of their kind: no fraction for an integer, no number for a truth."""
    ranks = {"b": "b", "i": "biu", "u": "biu", "f": "biuf"}
    return given in ranks[wanted.kind]


def _converted(
    spec: TensorSpec, array: Array, storage: np.dtype[np.generic], cast_rule: Cast
) -> Array:
    if not np.can_cast(array.dtype, storage, cast_rule):
        raise InputError(
            f"input {spec.name!r} is {array.dtype.name}; the model takes {spec.datatype}"
            f" ({storage.name}), and that cast loses something",
            hint=_rounded(spec, storage),
        )
    data = _nearest(spec, array, storage)
    integers = array.dtype.kind in "iu" and (cast_rule == "safe" or storage.kind in "iu")
    if integers and not _survived(array, data):
        raise InputError(
            f"input {spec.name!r} has integers that {spec.datatype} does not hold exactly",
            hint=_rounded(spec, storage),
        )
    return data


def _rounded(spec: TensorSpec, storage: np.dtype[np.generic]) -> str:
    return (
        f"round it yourself, {spec.name}.astype(np.{storage.name}), and save it so if it comes from"
        " a file"
    )


def _nearest(spec: TensorSpec, given: Array, storage: np.dtype[np.generic]) -> Array:
    """Rounded where floats are wanted; InputError for what would be rounded to infinity."""
    with np.errstate(over="ignore"):
        data: Array = given.astype(storage, copy=False)
    if storage.kind == "f" and data is not given:
        _require_range(spec, given, data)
    return data


def _require_range(spec: TensorSpec, given: Array, floats: Array) -> None:
    infinite = np.isinf(floats)
    if infinite.any() and np.isfinite(given[infinite].astype(np.float64)).any():
        raise InputError(
            f"input {spec.name!r} has values beyond the range of {spec.datatype}",
            hint="scale them, or write infinity where you mean it",
        )


def _survived(integers: Array, numbers: Array) -> bool:
    """numpy calls int64 to float64 safe, though beyond 2^53 it is not."""
    if numbers.dtype.kind != "f":
        return bool(np.array_equal(numbers, integers))
    with np.errstate(invalid="ignore"):
        return bool(np.array_equal(numbers.astype(integers.dtype), integers))


def _bfloat16(spec: TensorSpec, value: object, cast_rule: Cast) -> Array:
    floats = cast("NDArray[np.float32]", _fixed(spec, value, np.dtype("<f4"), cast_rule))
    an_array = isinstance(value, np.ndarray | np.generic)
    if an_array and cast_rule == "safe" and not bfloat16.is_exact(floats):
        raise InputError(
            f"input {spec.name!r} has values that BF16 does not hold exactly",
            hint='let them be rounded: cast="same_kind" in Python; values in JSON always are',
        )
    bits = bfloat16.to_bits(floats)
    _require_range(spec, floats, bfloat16.from_bits(bits))
    return bits


def _texts(spec: TensorSpec, value: object) -> Array:
    try:
        given = np.asarray(value, dtype=object)
    except ValueError as error:
        raise InputError(f"input {spec.name!r} is ragged") from error
    flat: list[Any] = given.reshape(-1).tolist()
    data: Array = np.empty(len(flat), dtype=object)
    for index, element in enumerate(flat):
        data[index] = _text(spec, index, element)
    return data.reshape(given.shape)


def _text(spec: TensorSpec, index: int, element: object) -> bytes:
    try:
        if isinstance(element, str):
            return element.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"input {spec.name!r}: element {index} is not UTF-8") from error
    if isinstance(element, bytes):
        return element
    raise InputError(
        f"input {spec.name!r} takes texts or bytes; element {index} is {type(element).__name__}"
    )
