"""`sealserve key import`: a key from a safe becomes a vault key that only a machine gets."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.keys.opener import connect_vault
from sealserve.keys.place import VaultOptions
from sealserve.models import slot_area
from support.cli_vault import VaultDesk
from support.keys_vault import rsa_key
from support.models_cli import Ran
from support.models_sealed import Regions

KEY = rsa_key(3072, 0)
OWN = ("--identity", "me.key")
PLAIN = NoEncryption()


def pem(key: rsa.RSAPrivateKey, encryption: KeySerializationEncryption = PLAIN) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def bring(desk: VaultDesk, data: bytes, *options: str) -> Ran:
    desk.write("net.pem", data)
    policy = ("--policy", "policy.rego")
    return desk.vault("key", "import", desk.reference, "net.pem", *policy, *options)


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_machine_opens_what_was_wrapped_to_it(
    form: PrivateFormat, desk: VaultDesk, simulated_root: SimulatedRoot
) -> None:
    told = bring(desk, KEY.private_bytes(Encoding.PEM, form, NoEncryption()), "--json").json
    assert (told["bits"], told["enabled"], told["key"]) == (3072, True, desk.kids[-1])
    desk.seal()
    ran = desk.vault("rewrap", "net.sealed", "--keep", "--key", desk.reference, *OWN)
    assert ran.status == 0, ran.err
    slots = slot_area.decode_area(Regions.of((desk.folder / "net.sealed").read_bytes()).slots)
    connection = desk.trustd.connection
    options = VaultOptions(f"trustd:{connection.address}", ca_sha256=connection.authority().sha256)
    machine = Machine(simulated_root, bytes.fromhex(desk.host_data()))
    with closing(connect_vault(options, machine)) as opener:
        opener.unwrap(slots, b"", b"").wipe()


def test_it_says_on_what_terms(desk: VaultDesk) -> None:
    ran = bring(desk, pem(KEY))
    assert ran.status == 0, ran.err
    assert f"key {desk.kids[-1]}\n  RSA, 3072 bits" in ran.out
    assert desk.host_data() in ran.out


def test_another_one_is_another_version(desk: VaultDesk) -> None:
    for number in (0, 1):
        assert bring(desk, pem(rsa_key(3072, number))).status == 0
    assert len(desk.versions) == 2


REFUSED: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a public key": lambda: KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    "a curve": lambda: ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ),
    "a passphrase": lambda: pem(KEY, BestAvailableEncryption(b"words")),
    "a weak key": lambda: pem(rsa.generate_private_key(65537, 1024)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_key_of_a_vaults(name: str, desk: VaultDesk) -> None:
    ran = bring(desk, REFUSED[name]())
    assert (ran.status, ran.out) == (8, "")
    assert "net.pem: is no RSA private key" in ran.err
    assert "openssl genrsa" in ran.err
    assert desk.versions == []


def test_a_version_cannot_be_chosen(desk: VaultDesk) -> None:
    desk.reference += "/" + "0" * 32
    ran = bring(desk, pem(KEY))
    assert ran.status == 8
    assert "names a version" in ran.err
