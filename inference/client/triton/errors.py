"""Failures as programs written for Triton's client expect them."""

from __future__ import annotations

import grpc

from sealserve.inference.client.status import code_of
from sealserve.native.errors import SealserveError


class InferenceServerException(Exception):  # noqa: N818 - its name is Triton's
    """A call that failed. status: `StatusCode.NAME`, None for a mistake in the call itself."""

    def __init__(
        self, msg: str, status: str | None = None, debug_details: str | None = None
    ) -> None:
        super().__init__(msg)
        self._msg = msg
        self._status = status
        self._debug_details = debug_details

    def __str__(self) -> str:
        return self._msg if self._status is None else f"[{self._status}] {self._msg}"

    def message(self) -> str:
        """What happened."""
        return self._msg

    def status(self) -> str | None:
        """Its kind."""
        return self._status

    def debug_details(self) -> str | None:
        """What there is to know beside it."""
        return self._debug_details


def told(error: grpc.RpcError, _what: str = "") -> InferenceServerException:
    """A verified server's own status and words."""
    return InferenceServerException(error.details() or "", str(error.code()))


def ours(error: SealserveError) -> InferenceServerException:
    """A failure before any server was asked, or an answer that was refused."""
    return InferenceServerException(error.message, str(code_of(error)), error.hint or None)


def cancelled() -> InferenceServerException:
    """The program itself gave the call up."""
    return InferenceServerException("this program cancelled the call", "StatusCode.CANCELLED")
