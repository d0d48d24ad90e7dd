"""The gRPC key provider, asked as ocicrypt and grpcurl ask it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from sealserve.keys.sidecar import key_provider_pb2 as pb
from sealserve.keys.sidecar.events import Event
from sealserve.keys.sidecar.provider import MAX_MESSAGE_BYTES, SERVICE, KeyProvider, Served
from sealserve.native.errors import UnavailableError
from support.keys_foreign_client import b64
from support.keys_sidecar import Case
from support.keys_vault import rsa_key
from support.ports import free_port

KEY = rsa_key(3072, 7)  # what `rsa` at the trust service is
PLAIN = b"the key of an image's layer"
PEM = serialization.Encoding.PEM
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


@dataclass
class Asking:
    """A client of one key provider, with the folder it finds keys in."""

    case: Case
    channel: grpc.Channel
    folder: Path

    def call(self, name: str, request: Any) -> Any:
        answers = {
            "WrapKey": pb.KeyProviderKeyWrapProtocolOutput,
            "UnWrapKey": pb.KeyProviderKeyWrapProtocolOutput,
            "GetReport": pb.KeyProviderGetReportOutput,
            "GetAttestationData": pb.KeyProviderGetAttestationDataOutput,
            "SayHello": pb.HelloReply,
        }
        call = self.channel.unary_unary(
            f"/key_provider.KeyProviderService/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answers[name].FromString,
        )
        return call(request, timeout=60)

    def wrapping(self, name: str, value: object) -> Any:
        """What WrapKey or UnWrapKey answers to this JSON."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        request = pb.KeyProviderKeyWrapProtocolInput(key_provider_key_wrap_protocol_input=data)
        return json.loads(self.call(name, request).key_provider_key_wrap_protocol_output)

    def info(self, **changes: str) -> None:
        """Lay rsa-info.json and the public key into the folder."""
        told = {
            "public_key_path": "/keys/rsa-pub.pem",
            "kms_endpoint": self.case.vault,
            "attester_endpoint": self.case.vault,
        }
        (self.folder / "rsa-info.json").write_text(json.dumps({**told, **changes}))
        (self.folder / "rsa-pub.pem").write_bytes(KEY.public_key().public_bytes(PEM, SPKI))

    def annotation(self, **changes: object) -> dict[str, object]:
        """Of PLAIN, wrapped by somebody else."""
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        return {
            "kid": "rsa",
            "wrapped_data": b64(KEY.public_key().encrypt(PLAIN, oaep)),
            "iv": "",
            "wrap_type": "rsa_3072",
            "kms_endpoint": self.case.vault,
            "attester_endpoint": self.case.vault,
            **changes,
        }


@pytest.fixture
def asking(case: Case, tmp_path: Path) -> Iterator[Asking]:
    address = f"127.0.0.1:{free_port()}"
    with (
        Served(address, KeyProvider(case.sidecar, str(tmp_path))),
        grpc.insecure_channel(address) as channel,
    ):
        yield Asking(case, channel, tmp_path)


def wrap(kid: str = "rsa", agent: str = "skr", plain: bytes = PLAIN) -> dict[str, object]:
    named = {"attestation-agent": [b64(f"{agent}:{kid}".encode())]}
    params = {"ec": {"Parameters": named}, "optsdata": b64(plain)}
    return {"op": "keywrap", "keywrapparams": params, "keyunwrapparams": {}}


def unwrap(annotation: object, agent: str = "skr") -> dict[str, object]:
    packed = annotation if isinstance(annotation, bytes) else json.dumps(annotation).encode()
    named = {"attestation-agent": [b64(agent.encode())]}
    params = {"dc": {"Parameters": named}, "annotation": b64(packed)}
    return {"op": "keyunwrap", "keywrapparams": {}, "keyunwrapparams": params}


