"""The line of the processor, by what Linux says of it."""

from __future__ import annotations

import pytest

from sealserve.attestation.devices.processor import line_of_processor


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: x\n", "genoa"),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 160\n", "genoa"),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\n", "turin"),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 80\n", None),
        ("vendor_id\t: GenuineIntel\ncpu family\t: 25\nmodel\t\t: 1\n", None),
        ("vendor_id\t: AuthenticAMD\ncpu family\t: x\nmodel\t\t: 1\n", None),
        ("\udcff", None),
    ],
)
def test_lines_of_processors(tmp_path, text, line):
    path = tmp_path / "cpuinfo"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert line_of_processor(path) == line
    assert line_of_processor(tmp_path / "none") is None
