"""What AMD's documents say of a report, written down once more; the product's own is not asked."""

from __future__ import annotations


def reserved(version: int) -> set[int]:
    """The offsets that are reserved in a report of this version."""
    ranges = [
        (0x04C, 0x050), (0x18B, 0x1A0), (0x1EB, 0x1EC), (0x1EF, 0x1F0), (0x208, 0x2A0),
        (0x2D0, 0x2E8), (0x318, 0x4A0),
    ]  # fmt: skip
    if version < 3:
        ranges.append((0x188, 0x18B))
    if version < 5:
        ranges.append((0x1F8, 0x208))
    return {offset for start, end in ranges for offset in range(start, end)}
