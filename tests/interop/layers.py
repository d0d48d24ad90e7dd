"""hcsshim and ours tell the same root of every layer, or both none: `make interop`.

    python tests/interop/layers.py FOLDER [LAYERS]

Builds `hcsshim/main.go` under FOLDER, with hcsshim itself from the Go module proxy, and shows both
the vectors, everything that `tests/policy/test_layers.py` names, and LAYERS changed ones. Where we
alone refuse, the reason has to be one of `OURS`. Exit code 1 if an answer differs.
"""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:1] = [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "tests" / "policy")]

from test_layers import REFUSED, SAME  # noqa: E402

from fuzz.of_layers import layer_tar  # noqa: E402
from sealserve.policy.execution.layers import RefusedError, convert  # noqa: E402

HCSSHIM = "github.com/Microsoft/hcsshim@v0.15.0"
LAYERS = 2000
# It goes on where nobody can follow, or where what it writes depends on more than the layer.
OURS = (
    "on its path is not a folder",  # a whiteout in a file
    "bytes; at most",  # paths and targets that Linux does not take
    "has more than 255 bytes",  # the length of a name, cut to a byte
    "attributes in one block",  # an order that Go's sort makes up
    "bytes of holes",
    "arithmetic is wrong",
)
TOO_LARGE = ("exabytes of holes", "gigabytes of holes")  # it would write them


def built(folder: Path) -> Path:
    """The program, which is built once."""
    program = folder / "bin" / "hcsshim-root"
    if not program.exists():
        module = folder / "hcsshim"
        shutil.copytree(HERE / "hcsshim", module, dirs_exist_ok=True)
        (module / "go.mod").write_text("module root\n\ngo 1.22\n")
        commands = (["get", HCSSHIM], ["mod", "tidy"], ["build", "-o", str(program), "."])
        for command in commands:
            subprocess.run(["go", *command], cwd=module, check=True, capture_output=True)
    return program


def layers(count: int) -> Iterator[tuple[str, bytes]]:
    """Everything both are shown, with a name."""
    for name, pair in SAME.items():
        yield from ((f"{name}, {side}", tar + bytes(1024)) for side, tar in enumerate(pair))
    yield from ((name, tar) for name, (tar, _) in REFUSED.items() if name not in TOO_LARGE)
    target = layer_tar()
    yield from ((f"seed {number}", seed) for number, seed in enumerate(target.seeds))
    changed = target.inputs(random.Random(count))
    yield from ((f"changed {number}", tar) for number, tar in enumerate(islice(changed, count)))


def ours(tar: bytes) -> str:
    try:
        return convert(io.BytesIO(tar)).root.hex()
    except RefusedError as error:
        return f"refused {error}"


def agree(theirs: str, mine: str) -> bool:
    if theirs.startswith("refused") and mine.startswith("refused"):
        return True
    return theirs == mine or any(reason in mine for reason in OURS)


def main(folder: Path, count: int) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    program, layer = built(folder), folder / "layer.tar"
    seen: Counter[str] = Counter()
    with subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for name, tar in layers(count):
            layer.write_bytes(tar)
            running.stdin.write(f"{layer}\n")
            theirs, mine = running.stdout.readline().strip(), ours(tar)
            agreed = agree(theirs, mine)
            seen["refused" if mine.startswith("refused") else "converted"] += agreed
            seen["DIFFERENT"] += not agreed
            if not agreed:
                sys.stdout.write(f"{name}: hcsshim {theirs}; ours {mine}\n")
                shutil.copy(layer, folder / f"{name}.tar")
        running.stdin.close()
    sys.stdout.write(", ".join(f"{count} {what}" for what, count in seen.items()) + "\n")
    return 1 if seen["DIFFERENT"] else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute(), int(sys.argv[2]) if sys.argv[2:] else LAYERS))
