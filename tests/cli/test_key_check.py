"""`sealserve key check`: would a key be released? It says what the vault itself would do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealserve.attestation import Evidence, encode
from sealserve.attestation.binding import ReleaseClaims
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys.connection import ROLE_TAG
from sealserve.keys.refused import Refused
from sealserve.policy.release import VERSION
from sealserve.policy.release_build import build
from support.attestation_simulated import HOST_DATA, NOW, Kind, evidence_of
from support.cli_vault import VaultDesk
from support.client_server import LiveServer
from support.keys_trustd import body_of, private_jwk, release_policy, wrapping_jwk
from support.keys_vault import der_chain, rsa_key, unb64url
from support.models_cli import Ran
from support.policy_case import ENDORSED, MEASURED, POLICY, edit
from support.policy_release import claim, conditions

VECTORS = Path(__file__).parent.parent / "vectors" / "policy" / "release"
STATUS = "x-ms-compliance-status"
DEBUG = "x-ms-sevsnpvm-is-debuggable"
RUNTIME = {"keys": [wrapping_jwk(rsa_key(2048, 3))]}
GOOD: Mapping[str, object] = {
    "x-ms-attestation-type": "sevsnpvm",
    STATUS: "sealserve-simulated",
    "x-ms-sevsnpvm-hostdata": HOST_DATA.hex(),
    DEBUG: False,
    "x-ms-sevsnpvm-vmpl": 0,
    "x-ms-runtime": RUNTIME,
}


class Case:
    """A key of the desk under a policy for one machine, and tokens and evidence in files."""

    def __init__(self, desk: VaultDesk, root: SimulatedRoot) -> None:
        self.desk = desk
        self.root = root
        self.bring(build(desk.trustd.issuer, HOST_DATA.hex(), simulated=True))

    def bring(self, policy: bytes, **more: Any) -> None:
        """A new version of the key; `more` goes into the attributes, `tags` beside them."""
        tags = more.pop("tags", {})
        body = {
            "key": private_jwk(),
            "attributes": {"exportable": True, **more},
            "release_policy": release_policy(policy),
            "tags": tags,
        }
        service = self.desk.trustd.service
        service.bring(self.desk.trustd.owner, self.desk.name, body_of(body))

    def token(self, **changes: object) -> str:
        """A token of the service, with these claims changed; None leaves one out."""
        claims = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
        kept = {name: value for name, value in claims.items() if value is not None}
        return self.desk.trustd.token(kept)

    def check(self, *options: str) -> Ran:
        return self.desk.vault("key", "check", self.desk.reference, *options)

    def check_token(self, token: str, *options: str) -> Ran:
        self.desk.write("token", token.encode())
        return self.check("--token", "token", *options)

    def keep(self, evidence: Evidence) -> None:
        """As much as is read of a folder of `evidence get`."""
        (self.desk.folder / "evidence").mkdir(exist_ok=True)
        self.desk.write("evidence/evidence.cbor", encode(evidence))
        assert evidence.root is not None
        self.desk.write("evidence/simulated_root.der", evidence.root)

    def check_evidence(self, *options: str) -> Ran:
        root = ("--simulated-root", "evidence/simulated_root.der")
        return self.check("--evidence", "evidence", *root, *options)


@pytest.fixture
def case(desk: VaultDesk, simulated_root: SimulatedRoot) -> Case:
    return Case(desk, simulated_root)


def clauses(ran: Ran) -> dict[str, tuple[str, str]]:
    """What is unmet, with both sides."""
    assert ran.status == (0 if ran.json["released"] else 7)
    return {each["clause"]: (each["seen"], each["wanted"]) for each in ran.json["unmet"]}


# ---- tokens


def test_a_token_that_gets_the_key(case: Case) -> None:
    ran = case.check_token(case.token(), "--json")
    assert (ran.status, ran.err) == (0, "")
    (kid,) = case.desk.kids
    assert ran.json == {"key": kid, "not_checked": [], "released": True, "unmet": []}
    assert case.check_token(case.token()).out == f"{kid}\n  would be released\n"


def test_each_clause_that_fails_is_named_with_both_sides(case: Case) -> None:
    token = case.token(**{DEBUG: True, "x-ms-sevsnpvm-vmpl": 2, STATUS: None})
    ran = case.check_token(token, "--json")
    assert clauses(ran) == {
        STATUS: ("nothing", '"sealserve-simulated"'),
        DEBUG: ("true", "false"),
        "x-ms-sevsnpvm-vmpl": ("2", "0"),
    }
    told = case.check_token(token)
    assert told.status == 7
    assert "  would NOT be released\n" in told.out
    assert f"  - {DEBUG}: seen true; wanted false\n" in told.out


def test_a_token_of_yesterday(case: Case) -> None:
    case.desk.write("token", case.token().encode())
    later = (NOW + timedelta(hours=9)).isoformat()
    assert clauses(case.check("--token", "token", "--at", later, "--json")).keys() == {
        "token_expired"
    }
    before = (NOW - timedelta(hours=1)).isoformat()
    assert clauses(case.check("--token", "token", "--at", before, "--json")).keys() == {
        "token_not_yet"
    }


def test_a_token_that_somebody_altered_is_not_genuine(case: Case) -> None:
    head, claims, signature = case.token().split(".")
    other = case.token(**{DEBUG: True}).split(".")[1]
    for token in (".".join([head, other, signature]), ".".join([head, claims, other])):
        ran = case.check_token(token, "--json")
        assert (ran.status, ran.out) == (5, "")


def test_a_token_of_another_issuer(case: Case) -> None:
    """It is nothing to this vault, whoever signed it."""
    token = (VECTORS / "token-azurevm-cvm.jwt").read_text()
    ran = case.check_token(token, "--json")
    seen, wanted = clauses(ran)["authority"]
    assert (seen, wanted) == ('"https://sharedweu.weu.attest.azure.net"', case.desk.trustd.issuer)
    assert any("signature" in each for each in ran.json["not_checked"])


def test_decoded_claims_are_not_verified_and_that_is_said(case: Case) -> None:
    payload = json.dumps({**GOOD, "iss": case.desk.trustd.issuer, "exp": 2**33})
    ran = case.check_token(payload, "--json")
    assert clauses(ran) == {}
    assert ran.json["not_checked"] == ["the token's signature: nothing here has its issuer's keys"]


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        (None, "holds 0 keys to wrap to"),
        ({"keys": [*RUNTIME["keys"], *RUNTIME["keys"]]}, "holds 2 keys to wrap to"),
        ({"keys": [{**RUNTIME["keys"][0], "use": "sig"}]}, "its use is not enc"),
    ],
)
def test_a_token_without_one_key_to_wrap_to(case: Case, runtime: object, words: str) -> None:
    seen, _ = clauses(case.check_token(case.token(x_ms_runtime=runtime), "--json"))["x-ms-runtime"]
    assert words in seen


BAD_TOKENS = {
    "empty": b"",
    "one part": b"e30",
    "no base64": b"a.b!.c",
    "JSON that is a list": b"[1]",
    "broken JSON": b"{",
    "a payload that is text": b'{"header": {}, "payload": "x"}',
    "far too long": b'{"a": "' + b"x" * 300_000 + b'"}',
    "another algorithm": b"eyJhbGciOiJub25lIiwia2lkIjoiYSJ9.e30.",
}


def test_what_is_no_token(case: Case) -> None:
    for name, data in BAD_TOKENS.items():
        case.desk.write("token", data)
        ran = case.check("--token", "token")
        assert (ran.status, ran.out) == (5, ""), name


# ---- the key's own state


def policy_of(case: Case) -> bytes:
    return build(case.desk.trustd.issuer, HOST_DATA.hex(), simulated=True)


INSTANT = int(NOW.timestamp())
STATES: dict[str, tuple[dict[str, Any], str]] = {
    "disabled": ({"enabled": False}, "enabled"),
    "not yet": ({"nbf": INSTANT + 3600}, "nbf"),
    "no more": ({"exp": INSTANT - 3600}, "exp"),
}


@pytest.mark.parametrize(("attributes", "clause"), STATES.values(), ids=STATES)
def test_a_key_that_stays_whoever_asks(case: Case, attributes: dict[str, Any], clause: str) -> None:
    case.bring(policy_of(case), **attributes)
    assert clauses(case.check_token(case.token(), "--json")).keys() == {clause}


def test_a_key_that_never_leaves(case: Case) -> None:
    request = body_of({"kty": "RSA"})
    case.desk.trustd.service.create(case.desk.trustd.owner, case.desk.name, request)
    ran = case.check_token(case.token(), "--json")
    assert clauses(ran).keys() == {"exportable", "release_policy"}


def test_a_key_of_another_type(case: Case) -> None:
    """Containers ask the sidecar for such; only its policy matters here."""
    body = {
        "kty": "oct",
        "attributes": {"exportable": True},
        "release_policy": release_policy(policy_of(case)),
    }
    case.desk.trustd.service.create(case.desk.trustd.owner, case.desk.name, body_of(body))
    assert clauses(case.check_token(case.token(), "--json")) == {}


def test_a_release_role_is_the_callers_affair_and_that_is_said(case: Case) -> None:
    case.bring(policy_of(case), tags={ROLE_TAG: "clinic"})
    ran = case.check_token(case.token())
    assert ran.status == 0
    assert "  not checked: the caller: a bearer token with the role release:clinic" in ran.out


def test_an_older_version_by_its_name(case: Case) -> None:
    case.bring(policy_of(case), enabled=False)
    old, new = (kid.rpartition("/")[2] for kid in case.desk.kids)
    case.desk.write("token", case.token().encode())
    for version, status in ((old, 0), (new, 7)):
        reference = f"{case.desk.reference}/{version}"
        assert case.desk.vault("key", "check", reference, "--token", "token").status == status


# ---- the vault agrees


def released(case: Case, token: str) -> bool:
    """What the vault itself does."""
    try:
        case.desk.trustd.release(case.desk.name, target=token)
    except Refused as refused:
        return refused.status != 403  # and any other is a fault of the test
    return True


NAMES = ["x-ms-sevsnpvm-hostdata", DEBUG, "x-ms-runtime.a", "b"]
VALUES = st.sampled_from(["0", "1", "false", "true", 0, 1, False, True, 1.5, ""])
CONDITIONS = conditions(NAMES, VALUES, 6)
CLAIMS = st.dictionaries(
    st.sampled_from(["x-ms-sevsnpvm-hostdata", DEBUG, "b"]), VALUES | st.none() | st.just([])
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["allOf", "anyOf"]),
    st.lists(CONDITIONS, min_size=1, max_size=3),
    CLAIMS,
    st.booleans(),
    st.sampled_from([RUNTIME, {**RUNTIME, "a": "1"}, {"a": "1"}]),
)
def test_it_says_what_the_vault_does(
    case: Case,
    operator: str,
    parts: list[object],
    claims: dict[str, object],
    enabled: bool,
    runtime: object,
) -> None:
    block = {"authority": case.desk.trustd.issuer, operator: parts}
    case.bring(json.dumps({"version": VERSION, "anyOf": [block]}).encode(), enabled=enabled)
    token = case.desk.trustd.token({**claims, "x-ms-runtime": runtime})
    ran = case.check_token(token, "--json")
    assert bool(clauses(ran)) != released(case, token)


# ---- evidence

RELEASE_CLAIMS = ReleaseClaims.of(rsa_key(3072, 5).public_key()).encode()


def attested(case: Case, evidence: Evidence) -> str:
    """The token of our own service for this evidence, "" if it gives none."""
    try:
        return case.desk.trustd.token(case.desk.trustd.attest(evidence))
    except Refused as refused:
        return "" if refused.status == 400 else refused.message


def test_evidence_gets_what_a_token_for_it_would_get(
    case: Case, simulated_root: SimulatedRoot
) -> None:
    """Each thing that can be amiss with a machine, alone."""
    came: dict[str, int] = {}
    for fault in Kind().faults():
        evidence = evidence_of(simulated_root, fault, claims=RELEASE_CLAIMS)
        case.keep(evidence)
        token = attested(case, evidence)
        wanted = (0 if released(case, token) else 7) if token else 5
        came[fault] = case.check_evidence().status
        assert came[fault] == wanted, fault
    assert set(came.values()) == {0, 5, 7}


def test_evidence_of_a_machine_under_another_policy(
    case: Case, simulated_root: SimulatedRoot
) -> None:
    case.keep(evidence_of(simulated_root))
    assert case.check_evidence().status == 0
    case.bring(build(case.desk.trustd.issuer, "5a" * 32, simulated=True))
    ran = case.check_evidence("--json")
    both = (f'"{HOST_DATA.hex()}"', f'"{"5a" * 32}"')
    assert clauses(ran) == {"x-ms-sevsnpvm-hostdata": both}
    assert ran.json["not_checked"] == ["the key to wrap to: a release makes one of its own"]


def test_evidence_as_it_was_kept_of_a_server(
    desk: VaultDesk, server: LiveServer, simulated_root: SimulatedRoot
) -> None:
    assert desk.run("evidence", "get", server.target, "-o", "kept").status == 0
    options = ("--evidence", "kept", "--simulated-root", "kept/simulated_root.der")
    issuer = "https://a.example/simulated"
    for host_data, status in ((POLICY.hex(), 0), ("5a" * 32, 7)):
        desk.write("release.json", build(issuer, host_data, simulated=True))
        ran = desk.run("key", "check", "--release-policy", "release.json", *options)
        assert ran.status == status, ran.out


def test_evidence_of_another_root_is_not_genuine(case: Case, simulated_root: SimulatedRoot) -> None:
    case.keep(evidence_of(simulated_root))
    ran = case.check("--evidence", "evidence")
    assert (ran.status, ran.out) == (5, "")


def offline(desk: VaultDesk, policy: bytes, *options: str) -> Ran:
    desk.write("release.json", policy)
    return desk.run("key", "check", "--release-policy", "release.json", *options)


def test_a_simulated_machine_gets_no_real_key(case: Case, simulated_root: SimulatedRoot) -> None:
    """Whatever the policy asks for: no real service gives it a token."""
    case.keep(evidence_of(simulated_root))
    block = {
        "authority": "https://a.example",
        "allOf": [claim("x-ms-sevsnpvm-vmpl", "0")],
    }
    policy = json.dumps({"version": VERSION, "anyOf": [block]}).encode()
    root = ("--simulated-root", "evidence/simulated_root.der")
    ran = offline(case.desk, policy, "--evidence", "evidence", *root, "--json")
    seen, wanted = clauses(ran)["authority"]
    assert seen == "a simulated machine"
    assert wanted == "one of those that https://a.example attests: real ones"


def test_which_of_several_authorities(case: Case, simulated_root: SimulatedRoot) -> None:
    case.keep(evidence_of(simulated_root))
    one = json.loads(build("https://a.example/simulated", HOST_DATA.hex(), simulated=True))
    other = json.loads(build("https://b.example/simulated", "5a" * 32, simulated=True))
    both = json.dumps({**one, "anyOf": one["anyOf"] + other["anyOf"]}).encode()
    options = ("--evidence", "evidence", "--simulated-root", "evidence/simulated_root.der")
    ran = offline(case.desk, both, *options)
    assert (ran.status, "names 2 authorities" in ran.err) == (2, True)
    for service, status in (("a", 0), ("b", 7)):
        named = ("--attestation-service", f"https://{service}.example/simulated/")
        assert offline(case.desk, both, *options, *named).status == status


# ---- a real machine, offline

RECORDED = Path(__file__).parent.parent / "vectors" / "azure" / "cleanroom"


def recorded() -> Evidence:
    """What a sidecar sent to Azure's service, as our own evidence: without a revocation list."""
    report = json.loads(unb64url(json.loads((RECORDED / "maa-request.json").read_text())["report"]))
    leaf, intermediate, _ = der_chain(unb64url(report["VcekCertChain"]).decode())
    endorsement = json.loads(unb64url(report["Endorsements"]))["Uvm"][0]
    return Evidence(
        unb64url(report["SnpReport"]),
        leaf,
        intermediate,
        (RECORDED / "public-key-jwks").read_bytes(),
        uvm_endorsement=unb64url(endorsement),
    )


