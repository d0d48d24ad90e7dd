"""One target under libFuzzer, guided by what our own code covers.

    python tests/fuzz/hunt.py NAME FOLDER [libFuzzer's options and corpora]

FOLDER gets the target's seeds. Half of the changes are libFuzzer's, half those of
support/fuzz_mutations.py, which know JSON, numbers and DER. What is not documented ends the process
with status 77, and libFuzzer says where it wrote the input. `run.py` is what people call.
"""

from __future__ import annotations

import hashlib
import random
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
if __name__ == "__main__":  # the folder of this file would let `import run` work
    sys.path[:1] = [str(ROOT / "src"), str(ROOT / "tests")]

import atheris  # noqa: E402

with atheris.instrument_imports(include=["sealserve"], enable_loader_override=False):
    from fuzz.targets import TARGETS

from support.fuzz_mutations import Target  # noqa: E402

CANARY = "canary"


@atheris.instrument_func  # type: ignore[untyped-decorator]
def _planted(data: bytes) -> None:
    """A bug behind four bytes: only a hunt that is guided by coverage gets there in seconds."""
    if data[:1] == b"s" and data[1:2] == b"e" and data[2:3] == b"a" and data[3:4] == b"l":
        raise KeyError("planted")


def canary() -> Target:
    """What must be found, or nothing that was not found means anything."""
    return Target(_planted, [b"...."], ())


def main(name: str, folder: Path, options: list[str]) -> None:
    """Does not return."""
    warnings.simplefilter("ignore")  # of cryptography, about what it reads and will refuse one day
    target = canary() if name == CANARY else TARGETS[name]()
    folder.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)

    def change(data: bytes, longest: int, seed: int) -> bytes:
        draw = random.Random(seed)
        if draw.random() < 0.5:
            return bytes(atheris.Mutate(data, longest))
        return target.changed(data, draw)[:longest]

    # libFuzzer calls itself by its first argument when it merges.
    command = f"{sys.executable} {Path(__file__)} {name} {folder}"
    atheris.Setup(
        [command, *options], lambda data: target.attack(data) and None, custom_mutator=change
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
