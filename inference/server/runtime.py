"""One opened model in ONNX Runtime: its session, what it takes and gives, and a run.

The only module that imports onnxruntime. Its telemetry is switched off before that import, and
its own log is silenced: it quotes names and values of tensors.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from sealserve.inference.server.heap import huge_pages
from sealserve.inference.server.memory import WeightsPlace
from sealserve.inference.wire.datatypes import DATA_TYPES
from sealserve.inference.wire.infer import InferRequest
from sealserve.inference.wire.spec import ANY_SIZE, TensorSpec
from sealserve.inference.wire.tensor import Array, Tensor
from sealserve.native.errors import FormatError, InputError, SealserveError

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

ort.set_default_logger_severity(4)  # fatal only

PLATFORM: Final = "onnxruntime_onnx"
_DATA_TYPES: Final = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bfloat16)": "BF16",
    "tensor(string)": "BYTES",
}
_ONNX_BFLOAT16: Final = 16  # onnx.proto, TensorProto.DataType
_WATCH_SECONDS: Final = 0.001
_NO_PREPACKING: Final = "session.disable_prepacking"
_FOLDER_OPTION: Final = "session.model_external_initializers_file_folder_path"


class Interruption:
    """Ends a run from another thread, at its next operator; of one run at a time."""

    def __init__(self) -> None:
        self._options = ort.RunOptions()
        self._options.log_severity_level = 4

    @property
    def is_set(self) -> bool:
        return bool(self._options.terminate)

    def set(self) -> None:
        self._options.terminate = True

    def clear(self) -> None:
        self._options.terminate = False


class Session:
    """A model that can run; `run` may be called from several threads."""

    def __init__(
        self,
        graph: bytes,
        place: WeightsPlace,
        *,
        weights_bytes: int = 0,
        threads: int,
        early: bool = False,
    ) -> None:
        """Load the graph over the weights in `place`, and leave nothing there to be opened.

        weights_bytes: of all of them; about as much is prepacked.
        early: do not prepack the weights, which takes nearly all of the time, and leave them there
        until `settle` is called.
        Raises FormatError for a model the runtime cannot load or the protocol cannot carry.
        """
        options = _options(threads)
        self._later: Callable[[], Any] | None = None
        if early:
            options.add_session_config_entry(_NO_PREPACKING, "1")
            self._later = lambda: _settled(graph, place, threads)
        with (
            _early_weights(options, place) if early else _weights_for(options, place, weights_bytes)
        ):
            self._session = _loaded(graph, options)
        self.inputs = tuple(_input_spec(node) for node in self._session.get_inputs())
        self.outputs = tuple(_output_specs(self._session.get_outputs()))
        self._by_name = {spec.name: spec for spec in (*self.inputs, *self.outputs)}
        self._output_names = [spec.name for spec in self.outputs]
        self._has_bfloat16 = any(spec.datatype == "BF16" for spec in self._by_name.values())

    def settle(self) -> None:
        """Change over to prepacked weights, if that was put off; a run is wholly in one or other.

        Last bits of answers may differ between the two. Blocks while weights are prepacked, and
        runs go on meanwhile. Whatever happens, nothing is left to be opened.
        """
        if self._later is not None:
            later, self._later = self._later, None
            self._session = later()

    def run(
        self, request: InferRequest, interruption: Interruption | None = None
    ) -> tuple[Tensor, ...]:
        """The outputs wanted, in the order wanted.

        request: was checked against `inputs` and `outputs`. Raises InputError; its text quotes no
        values. SealserveError, too, if `interruption` is set before it ends.
        """
        names = list(request.outputs) or self._output_names
        feeds = {tensor.name: _for_runtime(tensor) for tensor in request.inputs}
        arrays = self._run(names, feeds, interruption._options if interruption else None)
        return tuple(self._tensor(name, array) for name, array in zip(names, arrays, strict=True))

    def _run(self, names: list[str], feeds: Mapping[str, Array], options: Any) -> Sequence[Array]:
        try:
            if self._has_bfloat16:
                return self._run_values(names, feeds, options)
            arrays: list[Array] = self._session.run(names, feeds, options)
        except ort_errors.InvalidArgument as error:
            raise InputError("the model does not accept inputs of these shapes") from error
        except _RUNTIME_ERRORS as error:
            raise SealserveError("the model failed on these inputs") from error
        return arrays

    def _run_values(
        self, names: list[str], feeds: Mapping[str, Array], options: Any
    ) -> list[Array]:
        """The way for BF16, which the runtime's Python interface does not know as an array."""
        values = {name: self._value(name, array) for name, array in feeds.items()}
        results = self._session.run_with_ort_values(names, values, options)
        return [_array(value) for value in results]

    def _value(self, name: str, array: Array) -> Any:
        if self._by_name[name].datatype == "BF16":
            return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _ONNX_BFLOAT16)
        return ort.OrtValue.ortvalue_from_numpy(array)

    def _tensor(self, name: str, array: Array) -> Tensor:
        datatype = self._by_name[name].datatype
        if datatype == "BYTES":
            encoded = [text.encode() for text in array.reshape(-1).tolist()]
            elements = np.empty(len(encoded), dtype=object)
            elements[:] = encoded
            array = elements.reshape(array.shape)
        return Tensor(name, datatype, array.shape, array)


