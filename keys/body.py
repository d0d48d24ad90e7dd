"""Request bodies: one JSON object, read member by member; what does not fit is answered with 400.

Members we do not know are ignored, as Azure's services do: SDKs of later versions send more.
"""

from __future__ import annotations

import base64
import binascii

from sealserve.keys.refused import bad_parameter
from sealserve.policy import strict_json

MAX_BODY_BYTES = 256 * 1024  # a release carries one token (64 KiB), attestation one report
MAX_EXACT = 2**53  # what every JSON reader keeps exact (RFC 8259 section 6)


class Body:
    """One JSON object. where: what messages call it."""

    def __init__(self, values: dict[str, object], where: str) -> None:
        self._values = values
        self._where = where

    @classmethod
    def parse(cls, data: bytes, where: str = "the request") -> Body:
        """Raises Refused (400), as everything here does."""
        try:
            value = strict_json.loads(data.decode("utf-8"))
        except ValueError as error:
            raise bad_parameter(f"{where} is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise bad_parameter(f"{where} is not a JSON object")
        return cls(value, where)

    def has(self, name: str) -> bool:
        """Whether the member is there and not null."""
        return self._values.get(name) is not None

    def text(self, name: str) -> str:
        """A member that is text."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, "text")
        return value

    def integer(self, name: str, *, most: int = MAX_EXACT) -> int:
        """A member that is a whole number from 0 to `most`."""
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise self._wrong(name, f"a whole number of at most {most}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """A member that is true or false, if it is there."""
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def bytes(self, name: str) -> bytes:
        """A member in base64url, with or without padding."""
        text = self.text(name)
        try:
            padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
            return base64.b64decode(padded, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise self._wrong(name, "base64url") from None

    def object(self, name: str) -> Body:
        """A member that is an object; absent means empty."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return Body(value or {}, f"{self._where}.{name}")

    def texts(self, name: str) -> list[str]:
        """A member that is a list of texts; absent means empty."""
        value = self._values.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise self._wrong(name, "a list of texts")
        return value

    def items(self) -> dict[str, str]:
        """All members, each of which is text."""
        return {name: self.text(name) for name in self._values}

    def _wrong(self, name: str, wanted: str) -> Exception:
        seen = type(self._values[name]).__name__ if name in self._values else "nothing"
        return bad_parameter(f"{self._where}.{name}: seen {seen}; wanted {wanted}")
