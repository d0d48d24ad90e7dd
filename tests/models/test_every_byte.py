"""Each byte of a sealed file changed in turn, the file cut, extended and shuffled: all refused.

What the slots hold is nobody's word: a change there can only prevent opening. The normal run takes
a sample, `make long` all of it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from pathlib import Path
from typing import BinaryIO

import pytest

from sealserve.keys import HpkeIdentity
from sealserve.models import Opener, RawKey, inspect, open_model, verify
from sealserve.native.errors import FormatError, IntegrityError, ReleaseError
from support.models_onnx import classifier
from support.models_places import message, message_end, slots, tree
from support.models_sealed import PAGE, FolderPlace, Regions, seal_model

VECTORS = Path(__file__).resolve().parent.parent / "vectors/models"
Change = tuple[str, bytes]  # what was done, and the file it makes
Mask = Callable[[int], int]  # which bits of the byte there are changed
Opened = tuple[bytes, dict[str, bytes]]  # the graph, and every other file by name


@dataclass(frozen=True)
class Sealed:
    """A sealed file for two people. key: their input key, for an opener that looks at no slot.

    folder: empty, to open into.
    """

    data: bytes
    root: bytes
    people: tuple[HpkeIdentity, ...]
    key: RawKey
    folder: Path

    @property
    def regions(self) -> Regions:
        return Regions.of(self.data)

    @property
    def path(self) -> Path:
        return self.folder.with_name("changed.sealed")

    def opened(self, opener: Opener) -> Opened:
        """What whoever opens the file at `path` gets; the folder is empty again after it."""
        place = FolderPlace(self.folder)
        try:
            with open_model(self.path, self.root, opener, place) as model:
                files = {name: (self.folder / name).read_bytes() for name in model.files}
                return bytes(model.graph), files
        except BaseException:
            assert "finish" not in place.told
            assert not list(self.folder.iterdir())
            raise
        finally:
            place.wipe()

    def accepted_by(self) -> list[str]:
        """Which verbs take the file at `path` for the one with this root; refusals are ours."""
        accepted = []
        with suppress(IntegrityError):
            verify(self.path, self.root)
            accepted.append("verify")
        with suppress(FormatError, IntegrityError):
            self.opened(self.key)
            accepted.append("open")
        with suppress(FormatError, IntegrityError):
            inspect(self.path)  # says what a file claims; it may accept, and must not break
        return accepted


def make(data: bytes, root: bytes, folder: Path) -> Sealed:
    people = tuple(HpkeIdentity.load(VECTORS / f"{name}.key") for name in ("classic", "hybrid"))
    folder.joinpath("place").mkdir()
    path = folder / "changed.sealed"
    path.write_bytes(data)
    about = inspect(path)
    with people[0].unwrap(about.slots, root, about.header_sha256) as key:
        return Sealed(data, root, people, RawKey(bytes(key)), folder / "place")


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """The tests' own vector: 12 pages, a tree of one level."""
    root = bytes.fromhex(json.loads((VECTORS / "roots.json").read_text())["hpke"])
    data = (VECTORS / "hpke.sealed").read_bytes()
    return make(data, root, tmp_path_factory.mktemp("flat"))


