"""One stream of a program written for Triton's client: requests in, callbacks out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Full, Queue
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.known_models import ANYBODY
from sealserve.inference.client.pool import Pool
from sealserve.inference.client.prediction import require_roots_among
from sealserve.inference.client.status import nobody_answered
from sealserve.inference.client.triton.errors import (
    InferenceServerException,
    cancelled,
    ours,
    told,
)
from sealserve.inference.client.triton.tensors import InferResult
from sealserve.inference.wire import names
from sealserve.inference.wire.open_inference_pb2 import ModelStreamInferResponse
from sealserve.native.errors import IntegrityError, SealserveError, UnavailableError

# Of requests that wait to be sent. A program that is faster than the server waits, too.
_QUEUE: Final = 16
_LOOK_SECONDS: Final = 0.1
Callback = Callable[..., Any]  # called with result= and error=, one of them None


class Stream:
    """Open until `close`. Its replica stays the same: what was sent is never sent again."""

    def __init__(
        self, pool: Pool, callback: Callback, opening: Deadline, seconds: float | None
    ) -> None:
        self._callback = callback
        self._requests: Queue[bytes | None] = Queue(_QUEUE)
        self._cancelled = False
        self._lease = pool.leased(ANYBODY, (), opening)
        self._pool = pool
        self._seat, self._session = self._lease.__enter__()
        self._call = self._session.stream(names.MODEL_STREAM_INFER, self._sent(), seconds)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, request: bytes) -> None:
        """Send one more; waits while the server does not take it."""
        while self._reader.is_alive():
            if self._session.is_old:
                raise ours(UnavailableError("the evidence is too old: start another stream"))
            try:
                self._requests.put(request, timeout=_LOOK_SECONDS)
            except Full:
                continue
            return
        raise InferenceServerException("this stream has ended; its callback was told why")

    def close(self, *, cancel: bool) -> None:
        """End it. cancel: now; else when every request was answered."""
        if cancel:
            self._cancelled = True
            self._call.cancel()
        while self._reader.is_alive():
            try:
                self._requests.put(None, timeout=_LOOK_SECONDS)
            except Full:
                continue
            break
        self._reader.join()

    def _sent(self) -> Iterator[bytes]:
        return iter(self._requests.get, None)

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._tell(answer)
            require_roots_among(self._call.trailing_metadata(), self._session.roots)
        except grpc.RpcError as error:
            if nobody_answered(error):
                self._pool.leave(self._seat, self._session)
            self._callback(result=None, error=cancelled() if self._cancelled else told(error))
        except SealserveError as error:
            self._callback(result=None, error=ours(error))
        finally:
            self._lease.__exit__(None, None, None)

    def _tell(self, answer: bytes) -> None:
        try:
            message = ModelStreamInferResponse.FromString(answer)
        except DecodeError as error:
            raise IntegrityError("an answer of the stream cannot be read") from error
        if message.error_message:
            failure = InferenceServerException(message.error_message)
            self._callback(result=None, error=failure)
        else:
            self._callback(result=InferResult(message.infer_response), error=None)
