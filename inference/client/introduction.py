"""Meets a server nobody has expectations of yet: genuine and fresh, and what it claims to be."""

from __future__ import annotations

import grpc

from sealserve.attestation import Roots
from sealserve.inference.client.certificate import Certificate
from sealserve.inference.client.clock import Deadline, now
from sealserve.inference.client.refused import no_evidence_from
from sealserve.inference.client.session import challenged
from sealserve.inference.client.targets import Address
from sealserve.inference.client.verification import Introduced, Introduction
from sealserve.inference.wire import names
from sealserve.inference.wire.address import parse_address


def introduce(
    target: str,
    roots: Roots,
    *,
    timeout_seconds: float = 10.0,
    certificate: Certificate | None = None,
) -> Introduced:
    """The claims of the server at `HOST` or `HOST:PORT`, with which nothing was compared.

    They are for a person to judge; no data can be sent with them. Raises EvidenceError (not
    genuine), UnavailableError, ConfigError (an address that is none, a server that wants a client's
    certificate and is given none).
    """
    address = Address(*parse_address(target, default_port=names.DEFAULT_PORT))
    deadline = Deadline(timeout_seconds)
    introduction = Introduction(roots)
    try:
        answer, _ = challenged(introduction, address, deadline, certificate)
    except grpc.RpcError as error:
        raise no_evidence_from(address, error, certificate, deadline) from error
    return introduction.accept(answer, now())
