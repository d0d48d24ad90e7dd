"""What the sidecar answers, whoever carries it: REST and the key provider ask here.

Everything here raises Refused: 400 for what is not understood, 403 for what is not allowed and,
as in Microsoft's sidecar, for whatever the machine, the service or the vault did not give.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation.evidence import Evidence, EvidenceSource
from sealserve.attestation.report import Report
from sealserve.keys.answer import KINDS, RSA_KINDS, WRAP_HASHES, ReleasedKey
from sealserve.keys.attest import AttestationService, chain_pem, root_to_show
from sealserve.keys.body import Body
from sealserve.keys.keyid import KeyId
from sealserve.keys.place import Place
from sealserve.keys.presenter import Presenter
from sealserve.keys.refused import Refused, bad_parameter
from sealserve.keys.session import KeyRelease
from sealserve.keys.sidecar import runtime_data
from sealserve.keys.sidecar.allowed import Allowed
from sealserve.keys.sidecar.environment import USER_AGENT
from sealserve.keys.sidecar.events import Event, Log
from sealserve.keys.sidecar.jwk import private_jwk
from sealserve.native.errors import SealserveError
from sealserve.native.secret import SecretBuffer

NOT_GIVEN = "NotGiven"  # the code of a Refused that is not this sidecar's own decision
# RFC 6750 section 2.1 (b64token); Entra ID's have two or three thousand characters.
_ACCESS_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{0,16384}={0,2}")
_LINE_ENDS = str.maketrans("", "", "\r\n")  # theirs reads base64 past them


@dataclass(frozen=True, slots=True)
class Wanted:
    """One key of one vault, on the word of one attestation service. access_token: or ""."""

    place: Place
    service: str
    key_id: KeyId
    access_token: str


class Sidecar:
    """Usable from several threads."""

    def __init__(
        self,
        source: EvidenceSource,
        allowed: Allowed,
        log: Log,
        *,
        user_agent: str = USER_AGENT,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """user_agent: towards attestation services."""
        self.allowed = allowed
        self.log = log
        self._source = source
        self._clock = clock
        self._services = {
            host: where.service(user_agent)
            if isinstance(where, Place)
            else AttestationService(where, user_agent=user_agent)
            for host, where in allowed.services.items()
        }
        self._presenters = {
            (vault, service): Presenter(place.config.issuer, self._services[service], source, clock)
            for (vault, service), place in allowed.places.items()
        }
        self._ready = True

    def close(self) -> None:
        """Close the connections to all services."""
        for service in self._services.values():
            service.close()

    def probe(self) -> None:
        """Ask for a first report. Raises UnavailableError, EvidenceError."""
        root_to_show(self._source.evidence(b""))

    def status(self) -> Mapping[str, str]:
        """Whether the last report that was asked for was had."""
        return {"message": "Status OK" if self._ready else "Status NOT OK"}

    def raw(self, body: Body) -> Mapping[str, str]:
        """A report over the caller's runtime data, in hex."""
        evidence = self.evidence(runtime_data_of(body))
        self.log(Event.ATTESTED, what="raw")
        return {"report": evidence.report.hex()}

    def combined(self, body: Body) -> Mapping[str, str]:
        """The same with everything that is needed to verify it."""
        attested = self.attested(runtime_data_of(body))
        self.log(Event.ATTESTED, what="combined")
        return attested.json()

    def maa(self, body: Body) -> Mapping[str, str]:
        """A token about the caller's runtime data, from an attestation service it names."""
        service = self.allowed.service(body.text("maa_endpoint"))
        data = runtime_data_of(body)
        evidence = self.evidence(data)
        with _told():
            token = self._services[service].attest(evidence, ark=root_to_show(evidence))
        self.log(Event.ATTESTED, what="maa")
        return {"token": token}

    def release(self, body: Body) -> Mapping[str, str]:
        """The JSON Web Key of a vault key, private part and all: a text of JSON in JSON."""
        wanted = self.wanted(
            vault=body.text("akv_endpoint"),
            service=body.text("maa_endpoint"),
            kid=body.text("kid"),
            access_token=body.text("access_token") if body.has("access_token") else "",
        )
        released, secret = self.released(wanted)
        with secret, _told():
            return {"key": json.dumps(private_jwk(released, secret), separators=(",", ":"))}

    def wanted(self, *, vault: str, service: str, kid: str, access_token: str = "") -> Wanted:
        """What a request names, if the command line allows it."""
        place = self.allowed.place(vault, service)
        if not _ACCESS_TOKEN.fullmatch(access_token):
            raise bad_parameter("access_token is not a bearer token of at most 16 KiB")
        host = place.config.vault
        return Wanted(
            place, self.allowed.service(service), self.allowed.key_id(host, kid), access_token
        )

    def released(self, wanted: Wanted) -> tuple[ReleasedKey, SecretBuffer]:
        """The key, released to this machine and compared with what was wanted."""
        config, key_id = wanted.place.config, wanted.key_id
        session = KeyRelease(key_id, config, encs=tuple(WRAP_HASHES), kinds=KINDS)
        presenter = self._presenters[config.vault, wanted.service]
        vault = wanted.place.vault(wanted.access_token)
        with _told(), closing(vault):
            answer = presenter.answer(session, vault)
            released, secret = session.accept_answer(answer, now=self._clock())
        version = released.kid.rpartition("/")[2]
        self.log(Event.RELEASED, key=key_id.name, version=version, vault=config.vault)
        return released, secret

    def released_rsa(self, wanted: Wanted) -> rsa.RSAPrivateKey:
        """A released key that has to be RSA."""
        released, secret = self.released(wanted)
        with secret, _told():
            if released.kty not in RSA_KINDS:
                raise Refused(
                    403, NOT_GIVEN, f"the key {wanted.key_id} is of type {released.kty}, not RSA"
                )
            return released.rsa_key(secret)

    def evidence(self, data: bytes) -> Evidence:
        """Evidence over runtime data of a caller's, which is checked first."""
        runtime_data.check(data)
        try:
            with _told():
                evidence = self._source.evidence(data)
        except Refused:
            self._ready = False
            raise
        self._ready = True
        return evidence

    def attested(self, data: bytes) -> Attested:
        """Evidence in the form of Microsoft's /attest/combined."""
        evidence = self.evidence(data)
        with _told():
            tcb = Report.parse(evidence.report).reported_tcb
            chain = chain_pem(evidence, root_to_show(evidence))
        return Attested(
            endorsed_tcb=f"{int.from_bytes(tcb, 'little'):016X}",
            endorsements=_b64(chain),
            evidence=_b64(evidence.report),
            uvm_endorsements=_b64(evidence.uvm_endorsement or b""),
        )


