"""What a benchmark can be told."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Options:
    """size: bytes of input, 0 where a run is an event. turn_seconds: for the bursts of one turn."""

    size: int
    repeats: int
    quick: bool
    json: bool

    @property
    def turn_seconds(self) -> float:
        return 0.0005 if self.quick else 0.01


def options(
    question: str, *, repeats: int, size: int = 0, quick_size: int = 0, multiple: int = 1
) -> Options:
    """Read the command line. quick: seconds in all, to see that everything runs."""
    parser = argparse.ArgumentParser(description=question)
    if size:
        parser.add_argument("--size", type=int, help=f"bytes of input (default: {size})")
    parser.add_argument("--repeats", type=int, help=f"rounds (default: {repeats})")
    parser.add_argument("--quick", action="store_true", help="a few seconds: small, two rounds")
    parser.add_argument("--json", action="store_true", help="one object on stdout, words on stderr")
    parser.set_defaults(size=size, repeats=repeats)
    if parser.parse_args().quick:
        parser.set_defaults(size=quick_size, repeats=2)
    given = parser.parse_args()
    if size and (given.size <= 0 or given.size % multiple):
        parser.error(f"--size is {given.size}; a multiple of {multiple} is needed")
    if given.repeats <= 0:
        parser.error(f"--repeats is {given.repeats}; at least 1 is needed")
    return Options(given.size, given.repeats, given.quick, given.json)
