"""As whom a vault is asked: the measured command line, a caller's token, or the machine itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sealserve.keys.place import VaultOptions, _azure_identity, find_place
from sealserve.keys.vault import StaticCredential


@pytest.fixture(autouse=True)
def no_identity_yet() -> Iterator[None]:
    _azure_identity.cache_clear()
    yield
    _azure_identity.cache_clear()


@pytest.mark.parametrize(("client_id", "wanted"), [("", None), ("a-client", "a-client")])
def test_azure_knows_the_machine_by_its_managed_identity(
    client_id: str, wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def identity(**options: Any) -> StaticCredential:
        asked.append(options)
        return StaticCredential("of the machine")

    monkeypatch.setattr("azure.identity.ManagedIdentityCredential", identity)
    place = find_place(VaultOptions("v.example", "https://a.example/"), "aci")
    assert (place.service_url, place.authority) == ("https://a.example", None)
    for _ in range(2):
        place.vault(client_id=client_id).close()
    assert asked == [{"client_id": wanted}]  # whose tokens then last for the second as well


def test_a_callers_token_needs_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_options: object) -> None:
        raise AssertionError

    monkeypatch.setattr("azure.identity.ManagedIdentityCredential", refuse)
    place = find_place(VaultOptions("v.example", "https://a.example"), "aci")
    place.vault("a-token").close()
