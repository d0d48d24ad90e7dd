"""RSA keys that were made before: making one takes a fifth of a second, and hundreds are wanted.

A key release has a new one on either side. `test_session.py` and `test_vault.py` have theirs
made; everywhere else it is enough that the next one is another.
"""

from __future__ import annotations

import functools
import itertools
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.keys import session
from sealserve.keys.trustd import material

SIZE = 8  # more than any test compares
_MADE_ANEW = {"test_session.py", "test_vault.py"}
_numbers = itertools.count()


def from_stock(public_exponent: int, bits: int) -> rsa.RSAPrivateKey:
    """As `rsa.generate_private_key`; the same key comes again after so many others."""
    return _key(public_exponent, bits, next(_numbers) % SIZE)


@functools.cache
def _key(public_exponent: int, bits: int, number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent, bits)


@pytest.fixture(autouse=True)
def rsa_stock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has releases and vaults take their keys from the stock."""
    if request.path.name not in _MADE_ANEW:
        stocked = SimpleNamespace(**{**vars(rsa), "generate_private_key": from_stock})
        for module in (session, material):
            monkeypatch.setattr(module, "rsa", stocked)
