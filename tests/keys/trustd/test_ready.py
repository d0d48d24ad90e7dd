"""What `trustd run` says when it answers."""

from __future__ import annotations

import pytest

from sealserve.keys.trustd.server import Ready


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("vault.example:8443", "key vault vault.example:8443; machines"),
        ("0.0.0.0:8443", "key vault vault.example:8443 on 0.0.0.0:8443; machines"),
    ],
)
def test_an_address_is_said_once(listen: str, said: str) -> None:
    assert said in Ready("vault.example:8443", listen, "real", "ab" * 32).line()
