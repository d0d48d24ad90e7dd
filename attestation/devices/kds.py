"""AMD's key distribution service: the VCEK of a chip at a TCB, and revocation lists.

The service answers 429 when asked more often than about once in ten seconds, and has been away for
hours: nothing that somebody waits for may depend on it. What it sends is believed only as far as
AMD's signature goes, which `verify` looks at.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable
from typing import Final

from sealserve.attestation import pem, tcb
from sealserve.attestation.certs import MAX_CERTIFICATE_BYTES
from sealserve.attestation.crl import MAX_CRL_BYTES
from sealserve.attestation.exchange import (
    RETRIED,
    Answer,
    BrokenOffError,
    Exchange,
    TooLongError,
    words,
)
from sealserve.attestation.report import Report, SigningKey
from sealserve.attestation.tcb import Line
from sealserve.native.errors import EvidenceError, UnavailableError

URL: Final = "https://kdsintf.amd.com"
ATTEMPT_SECONDS: Final = 10.0
FIRST_PAUSE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 60.0
_OK: Final = 200
_TOO_MANY: Final = 429

# AMD 57230 (VCEK specification), section 4: names of the components in a request, in its order.
_SPL: Final = {
    "fmc": "fmcSPL",
    "bootloader": "blSPL",
    "tee": "teeSPL",
    "snp": "snpSPL",
    "microcode": "ucodeSPL",
}


def vcek_path(report: Report, line: Line) -> str:
    """Path and query of the VCEK that signed this report: its chip at its REPORTED_TCB.

    UnavailableError where the service cannot have it: a VLEK, or a masked chip.
    """
    if report.signing_key != "vcek":
        raise UnavailableError(
            "this machine signs with a VLEK, which only its host has",
            hint="the host has to put it into the certificate table",
        )
    chip = report.chip_id[: tcb.CHIP_ID_BYTES[line]]
    if not any(chip):
        raise UnavailableError(
            "the host masks the chip's id, so AMD's service cannot be asked for its certificate",
            hint="the host has to hand over the certificate itself, or to unmask the id",
        )
    components = tcb.decode(report.reported_tcb, line).components()
    query = "&".join(f"{_SPL[name]}={level}" for name, level in components.items())
    return f"/vcek/v1/{line.capitalize()}/{chip.hex()}?{query}"


def list_path(line: Line, kind: SigningKey) -> str:
    """Path of the list that names revoked ASKs (or ASVKs) of this line."""
    return f"/{kind}/v1/{line.capitalize()}/crl"


def chain_path(line: Line, kind: SigningKey) -> str:
    """Path of the intermediate and the root above leaves of this kind and line."""
    return f"/{kind}/v1/{line.capitalize()}/cert_chain"


class Kds:
    """The service at one URL. Every call ends before its deadline.

    Patience it asked for holds for later calls too, whatever they are about.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        tls: ssl.SSLContext | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self._tls = tls
        self._pause = pause
        self._not_before = 0.0  # by time.monotonic

    def vcek(self, report: Report, line: Line, *, seconds: float) -> bytes:
        """The VCEK for this report, DER, not verified yet. UnavailableError if none came."""
        return self._get(vcek_path(report, line), MAX_CERTIFICATE_BYTES, seconds)

    def intermediate(self, line: Line, kind: SigningKey, *, seconds: float) -> bytes:
        """AMD's present ASK or ASVK, DER, not verified yet. UnavailableError if none came."""
        text = self._get(chain_path(line, kind), pem.MAX_PEM_BYTES, seconds)
        try:
            return pem.read(text, "CERTIFICATE", at_most=2)[0]
        except EvidenceError as error:
            raise UnavailableError(
                f"AMD's service {self.url} answered with a chain that cannot be read"
            ) from error

    def revocation_list(self, line: Line, kind: SigningKey, *, seconds: float) -> bytes:
        """The current list, DER, not verified yet. UnavailableError if none came."""
        return self._get(list_path(line, kind), MAX_CRL_BYTES, seconds)

    def _get(self, path: str, limit: int, seconds: float) -> bytes:
        """Ask until an answer comes, the service refuses, or the next pause would be too long."""
        ends = time.monotonic() + seconds
        self._keep_promise(ends)
        pause = FIRST_PAUSE_SECONDS
        exchange = Exchange(self._tls)
        try:
            while True:
                try:
                    return self._attempt(exchange, path, limit, ends)
                except _LaterError as error:
                    wait = max(pause * random.uniform(0.5, 1.5), error.seconds)  # noqa: S311
                    if time.monotonic() + wait >= ends:
                        self._not_before = time.monotonic() + error.seconds
                        raise UnavailableError(
                            f"AMD's service {self.url} {error}", retry_after_seconds=wait
                        ) from error
                self._pause(wait)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        finally:
            exchange.close()

    def _keep_promise(self, ends: float) -> None:
        """Wait as long as we were told to, if that ends in time."""
        now = time.monotonic()
        left = self._not_before - now
        if now + left >= ends:
            raise UnavailableError(
                f"AMD's service {self.url} asked for patience", retry_after_seconds=left
            )
        if left > 0:
            self._pause(left)

    def _attempt(self, exchange: Exchange, path: str, limit: int, ends: float) -> bytes:
        seconds = max(0.1, min(ATTEMPT_SECONDS, ends - time.monotonic()))
        try:
            answer = exchange.ask("GET", self.url + path, limit=limit, seconds=seconds)
        except BrokenOffError as error:
            why = "it did not finish its answer in time" if error.late else words(error)
            raise _LaterError(f"does not answer: {why}") from error
        except TooLongError as error:
            raise UnavailableError(f"AMD's service {self.url} answered with {error}") from error
        if answer.status != _OK:
            raise self._refusal(answer, path)
        return answer.body

    def _refusal(self, answer: Answer, path: str) -> Exception:
        if answer.status in RETRIED:
            why = "asks for patience" if answer.status == _TOO_MANY else "is not well"
            return _LaterError(f"{why} (HTTP {answer.status})", answer.retry_after_seconds)
        return UnavailableError(
            f"AMD's service {self.url} has nothing at {path} (HTTP {answer.status})",
            hint="redirects are not followed; a chip or TCB AMD does not know is no genuine one",
        )


class _LaterError(Exception):
    """The same question may be answered another time. seconds: when, 0 if nobody said."""

    def __init__(self, why: str, seconds: float = 0.0) -> None:
        super().__init__(why)
        self.seconds = seconds
