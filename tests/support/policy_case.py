"""A trust file and claims that fit each other, and ways to make exactly one thing differ."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sealserve.attestation.report import Report
from sealserve.attestation.tcb import Line
from sealserve.attestation.uvm import UvmEndorsement
from sealserve.attestation.verify import Claims
from sealserve.policy.trust import Trust

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
POLICY = bytes.fromhex("73ab" + "11" * 30)
ROOT = bytes.fromhex("9f2c" + "22" * 30)
MEASUREMENT = bytes.fromhex("3fa1" + "33" * 46)
CHIP = bytes.fromhex("c41b" + "44" * 62)
SIMULATED_ROOT = bytes.fromhex("5e" * 32)
ISSUER = (
    "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2"
)
FEED = "ContainerPlat-AMD-UVM"

MILAN_FLOOR = """[hardware.tcb.milan]
bootloader = 4
tee = 0
snp = 24
microcode = 219
"""
MEASURED = f'[launch]\nmeasurements = [{{ sha384 = "{MEASUREMENT.hex()}", note = "image 1" }}]\n'
ENDORSED = f'[launch]\nuvm_issuer = "{ISSUER}"\nuvm_feed = "{FEED}"\nuvm_minimum_svn = 104\n'
SIMULATED = f'kind = "simulated"\nsimulated_root_sha256 = "{SIMULATED_ROOT.hex()}"'
SNP = 'kind = "snp"'
ACI = 'kind = "aci"'

TRUST = f"""version = 1
name = "breast-cancer at Example Clinic"
expires = 2027-03-31

[platform]
{SNP}

[hardware]
lines = ["milan", "genoa", "turin"]
max_crl_age_days = 45
{MILAN_FLOOR}[hardware.tcb.genoa]
bootloader = 10
tee = 0
snp = 23
microcode = 84
[hardware.tcb.genoa-a0]
bootloader = 10
tee = 0
snp = 23
microcode = 25
[hardware.tcb.turin]
fmc = 1
bootloader = 1
tee = 1
snp = 4
microcode = 81

{MEASURED}
[software]
policies = [{{ sha256 = "{POLICY.hex()}", note = "sealserve 0.1" }}]

[models.breast-cancer]
roots = ["{ROOT.hex()}"]
"""

# Every key that may be left out, beside those that may not.
EVERY_KEY = (
    TRUST.replace(
        "max_crl_age_days = 45\n",
        f"""max_crl_age_days = 45
chips = ["{CHIP.hex()}"]
denied_chips = ["{"dd" * 64}"]
vlek_providers = ["CN=cloud.example"]
floor_at_launch = true
minimum_firmware = "1.55.29"
minimum_report_version = 3
mitigations = 0x21
platform_info_set = ["ecc"]
platform_info_clear = ["tsme", "tio"]
""",
    ).replace(
        "[launch]\n",
        f"""[launch]
guest_policy_set = ["aes_256_xts"]
guest_policy_clear = ["smt"]
id_keys = ["{"1d" * 48}"]
author_keys = ["{"1d" * 48}", "{"2e" * 48}"]
""",
    )
    + """[danger]
allow_debug = true
allow_migration = true
allow_cxl = true
allow_vmpl = [1, 2]
without_nonce = true
"""
)

_CPUID: dict[Line, tuple[int, int, int]] = {
    "milan": (0x19, 0x01, 1),
    "genoa": (0x19, 0x11, 1),
    "turin": (0x1A, 0x02, 1),
}
TCB: dict[Line, bytes] = {
    "milan": bytes([4, 0, 0, 0, 0, 0, 24, 219]),
    "genoa": bytes([10, 0, 0, 0, 0, 0, 23, 84]),
    "turin": bytes([1, 1, 1, 4, 0, 0, 0, 81]),
}


def trust(*changes: tuple[str, str], text: str = TRUST) -> Trust:
    """The good trust file with each (old, new) replaced."""
    return Trust.parse(edit(*changes, text=text), file="trust.toml")


def edit(*changes: tuple[str, str], text: str = TRUST) -> bytes:
    """The bytes of the good trust file with each (old, new) replaced; old has to be there."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text.encode()


def claims(line: Line = "milan", **fields: object) -> Claims:
    """Good claims of this line; names of Claims or of Report say what differs."""
    report = Report.parse(_report(line))
    ours = fields.keys() & set(Report._fields)
    report = report._replace(**{name: fields[name] for name in ours})  # type: ignore[arg-type]
    good = Claims(
        platform="snp",
        line=line,
        report=report,
        signing_key="vcek",
        csp_id=None,
        crl_this_update=NOW - timedelta(days=10),
        endorsement=UvmEndorsement(ISSUER, FEED, 104, MEASUREMENT, NOW, simulated=False),
        runtime=b"{}",
    )
    others = fields.keys() & Claims.__dataclass_fields__.keys()
    return replace(good, **{name: fields[name] for name in others})  # type: ignore[arg-type]


def _report(line: Line) -> bytes:
    """A version 3 report, unsigned; its layout is the parser's, tested there."""
    data = bytearray(0x4A0)
    struct.pack_into("<I", data, 0x000, 3)
    struct.pack_into("<Q", data, 0x008, 0x3001F)
    struct.pack_into("<I", data, 0x034, 1)
    struct.pack_into("<Q", data, 0x040, 0x25)
    data[0x090:0x0C0] = MEASUREMENT
    data[0x0C0:0x0E0] = POLICY
    data[0x188:0x18B] = bytes(_CPUID[line])
    data[0x1A0:0x1E0] = CHIP if line != "turin" else CHIP[:8].ljust(64, b"\0")
    for offset in (0x038, 0x180, 0x1E0, 0x1F0):
        data[offset : offset + 8] = TCB[line]
    data[0x2A0] = data[0x2E8] = 1
    return bytes(data)
