"""What a service of ours answers instead of what was asked; its own routes give it a shape."""

from __future__ import annotations

from collections.abc import Mapping


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """HTTP `status`, a code as Azure's services have, and words in which nothing secret stands."""

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def bad_parameter(message: str) -> Refused:
    """400 in the vault's words: a request it cannot make sense of."""
    return Refused(400, "BadParameter", message)


def forbidden(message: str) -> Refused:
    """403: understood, and not allowed."""
    return Refused(403, "Forbidden", message)