def test_a_real_machine(desk: VaultDesk) -> None:
    """Its execution policy allows everything, so no policy of ours names it: a published one."""
    (desk.folder / "evidence").mkdir()
    desk.write("evidence/evidence.cbor", encode(recorded()))
    trust = edit((MEASURED, ENDORSED)).replace(b"minimum_svn = 104", b"minimum_svn = 103")
    desk.write("trust.toml", trust)
    published = (VECTORS / "aci-sidecar.json").read_bytes()
    options = ("--evidence", "evidence", "--at", "2026-09-01T00:00:00Z", "--json")
    unjudged = offline(desk, published, *options)
    assert clauses(unjudged) == {STATUS: ("nothing", '"azure-compliant-uvm"')}
    assert any("who endorsed the launch" in each for each in unjudged.json["not_checked"])
    judged = offline(desk, published, *options, "--trust", "trust.toml")
    seen, _ = clauses(judged)[STATUS]
    assert seen == '"not-compliant: crl_missing, host_data_permissive"'
    assert any("Azure's own service" in each for each in judged.json["not_checked"])


# ---- real tokens, offline


def real(name: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads((VECTORS / name).read_text())
    return claims.get("payload", claims)


ACI = real("token-aci.decoded.json")
AT = ("--at", "2023-03-31T03:00:00Z")


def test_a_real_token_of_a_container(desk: VaultDesk) -> None:
    token = ("--token", str(VECTORS / "token-aci.decoded.json"))
    ours = build(ACI["iss"], ACI["x-ms-sevsnpvm-hostdata"], simulated=False)
    assert clauses(offline(desk, ours, *token, *AT, "--json")) == {}
    assert clauses(offline(desk, ours, *token, "--json")).keys() == {"token_expired"}
    published = json.loads((VECTORS / "aci-sidecar.json").read_text())
    policy = json.dumps(published).encode()
    assert clauses(offline(desk, policy, *token, *AT, "--json")) == {
        "authority": (f'"{ACI["iss"]}"', published["anyOf"][0]["authority"])
    }
    published["anyOf"][0]["authority"] = ACI["iss"]
    wanted = published["anyOf"][0]["allOf"][0]["equals"]
    assert clauses(offline(desk, json.dumps(published).encode(), *token, *AT, "--json")) == {
        "x-ms-sevsnpvm-hostdata": (f'"{ACI["x-ms-sevsnpvm-hostdata"]}"', f'"{wanted}"')
    }


CVM = {
    "token-azurevm-cvm.jwt": ("https://sharedweu.weu.attest.azure.net", "2023-03-30T12:00:00Z"),
    "token-azurevm-cvm.sample.json": (
        "https://sharedeus.eus.test.attest.azure.net",
        "2022-05-20T00:00:00Z",
    ),
}


@pytest.mark.parametrize("name", CVM)
def test_a_real_token_of_a_confidential_vm(desk: VaultDesk, name: str) -> None:
    issuer, at = CVM[name]
    policy = json.loads((VECTORS / "cvm-nested.json").read_text())
    policy["anyOf"][0]["authority"] = issuer
    options = ("--token", str(VECTORS / name), "--at", at, "--json")
    assert clauses(offline(desk, json.dumps(policy).encode(), *options)) == {}
    container = build(issuer, "5a" * 32, simulated=False)
    assert clauses(offline(desk, container, *options)).keys() == {
        "x-ms-attestation-type",
        "x-ms-compliance-status",
        "x-ms-sevsnpvm-hostdata",
        "x-ms-sevsnpvm-is-debuggable",
        "x-ms-sevsnpvm-vmpl",
    }


def test_keys_of_the_issuer_in_a_file(case: Case) -> None:
    """A signature can be verified without anybody to ask."""
    desk = case.desk
    desk.write("keys.json", json.dumps(desk.trustd.service.tokens.jwks()).encode())
    options = ("--token", "token", "--token-keys", "keys.json", "--json")
    desk.write("token", case.token().encode())
    assert offline(desk, policy_of(case), *options).json["not_checked"] == []
    head, _, signature = case.token().split(".")
    altered = ".".join([head, case.token(**{DEBUG: True}).split(".")[1], signature])
    desk.write("token", altered.encode())
    assert offline(desk, policy_of(case), *options).status == 5


# ---- usage

USAGE: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no key": (("--token", "token"), 2, "give REF or --release-policy FILE"),
    "two keys": (
        ("trustd:h:1/n", "--release-policy", "release.json", "--token", "token"), 2, "not both",
    ),
    "nothing presented": (("--release-policy", "r.json"), 2, "give --evidence DIR or --token"),
    "both presented": (
        ("--release-policy", "r.json", "--token", "t", "--evidence", "e"), 2, "not both",
    ),
    "a folder that is none": (
        ("--release-policy", "release.json", "--evidence", "none"), 8, "cannot be read",
    ),
    "a policy no vault reads": (
        ("--release-policy", "token", "--token", "token"), 8, "not a JSON text we read",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("options", "status", "words"), USAGE.values(), ids=USAGE)
def test_usage(options: tuple[str, ...], status: int, words: str, desk: VaultDesk) -> None:
    desk.write("release.json", build("https://a.example", "5a" * 32, simulated=False))
    desk.write("token", (VECTORS / "token-azurevm-cvm.jwt").read_bytes())
    ran = desk.run("key", "check", *options)
    assert (ran.status, ran.out) == (status, "")
    assert words in ran.err


def test_help_has_an_example(desk: VaultDesk) -> None:
    told = " ".join(desk.run("key", "check", "--help").out.split())
    assert "Example: sealserve key check trustd:127.0.0.1:8443/net --evidence evidence" in told