def refused(asking: Asking, name: str, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        asking.call(name, request) if name[0] in "GS" else asking.wrapping(name, request)
    return caught.value.code(), caught.value.details()


def test_hello(asking: Asking) -> None:
    assert asking.call("SayHello", pb.HelloRequest(name="Ada")).message == "Hello Ada"


def test_reflection_tells_the_service_and_its_messages(asking: Asking) -> None:
    """So that a client needs no file of ours: grpcurl asks this way."""
    database = ProtoReflectionDescriptorDatabase(asking.channel)
    assert set(database.get_services()) == {
        SERVICE,
        "grpc.reflection.v1alpha.ServerReflection",
    }
    told = DescriptorPool(database).FindServiceByName(SERVICE).methods_by_name
    ours = pb.DESCRIPTOR.services_by_name["KeyProviderService"].methods_by_name
    assert {
        name: (call.input_type.full_name, call.output_type.full_name) for name, call in told.items()
    } == {
        name: (call.input_type.full_name, call.output_type.full_name) for name, call in ours.items()
    }


@pytest.mark.parametrize("kid", ["rsa", "/mnt/keys/rsa"])
@pytest.mark.parametrize("agent", ["skr", "SKR", "aasp"])
def test_what_was_wrapped_comes_back(kid: str, agent: str, asking: Asking) -> None:
    asking.info()
    wrapped = asking.wrapping("WrapKey", wrap(kid, agent))
    assert wrapped["keyunwrapresults"] == {"optsdata": None}
    annotation = base64.b64decode(wrapped["keywrapresults"]["annotation"])
    told = json.loads(annotation)
    assert told.pop("wrapped_data")
    assert told == {
        "kid": "rsa",
        "wrap_type": "rsa_3072",
        "kms_endpoint": asking.case.vault,
        "attester_endpoint": asking.case.vault,
    }
    opened = asking.wrapping("UnWrapKey", unwrap(annotation, agent))
    assert opened["keywrapresults"] == {"annotation": None}
    assert base64.b64decode(opened["keyunwrapresults"]["optsdata"]) == PLAIN
    events = [event for event, _ in asking.case.log.kept]
    assert events == [Event.WRAPPED, Event.RELEASED, Event.UNWRAPPED]


def test_what_others_wrapped_is_opened(asking: Asking) -> None:
    opened = asking.wrapping("UnWrapKey", unwrap(asking.annotation()))
    assert base64.b64decode(opened["keyunwrapresults"]["optsdata"]) == PLAIN


INVALID = grpc.StatusCode.INVALID_ARGUMENT
DENIED = grpc.StatusCode.PERMISSION_DENIED
INTERNAL = grpc.StatusCode.INTERNAL
UNKNOWN = grpc.StatusCode.UNKNOWN
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

WRAPS = {
    "no JSON": (b"{", INVALID, "is not JSON"),
    "the other operation": ({**wrap(), "op": "keyunwrap"}, INVALID, "op"),
    "no agent": ({"keywrapparams": {"optsdata": ""}}, INVALID, "attestation-agent is missing"),
    "another agent": (wrap(agent="kbs"), INVALID, "attestation-agent 'kbs'"),
    "a key that is not named": (wrap("hidden"), DENIED, "--key names"),
    "a key that is a path": (wrap(".."), INVALID, "NAME or NAME/VERSION"),
    "a key without a file": (wrap("none"), INTERNAL, "none-info.json"),
    "more than a key takes": (wrap(plain=bytes(400)), INVALID, "too long"),
}  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "words"), WRAPS.values(), ids=WRAPS)
def test_nothing_is_wrapped(
    request_: object, status: grpc.StatusCode, words: str, asking: Asking
) -> None:
    asking.info()
    code, details = refused(asking, "WrapKey", request_)
    assert (code, words in details) == (status, True), details


def test_an_agent_without_a_key(asking: Asking) -> None:
    named = {"attestation-agent": [b64(b"skr")]}
    params = {"ec": {"Parameters": named}, "optsdata": ""}
    assert refused(asking, "WrapKey", {"keywrapparams": params}) == (
        INVALID,
        "attestation-agent names no key; wanted skr:KID",
    )


