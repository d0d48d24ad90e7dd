"""The public error tree; `sealserve.native.errors` draws it and says what each one means."""

from sealserve.native.errors import (
    ConfigError,
    EvidenceError,
    Finding,
    FormatError,
    InputError,
    IntegrityError,
    PolicyViolation,
    ReleaseError,
    SealserveError,
    UnavailableError,
)

__all__ = [
    "ConfigError",
    "EvidenceError",
    "Finding",
    "FormatError",
    "InputError",
    "IntegrityError",
    "PolicyViolation",
    "ReleaseError",
    "SealserveError",
    "UnavailableError",
]
