"""How long does it take to tell the root of a container image's layer?

The usual way writes the layer's ext4 image to a disk, reads it again and grows a tree over it.
`veritysetup format` does only the last part, so it is given the image, and a reading of it; making
and writing the image is left out of its time. Ours goes the whole way, from the tar on. The tree
alone, of our own over the same image, is what no converter can be faster than.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from support.hashing import veritysetup_format
from support.layered import large, small
from support.native import one_core
from support.options import GIB, MIB, options
from support.report import Report, begin
from support.turns import Missing, Way

from sealserve.native.verity import TreeBuilder
from sealserve.policy.execution.images import layer_root

QUESTION = "How long does it take to tell the root of a container image's layer?"
PIECE = MIB
LARGE_FILES = 1000
SMALL_FILES, QUICK_SMALL_FILES = 100_000, 500


def of_layer(report: Report, what: str, tar: Path, at_least: float) -> None:
    """Rates are of the image's bytes, whoever reads which file."""
    image = tar.with_suffix(".ext4")
    with image.open("wb") as file:
        layer_root(tar, image=file)
    size = image.stat().st_size
    formatted = reading_first(image, veritysetup_format(image, tar.with_suffix(".hashes")))
    ours = Way("layer_root, from the tar", size, lambda: layer_root(tar), threads=2)
    tree = Way("the tree alone, over the image", size, lambda: tree_over(image))
    speeds = report.compare(f"{what}, all cores", [ours], [formatted, tree])
    verity = speeds.get(formatted.name)
    report.ratio(
        f"{what}, against veritysetup format", speeds[ours.name], verity, at_least=at_least
    )
    report.ratio(f"{what}, against the tree alone", speeds[ours.name], speeds[tree.name])
    with one_core():
        alone = report.compare(f"{what}, one core", [ours], [formatted, tree])
    report.ratio(
        f"{what}, one core, against veritysetup format", alone[ours.name], alone.get(formatted.name)
    )


def reading_first(image: Path, peer: Way | Missing) -> Way | Missing:
    """What reads an image that was written, before it is formatted."""
    if isinstance(peer, Missing):
        return peer

    def run() -> None:
        read(image)
        peer.run()

    return Way(peer.name, peer.size, run)


def read(path: Path) -> None:
    piece = memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass


def tree_over(path: Path) -> None:
    builder, piece = TreeBuilder(), memoryview(bytearray(PIECE))
    with path.open("rb", buffering=0) as file:
        while got := file.readinto(piece):
            builder.update(piece[:got])
    builder.finish()


def main() -> None:
    wanted = options(QUESTION, size=GIB, quick_size=4 * MIB, multiple=MIB, repeats=5)
    report = begin("layers", QUESTION, wanted)
    files = QUICK_SMALL_FILES if wanted.quick else SMALL_FILES
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few.tar"), Path(folder, "many.tar")
        large(few, wanted.size, LARGE_FILES)
        of_layer(report, f"{LARGE_FILES} files in {wanted.size >> 20} MiB", few, 1.5)
        few.unlink()
        small(many, files)
        of_layer(report, f"{files} small files", many, 1.0)
    report.finish()


main()
