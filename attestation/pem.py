"""PEM (RFC 7468) around certificates and lists, as hosts and AMD's service hand them out.

Strict where leniency would give one text two readings: nothing stands before, between or after the
blocks, every line but the last of a block has the same length, and base64 is the canonical one.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, Literal

from sealserve.native.errors import EvidenceError

Label = Literal["CERTIFICATE", "X509 CRL"]

MAX_PEM_BYTES: Final = 32 * 1024  # a chain of three of AMD's certificates takes 7 KiB

_BLOCK: Final = re.compile(
    rb"-----BEGIN (?P<label>[A-Z0-9 ]{1,32})-----\r?\n"
    rb"(?P<body>(?:[A-Za-z0-9+/=]{1,76}\r?\n)+)"
    rb"-----END (?P=label)-----(?:\r?\n|\Z)"
)

# Text is whatever stands on lines of its own outside; a block that never ends is left to `read`.
_AMONG_TEXT: Final = re.compile(
    rb"^-----BEGIN [^\r\n]*\r?\n.*?(?:^-----END [^\r\n]*(?:\r?\n|\Z)|\Z)", re.DOTALL | re.MULTILINE
)


def is_pem(data: bytes) -> bool:
    """Whether this is meant as PEM; DER never begins so."""
    return data.startswith(b"-----BEGIN ")


def without_text(data: bytes) -> bytes:
    """The blocks alone: files of people have text around them (RFC 7468, section 2), or nothing.

    Data without a block is given back as it is.
    """
    return b"".join(match[0] for match in _AMONG_TEXT.finditer(data)) or data


def read(data: bytes, label: Label, *, at_most: int = 1) -> tuple[bytes, ...]:
    """The DER of 1 to `at_most` blocks of this label, in order.

    Raises EvidenceError: pem_size, pem_malformed.
    """
    if len(data) > MAX_PEM_BYTES:
        raise EvidenceError(
            "pem_size",
            "PEM text is too long",
            seen=f"{len(data)} bytes",
            wanted=f"at most {MAX_PEM_BYTES}",
        )
    blocks: list[bytes] = []
    position = 0
    while position < len(data):
        block = _BLOCK.match(data, position)
        if block is None:
            raise _malformed(f"something else at byte {position}", f"a block of {label}")
        if block["label"].decode() != label:
            raise _malformed(f"a block of {block['label'].decode()}", f"a block of {label}")
        blocks.append(_body(block["body"]))
        position = block.end()
    if not 1 <= len(blocks) <= at_most:
        raise _malformed(f"{len(blocks)} blocks", f"1 to {at_most} of {label}")
    return tuple(blocks)


def write(der: bytes, label: Label = "CERTIFICATE") -> bytes:
    """One block, as AMD and Azure write it: lines of 64 characters, a newline at the end."""
    text = base64.b64encode(der)
    lines = b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64))
    name = label.encode()
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (name, lines, name)


def _body(body: bytes) -> bytes:
    lines = body.split()
    joined = b"".join(lines)
    if any(len(line) != len(lines[0]) for line in lines[:-1]) or len(lines[-1]) > len(lines[0]):
        raise _malformed("lines of different lengths", "lines of one length, the last one shorter")
    try:
        data = base64.b64decode(joined, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed("something else", "base64") from error
    if base64.b64encode(data) != joined:  # low bits of the last character
        raise _malformed("another spelling", "the canonical base64 of its bytes")
    return data


def _malformed(seen: str, wanted: str) -> EvidenceError:
    return EvidenceError("pem_malformed", "PEM text cannot be read", seen=seen, wanted=wanted)
