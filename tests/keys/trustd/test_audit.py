"""The audit log: every row is there before the answer, and none can be changed unnoticed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from sealserve.attestation.binding import ReleaseClaims
from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.keys.attest import request_body
from sealserve.keys.connection import Connection
from sealserve.keys.refused import Refused
from sealserve.keys.trustd import audit_reader
from sealserve.keys.trustd.audit import AuditLog, Entry, rows
from sealserve.keys.trustd.folder import Folder
from sealserve.native.errors import ConfigError, IntegrityError, UnavailableError
from sealserve.policy.release_build import build
from support.attestation_simulated import CLAIMS, HOST_DATA
from support.keys_trustd import LocalTrustd, body_of, local, make, payload_of, release_policy
from support.keys_vault import b64url, rsa_key

MACHINE_KEY = rsa_key(3072, 3)
EXPORTABLE = {"exportable": True}
ENTRIES = [
    "service_created",
    "signing_key_added",
    "bearer_added",
    "key_created",
    "key_imported",
    "key_changed",
    "attested",
    "released",
    "release_refused",
]


@pytest.fixture
def machine(simulated_root: SimulatedRoot) -> Machine:
    return Machine(simulated_root, HOST_DATA)


@pytest.fixture(scope="module")
def made_and_used(
    tmp_path_factory: pytest.TempPathFactory, simulated_root: SimulatedRoot
) -> tuple[Path, Connection]:
    """A service that attested a machine, released a key to it, and refused another one."""
    machine = Machine(simulated_root, HOST_DATA)
    folder = tmp_path_factory.mktemp("audit") / "vault"
    connection = make(folder, simulated_root)
    with local(folder, connection) as trustd:
        policy = release_policy(build(trustd.issuer, HOST_DATA.hex(), simulated=True))
        members = {"attributes": EXPORTABLE, "release_policy": policy}
        trustd.create("model", kty="oct", **members)
        bring(trustd, "other", **members)
        other = release_policy(build(trustd.issuer, "5" * 64, simulated=True))
        trustd.service.update(trustd.owner, "other", "", body_of({"release_policy": other}))
        token = attested(trustd, machine)
        trustd.release("model", target=token)
        with pytest.raises(Refused):
            trustd.release("other", target=token)
    return folder, connection


@pytest.fixture
def used(tmp_path: Path, made_and_used: tuple[Path, Connection]) -> Iterator[LocalTrustd]:
    """A copy of it."""
    folder, connection = made_and_used
    shutil.copytree(folder, tmp_path / "vault")
    with local(tmp_path / "vault", connection) as trustd:
        yield trustd


def bring(trustd: LocalTrustd, name: str, **members: object) -> None:
    key = {"kty": "oct", "k": b64url(os.urandom(32))}
    trustd.service.bring(trustd.owner, name, body_of({"key": key, **members}))


def attested(trustd: LocalTrustd, machine: Machine) -> str:
    """A token for MACHINE_KEY."""
    evidence = machine.evidence(ReleaseClaims.of(MACHINE_KEY.public_key()).encode())
    request = body_of(json.loads(request_body(evidence, with_crl=True)))
    token: str = trustd.service.attest("SevSnpVm", request)["token"]
    return token


def told(trustd: LocalTrustd) -> list[dict[str, Any]]:
    return [row.told for row in rows(trustd.records.database)]


def verify(trustd: LocalTrustd, **given: Any) -> Any:
    return audit_reader.verify(trustd.folder, given.pop("key", None), **given)


def test_each_thing_that_happened_is_a_row(used: LocalTrustd) -> None:
    assert [row["entry"] for row in told(used)] == ENTRIES
    checked = verify(used)
    assert (checked.rows, checked.releases) == (len(ENTRIES), 1)
    assert [(key[0], about["type"]) for key, about in checked.keys.items()] == [
        ("model", "oct"),
        ("other", "oct"),
    ]


def test_who_got_which_key_on_what_evidence(used: LocalTrustd, machine: Machine) -> None:
    token = attested(used, machine)
    used.release("model", target=token)
    with pytest.raises(Refused):
        used.release("other", target=token)
    created = told(used)[3]["told"]
    attestation, released, refused = (row["told"] for row in told(used)[-3:])
    assert (created["by"], created["key"]) == ("owner", "model")
    assert (released["key"], released["version"]) == ("model", created["version"])
    claims = released["claims"]
    assert claims == attestation["claims"]
    report = machine.evidence(CLAIMS)
    assert claims["x-ms-sevsnpvm-hostdata"] == HOST_DATA.hex()
    assert claims["x-ms-sevsnpvm-launchmeasurement"] == report.report[0x90:0xC0].hex()
    assert claims["x-ms-sevsnpvm-reportid"] == report.report[0x140:0x160].hex()
    assert len(claims["jti"]) == 64
    kid = ReleaseClaims.of(MACHINE_KEY.public_key()).jwk["kid"]
    assert (released["wrapping_key"], released["enc"]) == (kid, "CKM_RSA_AES_KEY_WRAP")
    assert (refused["key"], refused["status"], refused["code"]) == ("other", 403, "Forbidden")
    assert "x-ms-sevsnpvm-hostdata" in refused["reason"]
    assert refused["claims"] == claims


def test_what_was_not_verified_is_no_evidence(used: LocalTrustd) -> None:
    forged = payload_of(used.token({"x-ms-sevsnpvm-hostdata": "ab" * 32}))
    assert forged
    token = used.token({"x-ms-sevsnpvm-hostdata": "ab" * 32})[:-8] + "AAAAAAAA"
    with pytest.raises(Refused):
        used.release("model", target=token)
    with pytest.raises(Refused):
        used.release("nobody" * 100, target=token)
    altered, missing = (row["told"] for row in told(used)[-2:])
    assert (altered["key"], altered["claims"], altered["code"]) == ("model", {}, "Forbidden")
    assert (missing["status"], len(missing["key"]), missing["policy_sha256"]) == (404, 127, "")


def test_no_secret_and_no_token_is_in_the_log(used: LocalTrustd, machine: Machine) -> None:
    token = attested(used, machine)
    used.release("model", target=token)
    text = b"\n".join(row.text for row in rows(used.records.database)).decode()
    assert used.owner not in text
    assert token.rsplit(".", 1)[1] not in text  # the signature is what makes it a credential
    for record in used.records.all_of("key"):
        for spelling in (record.secret.hex(), base64.urlsafe_b64encode(record.secret).decode()):
            assert spelling.rstrip("=") not in text


def test_another_program_verifies_what_is_shown(used: LocalTrustd) -> None:
    """From AUDIT.md alone."""
    public = serialization.load_pem_public_key(used.folder.audit.read_bytes())
    assert isinstance(public, ed25519.Ed25519PublicKey)
    before = "0" * 64
    for number, row in enumerate(audit_reader.shown(used.folder, None), 1):
        shown = json.loads(audit_reader.exported(row))
        text = shown["row"].encode()
        head = hashlib.sha256(b"sealserve/trustd/audit/row/v1\0" + text).digest()
        public.verify(
            base64.b64decode(shown["signature"]), b"sealserve/trustd/audit/head/v1\0" + head
        )
        assert (shown["head"], shown["number"]) == (head.hex(), number)
        value = json.loads(text)
        assert (value["number"], value["previous"]) == (number, before)
        before = head.hex()
    assert verify(used).head == before


# ---- what is altered


def edit(trustd: LocalTrustd, statement: str, *values: object) -> None:
    """Change the file as somebody with the disk and without the master key would."""
    with sqlite3.connect(trustd.folder.database) as database:
        assert database.execute(statement, values).rowcount > 0
    database.close()


ALTERED = {
    "a word": (
        "UPDATE audit SET row = CAST(replace(CAST(row AS TEXT), 'owner', 'nobdy') AS BLOB) "
        "WHERE number = 4",
        "row 4 of the audit log is not signed",
    ),
    "a signature": ("UPDATE audit SET signature = zeroblob(64) WHERE number = 6", "row 6 "),
    "no signature": ("UPDATE audit SET signature = x'' WHERE number = 6", "row 6 "),
    "one taken out": ("DELETE FROM audit WHERE number = 5", "row 5 of the audit log is missing"),
    "the first taken out": ("DELETE FROM audit WHERE number = 1", "row 1 "),
    "one moved before all": ("UPDATE audit SET number = -3 WHERE number = 5", "row 5 "),
    "the newest one repeated": (
        "INSERT INTO audit SELECT 10, row, signature FROM audit WHERE number = 9",
        "row 10 of the audit log was written as row 9",
    ),
    "all of it": ("DELETE FROM audit", "the audit log is empty"),
}


@pytest.mark.parametrize(("statement", "words"), ALTERED.values(), ids=ALTERED)
def test_what_was_altered_is_noticed(statement: str, words: str, used: LocalTrustd) -> None:
    edit(used, statement)
    for key in (None, used.folder.audit):
        with pytest.raises(IntegrityError, match=words):
            verify(used, key=key)


def test_a_fork_is_noticed_where_it_left(used: LocalTrustd, tmp_path: Path) -> None:
    """Rows that the service itself signed, of a copy that went another way."""
    copy = tmp_path / "copy"
    shutil.copytree(used.folder.path, copy)
    with local(copy, used.connection) as other:
        other.create("third", kty="oct")
        other.create("fourth", kty="oct")
        forked = list(rows(other.records.database))[-1]
    used.create("fifth", kty="oct")
    edit(
        used,
        "INSERT INTO audit VALUES (?, ?, ?)",
        forked.number,
        forked.text,
        forked.signature,
    )
    with pytest.raises(IntegrityError, match="row 11 of the audit log stands behind another head"):
        verify(used)


def test_without_a_head_a_rollback_is_not_noticed_and_with_one_it_is(
    used: LocalTrustd, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(used.folder.path, copy)
    before = verify(used).head
    used.create("third", kty="oct")
    after = verify(used, head=before).head
    assert after != before
    assert audit_reader.verify(Folder(copy), None).head == before
    with pytest.raises(IntegrityError, match=f"the head {after} is not in this audit log"):
        audit_reader.verify(Folder(copy), None, head=after)


def test_rows_cut_off_while_the_keys_stay(used: LocalTrustd) -> None:
    """Where only the log went back, the vault itself tells."""
    used.create("third", kty="oct")
    edit(used, "DELETE FROM audit WHERE number = 10")
    assert verify(used, key=used.folder.audit).rows == 9
    with pytest.raises(IntegrityError, match=r"the key third/[0-9a-f]{32} is not in the vault as"):
        verify(used)


def test_a_key_taken_away_while_the_log_stays(used: LocalTrustd) -> None:
    edit(used, "DELETE FROM records WHERE name = 'other'")
    with pytest.raises(IntegrityError, match=r"the key other/[0-9a-f]{32} is not in the vault as"):
        verify(used)


def test_a_deletion_taken_back_while_the_log_stays(used: LocalTrustd) -> None:
    used.service.delete(used.owner, "model")
    verify(used)
    edit(used, "DELETE FROM records WHERE kind = 'deletion'")
    with pytest.raises(IntegrityError, match="other keys are deleted than"):
        verify(used)


# ---- rows that the service signed, and that contradict each other


def rewrite(trustd: LocalTrustd, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """What a service that is not ours could have written: its own key, its own chain."""
    written = told(trustd)
    change(written)
    edit(trustd, "DELETE FROM audit")
    log = AuditLog(trustd.records.database, trustd.service.state.audit_key)
    for row in written:
        log.append(Entry(row["entry"]), **row["told"])


def other_machine(written: list[dict[str, Any]]) -> None:
    written[7]["told"]["claims"]["x-ms-sevsnpvm-hostdata"] = "ab" * 32


def other_policy(written: list[dict[str, Any]]) -> None:
    written[7]["told"]["policy_sha256"] = "ab" * 32


def other_key(written: list[dict[str, Any]]) -> None:
    written[7]["told"]["version"] = "ab" * 16


def made_afterwards(written: list[dict[str, Any]]) -> None:
    written.append(written.pop(3))


def made_twice(written: list[dict[str, Any]]) -> None:
    written.append(written[3])


def changed_before(written: list[dict[str, Any]]) -> None:
    written[4], written[5] = written[5], written[4]


def begun_twice(written: list[dict[str, Any]]) -> None:
    written.append(written[0])


def deleted_before(written: list[dict[str, Any]]) -> None:
    told = {"by": "owner", "key": "model", "deleted": 1, "purge": 2}
    written.insert(7, {"entry": "key_deleted", "told": told})


def recovered_in_use(written: list[dict[str, Any]]) -> None:
    written.append({"entry": "key_recovered", "told": {"by": "owner", "key": "model"}})


def never_begun(written: list[dict[str, Any]]) -> None:
    del written[0]


CONTRADICTIONS = {
    other_machine: "row 8 .* x-ms-sevsnpvm-hostdata",
    other_policy: "row 8 .* another release policy was in force",
    other_key: "row 8 .* no row before it",
    made_afterwards: "row 7 .* no row before it",
    made_twice: "row 10 .* a key version is made once",
    changed_before: "row 5 .* a key version is made once",
    deleted_before: "row 9 .* the key was deleted",
    recovered_in_use: "row 10 .* what is deleted was in use",
    begun_twice: "row 10 .* a log begins",
    never_begun: "row 1 .* a log begins",
}


@pytest.mark.parametrize("change", CONTRADICTIONS, ids=lambda change: change.__name__)
def test_a_contradiction(change: Callable[[list[dict[str, Any]]], None], used: LocalTrustd) -> None:
    rewrite(used, lambda written: None)
    verify(used)
    rewrite(used, change)
    with pytest.raises(IntegrityError, match=f"(?s){CONTRADICTIONS[change]}"):
        verify(used)


# ---- no answer without its row


@pytest.fixture
def unwritable(used: LocalTrustd) -> LocalTrustd:
    """Nothing can be appended any more."""
    with used.records.database.transaction():
        used.records.database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'full'); END", ()
        )
    return used


def test_nothing_is_answered_without_its_row(unwritable: LocalTrustd, machine: Machine) -> None:
    trustd = unwritable
    before = trustd.records.all_of("key")
    token = trustd.token(told(trustd)[6]["told"]["claims"])
    for ask in (
        lambda: attested(trustd, machine),
        lambda: trustd.release("model", target=token),
        lambda: trustd.release("other", target=token),
        lambda: trustd.create("third", kty="oct"),
        lambda: bring(trustd, "third"),
        lambda: trustd.service.update(
            trustd.owner, "model", "", body_of({"attributes": {"enabled": False}})
        ),
    ):
        with pytest.raises(UnavailableError, match="cannot be used"):
            ask()
    assert trustd.records.all_of("key") == before
    assert len(told(trustd)) == len(ENTRIES)


def test_a_key_that_was_disabled_meanwhile_stays(
    used: LocalTrustd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the decision and its row."""
    token = used.token(told(used)[6]["told"]["claims"])
    sign = used.service.leaves.sign

    def disabling(payload: Any) -> str:
        disabled = body_of({"attributes": {"enabled": False}})
        used.service.update(used.owner, "model", "", disabled)
        return str(sign(payload))

    monkeypatch.setattr(used.service._vault, "_sign", disabling)
    with pytest.raises(Refused, match="changed meanwhile"):
        used.release("model", target=token)
    assert [row["entry"] for row in told(used)[-2:]] == ["key_changed", "release_refused"]