@pytest.fixture(scope="module")
def tall(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """A classifier: some 280 pages, a tree of two levels."""
    folder = tmp_path_factory.mktemp("tall")
    keys = [HpkeIdentity.load(VECTORS / f"{name}.key").recipient for name in ("classic", "hybrid")]
    model = seal_model(classifier(), folder / "changed.sealed", keys=keys)
    return make((folder / "changed.sealed").read_bytes(), model.root, folder)


def every(step: int, start: int, end: int) -> Iterator[int]:
    """Places from start to end: each `step`-th, and the last."""
    yield from range(start, end, step)
    yield end - 1


def beside_the_message(regions: Regions, step: int) -> Iterator[int]:
    """Places outside the bulk of a large file: header, what follows the message, the tree."""
    yield from every(step, 0, message(regions) + 56)
    yield from every(step, message_end(regions) - 64, slots(regions))


def one_bit(at: int) -> int:
    """All eight in turn."""
    return 1 << at % 8


def lowest_bit(at: int) -> int:
    """Letters stay letters or digits, so that what is written may still have a meaning."""
    return 1


def all_bits(at: int) -> int:
    return 0xFF


def assert_refused_in_place(sealed: Sealed, places: Iterable[int], mask: Mask) -> None:
    """Each of these bytes changed alone makes another file."""
    sealed.path.write_bytes(sealed.data)
    with sealed.path.open("r+b", buffering=0) as file:
        for at in places:
            put(file, at, sealed.data[at] ^ mask(at))
            accepted = sealed.accepted_by()
            put(file, at, sealed.data[at])
            assert not accepted, f"byte {at} changed by {mask(at):#x} is accepted by {accepted}"
    assert sealed.accepted_by() == ["verify", "open"]


def put(file: BinaryIO, at: int, value: int) -> None:
    file.seek(at)
    file.write(bytes([value]))


@pytest.mark.parametrize("mask", [one_bit, all_bits])
def test_a_sample_of_bytes_before_the_slots(mask: Mask, flat: Sealed) -> None:
    assert_refused_in_place(flat, every(131, 0, slots(flat.regions)), mask)


def test_a_sample_of_bytes_in_a_tree_of_two_levels(tall: Sealed) -> None:
    assert_refused_in_place(tall, beside_the_message(tall.regions, 61), one_bit)
    assert_refused_in_place(tall, every(9973, 0, tree(tall.regions)), one_bit)


@pytest.mark.long
def test_every_byte_before_the_slots(flat: Sealed) -> None:
    assert_refused_in_place(flat, every(1, 0, slots(flat.regions)), one_bit)


@pytest.mark.long
def test_every_byte_in_a_tree_of_two_levels(tall: Sealed) -> None:
    assert_refused_in_place(tall, beside_the_message(tall.regions, 1), one_bit)
    assert_refused_in_place(tall, every(397, 0, tree(tall.regions)), one_bit)


def assert_slots_only_prevent(sealed: Sealed, places: Iterable[int], mask: Mask) -> None:
    """Each of these bytes of the slots changed alone: refused, or the very same model."""
    sealed.path.write_bytes(sealed.data)
    facts = replace(verify(sealed.path, sealed.root), slots=())
    honest = [sealed.opened(person) for person in sealed.people]
    assert honest[0] == honest[1]
    outcomes = set()
    with sealed.path.open("r+b", buffering=0) as file:
        for at in places:
            put(file, at, sealed.data[at] ^ mask(at))
            for person in sealed.people:
                try:
                    assert sealed.opened(person) == honest[0], f"byte {at}"
                    outcomes.add("opened")
                except (FormatError, IntegrityError, ReleaseError) as error:
                    outcomes.add(type(error).__name__)
            with suppress(IntegrityError):
                assert replace(verify(sealed.path, sealed.root), slots=()) == facts
            put(file, at, sealed.data[at])
    # Each way there is was taken: who is not touched by the change opens as before.
    assert outcomes == {"opened", "FormatError", "IntegrityError", "ReleaseError"}


def test_a_sample_of_bytes_in_the_slots(flat: Sealed) -> None:
    assert_slots_only_prevent(flat, every(17, slots(flat.regions), len(flat.data)), one_bit)


@pytest.mark.long
@pytest.mark.parametrize("mask", [one_bit, lowest_bit])
def test_every_byte_in_the_slots(mask: Mask, flat: Sealed) -> None:
    assert_slots_only_prevent(flat, every(1, slots(flat.regions), len(flat.data)), mask)


def cut_off(data: bytes, draw: random.Random) -> Iterator[Change]:
    sizes = {size + by for size in range(0, len(data), PAGE) for by in (-1, 0, 1)}
    sizes |= {draw.randrange(len(data)) for _ in range(300)}
    for size in sorted(sizes - {-1}):
        yield f"cut to {size}", data[:size]


def removed(data: bytes, draw: random.Random) -> Iterator[Change]:
    spans = [(at, at + PAGE) for at in range(0, len(data), PAGE)]
    ends = [sorted(draw.sample(range(len(data) + 1), 2)) for _ in range(100)]
    for start, end in (*spans, *ends):
        yield f"without {start} to {end}", data[:start] + data[end:]


def extended(data: bytes, draw: random.Random) -> Iterator[Change]:
    more = {"a zero": b"\0", "a page of zeros": bytes(PAGE), "noise": draw.randbytes(PAGE)}
    borders = range(0, len(data) + 1, PAGE)
    for at in (*borders, *(draw.randrange(len(data)) for _ in range(40))):
        for name, extra in more.items():
            yield f"{name} at {at}", data[:at] + extra + data[at:]
        yield f"the page at {at} twice", data[: at + PAGE] + data[at:]
    yield "the file twice", data + data


def swapped_pages(data: bytes, draw: random.Random) -> Iterator[Change]:
    pages = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    pairs = list(combinations(range(len(pages)), 2))
    for one, other in draw.sample(pairs, min(300, len(pairs))):
        moved = pages.copy()
        moved[one], moved[other] = pages[other], pages[one]
        yield f"pages {one} and {other} swapped", b"".join(moved)


def shuffled_regions(data: bytes, draw: random.Random) -> Iterator[Change]:
    r = Regions.of(data)
    named = {
        "header": r.front,
        "message": r.message,
        "padding": r.padding,
        "superblock": r.tree[:PAGE],
        "levels": r.tree[PAGE:],
        "slots": r.slots,
    }
    for order in draw.sample(list(permutations(named)), 240):
        yield ", ".join(order), b"".join(named[name] for name in order)


Reshape = Callable[[bytes, random.Random], Iterator[Change]]
RESHAPES = [cut_off, removed, extended, swapped_pages, shuffled_regions]


def assert_no_reshape_passes(sealed: Sealed, reshape: Reshape) -> None:
    tried = 0
    for name, data in reshape(sealed.data, random.Random(1)):
        if data != sealed.data:
            sealed.path.write_bytes(data)
            assert not sealed.accepted_by(), name
            tried += 1
    assert tried > 50


@pytest.mark.parametrize("reshape", RESHAPES, ids=lambda reshape: reshape.__name__)
def test_another_shape_is_another_file(reshape: Reshape, flat: Sealed) -> None:
    assert_no_reshape_passes(flat, reshape)


@pytest.mark.long
@pytest.mark.parametrize("reshape", RESHAPES, ids=lambda reshape: reshape.__name__)
def test_another_shape_of_a_larger_file(reshape: Reshape, tall: Sealed) -> None:
    assert_no_reshape_passes(tall, reshape)
