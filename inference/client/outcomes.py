"""Several replicas that are verified at the same time: how long to wait, and what came of it."""

from __future__ import annotations

from typing import Generic, TypeVar

from sealserve.inference.client.clock import Deadline
from sealserve.native.errors import ConfigError, EvidenceError, PolicyViolation, SealserveError

_Key = TypeVar("_Key")


class Outcomes(Generic[_Key]):
    """later_seconds: for the others, once one replica is verified; None is until the deadline."""

    def __init__(self, expected: int, deadline: Deadline, later_seconds: float | None) -> None:
        self._expected = expected
        self._deadline = deadline
        self._later_seconds = later_seconds
        self._until = deadline
        self._joined = 0
        self._reasons: dict[_Key, SealserveError] = {}

    @property
    def waits(self) -> bool:
        """Whether somebody is still to be heard, and there is time."""
        heard = self._joined + len(self._reasons)
        return heard < self._expected and self._until.allows(0.0)

    def left(self) -> float:
        """Seconds to wait for the next one."""
        return max(self._until.remaining, 0.0)

    def add(self, key: _Key, error: Exception | None) -> None:
        """One replica is verified, or was not. Raises what is nobody's answer, but a bug."""
        if error is None:
            self._joined += 1
            if self._joined == 1 and self._later_seconds is not None:
                self._until = self._deadline.sooner(self._later_seconds)
        elif isinstance(error, SealserveError):
            self._reasons[key] = error
        else:
            raise error

    def failed(self) -> tuple[_Key, ...]:
        """Those that could not be verified. Raises the worst reason if nobody could be."""
        if self._joined:
            return tuple(self._reasons)
        reasons = list(self._reasons.values())
        if not reasons:
            raise self._deadline.passed()
        raise _most_serious(reasons) from ExceptionGroup("no replica could be verified", reasons)


def _most_serious(reasons: list[SealserveError]) -> SealserveError:
    """What no patience mends comes first."""
    for kind in (EvidenceError, PolicyViolation, ConfigError):
        for reason in reasons:
            if isinstance(reason, kind):
                return reason
    return reasons[0]