INFOS = {
    "another vault": ({"kms_endpoint": "evil.example"}, DENIED, "--vault names"),
    "another service": ({"attester_endpoint": "evil.example"}, DENIED, "--attestation-service"),
    "a file that is not there": ({"public_key_path": "other.pem"}, INTERNAL, "other.pem"),
    "a file outside": ({"public_key_path": "../outside.pem"}, INTERNAL, "'outside.pem'"),
    "a folder": ({"public_key_path": ".."}, INTERNAL, "cannot be read"),
    "no path": ({"public_key_path": ""}, INTERNAL, "cannot be read"),
    "no key": ({"public_key_path": "rsa-info.json"}, INTERNAL, "is no RSA public key"),
    "a zero": ({"public_key_path": "a\0b"}, INTERNAL, "cannot be read"),
}


@pytest.mark.parametrize(("changes", "status", "words"), INFOS.values(), ids=INFOS)
def test_key_infos_that_are_not_used(
    changes: dict[str, str], status: grpc.StatusCode, words: str, asking: Asking
) -> None:
    outside = asking.folder.parent / "outside.pem"
    outside.write_bytes(KEY.public_key().public_bytes(PEM, SPKI))
    asking.info(**changes)
    code, details = refused(asking, "WrapKey", wrap())
    assert (code, words.strip("'") in details) == (status, True), details


def test_other_public_keys(asking: Asking) -> None:
    asking.info()
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    weak = rsa.generate_private_key(65537, 1024).public_key()
    for key in (curve, weak):
        (asking.folder / "rsa-pub.pem").write_bytes(key.public_bytes(PEM, SPKI))
        assert refused(asking, "WrapKey", wrap())[0] is INTERNAL
    (asking.folder / "rsa-pub.pem").write_bytes(b"-" * 20_000)
    assert "is longer than" in refused(asking, "WrapKey", wrap())[1]
    (asking.folder / "rsa-info.json").write_bytes(b"{")
    code, details = refused(asking, "WrapKey", wrap())
    assert (code, "rsa-info.json: key info is not JSON" in details) == (INTERNAL, True)


def test_no_folder_no_wrapping(case: Case) -> None:
    address = f"127.0.0.1:{free_port()}"
    with (
        Served(address, KeyProvider(case.sidecar, "")),
        grpc.insecure_channel(address) as channel,
    ):
        code, details = refused(Asking(case, channel, Path()), "WrapKey", wrap())
    assert (code, "--key-provider-keys" in details) == (PRECONDITION, True)


ANNOTATIONS: dict[str, tuple[dict[str, object], grpc.StatusCode, str]] = {
    "another vault": ({"kms_endpoint": "evil.example"}, DENIED, "--vault names"),
    "another service": ({"attester_endpoint": "evil.example"}, DENIED, "--attestation-service"),
    "a key that is not named": ({"kid": "hidden"}, DENIED, "--key names"),
    "a key of another machine": ({"kid": "foreign"}, UNKNOWN, "x-ms-sevsnpvm-hostdata"),
    "a key that is not RSA": ({"kid": "octets"}, UNKNOWN, "of type oct-HSM, not RSA"),
    "what was wrapped to another": ({"wrapped_data": b64(bytes(384))}, UNKNOWN, "not wrapped to"),
    "no base64": ({"wrapped_data": "!"}, INVALID, "wrapped_data is not standard base64"),
    "no vault": ({"kms_endpoint": 7}, INVALID, "kms_endpoint"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "status", "words"), ANNOTATIONS.values(), ids=ANNOTATIONS)
def test_nothing_is_unwrapped(
    changes: dict[str, object], status: grpc.StatusCode, words: str, asking: Asking
) -> None:
    code, details = refused(asking, "UnWrapKey", unwrap(asking.annotation(**changes)))
    assert (code, words in details) == (status, True), details


