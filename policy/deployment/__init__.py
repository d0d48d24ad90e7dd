"""A deployment's files beside each other: do they speak of the same software, models and vault?

    pieces        what there is, read already
    disagreement  what is said of it: code, both sides, the way out
    agreement     every check, called in order

Each file is sound by itself, or its own lint says otherwise; here two of them are compared.
"""

from __future__ import annotations
