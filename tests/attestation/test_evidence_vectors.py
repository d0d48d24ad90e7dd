"""Judges a directory of evidence: the right verdict for every row, with exactly its codes.

    pytest tests/attestation/test_evidence_vectors.py --vectors DIR

DIR has a `vectors.json` of the form of tests/vectors/evidence, which is judged without the option.
Rows of kind `snp` go through `sealserve evidence check` with every file it has an option for; the
other kinds through Python. `tdx` and `maa` are other people's formats: skipped by name, and told.
So are the codes of a row that are about its token (`maa_…`): the command takes no token. A kind
that nobody judges fails, and so does a file that is not there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from sealserve.attestation import Roots, cose, did_x509, ratls, uvm
from sealserve.attestation.bundle import Bundle, certificate, examine
from sealserve.attestation.crl import Crl
from sealserve.attestation.thim import HostCertificate
from sealserve.cli.main import run
from sealserve.errors import EvidenceError
from sealserve.policy.assumed import UVM_FEED, UVM_ISSUER, UVM_MINIMUM_SVN
from support.attestation_did import beginning, document, unb64url
from support.attestation_refusals import code_of
from support.attestation_vectors import DIRECTORY, Vector, digests, rows_of, sha256

OPTIONS = {  # by what a file is called, in whichever encoding
    "report": "--report",
    "leaf": "--leaf",
    "chain": "--chain",
    "host_amd_cert": "--host-amd-cert",
    "uvm": "--uvm",
    "uvm_transparent": "--uvm",
    "hcl_report": "--hcl",
    "tpm_quote": "--tpm-quote",
    "crl": "--crl",
}
BINDS = {"report_data_sha256": "--runtime-data", "host_data_sha256": "--policy"}
EXIT = {"accept": 0, "incomplete": 3, "crypto-reject": 5, "time-reject": 5, "policy-reject": 6}
OTHERS = ("tdx", "maa")
ANY_ALGORITHM = (cose.PS256, cose.PS384, cose.PS512, cose.ES256, cose.ES384, cose.ES512)
# Our profile is for our servers: what these are about, no certificate of another project meets.
PROFILE = ("certificate_key", "certificate_names", "certificate_signature",
           "certificate_extensions", "certificate_lifetime")  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "row" in metafunc.fixturenames:
        rows = rows_of(directory_of(metafunc.config))
        metafunc.parametrize("row", rows, ids=[row.id for row in rows])


def directory_of(config: pytest.Config) -> Path:
    return Path(config.getoption("--vectors") or DIRECTORY)


def test_there_are_rows(pytestconfig: pytest.Config) -> None:
    assert rows_of(directory_of(pytestconfig))


def test_the_files_are_those_that_were_measured(pytestconfig: pytest.Config) -> None:
    for file, digest in digests(directory_of(pytestconfig)).items():
        assert sha256(file) == digest, file


def test_verdict(row: Vector, capsys: pytest.CaptureFixture[str]) -> None:
    if row.kind in OTHERS:
        pytest.skip(f"{row.kind}: {row.id} is of a format that is not ours")
    if row.kind == "snp":
        judge_on_the_command_line(row, capsys)
        return
    assert row.kind in JUDGES, f"{row.kind}: nobody here judges such a row"
    assert sorted(JUDGES[row.kind](row)) == sorted(row.failures)


def judge_on_the_command_line(row: Vector, capsys: pytest.CaptureFixture[str]) -> None:
    expected = [code for code in row.failures if not code.startswith("maa_")]
    verdict = row.verdict if expected == [*row.failures] else "accept"
    status = run([*command(row), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], status) == (verdict, EXIT[verdict])
    assert sorted(failure["code"] for failure in told["failures"]) == sorted(expected)
    assert all(failure["seen"] and failure["wanted"] for failure in told["failures"])
    assert bool(told["claims"]) == (verdict in ("accept", "policy-reject"))
    if told["claims"] and row.measured:
        assert told["claims"]["measurement"] == row.measured["measurement"]
        assert told["claims"]["line"] == row.measured["product"].lower()
    assert run(command(row)) == status
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) < 80
    assert all(code in text for code in expected)
    assert "NOT CHECKED:" in text
    if expected != [*row.failures]:
        told = f"{row.id}: its token is not judged ({', '.join(row.failures)})"
        with capsys.disabled():
            sys.stdout.write(f"\n{told}\n")


def command(row: Vector) -> list[str]:
    named = {Path(name).stem: name for name in row.files}
    files = {option: row.path(named[stem]) for stem, option in OPTIONS.items() if stem in named}
    bound = {BINDS[bind]: row.path(name) for bind, name in row.bind.items() if bind in BINDS}
    words = [word for option, path in {**files, **bound}.items() for word in (option, str(path))]
    return ["evidence", "check", *words, "--at", row.at.isoformat()]


# ---- rows that are no whole evidence


def judge_certificate(row: Vector) -> list[str]:
    """A leaf without a report: everything that can be asked of it alone."""
    given = {Path(name).stem: row.read(name) for name in row.files}
    chain = given.pop("chain", None)
    (leaf,) = given.values()
    diagnosis = examine(Bundle(report=b"", leaf=leaf, chain=chain), Roots.amd(), row.at)
    return [error.code for error in diagnosis.failures if error.code != "report_length"]


def judge_lists(row: Vector) -> list[str]:
    """Each list by the root it names; a code says which list it is about."""
    codes = {name: code_of(partial(_require_list, row, name)) for name in row.files}
    return [f"{Path(name).stem}.{code}" for name, code in codes.items() if code]


def _require_list(row: Vector, name: str) -> None:
    crl = Crl.parse(row.read(name))
    crl.require_by(Roots.amd().anchor(crl.issuer, None))
    crl.require_current(row.at)


def judge_endorsements(row: Vector) -> list[str]:
    """Every message of the row, and the host's certificates beside it must be readable."""
    for name in row.files:
        if name.endswith("cert.json"):
            HostCertificate.parse(row.read(name))
    messages = [row.read(name) for name in row.files if name.endswith(".cose")]
    assert messages
    return [code for data in messages for code in _endorsement(data)]


