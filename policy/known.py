"""Execution policies that allow everything, by name: a machine under one of them proves nothing.

An endorsed machine with an allow-all policy is genuine and runs whatever its host likes. The texts
are public samples; each hash was recomputed from its text (tests/vectors/policy/samples).
"""

from __future__ import annotations

from collections.abc import Mapping

PERMISSIVE: Mapping[bytes, str] = {
    bytes.fromhex(digest): name
    for digest, name in {
        # Azure/azure-cleanroom, samples/reports/generate-caci-reports.ps1
        "73973b78d70cc68353426de188db5dfc57e5b766e399935fb73a61127ea26d20": (
            "the platform's default allow-all policy"
        ),
        # microsoft/confidential-sidecar-containers, pkg/common/security-context-test
        "4f4448c67f3c8dfc8de8a5e37125d807dadcc41f06cf23f615dbd52eec777d10": (
            "the allow-all policy quoted in CCF's documents"
        ),
        # microsoft/confidential-sidecar-containers, pkg/attest/test_data
        "cadd74f71ebb8fbf9782baab649612520f3c416bc5ce9ac768808ddc8d9b031c": (
            "the allow-all policy of the confidential sidecar's samples"
        ),
        # microsoft/confidential-aci-testing, src/c_aci_testing/templates
        "b3452a0ed30f1010bd32740dd1610bc63296ceb0f882f2cac3a3152d651fe7e4": (
            "the allow-all policy of confidential-aci-testing"
        ),
    }.items()
}


def permissive_name(sha256: bytes) -> str:
    """What people call the policy with this hash if it allows everything, else ''."""
    return PERMISSIVE.get(sha256, "")
