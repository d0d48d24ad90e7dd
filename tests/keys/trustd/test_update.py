"""Withdrawing a key, dating it, giving it another policy; and what an update may not do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sealserve.attestation.simulated import Machine
from sealserve.keys.refused import Refused
from sealserve.policy.release_build import build
from support.attestation_simulated import CLAIMS, HOST_DATA
from support.keys_trustd import LocalTrustd, body_of, random_name, release_policy

EXPORTABLE = {"exportable": True}
OTHER_HOST_DATA = "ab" * 32


@pytest.fixture
def policy(trustd: LocalTrustd) -> bytes:
    return build(trustd.issuer, HOST_DATA.hex(), simulated=True)


@pytest.fixture
def key(trustd: LocalTrustd, policy: bytes) -> list[str]:
    """Name and version of a key that may be released."""
    bundle = trustd.create(
        random_name(), kty="oct", attributes=EXPORTABLE, release_policy=release_policy(policy)
    )
    return str(bundle["key"]["kid"]).split("/")[4:]


@pytest.fixture
def update(trustd: LocalTrustd, key: list[str]) -> Callable[..., dict[str, Any]]:
    def change(**members: object) -> dict[str, Any]:
        return trustd.service.update(trustd.owner, *key, body_of(members))

    return change


def token(trustd: LocalTrustd, machine: Machine) -> str:
    return trustd.token(trustd.attest(machine.evidence(CLAIMS)))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"enabled": False}, "disabled"),
        ({"nbf": 2**40}, "nbf and exp"),
        ({"exp": 1}, "nbf and exp"),
    ],
)
def test_what_was_withdrawn_is_not_released(
    trustd: LocalTrustd,
    machine: Machine,
    key: list[str],
    update: Callable[..., dict[str, Any]],
    attributes: dict[str, object],
    reason: str,
) -> None:
    told = update(attributes=attributes)["attributes"]
    assert told.items() >= attributes.items()
    with pytest.raises(Refused, match=reason):
        trustd.release(*key, target=token(trustd, machine))


def test_another_policy_holds_from_now_on(
    trustd: LocalTrustd,
    machine: Machine,
    key: list[str],
    update: Callable[..., dict[str, Any]],
) -> None:
    other = build(trustd.issuer, OTHER_HOST_DATA, simulated=True)
    update(release_policy=release_policy(other))
    with pytest.raises(Refused, match=f'hostdata: seen "{HOST_DATA.hex()}"; wanted "abab'):
        trustd.release(*key, target=token(trustd, machine))


def test_what_is_not_named_stays(
    trustd: LocalTrustd, key: list[str], update: Callable[..., dict[str, Any]]
) -> None:
    before = trustd.service.get(trustd.owner, *key)
    after = update(tags={"of": "clinic"}, key_ops=["unwrapKey"])
    assert after["tags"] == {"of": "clinic"}
    assert after["key"] == {**before["key"], "key_ops": ["unwrapKey"]}
    assert after["release_policy"] == before["release_policy"]
    assert after["attributes"].keys() == before["attributes"].keys()
    assert trustd.service.get(trustd.owner, *key) == after


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "another exportable state": ({"attributes": {"exportable": False}}, r"AKV\.SKR\.1014"),
    "enabled is no flag": ({"attributes": {"enabled": 1}}, "wanted true or false"),
    "a date in words": ({"attributes": {"exp": "soon"}}, "wanted a whole number"),
    "an unknown operation": ({"key_ops": ["fly"]}, "key_ops"),
    "sixteen tags": ({"tags": dict.fromkeys(map(str, range(16)), "")}, "tags"),
    "a policy that is none": ({"release_policy": {"data": "e30"}}, "release_policy"),
}


@pytest.mark.parametrize(("members", "reason"), REFUSED.values(), ids=REFUSED)
def test_each_alone_is_refused_and_changes_nothing(
    trustd: LocalTrustd,
    key: list[str],
    update: Callable[..., dict[str, Any]],
    members: dict[str, object],
    reason: str,
) -> None:
    before = trustd.service.get(trustd.owner, *key)
    with pytest.raises(Refused, match=reason) as caught:
        update(**members)
    assert caught.value.status == 400
    assert trustd.service.get(trustd.owner, *key) == before


def test_an_immutable_policy_stays(trustd: LocalTrustd, policy: bytes) -> None:
    bundle = trustd.create(
        random_name(),
        kty="oct",
        attributes=EXPORTABLE,
        release_policy=release_policy(policy, immutable=True),
    )
    *_, name, version = bundle["key"]["kid"].split("/")
    body = body_of({"release_policy": release_policy(policy)})
    with pytest.raises(Refused, match="immutable"):
        trustd.service.update(trustd.owner, name, version, body)


def test_a_key_that_never_leaves_gets_no_policy(trustd: LocalTrustd, policy: bytes) -> None:
    name = random_name()
    trustd.create(name, kty="oct")
    body = body_of({"release_policy": release_policy(policy)})
    with pytest.raises(Refused, match=r"AKV\.SKR\.1005"):
        trustd.service.update(trustd.owner, name, "", body)


@pytest.mark.parametrize("bearer", ["", "attested", "x" * 43])
def test_only_the_owner_may(trustd: LocalTrustd, key: list[str], bearer: str) -> None:
    with pytest.raises(Refused, match="AKV10000"):
        trustd.service.update(bearer, *key, body_of({"attributes": {"enabled": False}}))


def test_a_key_that_is_not_there(trustd: LocalTrustd) -> None:
    with pytest.raises(Refused, match="was not found"):
        trustd.service.update(trustd.owner, "nothing", "", body_of({}))
