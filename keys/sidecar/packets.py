"""What ocicrypt's key provider protocol says in JSON, as Microsoft's sidecar speaks it.

    in   {"op": "keywrap" | "keyunwrap",
          "keywrapparams":   {"ec": {"Parameters": {"attestation-agent": [b64("skr:" KID)]}},
                              "optsdata": b64(PLAINTEXT)},
          "keyunwrapparams": {"dc": {"Parameters": {"attestation-agent": [b64("skr")]}},
                              "annotation": b64(ANNOTATION)}}
    out  {"keywrapresults": {"annotation": b64 | null},
          "keyunwrapresults": {"optsdata": b64 | null}}
    ANNOTATION = {"kid", "wrapped_data": b64, "wrap_type", "kms_endpoint", "attester_endpoint"}

Every reader raises Refused (400) and nothing else.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Final

from sealserve.keys.body import Body
from sealserve.keys.refused import bad_parameter
from sealserve.keys.sidecar.service import standard_base64

AGENTS: Final = ("skr", "aasp")  # the second is what earlier versions of theirs were called
WRAP_TYPE: Final = "rsa_3072"  # what theirs writes, whatever the key's size


@dataclass(frozen=True, slots=True)
class WrapRequest:
    """Wrap `plaintext` to the vault key called `kid`."""

    kid: str
    plaintext: bytes

    @classmethod
    def read(cls, data: bytes) -> WrapRequest:
        """A path in front of the key's name, as theirs takes it, is passed over."""
        body = _operation(data, "keywrap")
        params = body.object("keywrapparams")
        _, colon, path = _agent(params.object("ec"))
        if not colon:
            raise bad_parameter("attestation-agent names no key; wanted skr:KID")
        return cls(path.rpartition("/")[2], _bytes(params, "optsdata"))


@dataclass(frozen=True, slots=True)
class Annotation:
    """What was wrapped, to which key, and who releases it."""

    kid: str
    wrapped: bytes
    vault: str
    service: str

    def encode(self) -> bytes:
        """As `read_unwrap` finds it in a request."""
        return _json(
            {
                "kid": self.kid,
                "wrapped_data": _b64(self.wrapped),
                "wrap_type": WRAP_TYPE,
                "kms_endpoint": self.vault,
                "attester_endpoint": self.service,
            }
        )

    @classmethod
    def read_unwrap(cls, data: bytes) -> Annotation:
        """The annotation in a request to unwrap it."""
        params = _operation(data, "keyunwrap").object("keyunwrapparams")
        _agent(params.object("dc"))
        packet = Body.parse(_bytes(params, "annotation"), "annotation")
        return cls(
            kid=packet.text("kid"),
            wrapped=_bytes(packet, "wrapped_data"),
            vault=packet.text("kms_endpoint"),
            service=packet.text("attester_endpoint"),
        )


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """KID-info.json: where a key's public part lies, and who releases its private one."""

    public_key: str
    vault: str
    service: str

    @classmethod
    def read(cls, data: bytes) -> KeyInfo:
        """Of the path only the name counts: it lies in the same folder."""
        packet = Body.parse(data, "key info")
        return cls(
            public_key=packet.text("public_key_path").rpartition("/")[2],
            vault=packet.text("kms_endpoint"),
            service=packet.text("attester_endpoint"),
        )


def answer(*, annotation: bytes | None = None, plaintext: bytes | None = None) -> bytes:
    """The protocol's answer to either operation."""
    return _json(
        {
            "keywrapresults": {"annotation": None if annotation is None else _b64(annotation)},
            "keyunwrapresults": {"optsdata": None if plaintext is None else _b64(plaintext)},
        }
    )


def _operation(data: bytes, wanted: str) -> Body:
    body = Body.parse(data)
    if body.has("op") and body.text("op") != wanted:
        raise bad_parameter(f"op: seen {body.text('op')[:40]!r}; wanted {wanted}")
    return body


def _agent(config: Body) -> tuple[str, str, str]:
    named = config.object("Parameters").texts("attestation-agent")
    if not named:
        raise bad_parameter("Parameters.attestation-agent is missing")
    text = standard_base64("attestation-agent", named[0]).decode("utf-8", "replace")
    agent, colon, rest = text.partition(":")
    if agent.lower() not in AGENTS:
        raise bad_parameter(f"attestation-agent {agent[:40]!r}; this one is {AGENTS[0]}")
    return agent, colon, rest


def _bytes(body: Body, name: str) -> bytes:
    return standard_base64(name, body.text(name))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
