"""A token in a file, as people keep it: the JWT itself, or what somebody decoded of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sealserve.attestation import json_object
from sealserve.attestation.token import MAX_TOKEN_BYTES, unverified
from sealserve.native.errors import EvidenceError

MAX_BYTES = 2 * MAX_TOKEN_BYTES  # decoded and indented, a token takes more lines and fewer letters
_PARTS = {"header", "payload"}


@dataclass(frozen=True, slots=True)
class Presented:
    """What a token says, not verified. token: the JWT, "" where only its claims were kept."""

    claims: Mapping[str, object]
    token: str

    @classmethod
    def read(cls, data: bytes) -> Presented:
        """A JWT, its payload as JSON, or both parts: `{"header": {…}, "payload": {…}}`.

        Raises EvidenceError: "token_format", "token_algorithm".
        """
        if len(data) > MAX_BYTES:
            raise EvidenceError(
                "token_format",
                "the token is too long",
                seen=f"more than {MAX_BYTES} bytes",
                wanted=f"at most {MAX_BYTES}",
            )
        text = data.strip()
        if not text.startswith(b"{"):
            token = text.decode("ascii", "replace")
            return cls(unverified(token), token)
        read = json_object.read(text, "token_format", "a token")
        payload = read["payload"] if read.keys() == _PARTS else read
        if not isinstance(payload, dict):
            raise EvidenceError("token_format", "the token's payload is not an object")
        return cls(payload, "")
