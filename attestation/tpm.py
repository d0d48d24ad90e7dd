"""A quote of a TPM: its platform configuration registers and a nonce, signed by its own key.

TPM 2.0 Library, Part 2 (Structures), rev 1.59: TPMS_ATTEST (section 10.12.12) with magic (6.2),
type (6.9), TPMS_CLOCK_INFO (10.11.1), TPMS_QUOTE_INFO (10.12.4) and TPML_PCR_SELECTION (10.9.7);
TPMT_SIGNATURE (11.3.4). Big-endian. Only what Azure's vTPM makes is read: one bank of 24 registers
in SHA-256, and RSASSA-PKCS1-v1_5 with SHA-256 (TPM_ALG_RSASSA, TPM_ALG_SHA256, section 6.3).

On an Azure confidential VM the report may be old; what is fresh is the quote, whose `extraData` is
the nonce of whoever asked. Its key stands in the runtime data of the machine's report (`hcl`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sealserve.attestation import json_object
from sealserve.native.errors import EvidenceError

MAX_MESSAGE_BYTES: Final = 512  # with a name of 66 bytes and a nonce of 64 it has 240
MAX_DOCUMENT_BYTES: Final = 16 * 1024  # 24 registers in hexadecimal take 2 KiB
PCR_COUNT: Final = 24  # TCG PC Client Platform TPM Profile 1.05, section 4.6
PCR_BYTES: Final = 32

_GENERATED: Final = 0xFF544347  # TPM_GENERATED_VALUE
_QUOTE: Final = 0x8018  # TPM_ST_ATTEST_QUOTE
_SHA256: Final = 0x000B
_RSASSA: Final = 0x0014
_MAX_NAME: Final = 66  # TPM2B_NAME, 10.5.3: algorithm and the longest digest
_MAX_EXTRA: Final = 66  # TPM2B_DATA, 10.4.3: as long as a TPMT_HA
_SELECT_BYTES: Final = PCR_COUNT // 8
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*")


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote, read but not believed: `require_signed` and `require_registers` come first.

    message: TPMS_ATTEST as it was signed. nonce: extraData. registers: which ones, ascending.
    """

    message: bytes
    nonce: bytes
    registers: tuple[int, ...]
    digest: bytes

    @classmethod
    def parse(cls, message: bytes) -> Quote:
        """Read a TPMS_ATTEST of a quote. Raises EvidenceError (tpm_quote_malformed) alone."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise _malformed("length", f"{len(message)} bytes", f"at most {MAX_MESSAGE_BYTES}")
        reader = _Reader(message)
        reader.exactly("magic", ">I", _GENERATED)
        reader.exactly("type", ">H", _QUOTE)
        reader.sized("qualifiedSigner", _MAX_NAME)
        nonce = reader.sized("extraData", _MAX_EXTRA)
        _clock, _resets, _restarts, safe, _firmware = reader.fields(">QIIBQ")
        if safe not in (0, 1):
            raise _malformed("safe of the clock", str(safe), "0 or 1")
        reader.exactly("number of banks", ">I", 1)
        reader.exactly("algorithm of the bank", ">H", _SHA256)
        reader.exactly("bytes that select registers", ">B", _SELECT_BYTES)
        selected = int.from_bytes(reader.take(_SELECT_BYTES), "little")
        digest = reader.sized("digest of the registers", hashlib.sha256().digest_size)
        reader.end()
        registers = tuple(number for number in range(PCR_COUNT) if selected >> number & 1)
        return cls(message, nonce, registers, digest)

    def require_signed(self, signature: bytes, key: rsa.RSAPublicKey) -> None:
        """This key signed it. signature: bare, or a TPMT_SIGNATURE.

        Raises EvidenceError (tpm_quote_signature).
        """
        try:
            key.verify(
                _bare(signature, key.key_size // 8),
                self.message,
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except InvalidSignature as error:
            raise EvidenceError(
                "tpm_quote_signature",
                "the quote was not signed by this machine's attestation key",
                seen="a signature by another key, or over another message",
                wanted="RSASSA-PKCS1-v1_5 with SHA-256 by the key the report speaks for",
            ) from error

    def require_registers(self, values: Sequence[bytes]) -> None:
        """The digest is of these values (32 bytes each, all 24). EvidenceError (tpm_pcr_digest)."""
        seen = hashlib.sha256(b"".join(values[number] for number in self.registers)).digest()
        if not hmac.compare_digest(seen, self.digest):
            raise EvidenceError(
                "tpm_pcr_digest",
                "the registers are not those of the quote",
                seen=seen.hex(),
                wanted=f"{self.digest.hex()}, the digest in the quote",
            )

    def require_nonce(self, nonce: bytes) -> None:
        """It answers this nonce. Raises EvidenceError (tpm_nonce)."""
        if not hmac.compare_digest(self.nonce, nonce):
            raise EvidenceError(
                "tpm_nonce",
                "the quote answers another nonce",
                seen=self.nonce.hex(),
                wanted=nonce.hex(),
                hint="somebody may be replaying an old quote",
            )


@dataclass(frozen=True, slots=True)
class QuoteDocument:
    """A quote with its signature and the registers it is about, as verifiers pass it on.

    {"message": hex of TPMS_ATTEST, "signature": hex, "pcrs": 24 digests in hex}
    """

    quote: Quote
    signature: bytes
    registers: tuple[bytes, ...]

    @classmethod
    def parse(cls, data: bytes) -> QuoteDocument:
        """Read the JSON. Raises EvidenceError (tpm_quote_malformed), nothing else."""
        if len(data) > MAX_DOCUMENT_BYTES:
            raise _malformed("length", f"{len(data)} bytes", f"at most {MAX_DOCUMENT_BYTES}")
        members = json_object.read(data, "tpm_quote_malformed")
        if members.keys() != {"message", "signature", "pcrs"}:
            raise _malformed("members", "others", "message, signature and pcrs")
        registers = members["pcrs"]
        if not isinstance(registers, list) or len(registers) != PCR_COUNT:
            raise _malformed("pcrs", "something else", f"a list of {PCR_COUNT}")
        return cls(
            quote=Quote.parse(_hex(members["message"], "message")),
            signature=_hex(members["signature"], "signature"),
            registers=tuple(_register(value) for value in registers),
        )


class _Reader:
    """Walks the fields of one structure, in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise _malformed("length", f"{len(self._data)} bytes", "more")
        self._at += size
        return taken

    def fields(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def exactly(self, what: str, layout: str, wanted: int) -> None:
        (seen,) = self.fields(layout)
        if seen != wanted:
            raise _malformed(what, f"0x{seen:x}", f"0x{wanted:x}")

    def sized(self, what: str, at_most: int) -> bytes:
        (size,) = self.fields(">H")
        if size > at_most:
            raise _malformed(what, f"{size} bytes", f"at most {at_most}")
        return self.take(size)

    def end(self) -> None:
        if self._at != len(self._data):
            raise _malformed("end", f"{len(self._data) - self._at} bytes left over", "none")


def _bare(signature: bytes, size: int) -> bytes:
    """The signature of this size alone, out of a TPMT_SIGNATURE if it stands in one."""
    if len(signature) == size:
        return signature
    reader = _Reader(signature)
    reader.exactly("sigAlg", ">H", _RSASSA)
    reader.exactly("hash of the signature", ">H", _SHA256)
    bare = reader.sized("signature", size)
    reader.end()
    return bare


def _hex(value: object, what: str) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise _malformed(what, "something else", "pairs of hexadecimal digits")
    return bytes.fromhex(value)


def _register(value: object) -> bytes:
    register = _hex(value, "a register")
    if len(register) != PCR_BYTES:
        raise _malformed("a register", f"{len(register)} bytes", f"{PCR_BYTES}")
    return register


def _malformed(what: str, seen: str, wanted: str) -> EvidenceError:
    return EvidenceError("tpm_quote_malformed", f"quote: {what}", seen=seen, wanted=wanted)
