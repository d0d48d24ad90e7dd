"""Who may do what: each role alone, and keys that ask for one before they leave."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys.refused import Refused
from sealserve.keys.trustd import bearers, offline
from sealserve.keys.trustd.audit import rows
from sealserve.keys.trustd.audit_reader import verify
from sealserve.keys.trustd.pages import Page
from sealserve.keys.trustd.vault import ROLE_TAG
from sealserve.native.errors import ConfigError, IntegrityError
from sealserve.policy.release_build import build
from support.attestation_simulated import HOST_DATA, NOW
from support.keys_trustd import LocalTrustd, body_of, local, make, release_policy, wrapping_jwk
from support.keys_vault import rsa_key

Call = Callable[[Any, str], object]


@pytest.fixture(scope="module")
def _service(
    tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot
) -> Iterator[LocalTrustd]:
    folder = tmp_path_factory.mktemp("bearers") / "vault"
    with local(folder, make(folder, simulated_root)) as trustd:
        policy = release_policy(build(trustd.issuer, HOST_DATA.hex(), simulated=True))
        members = {"attributes": {"exportable": True}, "release_policy": policy}
        trustd.create("open", kty="oct", **members)
        trustd.create("clinic", kty="oct", tags={ROLE_TAG: "clinic", "a": "b"}, **members)
        yield trustd


@pytest.fixture
def trustd(_service: LocalTrustd, tmp_path: Path) -> Iterator[LocalTrustd]:
    yield _service
    for each in offline.bearers(_service.folder):
        if each.name != "owner":
            offline.remove_bearer(_service.folder, each.name)


@pytest.fixture
def token_of(trustd: LocalTrustd, tmp_path: Path) -> Callable[..., str]:
    """A new token with these roles."""

    def add(*roles: str, name: str = "somebody") -> str:
        out = tmp_path / f"{name}.token"
        offline.add_bearer(trustd.folder, name, roles, NOW, out)
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        return out.read_text().removesuffix("\n")

    return add


READING: dict[str, Call] = {
    "get": lambda service, bearer: service.get(bearer, "open", ""),
    "names": lambda service, bearer: service.names(bearer, Page()),
    "versions": lambda service, bearer: service.versions(bearer, "open", Page()),
    "deleted": lambda service, bearer: service.deleted(bearer, "none"),
    "deleted names": lambda service, bearer: service.deleted_names(bearer, Page()),
}
MAKING: dict[str, Call] = {
    "create": lambda service, bearer: service.create(bearer, "new", body_of({"kty": "oct"})),
    "import": lambda service, bearer: service.bring(
        bearer, "new", body_of({"key": {"kty": "oct", "k": "A" * 43}})
    ),
    "update": lambda service, bearer: service.update(bearer, "open", "", body_of({})),
}
OWNING: dict[str, Call] = {
    "delete": lambda service, bearer: service.delete(bearer, "none"),
    "recover": lambda service, bearer: service.recover(bearer, "none"),
    "purge": lambda service, bearer: service.purge(bearer, "none"),
    "wrap": lambda service, bearer: service.wrap(bearer, "none", "1", body_of({})),
    "random": lambda service, bearer: service.random(bearer, body_of({"count": 1})),
}
ALL = {**READING, **MAKING, **OWNING}
ALLOWED = {
    "owner": ALL,
    "create": {**READING, **MAKING},
    "read": READING,
    "release:clinic": {},
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("role", ALLOWED)
def test_each_role_may_what_it_may(
    role: str, name: str, trustd: LocalTrustd, token_of: Callable[..., str]
) -> None:
    bearer, status = token_of(role), 0
    try:
        ALL[name](trustd.service, bearer)
    except Refused as refused:
        status = refused.status
    assert (status == 403) == (name not in ALLOWED[role])
    assert status in (0, 403, 404)


@pytest.mark.parametrize("name", ALL)
def test_without_a_token_of_ours_there_is_a_challenge(name: str, trustd: LocalTrustd) -> None:
    for bearer in ("", "attested", trustd.owner[:-1]):
        with pytest.raises(Refused) as caught:
            ALL[name](trustd.service, bearer)
        assert caught.value.status == 401
        assert "WWW-Authenticate" in caught.value.headers


def release(trustd: LocalTrustd, name: str, bearer: str) -> str:
    claims = {
        "x-ms-attestation-type": "sevsnpvm",
        "x-ms-compliance-status": "sealserve-simulated",
        "x-ms-runtime": {"keys": [wrapping_jwk(rsa_key(2048, 3))]},
        "x-ms-sevsnpvm-hostdata": HOST_DATA.hex(),
        "x-ms-sevsnpvm-is-debuggable": False,
        "x-ms-sevsnpvm-vmpl": 0,
    }
    return trustd.release(name, bearer=bearer, target=trustd.token(claims))


def test_a_key_with_a_release_role_goes_to_who_has_it(
    trustd: LocalTrustd, token_of: Callable[..., str]
) -> None:
    right, other = token_of("release:clinic"), token_of("release:bank", "create", name="bank")
    assert release(trustd, "clinic", right)
    row = list(rows(trustd.records.database))[-1].told
    assert (row["entry"], row["told"]["by"]) == ("released", "somebody")
    for bearer in (other, trustd.owner, "attested"):
        with pytest.raises(Refused, match="release role 'clinic'") as caught:
            release(trustd, "clinic", bearer)
        assert caught.value.status == 403
    assert release(trustd, "open", "attested")
    verify(trustd.folder, None)


def test_a_removed_token_ends_at_once(trustd: LocalTrustd, token_of: Callable[..., str]) -> None:
    token = token_of("release:clinic")
    assert release(trustd, "clinic", token)
    offline.remove_bearer(trustd.folder, "somebody")
    with pytest.raises(Refused, match="no credential came with"):
        release(trustd, "clinic", token)


def test_other_tags_take_no_role_away(trustd: LocalTrustd) -> None:
    changed = trustd.service.update(trustd.owner, "clinic", "", body_of({"tags": {"c": "d"}}))
    assert changed["tags"] == {"c": "d", ROLE_TAG: "clinic"}
    with pytest.raises(Refused, match="release role 'clinic'"):
        release(trustd, "clinic", "attested")


def test_the_role_is_part_of_what_is_authenticated(trustd: LocalTrustd) -> None:
    trustd.create("edited", kty="oct", tags={ROLE_TAG: "clinic"})
    database = trustd.records.database
    ((about,),) = database.query("SELECT about FROM records WHERE name = ?", ("edited",))
    with database.transaction():
        database.execute(
            "UPDATE records SET about = CAST(replace(CAST(about AS TEXT), "
            '\'"roles":{"release":"clinic"}\', \'"roles":{}\') AS BLOB) WHERE name = ?',
            ("edited",),
        )
    with pytest.raises(IntegrityError, match="does not open"):
        trustd.service.get(trustd.owner, "edited", "")
    with database.transaction():
        database.execute("UPDATE records SET about = ? WHERE name = ?", (about, "edited"))
    assert trustd.service.get(trustd.owner, "edited", "")


@pytest.mark.parametrize("role", ["", "Clinic", "a b", "x" * 65])
def test_a_role_that_no_token_can_have(role: str, trustd: LocalTrustd) -> None:
    with pytest.raises(Refused, match=ROLE_TAG):
        trustd.create("new", kty="oct", tags={ROLE_TAG: role})


REFUSED: dict[str, tuple[str, list[str], str]] = {
    "a name that is taken": ("owner", ["read"], "there is a token 'owner' already"),
    "a name of another shape": ("A b", ["read"], "is no name for a token"),
    "no role": ("new", [], "--role: is missing"),
    "another role": ("new", ["admin"], "'admin' is no role"),
    "a release role without a name": ("new", ["release:"], "'release:' is no role"),
}


@pytest.mark.parametrize(("name", "roles", "words"), REFUSED.values(), ids=REFUSED)
def test_a_token_that_is_not_made(
    name: str, roles: list[str], words: str, trustd: LocalTrustd, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        offline.add_bearer(trustd.folder, name, roles, NOW, tmp_path / "token")
    assert words in caught.value.message
    assert not (tmp_path / "token").exists()
    assert [each.name for each in offline.bearers(trustd.folder)] == ["owner"]


def test_a_token_that_cannot_be_written_is_none(trustd: LocalTrustd, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("mine")
    with pytest.raises(ConfigError, match="the file exists"):
        offline.add_bearer(trustd.folder, "new", ["read"], NOW, tmp_path / "token")
    assert [each.name for each in offline.bearers(trustd.folder)] == ["owner"]
    with pytest.raises(ConfigError, match="there is no token 'new'"):
        offline.remove_bearer(trustd.folder, "new")


def test_there_is_a_last_token(
    trustd: LocalTrustd, token_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bearers, "MAX_BEARERS", 2)
    token_of("read")
    with pytest.raises(ConfigError, match="there are 2 tokens already"):
        token_of("read", name="third")
