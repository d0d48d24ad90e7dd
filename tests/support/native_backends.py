"""The native routines and their plain twins, under the same names."""

from __future__ import annotations

from types import ModuleType

from sealserve.native import checked, cobblestone, crypto, load, ranges, reference, sealing, verity

NATIVE = ModuleType("native")
for module in (crypto, cobblestone, verity, checked, load, ranges, sealing):
    for name in vars(module):
        if not name.startswith("_"):
            setattr(NATIVE, name, getattr(module, name))

BACKENDS = {"native": NATIVE, "reference": reference}
