"""Sets of characters as ranges of code points."""

from __future__ import annotations

from collections.abc import Sequence

LAST = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]

ANY: Ranges = ((0, LAST),)
NO_LINE_END: Ranges = ((0, 9), (11, LAST))
CLASSES: dict[str, Ranges] = {
    "d": ((48, 57),),
    "s": ((9, 10), (12, 13), (32, 32)),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
}
NAMED: dict[str, Ranges] = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": ((48, 57),),
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}
CONTROLS = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}


def one(char: int, *, fold: bool = False) -> Ranges:
    """A single character, in both cases if `fold`."""
    return folded(((char, char),)) if fold else ((char, char),)


def folded(ranges: Ranges) -> Ranges:
    """Both cases of every ASCII letter, and of a single other character."""
    made = list(ranges)
    for low, high in ranges:
        for start, shift in ((65, 32), (97, -32)):
            a, b = max(low, start), min(high, start + 25)
            if a <= b:
                made.append((a + shift, b + shift))
        if low == high and low > 127:
            both = (chr(low).lower(), chr(low).upper())
            made += [(ord(each), ord(each)) for each in both if len(each) == 1]
    return merged(made)


def merged(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """The same characters in order, no range touching another."""
    made: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], high))
        else:
            made.append((low, high))
    return tuple(made)


def without(ranges: Ranges) -> Ranges:
    """Every other character."""
    made, at = [], 0
    for low, high in merged(ranges):
        if at < low:
            made.append((at, low - 1))
        at = high + 1
    if at <= LAST:
        made.append((at, LAST))
    return tuple(made)


def shared(one: Ranges, other: Ranges) -> int | None:
    """A character of both, one that people can read if there is one."""
    found = [(max(a, c), min(b, d)) for a, b in one for c, d in other if max(a, c) <= min(b, d)]
    for low, high in ((97, 122), (65, 90), (48, 57), (33, 126)):
        for a, b in found:
            if max(a, low) <= min(b, high):
                return max(a, low)
    found = [(a, b) for a, b in found if not (a >= 0xD800 and b <= 0xDFFF)]
    return next((a if not 0xD800 <= a <= 0xDFFF else 0xE000 for a, b in found), None)
