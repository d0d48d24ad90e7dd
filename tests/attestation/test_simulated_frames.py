"""What a workload and its simulated machine say to each other, and what neither takes for that."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealserve.attestation import Evidence, ReportData
from sealserve.attestation.certificate_table import ARK, ASK, CRL, VCEK, VLEK
from sealserve.attestation.simulated import SimulatedRoot, frames
from support.attestation_refusals import mutations
from support.attestation_simulated import CLAIMS, Kind
from support.attestation_table import table

DATA = ReportData(bytes(range(64)))
CHAIN = {VCEK: b"leaf", ASK: b"intermediate", ARK: b"root", CRL: b"list"}
ANSWER = frames.answer(b"report", table(CHAIN), b"endorsement")


def test_a_request_is_read_back() -> None:
    assert frames.parse_request(frames.request(DATA)) == DATA


def test_an_answer_is_read_back() -> None:
    assert frames.parse_answer(ANSWER, CLAIMS) == Evidence(
        b"report", b"leaf", b"intermediate", CLAIMS, b"root", b"list", b"endorsement"
    )


def test_what_may_be_absent() -> None:
    lean = frames.answer(b"report", table({VLEK: b"leaf", ASK: b"intermediate"}), None)
    assert frames.parse_answer(lean, CLAIMS) == Evidence(
        b"report", b"leaf", b"intermediate", CLAIMS
    )


@pytest.mark.parametrize("kind", [Kind(uvm="json"), Kind("turin", "vlek")], ids=str)
def test_a_machine_says_the_same_both_ways(kind: Kind, simulated_root: SimulatedRoot) -> None:
    machine = kind.machine(simulated_root)
    told = machine.evidence(CLAIMS)
    sent = frames.answer(told.report, machine.table(), machine.endorsement)
    assert frames.parse_answer(sent, CLAIMS) == told


def test_data_of_another_length_is_never_sent() -> None:
    with pytest.raises(ValueError, match="63 bytes"):
        frames.request(ReportData(DATA[1:]))


NO_REQUEST = {
    "shorter": frames.request(DATA)[:-1],
    "longer": frames.request(DATA) + b"x",
    "of another kind": b"x" + frames.request(DATA)[1:],
    "empty": b"",
}


@pytest.mark.parametrize("name", NO_REQUEST)
def test_what_is_no_request(name: str) -> None:
    with pytest.raises(ValueError, match="not a request"):
        frames.parse_request(NO_REQUEST[name])


NO_ANSWER = {
    "of another kind": (b"x" + ANSWER[1:], "not an answer"),
    "too long": (ANSWER.ljust(frames.MAX_ANSWER_BYTES + 1, b"\0"), "not an answer"),
    "cut in a length": (ANSWER[:10], "cut off"),
    "cut in a member": (ANSWER[:-1], "cut off"),
    "longer": (ANSWER + b"x", "bytes follow"),
    "with a length beyond its end": (ANSWER[:8] + struct.pack("<I", 1 << 31), "cut off"),
    "without a table": (frames.answer(b"report", b"", None), "no leaf"),
    "with a table that is none": (frames.answer(b"report", b"x" * 24, None), "no certificate tab"),
    "without a leaf": (frames.answer(b"report", table({ASK: b"x"}), None), "no leaf"),
    "without an intermediate": (frames.answer(b"report", table({VCEK: b"x"}), None), "no inter"),
}


@pytest.mark.parametrize("name", NO_ANSWER)
def test_what_is_no_answer(name: str) -> None:
    message, words = NO_ANSWER[name]
    with pytest.raises(ValueError, match=words):
        frames.parse_answer(message, CLAIMS)


@settings(max_examples=300)
@given(st.one_of(st.binary(), mutations(ANSWER)))
def test_only_value_errors(message: bytes) -> None:
    with suppress(ValueError):
        frames.parse_answer(message, CLAIMS)