@dataclass(frozen=True, slots=True)
class Attested:
    """endorsed_tcb: of the firmware the leaf was made for, a number in hex as hosts write it.

    The others in base64: PEM with leaf, intermediate and root; the report; COSE_Sign1 or nothing.
    """

    endorsed_tcb: str
    endorsements: str
    evidence: str
    uvm_endorsements: str

    def json(self) -> Mapping[str, str]:
        """Under the names of the REST answer."""
        return {
            "endorsed_tcb": self.endorsed_tcb,
            "endorsements": self.endorsements,
            "evidence": self.evidence,
            "uvm_endorsements": self.uvm_endorsements,
        }


def runtime_data_of(body: Body) -> bytes:
    """The bytes of `runtime_data`, which must be there. Raises Refused."""
    data = standard_base64("runtime_data", body.text("runtime_data"))
    if not data:
        raise bad_parameter("runtime_data is empty")
    return data


def standard_base64(name: str, text: str) -> bytes:
    """With padding, as Go's StdEncoding. Raises Refused."""
    try:
        return base64.b64decode(text.translate(_LINE_ENDS), validate=True)
    except (ValueError, binascii.Error):
        raise bad_parameter(f"{name} is not standard base64") from None


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the outside world become 403 in their own words."""
    try:
        yield
    except SealserveError as error:
        raise Refused(403, NOT_GIVEN, str(error)) from error


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
