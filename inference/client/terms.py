"""What holds for every replica of a client: what it has to prove, and as whom it is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from sealserve.inference.client.certificate import Certificate
from sealserve.native.errors import ConfigError
from sealserve.policy import Trust

MAX_CONNECTIONS: Final = 64  # to one replica; more than any server has workers
# RFC 6750, section 2.1. Half of the 8 KiB that gRPC takes of headers.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{1,4096}=*")


@dataclass(frozen=True, slots=True)
class Terms:
    """trust: what a server has to prove. connections: to each replica.

    token: a caller's, for servers that ask for one; it is sent to nobody who was not verified.
    certificate: a client's, for servers whose handshakes ask for one.
    """

    trust: Trust
    connections: int = 1
    token: str | None = field(default=None, repr=False)
    certificate: Certificate | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= MAX_CONNECTIONS:
            raise ValueError(f"connections is {self.connections}; not 1 to {MAX_CONNECTIONS}")
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ConfigError(
                "the caller's token is none: letters, digits and . _ ~ + / - make one (RFC 6750)",
                hint="a line end or a space too many?",
            )

    @property
    def authorization(self) -> tuple[tuple[str, str], ...]:
        """What every call carries beside its root; nothing without a token."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)