def test_annotations_that_are_none(asking: Asking) -> None:
    for annotation in (b"", b"{", b"[]", b"{}"):
        assert refused(asking, "UnWrapKey", unwrap(annotation))[0] is INVALID
    assert refused(asking, "UnWrapKey", unwrap({}, "kbs"))[0] is INVALID


@pytest.mark.parametrize("text", ["", "00ff", "DEADbeef", b'{"nonce":1}'.hex()])
def test_a_report_over_the_bytes_and_not_over_their_digits(text: str, asking: Asking) -> None:
    answer = asking.call("GetReport", pb.KeyProviderGetReportInput(report_data_hex_string=text))
    report = bytes.fromhex(answer.report_hex_string)
    assert report[0x50:0x90] == hashlib.sha256(bytes.fromhex(text)).digest() + bytes(32)


def test_reports_that_are_not_made(asking: Asking) -> None:
    for text, status in {
        "0": INVALID,
        "0x00": INVALID,
        "00 00": INVALID,
        b'{"keys":[]}'.hex(): DENIED,
        b'{"sealserve":{}}'.hex(): DENIED,
    }.items():
        request = pb.KeyProviderGetReportInput(report_data_hex_string=text)
        assert refused(asking, "GetReport", request)[0] is status
    assert asking.case.source.asked == []
    asking.case.source.gone = True
    assert refused(asking, "GetReport", pb.KeyProviderGetReportInput())[0] is INTERNAL


def test_attestation_data_is_what_rest_answers(asking: Asking) -> None:
    request = pb.KeyProviderGetAttestationDataInput(b64_runtime_data_string=b64(b"{}"))
    answer = asking.call("GetAttestationData", request)
    told = asking.case.sidecar.attested(b"{}")
    assert (answer.endorsed_tcb, answer.certs) == (told.endorsed_tcb, told.endorsements)
    assert answer.uvm_reference_info == told.uvm_endorsements
    report = base64.b64decode(answer.attestation_report)
    assert report[0x50:0x70] == hashlib.sha256(b"{}").digest()


def test_attestation_data_that_is_not_given(asking: Asking) -> None:
    for text, status in {"!": PRECONDITION, b64(b'{"KEYS":1}'): DENIED}.items():
        request = pb.KeyProviderGetAttestationDataInput(b64_runtime_data_string=text)
        assert refused(asking, "GetAttestationData", request)[0] is status
    assert asking.case.source.asked == []
    asking.case.source.gone = True
    request = pb.KeyProviderGetAttestationDataInput(b64_runtime_data_string="")
    assert refused(asking, "GetAttestationData", request)[0] is INTERNAL


def raw(asking: Asking, name: str, data: bytes) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        asking.channel.unary_unary(f"/key_provider.KeyProviderService/{name}")(data, timeout=60)
    code: grpc.StatusCode = caught.value.code()
    return code


def test_messages_that_are_none(asking: Asking) -> None:
    assert raw(asking, "SayHello", b"\xff") is INVALID
    assert raw(asking, "SayGoodbye", b"") is grpc.StatusCode.UNIMPLEMENTED
    assert raw(asking, "SayHello", bytes(MAX_MESSAGE_BYTES + 1)) is (
        grpc.StatusCode.RESOURCE_EXHAUSTED
    )


def test_what_nobody_foresaw_is_told_without_its_words(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(claims: bytes) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(asking.case.source, "evidence", fail)
    code, details = refused(asking, "GetReport", pb.KeyProviderGetReportInput())
    assert (code, "a secret" in details) == (INTERNAL, False)
    ((event, fields),) = asking.case.log.kept
    assert event is Event.FAILED
    assert "a secret" not in str(fields)


def test_a_port_in_use(case: Case) -> None:
    address = f"127.0.0.1:{free_port()}"
    provider = KeyProvider(case.sidecar, "")
    with Served(address, provider), pytest.raises(UnavailableError, match="cannot listen on"):
        Served(address, provider)
