"""As whom a vault is asked: a caller's token comes before the machine's own identity."""

from __future__ import annotations

import pytest

from sealserve.keys.azure_identity import MachineIdentity
from sealserve.keys.place import VaultOptions, find_place


def test_a_callers_token_needs_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: MachineIdentity) -> None:
        raise AssertionError

    monkeypatch.setattr(MachineIdentity, "credential", refuse)
    place = find_place(VaultOptions("v.example", "https://a.example/"), "aci")
    assert (place.service_url, place.authority) == ("https://a.example", None)
    place.vault("a-token").close()
    with pytest.raises(AssertionError):
        place.vault()
