"""What a command line allows, and command lines that make no sense."""

from __future__ import annotations

import pytest

from sealserve.keys.keyid import KeyId
from sealserve.keys.refused import Refused
from sealserve.keys.sidecar.allowed import Allowed, Options
from sealserve.native.errors import ConfigError, ReleaseError
from support.keys_trustd import LocalTrustd

SERVICES = ("https://one.attest.example", "https://Two.attest.example:443/")
AZURE = Options(("a.vault.example", "azure:https://B.vault.example"), (), SERVICES, ("k",))
VERSION = "ab" * 16


def test_every_azure_vault_with_every_service() -> None:
    allowed = Allowed.of(AZURE, "aci")
    pairs = {
        (vault, service)
        for vault in ("a.vault.example", "b.vault.example")
        for service in ("one.attest.example", "two.attest.example")
    }
    assert allowed.places.keys() == pairs
    for vault, service in pairs:
        config = allowed.place(vault.upper(), f"{service}:443").config
        assert (config.vault, config.issuer) == (vault, f"https://{service}")


def test_a_trust_service_brings_its_own(trustd: LocalTrustd) -> None:
    address = trustd.connection.address
    digest = trustd.connection.authority().sha256
    options = Options((f"trustd:{address}", "a.vault.example"), (digest,), SERVICES, ())
    allowed = Allowed.of(options, "snp")
    assert allowed.place(address, address).config.issuer == f"https://{address}"
    assert allowed.service(address) == address
    for vault, service in ((address, "one.attest.example"), ("a.vault.example", address)):
        with pytest.raises(Refused) as caught:
            allowed.place(vault, service)
        assert (caught.value.status, "believes only" in caught.value.message) == (403, True)


def test_services_alone_are_enough_to_attest() -> None:
    allowed = Allowed.of(Options(services=SERVICES), "aci")
    assert allowed.service("two.attest.example") == "two.attest.example"
    with pytest.raises(Refused, match="--vault names none"):
        allowed.place("a.vault.example", "two.attest.example")


def test_a_key_in_one_version_only() -> None:
    allowed = Allowed.of(Options(keys=("any", f"one/{VERSION}")), "aci")
    assert allowed.key_id("v.example", "any") == KeyId("v.example", "any", "")
    for kid in ("any/" + "0" * 32, f"one/{VERSION}"):
        name, version = kid.split("/")
        assert allowed.key_id("v.example", kid) == KeyId("v.example", name, version)
    for kid in ("one", "one/" + "0" * 32, "other"):
        with pytest.raises(Refused) as caught:
            allowed.key_id("v.example", kid)
        assert caught.value.status == 403


HEX = "0" * 64


def services(url: str) -> Options:
    return Options(services=(url,))


REFUSED: dict[str, tuple[Options, str, str]] = {
    "no digest": (Options(("trustd:v.example",)), "snp", "0 digests for 1 trustd: vaults"),
    "a digest too many": (Options((), (HEX,)), "snp", "1 digests for 0 trustd: vaults"),
    "a digest that is none": (Options(("trustd:v.example",), ("x",)), "snp", "not a SHA-256"),
    "a vault that is none": (Options(("https://v",), (), SERVICES), "snp", "names no vault"),
    "Azure without a service": (Options(("v.example",)), "snp", "needs --attestation-service"),
    "a service without https": (services("http://a.example"), "snp", "not https://HOST"),
    "a service with a path": (services("https://a.example/x"), "snp", "not https://HOST"),
    "a service with a user": (services("https://u@a.example"), "snp", "not https://HOST"),
    "a key that is a path": (Options(keys=("a/../b",)), "snp", "not NAME or NAME/VERSION"),
    "no key": (Options(keys=("",)), "snp", "not NAME or NAME/VERSION"),
    "a simulated machine at Azure": (
        Options(services=SERVICES), "simulated", "a simulated machine gets no token",
    ),
    "a simulated machine at an Azure vault": (
        Options(("v.example",)), "simulated", "a simulated machine gets no key",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("options", "platform", "words"), REFUSED.values(), ids=REFUSED)
def test_a_command_line_that_makes_no_sense(options: Options, platform: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Allowed.of(options, platform)


def test_a_trust_service_of_another_authority(trustd: LocalTrustd) -> None:
    with pytest.raises(ReleaseError, match="shows the CA"):
        Allowed.of(Options((f"trustd:{trustd.connection.address}",), (HEX,)), "snp")
