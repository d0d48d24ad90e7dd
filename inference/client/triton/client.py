"""`InferenceServerClient` of Triton's Python library, over channels that were verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, TypeVar

from google.protobuf.message import DecodeError, Message

from sealserve.inference.client.certificate import Certificate
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.known_models import ANYBODY
from sealserve.inference.client.pool import Pool
from sealserve.inference.client.session import Session
from sealserve.inference.client.targets import Target
from sealserve.inference.client.terms import Terms
from sealserve.inference.client.triton.errors import (
    InferenceServerException,
    cancelled,
    ours,
    told,
)
from sealserve.inference.client.triton.requests import request_of, require_version
from sealserve.inference.client.triton.stream import Callback, Stream
from sealserve.inference.client.triton.tensors import (
    InferInput,
    InferRequestedOutput,
    InferResult,
    as_dict,
)
from sealserve.inference.wire import names
from sealserve.inference.wire import open_inference_pb2 as pb
from sealserve.native.errors import SealserveError
from sealserve.policy import Trust

# For programs that set no deadline; servers give up after a minute if they are not told otherwise.
_PATIENCE_SECONDS: Final = 120.0
_CONNECT_SECONDS: Final = 10.0
_AT_ONCE: Final = 32  # calls of `async_infer` under way; more wait for their turn
_Answer = TypeVar("_Answer", bound=Message)
Headers = Mapping[str, str] | None


class InferenceServerClient:
    """A verified server, or several replicas of one.

    trust: a Trust, or the name of a trust file. token, connections, certificate: as for `connect`.
    Arguments of the original that say how to believe a server are taken and ignored. Verifies at
    once; raises InferenceServerException if nobody can be verified, ConfigError for a trust file
    that is none.
    """

    def __init__(
        self,
        url: Target,
        verbose: bool = False,
        ssl: bool = False,
        root_certificates: str | None = None,
        private_key: str | None = None,
        certificate_chain: str | None = None,
        creds: object = None,
        keepalive_options: object = None,
        channel_args: object = None,
        *,
        trust: Trust | str | Path,
        token: str | None = None,
        connections: int = 1,
        certificate: Certificate | None = None,
    ) -> None:
        if creds is not None or private_key is not None:
            raise InferenceServerException(
                "a client is known by its token or its certificate here: token=…, certificate=…"
            )
        loaded = trust if isinstance(trust, Trust) else Trust.load(Path(trust))
        terms = Terms(loaded, connections, token, certificate)
        try:
            self._pool = Pool(url, terms)
            self._pool.open(Deadline(_CONNECT_SECONDS))
        except SealserveError as error:
            raise ours(error) from error
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sealserve-infer")
        self._stream: Stream | None = None

    # ---- what a server tells of itself

    def is_server_live(self, headers: Headers = None, client_timeout: float | None = None) -> bool:
        """Whether a server answers."""
        request, answer = pb.ServerLiveRequest(), pb.ServerLiveResponse()
        return self._told(names.SERVER_LIVE, request, answer, headers, client_timeout).live

    def is_server_ready(self, headers: Headers = None, client_timeout: float | None = None) -> bool:
        """Whether it takes predictions."""
        request, answer = pb.ServerReadyRequest(), pb.ServerReadyResponse()
        return self._told(names.SERVER_READY, request, answer, headers, client_timeout).ready

    def is_model_ready(
        self,
        model_name: str,
        model_version: str = "",
        headers: Headers = None,
        client_timeout: float | None = None,
    ) -> bool:
        """Whether it takes predictions with this model."""
        require_version(model_version)
        request = pb.ModelReadyRequest(name=model_name, version=model_version)
        answer = pb.ModelReadyResponse()
        return self._told(
            names.MODEL_READY, request, answer, headers, client_timeout, model_name
        ).ready

    def get_server_metadata(
        self, headers: Headers = None, as_json: bool = False, client_timeout: float | None = None
    ) -> Any:
        """Name, version and extensions."""
        request, answer = pb.ServerMetadataRequest(), pb.ServerMetadataResponse()
        return _shown(
            self._told(names.SERVER_METADATA, request, answer, headers, client_timeout), as_json
        )

    def get_model_metadata(
        self,
        model_name: str,
        model_version: str = "",
        headers: Headers = None,
        as_json: bool = False,
        client_timeout: float | None = None,
    ) -> Any:
        """Versions, inputs and outputs."""
        require_version(model_version)
        request = pb.ModelMetadataRequest(name=model_name, version=model_version)
        answer = pb.ModelMetadataResponse()
        found = self._told(
            names.MODEL_METADATA, request, answer, headers, client_timeout, model_name
        )
        return _shown(found, as_json)

    def get_model_config(
        self,
        model_name: str,
        model_version: str = "",
        headers: Headers = None,
        as_json: bool = False,
        client_timeout: float | None = None,
    ) -> Any:
        """Triton's description of a model, as far as it means something here."""
        require_version(model_version)
        request = pb.ModelConfigRequest(name=model_name, version=model_version)
        answer = pb.ModelConfigResponse()
        found = self._told(names.MODEL_CONFIG, request, answer, headers, client_timeout, model_name)
        return _shown(found, as_json)

    def get_model_repository_index(
        self, headers: Headers = None, as_json: bool = False, client_timeout: float | None = None
    ) -> Any:
        """Every model and its state."""
        request, answer = pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse()
        return _shown(
            self._told(names.REPOSITORY_INDEX, request, answer, headers, client_timeout), as_json
        )

    def get_inference_statistics(
        self,
        model_name: str = "",
        model_version: str = "",
        headers: Headers = None,
        as_json: bool = False,
        client_timeout: float | None = None,
    ) -> Any:
        """What was counted of the calls of one connection of this client."""
        require_version(model_version)
        request = pb.ModelStatisticsRequest(name=model_name, version=model_version)
        answer = pb.ModelStatisticsResponse()
        found = self._told(
            names.MODEL_STATISTICS, request, answer, headers, client_timeout, model_name
        )
        return _shown(found, as_json)

    def load_model(self, model_name: str, *_: object, **__: object) -> NoReturn:
        """Never from here: it is the operator's, on the server's own machine."""
        raise InferenceServerException(
            f"{model_name}: models are loaded by the server's operator alone",
            "StatusCode.UNIMPLEMENTED",
        )

    unload_model = load_model

    # ---- predictions

    def infer(
        self,
        model_name: str,
        inputs: Sequence[InferInput],
        model_version: str = "",
        outputs: Sequence[InferRequestedOutput] | None = None,
        request_id: str = "",
        sequence_id: int | str = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
        priority: int = 0,
        timeout: int | None = None,
        client_timeout: float | None = None,
        headers: Headers = None,
        compression_algorithm: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> InferResult:
        """One prediction. Raises InferenceServerException."""
        request = request_of(
            model_name,
            inputs,
            model_version,
            request_id,
            outputs,
            sequence_id,
            sequence_start,
            sequence_end,
            priority,
            timeout,
            parameters,
        )
        return self._infer(model_name, request, headers, client_timeout)

    def async_infer(
        self,
        model_name: str,
        inputs: Sequence[InferInput],
        callback: Callback,
        model_version: str = "",
        outputs: Sequence[InferRequestedOutput] | None = None,
        request_id: str = "",
        sequence_id: int | str = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
        priority: int = 0,
        timeout: int | None = None,
        client_timeout: float | None = None,
        headers: Headers = None,
        compression_algorithm: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> CallContext:
        """One prediction in another thread, which calls `callback(result=…, error=…)`."""
        request = request_of(
            model_name,
            inputs,
            model_version,
            request_id,
            outputs,
            sequence_id,
            sequence_start,
            sequence_end,
            priority,
            timeout,
            parameters,
        )
        context = CallContext(callback)
        context.start(
            self._threads.submit(self._infer, model_name, request, headers, client_timeout)
        )
        return context

    def start_stream(
        self,
        callback: Callback,
        stream_timeout: float | None = None,
        headers: Headers = None,
        compression_algorithm: str | None = None,
    ) -> None:
        """Open the one stream of this client; its answers go to `callback`."""
        _require_none(headers)
        if self._stream is not None:
            raise InferenceServerException("a stream is open already: stop it first")
        try:
            opening = Deadline(_CONNECT_SECONDS)
            self._stream = Stream(self._pool, callback, opening, stream_timeout)
        except SealserveError as error:
            raise ours(error) from error

    def async_stream_infer(
        self,
        model_name: str,
        inputs: Sequence[InferInput],
        model_version: str = "",
        outputs: Sequence[InferRequestedOutput] | None = None,
        request_id: str = "",
        sequence_id: int | str = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
        enable_empty_final_response: bool = False,
        priority: int = 0,
        timeout: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Send one request on the stream."""
        if self._stream is None:
            raise InferenceServerException("no stream is open: start one first")
        self._stream.send(
            request_of(
                model_name,
                inputs,
                model_version,
                request_id,
                outputs,
                sequence_id,
                sequence_start,
                sequence_end,
                priority,
                timeout,
                parameters,
                empty_final_response=enable_empty_final_response,
            )
        )

    def stop_stream(self, cancel_requests: bool = False) -> None:
        """End the stream, once everything is answered or at once."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close(cancel=cancel_requests)

    def close(self) -> None:
        """End the stream and every call under way."""
        self.stop_stream(cancel_requests=True)
        self._pool.close()
        self._threads.shutdown()

    def __enter__(self) -> InferenceServerClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _infer(
        self, model: str, request: bytes, headers: Headers, client_timeout: float | None
    ) -> InferResult:
        answer = pb.ModelInferResponse()
        return InferResult(
            self._asked(names.MODEL_INFER, request, answer, headers, client_timeout, model)
        )

    def _told(
        self,
        path: str,
        request: Message,
        answer: _Answer,
        headers: Headers,
        client_timeout: float | None,
        model: str = "",
    ) -> _Answer:
        return self._asked(
            path, request.SerializeToString(), answer, headers, client_timeout, model
        )

    def _asked(
        self,
        path: str,
        request: bytes,
        answer: _Answer,
        headers: Headers,
        client_timeout: float | None,
        model: str,
    ) -> _Answer:
        """`answer`, filled. model: whose root goes along, if any."""
        _require_none(headers)
        deadline = Deadline(client_timeout or _PATIENCE_SECONDS)

        def ask(session: Session, root: bytes = b"") -> bytes:
            return session.call(path, request, root, deadline)

        try:
            if model:
                data = self._pool.on_root(model, ask, path, deadline, told)
            else:
                data = self._pool.ask(ask, path, deadline, ANYBODY, told)
            answer.ParseFromString(data)
        except SealserveError as error:
            raise ours(error) from error
        except DecodeError as error:
            raise InferenceServerException(
                "the answer cannot be read", "StatusCode.DATA_LOSS"
            ) from error
        return answer


class CallContext:
    """A call of `async_infer`, which may be given up."""

    def __init__(self, callback: Callable[..., Any]) -> None:
        self._callback = callback
        self._cancelled = False
        self._future: Future[InferResult] | None = None

    def start(self, future: Future[InferResult]) -> None:
        """From now on there is an answer to be told."""
        self._future = future
        future.add_done_callback(self._done)

    def cancel(self) -> None:
        """Tell the callback that it was given up, once the call has ended."""
        self._cancelled = True
        if self._future is not None:
            self._future.cancel()

    def get_result(self) -> InferResult:
        """Wait for the answer."""
        assert self._future is not None
        return self._future.result()

    def _done(self, future: Future[InferResult]) -> None:
        if self._cancelled or future.cancelled():
            self._callback(result=None, error=cancelled())
            return
        error = future.exception()
        if error is None:
            self._callback(result=future.result(), error=None)
        elif isinstance(error, InferenceServerException):
            self._callback(result=None, error=error)
        else:  # of a client that was closed meanwhile
            self._callback(
                result=None, error=InferenceServerException(str(error), "StatusCode.CANCELLED")
            )


def _shown(message: Message, as_json: bool) -> Any:
    return as_dict(message) if as_json else message


def _require_none(headers: Headers) -> None:
    """Whatever a program would say beside its request, it would say to a server unasked."""
    if headers:
        raise InferenceServerException(
            "no headers go along: a caller's token is token=…, and a model's root is added"
        )
