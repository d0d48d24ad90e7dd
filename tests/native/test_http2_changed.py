"""Changed frames, so that the sanitizers see what hunts see: `fuzz.of_transport`."""

from __future__ import annotations

import random
from itertools import islice

from fuzz.of_transport import http2_session

INPUTS = 500


def test_changed_frames() -> None:
    target = http2_session()
    for data in islice(target.inputs(random.Random("frames")), INPUTS):
        target.attack(data)
