"""An owner who imports keys one after the other, as a program: each key's URL on a line once the
vault has answered it. What is not answered is no key.

On stdin one JSON object: address, token, ca (a PEM file), policy and the members of the key, all of
these in base64url.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import sys
import time
from contextlib import suppress

from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError
from azure.keyvault.keys import JsonWebKey, KeyClient, KeyReleasePolicy

PAUSE_SECONDS = 1.0  # each key is opened at the end


class Bearer:
    """A credential for the SDK."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        """The token, good for ever."""
        return AccessToken(self._token, 2**40)


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def main() -> None:
    """Import until somebody ends it."""
    told = json.load(sys.stdin)
    key = JsonWebKey(kty="RSA", **{name: _bytes(value) for name, value in told["key"].items()})
    policy = KeyReleasePolicy(_bytes(told["policy"]))
    with KeyClient(
        f"https://{told['address']}",
        Bearer(told["token"]),
        verify_challenge_resource=False,
        connection_verify=told["ca"],
        retry_total=0,
    ) as client:
        mine = os.urandom(4).hex()
        for number in itertools.count():
            with suppress(AzureError):
                made = client.import_key(
                    f"key-{mine}-{number}", key, exportable=True, release_policy=policy
                )
                sys.stdout.write(f"{made.id}\n")
                sys.stdout.flush()
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
