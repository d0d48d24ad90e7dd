"""Requests nobody planned: each is answered or refused, and nothing else ever happens."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealserve.attestation.simulated import Machine
from sealserve.keys.attest import request_body
from sealserve.keys.body import Body
from sealserve.keys.refused import Refused
from sealserve.keys.trustd.pages import Page
from sealserve.policy.release_build import build
from support.attestation_simulated import CLAIMS, HOST_DATA
from support.keys_trustd import (
    API_VERSION,
    LocalTrustd,
    body_of,
    private_jwk,
    random_name,
    release_policy,
    wrapping_jwk,
)
from support.keys_vault import b64url, rsa_key, unb64url

# The services of a module are shared by all examples, which leave at most keys behind.
examples = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**62, 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.binary(max_size=300).map(b64url),
    st.sampled_from(["RSA", "oct", "EC", "JSON", "Binary", "enc", "encrypt", "", "AQAB", "AA"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def ways(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a request something stands."""
    found = [above] if above else []
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for name, inner in value.items():
            found += ways(inner, (*above, name))
    return found


def put(request: Any, way: tuple[Any, ...], value: object) -> Any:
    """A copy with something else there."""
    changed = json.loads(json.dumps(request))
    inner = changed
    for name in way[:-1]:
        inner = inner[name]
    inner[way[-1]] = value
    return changed


def changed(request: Any) -> st.SearchStrategy[Any]:
    """The request with one to three places holding anything."""
    edits = st.lists(st.tuples(st.sampled_from(ways(request)), VALUES), min_size=1, max_size=3)
    return edits.map(lambda each: apply(request, each))


def apply(request: Any, edits: list[tuple[tuple[Any, ...], object]]) -> Any:
    for way, value in edits:
        with suppress(KeyError, TypeError, IndexError):  # an edit before took the place away
            request = put(request, way, value)
    return request


@examples
@given(data=st.data())
def test_attestation(trustd: LocalTrustd, machine: Machine, data: st.DataObject) -> None:
    granted = json.loads(request_body(machine.evidence(CLAIMS)))
    granted["report"] = json.loads(unb64url(granted["report"]))
    granted |= {"initTimeData": {"data": "", "dataType": ""}, "nonce": "n"}
    request = data.draw(changed(granted))
    if data.draw(st.booleans()):
        request["report"] = b64url(json.dumps(request["report"]).encode())
    with suppress(Refused):
        trustd.service.attest("SevSnpVm", body_of(request))


@settings(examples, max_examples=40)  # an RSA key is checked, or made, in a tenth of a second
@given(data=st.data())
def test_making_and_bringing_keys(trustd: LocalTrustd, data: st.DataObject) -> None:
    policy = release_policy(build(trustd.issuer, HOST_DATA.hex(), simulated=True))
    common = {
        "attributes": {"enabled": True, "exportable": True, "nbf": 1, "exp": 2},
        "release_policy": {**policy, "immutable": False},
        "tags": {"a": "b"},
    }
    made = data.draw(changed({**common, "kty": "oct", "key_size": 256, "key_ops": ["sign"]}))
    with suppress(Refused):
        trustd.service.create(trustd.owner, random_name(), body_of(made))
    brought = data.draw(changed({**common, "Hsm": False, "key": private_jwk()}))
    with suppress(Refused):
        trustd.service.bring(trustd.owner, random_name(), body_of(brought))


@examples
@given(data=st.data())
def test_release(trustd: LocalTrustd, data: st.DataObject) -> None:
    """A token of ours may say anything that somebody's runtime data did."""
    policy = build(trustd.issuer, HOST_DATA.hex(), simulated=True)
    if not trustd.service.versions(trustd.owner, "released", Page())["value"]:
        attributes = {"exportable": True}
        trustd.create(
            "released", kty="oct", attributes=attributes, release_policy=release_policy(policy)
        )
    allowed = {
        "x-ms-attestation-type": "sevsnpvm",
        "x-ms-compliance-status": "sealserve-simulated",
        "x-ms-sevsnpvm-hostdata": HOST_DATA.hex(),
        "x-ms-sevsnpvm-is-debuggable": False,
        "x-ms-sevsnpvm-vmpl": 0,
    }
    runtime = data.draw(changed({"keys": [wrapping_jwk(rsa_key(2048, 3), use="enc")]}))
    token = trustd.token({**allowed, "x-ms-runtime": runtime})
    request = {"target": token, "enc": data.draw(st.one_of(SCALARS, st.just("")))}
    with suppress(Refused):
        trustd.service.release("any", "released", "", body_of(request), API_VERSION)


@examples
@given(body=st.one_of(st.binary(max_size=64), st.text(max_size=64).map(str.encode)))
def test_bodies(body: bytes) -> None:
    with suppress(Refused):
        Body.parse(body)
