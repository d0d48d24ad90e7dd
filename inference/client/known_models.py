"""Which root a caller means by a model's name: one the trust file accepts and the server serves."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sealserve.inference.client.verification import Verified, listed
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


def serving(trust: Trust, model: str) -> Callable[[Verified], bool]:
    """Whether a server has this model under an accepted root."""
    accepted = frozenset(trust.models.get(model, ()))
    return lambda verified: not accepted.isdisjoint(verified.roots)


def anybody(_verified: Verified) -> bool:
    """For calls that are about no model: every attested server will do."""
    return True


def accepted(trust: Trust, servers: Iterable[Verified]) -> dict[str, tuple[str, ...]]:
    """The models that the trust file accepts and one of these serves: roots (hex) by name."""
    roots = frozenset(root for verified in servers for root in verified.roots)
    served = {
        name: tuple(root.hex() for root in wanted if root in roots)
        for name, wanted in trust.models.items()
    }
    return {name: found for name, found in served.items() if found}
