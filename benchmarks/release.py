"""What does a release cost beside the cryptography in it, and does one get lost under load?

The service is ours, in a process of its own on this machine, so no network is in these numbers; the
disk is that of the temporary folder. One release is two requests: evidence for a token, the token
for a key. Evidence and the ephemeral key are made beforehand: they are the machine's work.
"""

from __future__ import annotations

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
from support.options import options
from support.released import HOST_DATA, NAME, Asker, Trustd, trust_service
from support.report import Report, begin, event

from sealserve.attestation import verify
from sealserve.attestation.token import verify_token
from sealserve.keys.answer import ENC
from sealserve.keys.trustd.answer import WrappingKey
from sealserve.keys.trustd.audit import AuditLog, Entry, rows
from sealserve.keys.trustd.bundles import bundle
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.records import Record, Records
from sealserve.keys.trustd.service import Service
from sealserve.native.errors import SealserveError

QUESTION = "What does a key release cost?"
CLIENTS = 8
RELEASES = 1000
QUICK_RELEASES = 16


class Alone:
    """The cryptography of one release, both sides, in this process, one after the other."""

    def __init__(self, records: Records, asker: Asker) -> None:
        self._asker = asker
        self._service = Service(records)
        self._roots = self._service.state.roots()
        self._record = key_of(records)
        self.audit_key = self._service.state.audit_key

    def run(self) -> None:
        now, asker, tokens = datetime.now(UTC), self._asker, self._service.tokens
        verify(asker.evidence, self._roots, now)
        jwk = {"keys": [self._jwk()]}
        token = tokens.sign(tokens.claims({"x-ms-runtime": jwk}, now))
        claims = verify_token(token, tokens.keys, issuer=tokens.issuer, now=now)
        wrapping = WrappingKey.of(claims, ENC)
        shown = bundle(self._service.state.address, self._record)
        shown["key"]["key_hsm"] = wrapping.wrap(self._record.secret, asker.trustd.kid)
        request = {"enc": ENC, "kid": asker.trustd.kid, "api-version": "7.4"}
        answer = self._service.leaves.sign({"request": request, "response": {"key": shown}})
        for _ in range(2):  # one row of the audit log a request
            self.audit_key.sign(bytes(64))
        asker.open(answer)

    def _jwk(self) -> dict[str, object]:
        told: dict[str, object] = json.loads(self._asker.evidence.claims)["keys"][0]
        return told


def key_of(records: Records) -> Record:
    """The one that is released."""
    found = records.find("key", NAME)
    assert found is not None
    return found


def compare(report: Report, trustd: Trustd) -> None:
    asker = Asker.of(trustd)
    with closing(Folder(trustd.folder).records()) as records, trustd.client() as client:
        alone = Alone(records, asker)
        log = AuditLog(records.database, alone.audit_key)

        def committed() -> None:
            for _ in range(2):
                log.append(Entry.ATTESTED, claims={"x-ms-sevsnpvm-hostdata": HOST_DATA.hex()})

        ours = event("attest and release, over TLS", lambda: asker.open(asker.release(client)))
        cryptography = event("the cryptography of both sides, alone", alone.run)
        disk = event("two rows of the audit log, on the disk", committed)
        speeds = report.compare("Released, one after the other", [ours], [cryptography, disk])
        what = "a release, times its cryptography"
        report.at_most(what, speeds[ours.name], speeds[cryptography.name])


def under_load(report: Report, trustd: Trustd) -> None:
    """Many at once: each answer is opened and compared, and each has its row."""
    each = (QUICK_RELEASES if report.options.quick else RELEASES) // CLIENTS
    askers = [Asker.of(trustd) for _ in range(CLIENTS)]
    before = _rows(trustd)
    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        parts = list(threads.map(_many, askers, [each] * CLIENTS))
    seconds = time.perf_counter() - started
    times = [taken for part in parts for taken, _ in part]
    report.load(f"Released under load, {CLIENTS} clients", CLIENTS, times, seconds)
    with closing(Folder(trustd.folder).records()) as records:
        secret = key_of(records).secret
    wrong = sum(
        not _right(asker, answer, secret)
        for asker, part in zip(askers, parts, strict=True)
        for _, answer in part
    )
    lost = CLIENTS * each - (_rows(trustd) - before)
    report.amount("lost or wrong", wrong + abs(lost), "releases", at_most=0)


def _many(asker: Asker, releases: int) -> list[tuple[float, str]]:
    """Seconds and answer of each; no answer for one that failed."""
    taken: list[tuple[float, str]] = []
    with asker.trustd.client() as client:
        for _ in range(releases):
            started, answer = time.perf_counter(), ""
            with suppress(RuntimeError, httpx.HTTPError):
                answer = asker.release(client)
            taken.append((time.perf_counter() - started, answer))
    return taken


def _right(asker: Asker, answer: str, secret: bytes) -> bool:
    try:
        return bool(answer) and asker.open(answer) == secret
    except (SealserveError, ValueError, InvalidUnwrap):
        return False


def _rows(trustd: Trustd) -> int:
    """Releases in the audit log."""
    with closing(Folder(trustd.folder).opened()) as database:
        return sum(row.told["entry"] == Entry.RELEASED for row in rows(database))


def main() -> None:
    report = begin("release", QUESTION, options(QUESTION, repeats=15))
    with tempfile.TemporaryDirectory() as folder, trust_service(Path(folder)) as trustd:
        compare(report, trustd)
        under_load(report, trustd)
    report.finish()


main()
