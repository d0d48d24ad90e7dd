"""Why a challenge was not answered, where the server itself can say: it wants a certificate.

With TLS 1.3 a server looks at its client's certificate after the client is done with the handshake.
A refusal is then a connection that breaks, of which gRPC tells nothing more. So the server is asked
once again, without a certificate, and its alert is read: somebody's claim, as all is before a
verdict, so it chooses between words of ours and does nothing else.
"""

from __future__ import annotations

from typing import Final

import grpc

from sealserve.inference.client.certificate import Certificate
from sealserve.inference.client.clock import Deadline
from sealserve.inference.client.fetch import wants_certificate
from sealserve.inference.client.status import no_evidence, nobody_answered
from sealserve.inference.client.targets import Address
from sealserve.native.errors import ConfigError, SealserveError, UnavailableError

# For that one handshake, of a server that may say nothing at all.
_ASKING_SECONDS: Final = 2.0
_HINT: Final = "the server wants a client's certificate: --certificate and --key"


def no_evidence_from(
    address: Address, error: grpc.RpcError, own: Certificate | None, deadline: Deadline
) -> SealserveError:
    """The error that a challenge means which failed there. own: what we showed, if anything."""
    broken = nobody_answered(error)
    if not broken or not wants_certificate(*address, deadline.sooner(_ASKING_SECONDS)):
        return no_evidence(error)
    if own is None:
        return ConfigError(
            f"{address} takes no connection without a client's certificate",
            hint=f"{_HINT}; in Python certificate=",
        )
    return UnavailableError(
        f"{address} wants a client's certificate, and the connection with ours broke: "
        f"{own.file or 'it'} is valid from {own.since.isoformat()} to {own.until.isoformat()}",
        hint=f"{_HINT}, of an authority that it knows and valid by its clock",
    )
