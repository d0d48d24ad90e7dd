"""TCB versions: each line its own layout, each component at its byte, nothing in between."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.attestation import LINES, Line, Tcb, tcb
from support.attestation_refusals import code_of, refused

# AMD 56860 rev 1.58, TCB_VERSION; Turin as in 57230. Written down again, not taken from the code.
PLACES: dict[str, dict[str, int]] = {
    "milan": {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7},
    "genoa": {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7},
    "turin": {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7},
}
OF_EACH = pytest.mark.parametrize("line", LINES)
BYTES = range(8)


def raw(**bytes_: int) -> bytes:
    """Eight bytes, zero but for those named by position as b0 to b7."""
    return bytes(bytes_.get(f"b{position}", 0) for position in BYTES)


def test_the_lines_are_these() -> None:
    assert set(LINES) == PLACES.keys()


@OF_EACH
@pytest.mark.parametrize("position", BYTES)
def test_a_byte_is_this_component_or_reserved(line: Line, position: int) -> None:
    names = {place: name for name, place in PLACES[line].items()}
    data = raw(**{f"b{position}": 219})
    if position not in names:
        with refused("tcb_reserved") as refusal:
            tcb.decode(data, line)
        assert refusal.value.seen == data.hex()
        return
    components = tcb.decode(data, line).components()
    assert components == dict.fromkeys(PLACES[line], 0) | {names[position]: 219}


# Measured on real machines: the bytes of REPORTED_TCB and what they mean.
REAL: list[tuple[Line, str, Tcb, str]] = [
    ("milan", "04000000000018db", Tcb(4, 0, 24, 219), "bootloader 4 tee 0 snp 24 microcode 219"),
    ("genoa", "0a00000000001754", Tcb(10, 0, 23, 84), "bootloader 10 tee 0 snp 23 microcode 84"),
    (
        "turin", "0101010400000051", Tcb(1, 1, 4, 81, fmc=1),
        "fmc 1 bootloader 1 tee 1 snp 4 microcode 81",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("line", "data", "expected", "words"), REAL)
def test_real_versions(line: Line, data: str, expected: Tcb, words: str) -> None:
    assert tcb.decode(bytes.fromhex(data), line) == expected
    assert tcb.encode(expected, line) == bytes.fromhex(data)
    assert str(expected) == words


def test_only_turin_has_an_fmc() -> None:
    assert [line for line in LINES if tcb.decode(bytes(8), line).fmc is not None] == ["turin"]
    assert "fmc" not in Tcb(1, 2, 3, 4).components()
    assert Tcb(1, 2, 3, 4, fmc=0).components()["fmc"] == 0


@OF_EACH
@given(data=st.binary(min_size=8, max_size=8))
def test_any_eight_bytes_are_a_version_or_refused(line: Line, data: bytes) -> None:
    reserved = set(BYTES) - set(PLACES[line].values())
    expected = "tcb_reserved" if any(data[place] for place in reserved) else ""
    assert code_of(lambda: tcb.decode(data, line)) == expected


LEVEL = st.integers(0, 255)


@OF_EACH
@given(levels=st.tuples(LEVEL, LEVEL, LEVEL, LEVEL, LEVEL))
def test_what_is_written_is_read_back(line: Line, levels: tuple[int, int, int, int, int]) -> None:
    version = Tcb(*levels) if line == "turin" else Tcb(*levels[:4])
    assert tcb.decode(tcb.encode(version, line), line) == version


# CPUID as virtee/sev and the reports we hold have it.
MODELS: dict[tuple[int, int], str | None] = {
    (0x19, 0x00): "milan", (0x19, 0x01): "milan", (0x19, 0x0F): "milan",
    (0x19, 0x10): "genoa", (0x19, 0x11): "genoa", (0x19, 0x1F): "genoa",
    (0x19, 0x20): None, (0x19, 0x9F): None,
    (0x19, 0xA0): "genoa", (0x19, 0xAF): "genoa", (0x19, 0xB0): None,
    (0x1A, 0x00): "turin", (0x1A, 0x02): "turin", (0x1A, 0x11): "turin", (0x1A, 0x12): None,
    (0x1A, 0x50): None, (0x1A, 0x90): None, (0x1A, 0xA0): None, (0x1A, 0xC0): None,
    (0x17, 0x01): None, (0x18, 0x01): None, (0x1B, 0x01): None, (0, 0): None,
}  # fmt: skip


@pytest.mark.parametrize(("family", "model"), MODELS)
def test_the_line_of_a_processor(family: int, model: int) -> None:
    assert tcb.line_of(family, model) == MODELS[family, model]


def test_no_other_processor_has_a_line() -> None:
    known = {
        (family, model)
        for family in range(256)
        for model in range(256)
        if tcb.line_of(family, model) is not None
    }
    assert len(known) == 16 + 16 + 16 + 18
    assert {family for family, _ in known} == {0x19, 0x1A}
