"""The input key of a sealed model: what it is called, and how it is tried (SPEC section 5)."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from sealserve.native.cobblestone import KEY_BYTES, Message
from sealserve.native.errors import IntegrityError
from sealserve.native.secret import SecretBuffer

if TYPE_CHECKING:
    from sealserve.models.reader import SealedFile
    from sealserve.models.slots import Opener, Slot

_KEY_ID_BYTES = 8
_KEY_ID_INFO = b"sealserve/key-id/v1"


def key_id(key: SecretBuffer) -> str:
    """16 hexadecimal digits that tell keys apart and reveal nothing of a random one."""
    # The owner's and the server's side load cryptography anyway; `inspect` does without it.
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    kdf = HKDF(SHA256(), length=_KEY_ID_BYTES, salt=None, info=_KEY_ID_INFO)
    return kdf.derive(memoryview(key)).hex()


def unlock(
    file: SealedFile, root: bytes, slots: tuple[Slot, ...], opener: Opener
) -> tuple[SecretBuffer, Message]:
    """Get the key and try it on the file: `key_id`, then the commitment, before any chunk.

    The caller wipes both. Raises IntegrityError, and what `opener` raises.
    """
    key = opener.unwrap(slots, root, file.header_sha256)
    try:
        return key, _try(key, file)
    except BaseException:
        key.wipe()
        raise


def _try(key: SecretBuffer, file: SealedFile) -> Message:
    if len(key) != KEY_BYTES:
        raise IntegrityError(f"the key has {len(key)} bytes; wanted {KEY_BYTES}")
    seen = key_id(key)
    if not hmac.compare_digest(seen, file.header.key_id):
        raise IntegrityError(
            f"this key is {seen}; the file was sealed with {file.header.key_id}",
            hint="another model's key, or a slot that was moved here from another model",
        )
    return Message.of(key, file.message_header, file.context)