def _endorsement(data: bytes) -> list[str]:
    """Whoever signed it is asked first: what a stranger endorses, and how, does not matter."""
    try:
        told = uvm.statement(data, ANY_ALGORITHM)
        if (told.issuer, told.feed) != (UVM_ISSUER, UVM_FEED):
            return ["uvm_untrusted_issuer_or_svn"]
        endorsed = uvm.read(data)
    except EvidenceError as error:
        return [error.code]
    return ["uvm_untrusted_issuer_or_svn"] if endorsed.svn < UVM_MINIMUM_SVN else []


def judge_dids(row: Vector) -> list[str]:
    """The official vectors: the very document, or an error of the method's."""
    (name,) = row.files
    return [case["id"] for case in json.loads(row.read(name)) if not _resolves(case, row)]


def _resolves(case: dict[str, dict[str, object]], row: Vector) -> bool:
    given, expected = case["input"], case["output"]
    chain = [unb64url(certificate) for certificate in given["chain"]]  # type: ignore[attr-defined]
    try:
        resolved = did_x509.resolve(str(given["did"]), chain, beginning(chain, row.at))
    except EvidenceError:
        return "error" in expected
    return "error" not in expected and document(resolved) == expected["document"]


def judge_ratls(row: Vector) -> list[str]:
    """What any certificate has to be; our profile, which none of another project's has, apart."""
    (name,) = row.files
    der = certificate(row.read(name))
    code = code_of(lambda: ratls.read_certificate(der, row.at))
    assert code
    return [] if code in PROFILE else [code]


JUDGES: dict[str, Callable[[Vector], list[str]]] = {
    "cert": judge_certificate,
    "crl": judge_lists,
    "did": judge_dids,
    "ratls": judge_ratls,
    "uvm": judge_endorsements,
}
