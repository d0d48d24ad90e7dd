"""Why no exchange with a peer came about, in our words: libraries wrap the reason in their own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from sealserve.attestation.exchange import causes_of, words
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
        for cause in causes_of(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self._refused(cause)
        return self.silent(words(error))

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
