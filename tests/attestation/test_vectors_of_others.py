"""`--vectors DIR` takes any directory of the form, and passes over nothing that is wrong in one."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from sealserve.attestation import did_x509, pem, roots
from support.attestation_did import document
from support.attestation_vectors import vector, vectors
from support.attestation_x509 import AT, INTERMEDIATE, LEAF, ROOT, Spec, chain, did

JUDGE = Path(__file__).with_name("test_evidence_vectors.py")
MILAN = vector("ms-tav/milan-v3-aci")
(STATEMENT,) = (row for row in vectors("uvm") if "transparent" in row.id)
(STRANGER,) = (row for row in vectors("uvm") if "esrp" in row.id)
AT_ROW = "2026-09-01T00:00:00Z"


class Directory:
    """A directory of evidence that is being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.output = ""

    def add(self, id: str, kind: str, data: dict[str, bytes], *codes: str, **row: Any) -> None:
        """One row; `row` overrides what stands in it."""
        for name, content in data.items():
            path = self.folder / id / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_bytes(content)
        verdict = {"class": "crypto-reject" if codes else "accept", "failures": [*codes]}
        places = {name: f"{id}/{name}" for name in data}
        self.rows.append(
            {"id": id, "kind": kind, "files": places, "verdict": {**verdict, "at": AT_ROW}, **row}
        )

    def judged(self) -> dict[str, str]:
        """What became of each row, by its name."""
        (self.folder / "vectors.json").write_text(json.dumps(self.rows))
        words = ("-m", "pytest", "-p", "no:cacheprovider", "-v", "--color=no", str(JUDGE))
        ran = subprocess.run(
            [sys.executable, *words, "--vectors", str(self.folder)],
            capture_output=True,
            text=True,
            check=False,
            cwd=JUDGE.parent.parent.parent,
        )
        self.output = ran.stdout
        told = re.findall(
            r"test_verdict\[(.+?)\].*?(PASSED|FAILED|SKIPPED)", self.output, re.DOTALL
        )
        assert len(told) >= len(self.rows), self.output
        return dict(told[: len(self.rows)])


def expired(spec: Spec) -> Spec:
    return Spec(
        spec.subject,
        spec.key,
        spec.extensions,
        start=AT - timedelta(days=900),
        end=AT - timedelta(days=800),
    )


def names(id: str, ders: list[bytes], name: str, expected: object) -> bytes:
    """A file of one did:x509 vector."""
    texts = [base64.urlsafe_b64encode(der).rstrip(b"=").decode() for der in ders]
    return json.dumps(
        [{"id": id, "input": {"did": name, "chain": texts}, "output": expected}]
    ).encode()


def test_rows_of_every_shape(tmp_path: Path) -> None:
    good = Directory(tmp_path)
    report, leaf = MILAN.read("report.bin"), MILAN.read("leaf.der")
    good.add("plain", "snp", {"report.bin": report, "leaf.der": leaf}, more={"unknown": 1})
    good.add("as-pem", "snp", {"report.bin": report, "leaf.pem": pem.write(leaf)}, sha256={})
    good.add("deep/er", "snp", {"report.bin": report}, verdict={
        "class": "incomplete", "failures": ["no_certificate"], "at": AT_ROW})  # fmt: skip
    here = {"report.bin": "plain/report.bin", "leaf.der": "deep/../plain/leaf.der"}
    good.add("elsewhere", "snp", {}, files=here, bind={"report_data_sha512": "leaf.der"})
    good.add("nothing", "snp", {"report.bin": b"", "leaf.der": leaf}, "report_length(0)")
    chain_of = pem.write(roots.intermediate("milan", "vcek")) + pem.write(roots.ark("milan").der)
    good.add("vcek", "cert", {"vcek.der": leaf, "chain.pem": chain_of})
    (message,) = (STATEMENT.read(name) for name in STATEMENT.files)
    good.add("two", "uvm", {"one.cose": message, "other.cose": STRANGER.read("uvm.cose")}, verdict={
        "class": "policy-reject", "failures": ["uvm_untrusted_issuer_or_svn"], "at": AT_ROW,
    })  # fmt: skip
    good.add("others", "tdx", {"quote.bin": b""})
    assert set(good.judged().values()) == {"PASSED", "SKIPPED"}


def test_a_chain_of_did_x509_is_judged_in_its_own_time(tmp_path: Path) -> None:
    """The specification: "Certificate validity periods are not checked by these vectors"."""
    ders = chain(expired(LEAF), expired(INTERMEDIATE), expired(ROOT))
    name = did(ders[-1], "subject:CN:Leaf")
    then = AT - timedelta(days=850)
    expected = {"document": document(did_x509.resolve(name, ders, then))}
    directory = Directory(tmp_path)
    directory.add("old", "did", {"v.json": names("old", ders, name, expected)})
    assert directory.judged() == {"old": "PASSED"}


def test_what_is_wrong_fails(tmp_path: Path) -> None:
    wrong = Directory(tmp_path)
    report, leaf = MILAN.read("report.bin"), MILAN.read("leaf.der")
    pair = {"report.bin": report, "leaf.der": leaf}
    wrong.add("another-code", "snp", pair, "leaf_signature")
    wrong.add("nobody-judges", "sgx", pair)
    wrong.add("not-there", "snp", {}, files={"report.bin": "nowhere", "leaf.der": "nowhere"})
    wrong.add("another-digest", "snp", pair, sha256={"leaf.der": "00" * 32})
    wrong.add("no-message", "uvm", {"leaf.der": leaf})
    said = wrong.judged()
    assert said.pop("another-digest") == "PASSED"  # the verdict; of its file, another test says:
    assert re.search(r"test_the_files_are_those_that_were_measured FAILED", wrong.output)
    assert set(said.values()) == {"FAILED"}
