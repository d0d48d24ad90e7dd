"""The server's opener: whom it asks, whom it never asks, and which failure it tells."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from sealserve.attestation.roots import ARK_SHA256
from sealserve.attestation.simulated import Machine
from sealserve.keys.opener import VaultOpener, connect_vault
from sealserve.keys.place import VaultOptions
from sealserve.keys.session import ReleaseConfig
from sealserve.models.slots import Slot
from sealserve.native.errors import (
    ConfigError,
    EvidenceError,
    IntegrityError,
    ReleaseError,
    UnavailableError,
)
from sealserve.policy.release_build import build
from support.attestation_simulated import HOST_DATA
from support.attestation_vectors import vector
from support.keys_server import Reply, serve
from support.keys_vault import failure
from support.ports import free_port

KEY = bytes(range(100, 132))
HPKE = Slot("hpke", "0" * 32, "X25519", b"x")


@pytest.fixture
def opener(vault, ca):
    """Make an opener of the vault for a machine."""
    opened = []

    def make(source, **changes):
        options = VaultOptions(f"trustd:{vault.host}", ca_sha256=ca.sha256)
        opened.append(connect_vault(replace(options, **changes), source))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_an_attested_machine_gets_the_key(vault, opener, machine, slot):
    with opener(machine).unwrap([slot], b"", b"") as key:
        assert key.equals(KEY)


def test_the_authority_may_come_from_a_file(vault, ca, opener, machine, slot, tmp_path):
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    with opener(machine, ca_file=tmp_path / "ca.pem").unwrap([slot], b"", b"") as key:
        assert key.equals(KEY)


def test_another_execution_policy_gets_nothing_and_both_sides_are_told(
    opener, simulated_root, slot
):
    other = bytes(reversed(HOST_DATA))
    with pytest.raises(ReleaseError) as caught:
        opener(Machine(simulated_root, other)).unwrap([slot], b"", b"")
    assert f'seen "{other.hex()}"; wanted "{HOST_DATA.hex()}"' in caught.value.denied
    assert caught.value.exit_code == 7


FAULTS = {"debug": "is-debuggable", "vmpl": "vmpl", "vmpl-1": "vmpl"}


def test_a_machine_in_debug_mode_gets_nothing(opener, simulated_root, slot):
    debugged = Machine(simulated_root, HOST_DATA, faults=["debug"])
    with pytest.raises(ReleaseError) as caught:
        opener(debugged).unwrap([slot], b"", b"")
    assert "x-ms-sevsnpvm-is-debuggable: seen true; wanted false" in caught.value.denied


def test_a_machine_that_is_not_genuine_gets_no_token(vault, opener, simulated_root, slot):
    forged = Machine(simulated_root, HOST_DATA, faults=["leaf-signature"])
    with pytest.raises(ReleaseError, match="refused to attest"):
        opener(forged).unwrap([slot], b"", b"")
    assert not any(path.endswith("/release") for path in vault.paths("POST"))


def released(vault):
    """The versions that were asked for, in order, each once."""
    paths = [path for path in vault.paths("POST") if path.endswith("/release")]
    return list(dict.fromkeys(path.split("/")[3] for path in paths))


def test_a_slot_of_a_foreign_host_is_never_asked_for(ca, vault, opener, machine, slot):
    with serve(lambda request: Reply.of({}), ca) as foreign:
        theirs = replace(slot, recipient=slot.recipient.replace(vault.host, foreign.host))
        ours = opener(machine)
        before = vault.server.connections
        with pytest.raises(ReleaseError) as caught:
            ours.unwrap([theirs, HPKE], b"", b"")
        assert (foreign.connections, vault.server.connections) == (0, before)
        assert foreign.host in caught.value.message
        assert vault.host in caught.value.message
        assert "no token was sent anywhere" in caught.value.hint
        with ours.unwrap([theirs, HPKE, slot], b"", b"") as key:
            assert key.equals(KEY)
        assert foreign.connections == 0


UNREADABLE = {
    "no URL": "model",
    "http": "http://HOST/keys/model/" + "0" * 32,
    "a user in front of our host": "https://u@HOST/keys/model/" + "0" * 32,
    "our host as a user": "https://HOST@evil.example/keys/model/" + "0" * 32,
    "our host as a label": "https://HOST.evil.example/keys/model/" + "0" * 32,
    "another path": "https://HOST/secrets/model/" + "0" * 32,
    "an operation": "https://HOST/keys/model/" + "0" * 32 + "/release",
    "empty": "",
}


@pytest.mark.parametrize("recipient", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_slot_is_somebody_elses(recipient, vault, opener, machine, slot):
    odd = replace(slot, recipient=recipient.replace("HOST", vault.host))
    with pytest.raises(ReleaseError, match="no slot belongs"):
        opener(machine).unwrap([odd], b"", b"")
    assert released(vault) == []
    with opener(machine).unwrap([odd, slot], b"", b"") as key:
        assert key.equals(KEY)


def test_no_slots_at_all(opener, machine):
    with pytest.raises(ReleaseError, match="slots for nobody"):
        opener(machine).unwrap([], b"", b"")


def second(vault, slot, policy):
    """A slot for a newer version of the key under another policy."""
    stored = vault.create("model", policy)
    return replace(slot, recipient=vault.url("model", stored))


def test_of_several_slots_the_first_that_is_released_counts(vault, opener, machine, slot):
    closed = second(vault, slot, build(vault.issuer, "77" * 32, simulated=True))
    with opener(machine).unwrap([closed, slot], b"", b"") as key:
        assert key.equals(KEY)
    assert released(vault) == [each.recipient[-32:] for each in (closed, slot)]


def test_a_slot_that_does_not_open_is_passed_over(vault, opener, machine, slot):
    altered = replace(slot, wrapped=slot.wrapped[:-1] + bytes([slot.wrapped[-1] ^ 1]))
    with opener(machine).unwrap([altered, slot], b"", b"") as key:
        assert key.equals(KEY)
    with pytest.raises(IntegrityError):
        opener(machine).unwrap([altered], b"", b"")


def test_of_several_failures_the_last_is_told(vault, opener, machine, slot):
    closed = [
        second(vault, slot, build(vault.issuer, digit * 64, simulated=True)) for digit in "78"
    ]
    for order in (closed, closed[::-1]):
        with pytest.raises(ReleaseError) as caught:
            opener(machine).unwrap(order, b"", b"")
        wanted = {closed[0].recipient: "7" * 64, closed[1].recipient: "8" * 64}
        assert wanted[order[-1].recipient] in caught.value.message


def test_a_vault_that_is_not_there_is_not_a_refusal(vault, opener, machine, slot):
    vault.refuse = lambda request: (
        Reply(503, b"", {"Retry-After": "9999"}) if request.path.endswith("/release") else None
    )
    with pytest.raises(UnavailableError) as caught:
        opener(machine).unwrap([slot, slot], b"", b"")
    assert caught.value.exit_code == 10
    assert len(released(vault)) == 1


def test_keys_of_the_issuer_are_asked_for_once_and_again_when_they_change(
    vault, opener, machine, slot
):
    ours = opener(machine)
    for _ in range(2):
        ours.unwrap([slot], b"", b"").wipe()
    assert vault.paths("GET").count("/simulated/certs") == 1


def wrong_token(vault):
    vault.edit_claims = lambda told: {**told, "iss": "https://evil.example/simulated"}


def wrong_answer(vault):
    def edit(payload):
        payload["request"]["kid"] = payload["request"]["kid"][:-32] + "0" * 32
        return payload

    vault.edit_payload = edit


def test_a_token_of_another_issuer_is_not_presented(vault, opener, machine, slot):
    wrong_token(vault)
    with pytest.raises(EvidenceError) as caught:
        opener(machine).unwrap([slot], b"", b"")
    assert caught.value.code == "token_issuer"
    assert released(vault) == []


def test_an_answer_about_another_version_is_not_used(vault, opener, machine, slot):
    wrong_answer(vault)
    with pytest.raises(ReleaseError, match=r"request\.kid"):
        opener(machine).unwrap([slot], b"", b"")


def test_another_authority_gets_no_evidence(vault, other_ca, opener, machine):
    with pytest.raises(ReleaseError, match="shows the CA"):
        opener(machine, ca_sha256=other_ca.sha256)
    assert vault.server.requests == []


def test_a_refusal_is_the_vaults_own_words(vault, opener, machine, slot):
    vault.refuse = lambda request: (
        failure(403, "Forbidden", "no") if request.path.endswith("/release") else None
    )
    with pytest.raises(ReleaseError) as caught:
        opener(machine).unwrap([slot], b"", b"")
    assert caught.value.denied == f"{vault.host}: no"


class Real:
    """What detection returns on hardware; nothing here asks it for evidence."""

    platform = "snp"

    def evidence(self, claims):
        raise AssertionError


OPTIONS = {
    "nothing": ({"vault": ""}, "names no vault"),
    "only a scheme": ({"vault": "trustd:"}, "names no vault"),
    "a URL": ({"vault": "https://vault.example"}, "names no vault"),
    "http behind azure": ({"vault": "azure:http://vault.example"}, "names no vault"),
    "a key behind the host": ({"vault": "trustd:vault.example:8443/model"}, "names no vault"),
    "a user": ({"vault": "trustd:u@vault.example"}, "names no vault"),
    "trustd without a digest": ({"vault": "trustd:vault.example", "ca_sha256": ""}, "needs"),
    "trustd with a digest that is none": ({"ca_sha256": "xyz"}, "is not a SHA-256"),
    "trustd with another service": (
        {"attestation_service": "https://evil.example"},
        "believes only its own",
    ),
    "a simulated machine at Azure": (
        {"vault": "vault.example", "ca_sha256": "", "attestation_service": "https://a.example"},
        "a simulated machine gets no key from Azure",
    ),
}


@pytest.mark.parametrize(("changes", "said"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_do_not_fit(changes, said, machine):
    options = VaultOptions(f"trustd:127.0.0.1:{free_port()}", ca_sha256="0" * 64)
    with pytest.raises(ConfigError, match=said):
        connect_vault(replace(options, **changes), machine)


AZURE = {
    "a digest": ({"ca_sha256": "0" * 64}, "are for trustd"),
    "a credential": ({"credential": "x"}, "are for trustd"),
    "no service": ({"attestation_service": ""}, "needs --attestation-service"),
    "a service without https": ({"attestation_service": "http://a.example"}, "needs"),
}


@pytest.mark.parametrize("spelled", ["vault.example", "azure:https://vault.example/"])
@pytest.mark.parametrize(("changes", "said"), AZURE.values(), ids=AZURE)
def test_options_that_do_not_fit_azure(changes, said, spelled):
    options = VaultOptions(spelled, attestation_service="https://a.example")
    with pytest.raises(ConfigError, match=said):
        connect_vault(replace(options, **changes), Real())


@pytest.mark.parametrize("spelled", ["vault.example", "azure:https://vault.example/"])
def test_azure_is_named_by_its_host(spelled):
    options = VaultOptions(spelled, attestation_service="https://a.example/")
    opened = connect_vault(options, Real())
    assert (opened.config.vault, opened.config.issuer) == ("vault.example", "https://a.example")
    opened.close()


class Shown:
    """An attestation service that keeps what it was shown and gives nothing for it."""

    def __init__(self):
        self.ark = []

    def attest(self, evidence, *, ark=None):
        self.ark.append(ark)
        raise ReleaseError("no token")

    def keys(self, issuer):
        raise AssertionError(issuer)

    def close(self):
        pass


class Hardware:
    """A machine of AMD's, by what it would send."""

    platform = "snp"

    def __init__(self, evidence):
        self._evidence = evidence

    def evidence(self, claims):
        return self._evidence


def ark_shown(source, slot, vault):
    service = Shown()
    config = ReleaseConfig(vault=vault.host, issuer="https://a.example", signer_roots=())
    with pytest.raises(ReleaseError, match="no token"):
        VaultOpener(config, service, vault, source).unwrap([slot], b"", b"")
    return service.ark


@pytest.mark.parametrize("row", ["trustee/milan-v2", "trustee/genoa-v3", "ms-tav/turin-v5-aci"])
def test_azure_is_shown_the_whole_chain_of_real_hardware(row, slot, vault):
    (ark,) = ark_shown(Hardware(vector(row).evidence()), slot, vault)
    assert hashlib.sha256(ark).hexdigest() in ARK_SHA256.values()


def test_a_simulated_root_is_in_the_evidence_already(machine, slot, vault):
    assert ark_shown(machine, slot, vault) == [None]
