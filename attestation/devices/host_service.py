"""THIM on an Azure host: certificates of this chip from the metadata service, by plain HTTP.

The address is of the link, so nobody beyond this host answers; what it says is verified anyway.
"""

from __future__ import annotations

from typing import Final

from sealserve.attestation.exchange import BrokenOffError, Exchange, TooLongError, words
from sealserve.attestation.thim import MAX_THIM_BYTES, HostCertificate
from sealserve.native.errors import EvidenceError, UnavailableError

URL: Final = "http://169.254.169.254"
PATH: Final = "/metadata/THIM/amd/certification"
SECONDS: Final = 2.0  # a host answers in milliseconds; elsewhere nobody does
_OK: Final = 200


class HostService:
    """The metadata service at one URL; asked once, as it is either there or not."""

    def __init__(self, url: str = URL, *, seconds: float = SECONDS) -> None:
        self.url = url.rstrip("/")
        self._seconds = seconds

    def certificate(self) -> HostCertificate:
        """What the host says of its chip. UnavailableError if nobody says anything readable."""
        exchange = Exchange()
        try:
            answer = exchange.ask(
                "GET",
                self.url + PATH,
                limit=MAX_THIM_BYTES,
                seconds=self._seconds,
                headers={"Metadata": "true"},
            )
        except BrokenOffError as error:
            why = "nothing came in time" if error.late else words(error)
            raise self._unavailable(f"does not answer: {why}") from error
        except TooLongError as error:
            raise self._unavailable(f"answered with {error}") from error
        finally:
            exchange.close()
        if answer.status != _OK:
            raise self._unavailable(f"answered HTTP {answer.status}")
        try:
            return HostCertificate.parse(answer.body)
        except EvidenceError as error:
            raise self._unavailable(f"answered unreadably: {error.message}") from error

    def _unavailable(self, why: str) -> UnavailableError:
        return UnavailableError(f"the host's certificate service {self.url} {why}")