# What the runtime raises has no base of its own; these are its exceptions, and its plain ones.
_RUNTIME_ERRORS: Final = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.ModelLoaded,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
    ValueError,
)


def _options(threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _loaded(graph: bytes, options: Any) -> Any:
    try:
        # No second try with another provider: there is none, and it prints the error.
        session = ort.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except _RUNTIME_ERRORS as error:
        raise FormatError(
            f"ONNX Runtime {ort.__version__} cannot load this model ({type(error).__name__})",
            hint="the owner can try the same version on the model before sealing it",
        ) from error
    session._model_bytes = b""  # kept for that second try alone
    return session


def _settled(graph: bytes, place: WeightsPlace, threads: int) -> Any:
    """A session over weights that another one has mapped: never emptied, only unlinked."""
    options = _options(threads)
    try:
        with _shown(options, place):
            return _loaded(graph, options)
    finally:
        place.clear()


@contextmanager
def _early_weights(options: Any, place: WeightsPlace) -> Iterator[None]:
    """Show the runtime where the weights are, and leave them there."""
    try:
        with _shown(options, place):
            yield
    except BaseException:
        place.wipe()
        raise


@contextmanager
def _shown(options: Any, place: WeightsPlace) -> Iterator[None]:
    if place.directory:
        options.add_session_config_entry(_FOLDER_OPTION, place.directory)
        yield
    else:
        with _mapped_buffers(options, place):
            yield


@contextmanager
def _weights_for(options: Any, place: WeightsPlace, size_bytes: int) -> Iterator[None]:
    """Show the runtime where the weights are while it loads, and empty the place afterwards."""
    try:
        with _shown(options, place), _forgetting_what_is_mapped(place), huge_pages(size_bytes):
            yield
    except BaseException:
        place.wipe()
        raise
    place.clear()


@contextmanager
def _forgetting_what_is_mapped(place: WeightsPlace) -> Iterator[None]:
    """Unlink each file as soon as the runtime maps it, so that memory goes back as it prepacks.

    Without this the whole of the weights stands in memory twice at the end of loading. The runtime
    maps all of them at first and prepacks then, so the watching is over soon.
    """
    if not place.directory:
        yield
        return
    loaded = threading.Event()

    def watch() -> None:
        prefix = place.directory + "/"
        while place.holds_files and not loaded.wait(_WATCH_SECONDS):
            for line in Path("/proc/self/maps").read_text().splitlines():
                _, found, name = line.partition(prefix)
                if found:
                    place.forget(name.removesuffix(" (deleted)"))

    watcher = threading.Thread(target=watch, name="sealserve-weights", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        loaded.set()
        watcher.join()


@contextmanager
def _mapped_buffers(options: Any, place: WeightsPlace) -> Iterator[None]:
    """Hand the runtime the contents of files that have no path; it copies what it needs.

    It keeps no reference to them: they must live until the session exists.
    """
    maps = {name: mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
            for name, fd in place.buffers.items()}  # fmt: skip
    try:
        if maps:
            options.add_external_initializers_from_files_in_memory(
                list(maps), list(maps.values()), [len(each) for each in maps.values()]
            )
        yield
    finally:
        for each in maps.values():
            each.close()


def _input_spec(node: Any) -> TensorSpec:
    if node.type not in _DATA_TYPES:
        raise FormatError(f"input {node.name!r} is {node.type}, which the protocol cannot carry")
    return _spec(node)


def _output_specs(nodes: Sequence[Any]) -> Iterator[TensorSpec]:
    """The outputs that are tensors. Others (maps of scikit-learn's) are not offered."""
    specs = [_spec(node) for node in nodes if node.type in _DATA_TYPES]
    if not specs:
        raise FormatError("no output of the model is a tensor, so the protocol cannot carry any")
    yield from specs


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else ANY_SIZE for size in node.shape)
    return TensorSpec(node.name, _DATA_TYPES[node.type], shape)


def _for_runtime(tensor: Tensor) -> Array:
    """BYTES become text, which is what string tensors of ONNX are."""
    if tensor.datatype != "BYTES":
        return tensor.data
    try:
        texts = [element.decode() for element in tensor.data.reshape(-1).tolist()]
    except UnicodeDecodeError as error:
        raise InputError(
            f"tensor {tensor.name!r} is text for this model and has an element that is not UTF-8"
        ) from error
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array.reshape(tensor.shape)


def _array(value: Any) -> Array:
    """The contents of a value; of BF16 a copy of its bit pattern."""
    if value.element_type() != _ONNX_BFLOAT16:
        array: Array = value.numpy()
        return array
    storage = DATA_TYPES["BF16"].storage
    assert storage is not None
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(raw, storage).reshape(value.shape())
