"""Signing keys that are kept: fetched anew when a service rolls them, and after an hour."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from sealserve.attestation.token import TokenKeys, verify_token
from sealserve.keys.issuer_keys import KEPT, IssuerKeys
from sealserve.native.errors import EvidenceError, UnavailableError
from support.attestation_simulated import NOW
from support.keys_vault import rsa_key, signed

ISSUER = "https://service.example"
OLD, NEW = rsa_key(2048, 0), rsa_key(2048, 1)
SECONDS = int(NOW.timestamp())


class Service:
    """A service that publishes these keys. asked: for which issuer, each time."""

    def __init__(self, *kids: str) -> None:
        self.kids: Sequence[str] = kids
        self.asked: list[str] = []
        self.away = False
        self.kept = IssuerKeys(ISSUER, self.fetch)

    def fetch(self, issuer: str) -> TokenKeys:
        self.asked.append(issuer)
        if self.away:
            raise UnavailableError("nobody there")
        keys = {"old": OLD, "new": NEW}
        return TokenKeys({kid: keys[kid].public_key() for kid in self.kids})

    def verified(self, kid: str, late: timedelta = timedelta()) -> Any:
        now = NOW + late
        key = {"old": OLD, "new": NEW}[kid]
        claims = {"iss": ISSUER, "exp": SECONDS + 28800}
        # whoever signs a token can write any place into it
        header = {"alg": "RS256", "kid": kid, "jku": "https://evil.example/certs"}
        token = signed(json.dumps(claims).encode(), key, header)
        return verify_token(token, self.kept.of(token, now), issuer=ISSUER, now=now)


def test_are_fetched_once_and_from_the_pinned_issuer() -> None:
    service = Service("old")
    for late in (timedelta(), KEPT - timedelta(seconds=1)):
        assert service.verified("old", late)["iss"] == ISSUER
    assert service.asked == [ISSUER]


def test_are_fetched_again_for_a_key_that_is_new() -> None:
    service = Service("old")
    service.verified("old")
    service.kids = ("old", "new")
    for kid in ("new", "old", "new"):
        assert service.verified(kid)
    assert len(service.asked) == 2


def test_a_key_that_nobody_publishes_is_asked_for_and_refused() -> None:
    service = Service("old")
    with pytest.raises(EvidenceError) as caught:
        service.verified("new")
    assert caught.value.code == "token_key"
    assert service.verified("old")
    assert len(service.asked) == 1


def test_a_key_that_was_withdrawn_is_believed_for_an_hour_and_no_longer() -> None:
    service = Service("old")
    service.verified("old")
    service.kids = ("new",)
    assert service.verified("old", KEPT - timedelta(seconds=1))
    with pytest.raises(EvidenceError) as caught:
        service.verified("old", KEPT)
    assert caught.value.code == "token_key"


def test_a_clock_that_was_put_back_keeps_nothing_for_longer() -> None:
    service = Service("old")
    service.verified("old")
    service.verified("old", -timedelta(seconds=1))
    assert len(service.asked) == 2


def test_a_service_that_is_away_takes_nothing_from_what_is_known() -> None:
    service = Service("old")
    service.verified("old")
    service.away = True
    with pytest.raises(UnavailableError):
        service.verified("new")
    assert service.verified("old")


def test_a_token_that_cannot_be_read_is_worth_no_question() -> None:
    service = Service("old")
    with pytest.raises(EvidenceError):
        service.kept.of("a.b.c", NOW)
    assert service.asked == []
