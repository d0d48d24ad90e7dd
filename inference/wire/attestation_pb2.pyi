from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetEvidenceRequest(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    def __init__(self, nonce: _Optional[bytes] = ...) -> None: ...

class GetEvidenceResponse(_message.Message):
    __slots__ = ("evidence", "next_certificate")
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    NEXT_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    evidence: bytes
    next_certificate: bytes
    def __init__(self, evidence: _Optional[bytes] = ..., next_certificate: _Optional[bytes] = ...) -> None: ...
