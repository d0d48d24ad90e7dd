"""One key release, as a sequence without I/O: what is sent, what is believed, in which order.

    session = ReleaseSession(slot, config)
    claims  = session.claims()                              # a fresh RSA key
    request = session.accept_token(token, keys, now=now)    # EvidenceError | ReleaseError
    key     = session.accept_release(answer, now=now)       # ReleaseError | IntegrityError

Steps out of order raise RuntimeError; a failed or finished session drops its private key.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation.binding import ReleaseClaims, report_data
from sealserve.attestation.token import TokenKeys, verify_token
from sealserve.keys import jws, wrap
from sealserve.keys.answer import ENC, RSA_KINDS, ReleasedKey
from sealserve.keys.keyid import KeyId
from sealserve.models.slots import Slot
from sealserve.native.errors import EvidenceError, IntegrityError, ReleaseError
from sealserve.native.secret import SecretBuffer

EPHEMERAL_BITS = 3072  # the one size the release claims admit: 128-bit strength (NIST SP 800-57)
ATTESTATION_TYPE = "sevsnpvm"


@dataclass(frozen=True, slots=True)
class ReleaseConfig:
    """What the measured command line says; nothing here may come from a slot or the network.

    vault: host as `keyid.vault_host` spells it. issuer: of tokens, exactly.
    signer_roots: under which the vault's answers are signed.
    """

    vault: str
    issuer: str
    signer_roots: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """What to ask the vault for: the key's name and version, our token, and how to wrap."""

    name: str
    version: str
    target: str
    enc: str = ENC


class _Step(Enum):
    NEW = auto()
    ATTESTING = auto()
    RELEASING = auto()
    OVER = auto()


class KeyRelease:
    """Gets one vault key. Not thread-safe; good for one release."""

    def __init__(
        self,
        key_id: KeyId,
        config: ReleaseConfig,
        *,
        encs: Collection[str] = (ENC,),
        kinds: Collection[str] = RSA_KINDS,
    ) -> None:
        """key_id: without a version, the newest. encs, kinds: as `ReleasedKey.check` takes them.

        Raises ReleaseError for a key of another vault.
        """
        if key_id.host != config.vault:
            raise ReleaseError(
                f"{key_id} is a key of the vault {key_id.host}; only {config.vault} is asked",
                hint="nothing was sent there; the vault is part of the measured command line",
            )
        self._key_id = key_id
        self._config = config
        self._encs = encs
        self._kinds = kinds
        self._ephemeral: rsa.RSAPrivateKey | None = None
        self._claims = b""
        self._step = _Step.NEW

    def claims(self) -> bytes:
        """Make the ephemeral key; the bytes whose hash must stand in REPORT_DATA."""
        self._expect(_Step.NEW)
        self._ephemeral = rsa.generate_private_key(65537, EPHEMERAL_BITS)
        self._claims = ReleaseClaims.of(self._ephemeral.public_key()).encode()
        self._step = _Step.ATTESTING
        return self._claims

    def accept_token(self, token: str, keys: TokenKeys, *, now: datetime) -> ReleaseRequest:
        """Check that the pinned issuer attested these claims of ours; the request to send.

        Raises EvidenceError for a token that is not the issuer's or not valid now,
        ReleaseError for a genuine token about something else.
        """
        self._expect(_Step.ATTESTING)
        ephemeral, self._ephemeral = self._ephemeral, None
        self._step = _Step.OVER
        told = verify_token(token, keys, issuer=self._config.issuer, now=now)
        self._check_about_us(told)
        self._ephemeral = ephemeral
        self._step = _Step.RELEASING
        return ReleaseRequest(self._key_id.name, self._key_id.version, token)

    def accept_answer(self, answer: str, *, now: datetime) -> tuple[ReleasedKey, SecretBuffer]:
        """What the vault's signed answer says of the key, and the unwrapped key itself.

        Raises ReleaseError for an answer we do not believe or that is not for our request.
        """
        self._expect(_Step.RELEASING)
        ephemeral, self._ephemeral = self._ephemeral, None
        self._step = _Step.OVER
        assert ephemeral is not None
        config = self._config
        payload = jws.open_jws(answer, roots=config.signer_roots, host=config.vault, now=now)
        released = ReleasedKey.read(payload)
        released.check(self._key_id, self._encs, self._kinds)
        return released, released.unwrap(ephemeral)

    def _expect(self, step: _Step) -> None:
        if self._step is not step:
            raise RuntimeError(f"release session is at {self._step.name}, not {step.name}")

    def _check_about_us(self, told: Mapping[str, object]) -> None:
        for name, wanted in (
            ("x-ms-attestation-type", ATTESTATION_TYPE),
            ("x-ms-sevsnpvm-reportdata", report_data(self._claims).hex()),
        ):
            if told.get(name) != wanted:
                raise EvidenceError(
                    "token_subject",
                    f"the token is not about our report ({name})",
                    seen=str(told.get(name))[:160],
                    wanted=wanted,
                )
        if told.get("x-ms-runtime") != json.loads(self._claims):
            raise EvidenceError(
                "token_subject", "the token holds other runtime claims than we sent"
            )


class ReleaseSession(KeyRelease):
    """Gets the input key of one `azure` slot."""

    def __init__(self, slot: Slot, config: ReleaseConfig) -> None:
        """Raises ReleaseError for a slot of another vault, ConfigError for an unreadable one."""
        if slot.kind != "azure" or slot.algorithm != wrap.RSA_OAEP_256:
            raise ReleaseError(
                f"a slot of kind {slot.kind} with {slot.algorithm} is not a vault's; "
                f"wanted azure with {wrap.RSA_OAEP_256}"
            )
        key_id = KeyId.parse(slot.recipient)
        if not key_id.version:
            raise ReleaseError(f"the slot names {key_id} without a version")
        super().__init__(key_id, config)
        self._slot = slot

    def accept_release(self, answer: str, *, now: datetime) -> SecretBuffer:
        """The model's input key from the vault's signed answer.

        Raises ReleaseError as `accept_answer`, IntegrityError if the released key does not open
        the slot.
        """
        released, secret = self.accept_answer(answer, now=now)
        with secret:
            return open_slot(self._slot, released.rsa_key(secret))


def open_slot(slot: Slot, vault_key: rsa.RSAPrivateKey) -> SecretBuffer:
    """The input key inside an `azure` slot. Raises IntegrityError."""
    try:
        plain = vault_key.decrypt(slot.wrapped, wrap.oaep_256())
    except ValueError:
        plain = b""
    if len(plain) != wrap.KEY_BYTES:
        raise IntegrityError(
            f"the slot for {slot.recipient} does not open with that key",
            hint="the slot was altered; `sealserve rewrap` writes it anew",
        )
    return SecretBuffer.from_bytes(plain)
