"""Why no exchange with a peer came about, in our words: libraries wrap the reason in their own."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from sealserve.native.errors import ReleaseError, UnavailableError

# X509_V_ERR_… of openssl/x509_vfy.h: no issuer found, a signature of another key, self-signed,
# incomplete, and an issuer that is not the one named.
_OTHER_AUTHORITY = frozenset({2, 7, 18, 19, 20, 21, 30})


@dataclass(frozen=True, slots=True)
class Peer:
    """name: as messages call it. ours: a trust service, whose one authority was handed over."""

    name: str
    ours: bool = False

    @classmethod
    def vault(cls, host: str, *, ours: bool) -> Peer:
        """A vault by its host."""
        return cls(f"the vault {'trustd:' if ours else ''}{host}", ours)

    def failure(self, error: BaseException) -> UnavailableError | ReleaseError:
        """Our error for a connection that failed with this one.

        A certificate we refuse is a ReleaseError: asking again would not help.
        """
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self._refused(cause)
        return self.silent(_words(causes))

    def silent(self, why: str) -> UnavailableError:
        """The error for a peer from which no answer came."""
        hint = "is `sealserve trustd run` running there?" if self.ours else ""
        return UnavailableError(f"{self.name} does not answer: {why}", hint=hint)

    def _refused(self, error: ssl.SSLCertVerificationError) -> ReleaseError:
        if error.verify_code not in _OTHER_AUTHORITY:
            return ReleaseError(
                f"{self.name} answered with a certificate we refuse: {error.verify_message}",
                hint="is this its name and address, and are both clocks right?",
            )
        if self.ours:
            return ReleaseError(
                f"{self.name} answered with a certificate of another authority than"
                " connection.toml or --vault-ca-sha256 names",
                hint="is it the right service? one made anew by `sealserve trustd init` has a new"
                " connection.toml and a new digest",
            )
        return ReleaseError(
            f"{self.name} answered with a certificate of no public authority",
            hint="does something on the way open TLS? no credential was sent",
        )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on; innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(causes: list[BaseException]) -> str:
    for cause in reversed(causes):
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, ssl.SSLError):
            why = (cause.reason or "UNKNOWN").replace("_", " ").lower()
            return f"no TLS there ({why})"
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno).lower()
        if isinstance(cause, TimeoutError):
            return "nothing came in time"
    return f"the exchange broke off ({type(causes[-1]).__name__})"
