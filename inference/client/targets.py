"""Which replicas a caller means: one address, several, or every address that a name has."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sealserve.inference.wire import names
from sealserve.inference.wire.address import format_address, parse_address
from sealserve.native.errors import ConfigError, UnavailableError

Target = str | Sequence[str]
MAX_REPLICAS: Final = 64  # each is a thread while it is verified, and a TLS connection after it
# gRPC's own way to write it. Without it a name is one replica, whichever of its addresses answers.
_EVERY_ADDRESS: Final = "dns:///"


class Address(NamedTuple):
    """Where one replica listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return format_address(self.host, self.port)


def addresses(target: Target) -> tuple[Address, ...]:
    """Each replica once, in the order given.

    target: `HOST[:PORT]`, several with commas between them or as a sequence. `dns:///NAME[:PORT]`
    is looked up now, and each address of that name is a replica. Raises ConfigError for what is
    none, UnavailableError for a name that has no address.
    """
    texts = target.split(",") if isinstance(target, str) else list(target)
    found = tuple(dict.fromkeys(one for text in texts for one in _replicas(text)))
    if not 0 < len(found) <= MAX_REPLICAS:
        raise ConfigError(
            f"{len(found)} replicas; 1 to {MAX_REPLICAS} are accepted",
            hint="HOST[:PORT] of each, with commas between them",
        )
    return found


def _replicas(text: str) -> Iterator[Address]:
    name = text.strip()
    if name.startswith(_EVERY_ADDRESS):
        yield from _looked_up(name.removeprefix(_EVERY_ADDRESS))
    else:
        yield Address(*parse_address(name, default_port=names.DEFAULT_PORT))


def _looked_up(name: str) -> Iterator[Address]:
    host, port = parse_address(name, default_port=names.DEFAULT_PORT)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnavailableError(f"{host} has no address: {error.strerror}") from error
    for *_, address in found:
        yield Address(str(address[0]), int(address[1]))
