"""The client of an attestation service: evidence in, token out (Microsoft Azure Attestation REST).

It only moves bytes; `ReleaseSession` decides what to believe. Environment variables (proxies, CA
bundles) have no say: the command line that chose the service is measured, they are not.
"""

from __future__ import annotations

import base64
import json
import random
import ssl
import time
from collections.abc import Callable

from sealserve.attestation.certs import Certificate
from sealserve.attestation.evidence import Evidence
from sealserve.attestation.exchange import RETRIED, Answer, BrokenOffError, Exchange, TooLongError
from sealserve.attestation.roots import Roots
from sealserve.attestation.token import MAX_JWKS_BYTES, MAX_TOKEN_BYTES, TokenKeys
from sealserve.keys.unreachable import Peer
from sealserve.native.errors import ReleaseError, UnavailableError, printable

API_VERSION = "2022-08-01"  # first version with SevSnpVm in the published API specification
DEADLINE_SECONDS = 60.0  # for one call with all its retries
ATTEMPT_SECONDS = 20.0  # the service answers in about a second; a first call may warm it up
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
USER_AGENT = "sealserve"
_OK = 200
_MAX_ERROR_BYTES = 16 * 1024
_MAX_TOLD_CHARACTERS = 2000


def request_body(evidence: Evidence, *, ark: bytes | None = None, with_crl: bool = False) -> bytes:
    """The JSON that `POST /attest/SevSnpVm` takes.

    ark: the root of the chain, DER, where the evidence does not carry its own. with_crl: send the
    stapled revocation list too, for which Azure's format has no place. The service wants
    base64url with padding and the members spelled exactly so.
    """
    endorsements = {"Uvm": [_b64(evidence.uvm_endorsement)]} if evidence.uvm_endorsement else {}
    if with_crl and evidence.crl:
        endorsements["Crl"] = [_b64(evidence.crl)]
    report = {
        "SnpReport": _b64(evidence.report),
        "VcekCertChain": _b64(chain_pem(evidence, ark)),
        "Endorsements": _b64(_json(endorsements)),
    }
    claims = {"data": _b64(evidence.claims), "dataType": "JSON"}
    return _json({"report": _b64(_json(report)), "runtimeData": claims})


def chain_pem(evidence: Evidence, ark: bytes | None) -> bytes:
    """The certificates of the evidence, leaf first, with `ark` (DER) behind if it has no root."""
    chain = (evidence.leaf, evidence.intermediate, evidence.root or ark)
    return b"".join(_pem(der) for der in chain if der is not None)


def root_to_show(evidence: Evidence) -> bytes | None:
    """AMD's root of this chain: Azure's format wants all three, our evidence never has this one.

    None for evidence that brings a simulated root. EvidenceError for an unknown chain.
    """
    if evidence.root is not None:
        return None
    issuer = Certificate.parse(evidence.intermediate).issuer
    return Roots.amd().anchor(issuer, None).der


class AttestationService:
    """One service at one URL. Every call ends before its deadline."""

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        takes_crl: bool = False,
        user_agent: str = USER_AGENT,
        deadline_seconds: float = DEADLINE_SECONDS,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """tls: None is the public web's authorities, as certifi lists them.

        takes_crl: a trust service of ours, which looks nothing up by itself.
        """
        self.url = url.rstrip("/")
        self._takes_crl = takes_crl
        self._peer = Peer(f"the attestation service {self.url}", ours=tls is not None)
        self._deadline_seconds = deadline_seconds
        self._pause = pause
        self._exchange = Exchange(tls)
        self._headers = {"User-Agent": user_agent}

    def close(self) -> None:
        """Close the connections."""
        self._exchange.close()

    def attest(self, evidence: Evidence, *, ark: bytes | None = None) -> str:
        """A token about this evidence, not verified yet.

        Raises ReleaseError if the service refuses, UnavailableError if it does not answer in time.
        """
        url = f"{self.url}/attest/SevSnpVm?api-version={API_VERSION}"
        body = request_body(evidence, ark=ark, with_crl=self._takes_crl)
        # JSON around the token adds {"token":""}
        answer = self._call("POST", url, body, limit=MAX_TOKEN_BYTES + 64)
        try:
            token = json.loads(answer)["token"]
        except (ValueError, RecursionError, KeyError, TypeError):
            token = None
        if not isinstance(token, str):
            raise ReleaseError(f"{self.url} answered without a token")
        return token

    def keys(self, issuer: str) -> TokenKeys:
        """The issuer's signing keys, from the place its URL implies.

        Raises EvidenceError for keys we cannot use, else as `attest`.
        """
        return TokenKeys.parse(self._call("GET", f"{issuer}/certs", None, limit=MAX_JWKS_BYTES))

    def _call(self, method: str, url: str, body: bytes | None, *, limit: int) -> bytes:
        ends = time.monotonic() + self._deadline_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return self._attempt(method, url, body, limit, ends)
            except UnavailableError as error:
                wait = max(pause * random.uniform(0.5, 1.5), error.retry_after_seconds)  # noqa: S311
                if time.monotonic() + wait >= ends:
                    raise
            self._pause(wait)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _attempt(self, method: str, url: str, body: bytes | None, limit: int, ends: float) -> bytes:
        timeout = max(0.1, min(ATTEMPT_SECONDS, ends - time.monotonic()))
        content = {"Content-Type": "application/json"} if body is not None else {}
        try:
            answer = self._exchange.ask(
                method,
                url,
                limit=limit,
                seconds=timeout,
                body=body,
                headers={**self._headers, **content},
            )
        except BrokenOffError as error:
            if error.late:
                raise self._peer.silent("it did not finish its answer in time") from error
            raise self._peer.failure(error) from error
        except TooLongError as error:
            raise ReleaseError(f"{self.url} answered with {error}") from error
        if answer.status == _OK:
            return answer.body
        raise self._refusal(answer)

    def _refusal(self, answer: Answer) -> ReleaseError | UnavailableError:
        status, told = answer.status, told_by(answer.body[:_MAX_ERROR_BYTES])
        if status in RETRIED:
            return UnavailableError(
                f"{self.url} answered HTTP {status}: {told}",
                retry_after_seconds=answer.retry_after_seconds,
            )
        return ReleaseError(
            f"{self.url} refused to attest (HTTP {status}): {told}", denied=f"{self.url}: {told}"
        )


def told_by(body: bytes) -> str:
    """The `error.message` of a service's answer, shortened and printable; or "no reason given"."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return "no reason given"
    return quoted(str(message))


def quoted(text: str) -> str:
    """A stranger's words, not all of many."""
    return printable(text[:_MAX_TOLD_CHARACTERS], lines=True)


def _pem(der: bytes) -> bytes:
    # not parsed: AMD's leaves have the serial 0, which X.509 libraries begin to refuse
    return ssl.DER_cert_to_PEM_cert(der).encode()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