def test_checking_stops_nobody_from_writing(used: LocalTrustd) -> None:
    """It looks at one moment of the log and the vault, while the service goes on."""
    with closing(used.folder.opened()) as beside, beside.snapshot():
        before = beside.query("SELECT count(*) FROM audit")
        used.create("third", kty="oct")
        assert beside.query("SELECT count(*) FROM audit") == before
    assert verify(used).rows == len(ENTRIES) + 1


# ---- options


def test_a_head_and_a_key_that_are_none(used: LocalTrustd, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--head"):
        verify(used, head="ab" * 31)
    with pytest.raises(ConfigError, match="cannot be read"):
        verify(used, key=tmp_path / "nothing")
    for content in (b"", b"nonsense", used.folder.ca.read_bytes()):
        (tmp_path / "key.pem").write_bytes(content)
        with pytest.raises(ConfigError, match="is no Ed25519 public key"):
            verify(used, key=tmp_path / "key.pem")


def test_the_key_of_another_service(used: LocalTrustd, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "key.pem").write_bytes(pem)
    with pytest.raises(IntegrityError, match="row 1 of the audit log is not signed"):
        verify(used, key=tmp_path / "key.pem")


def test_a_line_for_people(used: LocalTrustd) -> None:
    lines = [audit_reader.explained(row) for row in audit_reader.shown(used.folder, None)]
    assert [line.split()[2].rstrip(":") for line in lines] == ENTRIES
    assert HOST_DATA.hex() in lines[7]
    assert "the release policy does not allow this" in lines[8]
