"""Which root a caller means by a model's name: one the trust file accepts and the server serves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import grpc

from sealserve.inference.client.status import another_root
from sealserve.inference.client.verification import Verified, listed
from sealserve.inference.wire.names import MODEL_ROOT_KEY
from sealserve.native.errors import Finding, PolicyViolation
from sealserve.policy import Trust


def roots_for(trust: Trust, verified: Verified, model: str) -> tuple[bytes, ...]:
    """Roots of this model that are accepted and served, at least one, in the file's order.

    Raises PolicyViolation for a model the trust file does not name, or none of whose roots is
    served.
    """
    accepted = trust.model_roots(model)
    served = tuple(root for root in accepted if root in verified.roots)
    if served:
        return served
    wanted = " or ".join(root.hex() for root in accepted)
    raise PolicyViolation(
        f'the server does not serve the {model} that "{trust.name}" accepts',
        findings=[Finding("model_roots", listed(verified.roots), wanted)],
        hint="another version of the model? compare the roots with what its owner published",
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which servers a question is for: those with one of these roots. None: every one."""

    roots: frozenset[bytes] | None = None

    def served_by(self, verified: Verified) -> bool:
        """Whether a server will do."""
        return self.roots is None or not self.roots.isdisjoint(verified.roots)

    def moved(self, error: grpc.RpcError, verified: Verified) -> bool:
        """Whether a server refused because it has another of these roots now than it proved.

        It loaded another version that is accepted too, and has to prove that before it is asked.
        """
        if self.roots is None or not another_root(error):
            return False
        named = [str(v) for k, v in error.trailing_metadata() or () if k == MODEL_ROOT_KEY]
        return any(named == [root.hex()] for root in self.roots - verified.roots)


ANYBODY = Wanted()  # for calls that are about no model


def having(trust: Trust, model: str) -> Wanted:
    """Those that have this model under an accepted root."""
    return Wanted(frozenset(trust.models.get(model, ())))


def accepted(trust: Trust, servers: Iterable[Verified]) -> dict[str, tuple[str, ...]]:
    """The models that the trust file accepts and one of these serves: roots (hex) by name."""
    roots = frozenset(root for verified in servers for root in verified.roots)
    served = {
        name: tuple(root.hex() for root in wanted if root in roots)
        for name, wanted in trust.models.items()
    }
    return {name: found for name, found in served.items() if found}
