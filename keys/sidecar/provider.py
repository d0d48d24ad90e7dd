"""The gRPC key provider of Microsoft's sidecar, off unless the command line turns it on."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import grpc
from cryptography.hazmat.primitives.asymmetric import rsa
from google.protobuf.message import DecodeError, Message

from sealserve.keys import wrap
from sealserve.keys.incoming import unforeseen
from sealserve.keys.refused import Refused, bad_parameter
from sealserve.keys.sidecar import key_provider_pb2 as pb
from sealserve.keys.sidecar import wrapping
from sealserve.keys.sidecar.events import Event
from sealserve.keys.sidecar.packets import Annotation, KeyInfo, WrapRequest, answer
from sealserve.keys.sidecar.service import NOT_GIVEN, Sidecar, standard_base64
from sealserve.keys.sidecar.wrapping import MAX_FILE_BYTES
from sealserve.native.errors import UnavailableError

SERVICE: Final = "key_provider.KeyProviderService"
MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_AT_ONCE: Final = 8
MAX_WAITING: Final = 64
GRACE_SECONDS: Final = 10.0
_MAX_WORDS: Final = 500  # a message travels as an HTTP/2 header, up to 12 bytes a character
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*")
Ask = Callable[[Any], Message]


class KeyProvider:
    """The five calls. folder: where KID-info.json and public keys lie; "" for none."""

    def __init__(self, sidecar: Sidecar, folder: str) -> None:
        self._sidecar = sidecar
        self._folder = folder

    def handlers(self) -> grpc.GenericRpcHandler:
        """For a server of grpcio."""
        calls: dict[str, tuple[type[Message], Ask, grpc.StatusCode]] = {
            "WrapKey": (pb.KeyProviderKeyWrapProtocolInput, self.wrap, grpc.StatusCode.INTERNAL),
            "UnWrapKey": (
                pb.KeyProviderKeyWrapProtocolInput,
                self.unwrap,
                grpc.StatusCode.UNKNOWN,
            ),
            "GetReport": (pb.KeyProviderGetReportInput, self.report, grpc.StatusCode.INTERNAL),
            "GetAttestationData": (
                pb.KeyProviderGetAttestationDataInput,
                self.attestation_data,
                grpc.StatusCode.INTERNAL,
            ),
            "SayHello": (pb.HelloRequest, self.hello, grpc.StatusCode.INTERNAL),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(self._answered(name, *call))
            for name, call in calls.items()
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def hello(self, request: pb.HelloRequest) -> pb.HelloReply:
        """A greeting."""
        return pb.HelloReply(message=f"Hello {request.name}")

    def report(self, request: pb.KeyProviderGetReportInput) -> pb.KeyProviderGetReportOutput:
        """A report over these bytes, which are runtime data as everywhere else.

        Theirs hashes the digits of the text instead of what they say.
        """
        text = request.report_data_hex_string
        if not _HEX.fullmatch(text):
            raise bad_parameter("report_data_hex_string is not hexadecimal")
        evidence = self._sidecar.evidence(bytes.fromhex(text))
        self._sidecar.log(Event.ATTESTED, what="GetReport")
        return pb.KeyProviderGetReportOutput(report_hex_string=evidence.report.hex())

    def attestation_data(
        self, request: pb.KeyProviderGetAttestationDataInput
    ) -> pb.KeyProviderGetAttestationDataOutput:
        """What /attest/combined answers, under other names."""
        try:
            data = standard_base64("b64_runtime_data_string", request.b64_runtime_data_string)
        except Refused as refused:  # the status that theirs has for it
            raise _Status(grpc.StatusCode.FAILED_PRECONDITION, refused.message) from refused
        attested = self._sidecar.attested(data)
        self._sidecar.log(Event.ATTESTED, what="GetAttestationData")
        return pb.KeyProviderGetAttestationDataOutput(
            endorsed_tcb=attested.endorsed_tcb,
            certs=attested.endorsements,
            attestation_report=attested.evidence,
            uvm_reference_info=attested.uvm_endorsements,
        )

    def wrap(
        self, request: pb.KeyProviderKeyWrapProtocolInput
    ) -> pb.KeyProviderKeyWrapProtocolOutput:
        """Encrypt to the public part of a vault key of the command line."""
        asked = WrapRequest.read(request.key_provider_key_wrap_protocol_input)
        self._sidecar.allowed.require_key(asked.kid)
        info = self._info(asked.kid)
        self._sidecar.wanted(vault=info.vault, service=info.service, kid=asked.kid)
        public = self._public_key(info.public_key)
        packet = wrapping.annotation(asked.kid, asked.plaintext, info, public)
        self._sidecar.log(Event.WRAPPED, key=asked.kid)
        return _output(answer(annotation=packet))

    def unwrap(
        self, request: pb.KeyProviderKeyWrapProtocolInput
    ) -> pb.KeyProviderKeyWrapProtocolOutput:
        """Have the private key released, and decrypt with it."""
        packet = Annotation.read_unwrap(request.key_provider_key_wrap_protocol_input)
        wanted = self._sidecar.wanted(vault=packet.vault, service=packet.service, kid=packet.kid)
        private = self._sidecar.released_rsa(wanted)
        try:
            plaintext = private.decrypt(packet.wrapped, wrap.oaep_256())
        except ValueError:
            raise Refused(
                403, NOT_GIVEN, f"wrapped_data was not wrapped to the key {packet.kid}"
            ) from None
        self._sidecar.log(Event.UNWRAPPED, key=wanted.key_id.name, vault=wanted.key_id.host)
        return _output(answer(plaintext=plaintext))

    def _info(self, kid: str) -> KeyInfo:
        name = f"{kid}-info.json"
        try:
            return KeyInfo.read(self._file(name))
        except Refused as refused:
            raise _Status(grpc.StatusCode.INTERNAL, f"{name}: {refused.message}") from refused

    def _public_key(self, name: str) -> rsa.RSAPublicKey:
        key = wrapping.public_key(self._file(name))
        if key is None:
            raise _Status(
                grpc.StatusCode.INTERNAL,
                f"{ascii(name)[1:81]} is no RSA public key of {wrap.RSA_BITS} bits in PEM",
            )
        return key

    def _file(self, name: str) -> bytes:
        if not self._folder:
            raise _Status(
                grpc.StatusCode.FAILED_PRECONDITION,
                "this sidecar wraps nothing: it was started without --key-provider-keys",
            )
        try:
            with Path(self._folder, name).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except (OSError, ValueError):
            raise _Status(
                grpc.StatusCode.INTERNAL,
                f"{ascii(name)[1:161]} cannot be read in --key-provider-keys",
            ) from None
        if len(data) > MAX_FILE_BYTES:
            raise _Status(
                grpc.StatusCode.INTERNAL,
                f"{ascii(name)[1:161]} is longer than {MAX_FILE_BYTES} bytes",
            )
        return data

    def _answered(
        self, name: str, request_type: type[Message], ask: Ask, not_given: grpc.StatusCode
    ) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        """Turn whatever happens into an answer or a status. not_given: by machine or vault."""

        def answered(data: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                request = request_type()
                request.ParseFromString(data)
                return ask(request).SerializeToString()
            except DecodeError:
                status, words = grpc.StatusCode.INVALID_ARGUMENT, "no message of this call"
            except _Status as failed:
                status, words = failed.status, failed.message
            except Refused as refused:
                status, words = _status_of(refused, not_given), refused.message
            except Exception as error:  # the last line of defence: its text may quote a key
                self._sidecar.log(Event.FAILED, what=name, error=unforeseen(error))
                context.abort(grpc.StatusCode.INTERNAL, "the sidecar failed; its log says where")
            words = words[:_MAX_WORDS]
            self._sidecar.log(Event.REFUSED, what=name, status=status.value[0], reason=words)
            context.abort(status, words)
            raise AssertionError  # `abort` has raised

        return answered


class Served:
    """A key provider on its port of the loopback; a context manager."""

    def __init__(self, address: str, provider: KeyProvider) -> None:
        """address: HOST:PORT. Raises UnavailableError.

        Reflection is there as theirs has it, for grpcurl and its kin: it tells the messages.
        """
        from grpc_reflection.v1alpha import reflection  # who has no key provider does without

        self._server = grpc.server(
            ThreadPoolExecutor(MAX_AT_ONCE, "key-provider"),
            handlers=(provider.handlers(),),
            options=(
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
            ),
            maximum_concurrent_rpcs=MAX_WAITING,
        )
        reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), self._server)
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise UnavailableError(
                f"cannot listen on {address}",
                hint="is another sidecar running there already?",
            ) from error

    def __enter__(self) -> None:
        self._server.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop(GRACE_SECONDS).wait()


class _Status(Exception):  # noqa: N818 - an answer, not a fault of ours
    """A status that a call has for itself."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def _status_of(refused: Refused, not_given: grpc.StatusCode) -> grpc.StatusCode:
    if refused.code == NOT_GIVEN:
        return not_given
    if refused.status == 403:
        return grpc.StatusCode.PERMISSION_DENIED
    return grpc.StatusCode.INVALID_ARGUMENT


def _output(data: bytes) -> pb.KeyProviderKeyWrapProtocolOutput:
    return pb.KeyProviderKeyWrapProtocolOutput(key_provider_key_wrap_protocol_output=data)
