"""How fast is a sealed message opened, beside OpenSSL as pyca/cryptography ships it?

Ours and Cobblestone256Decryptor open the same message, 16 KiB at a time. AESGCM opens one text of
that size under one nonce, which is less work: the best it can do.
"""

from __future__ import annotations

import os

from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.hazmat.backends.openssl import backend as openssl
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.side_by_side import MIB, Way, compare, memory_read

from sealserve.native.cobblestone import HEADER_BYTES, Message, sealed_size

SIZE = 256 * MIB
KEY, NONCE, CONTEXT = os.urandom(32), os.urandom(12), b"benchmark"


def main() -> None:
    plain = os.urandom(SIZE)
    message = Message.new(KEY, CONTEXT)
    chunks = bytearray(sealed_size(SIZE) - HEADER_BYTES)
    message.seal_into(0, plain, chunks, last=True)
    whole, text = message.header + bytes(chunks), AESGCM(KEY).encrypt(NONCE, plain, None)
    out = bytearray(SIZE)
    peer = AESGCM(KEY)

    def decrypt() -> None:
        decryptor = Cobblestone256Decryptor(KEY, CONTEXT)
        decryptor.update_into(whole, out)
        decryptor.finalize()

    compare(
        "How fast is a sealed message opened?",
        SIZE,
        openssl.openssl_version_text(),
        [
            Way("Message.open_into", SIZE, lambda: message.open_into(0, chunks, out, last=True)),
            Way("cryptography Cobblestone256Decryptor", SIZE, decrypt),
            Way(
                "cryptography AESGCM.decrypt_into, one text",
                SIZE,
                lambda: peer.decrypt_into(NONCE, text, None, out),
            ),
            memory_read(plain),
        ],
    )


main()
