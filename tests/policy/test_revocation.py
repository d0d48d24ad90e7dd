"""The recommended age of revocation lists, against lists that AMD made."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealserve.attestation.crl import Crl
from sealserve.policy import revocation
from support.attestation_vectors import DIRECTORY


@pytest.mark.parametrize("line", ["milan", "genoa", "turin"])
def test_a_list_that_is_valid_is_never_too_old_and_a_year_is_not_enough(line: str) -> None:
    real = Crl.parse((DIRECTORY / f"crl/kds-2026-04/{line}_vcek.crl").read_bytes())
    valid = real.next_update - real.this_update
    assert valid <= timedelta(days=revocation.RECOMMENDED_DAYS)
    assert valid > timedelta(days=revocation.SHORTEST_DAYS)
