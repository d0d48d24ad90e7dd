"""Seals a model: one encrypted file whose root anybody can check (SPEC.md)."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sealserve.models import archive, package, slot_area
from sealserve.models import format as layout
from sealserve.models.content import Advance, Content, stream
from sealserve.models.draft import Draft, check_place
from sealserve.models.key import key_id
from sealserve.models.reader import Progress
from sealserve.models.sealed import SealedModel
from sealserve.models.slots import RawKey, Recipient
from sealserve.models.units import UnitSealer
from sealserve.models.verify import require_replaceable
from sealserve.models.wrapping import rehearse, wrap
from sealserve.native import cobblestone
from sealserve.native.cobblestone import Message
from sealserve.native.errors import ConfigError, InputError
from sealserve.native.secret import SecretBuffer
from sealserve.native.verity import digests_of, tree_of


def seal(
    source: str | Path,
    out: str | Path,
    *,
    keys: Sequence[Recipient | RawKey],
    name: str,
    version: str,
    batch_independent: bool = False,
    progress: Progress | None = None,
    tell_others: Callable[[Sequence[str]], None] | None = None,
) -> SealedModel:
    """Seal a model file, or a folder with one model and other files, into `out`.

    keys: who may open it. A RawKey becomes the input key itself; otherwise that is fresh.
    `out` is made in one step once everything is written, and untouched if anything fails. An older
    sealed model of the same name is replaced, any other file there is a ConfigError.
    tell_others: is called with the names of a folder's other files, before they are sealed.
    The files are read three times and never held in memory as a whole, but for weights that a
    model file stores as varints (int32_data, int64_data, uint64_data) or that have to stand in the
    graph.
    Raises ConfigError, InputError, UnavailableError (no room), and what a recipient raises.
    """
    target = Path(out)
    _check_options(keys, name, version)
    check_place(target)
    rehearse(_with_slots(keys))
    found = package.collect(Path(source))
    _check_target(target, Path(source), found)
    require_replaceable(target, name)
    if found.others and tell_others is not None:
        tell_others(found.others)
    count = _Counter(progress, found.original_bytes + 2 * found.entry_bytes)
    contents = found.contents(found.manifest(count))
    entries = package.entries(contents, count)
    with _input_key(keys) as key:
        header = layout.Header(
            batch_independent=batch_independent,
            created=datetime.now(UTC).strftime(layout.CREATED_FORMAT),
            key_id=key_id(key),
            name=name,
            payload_size=_payload_size(archive.size(entries)),
            version=version,
        )
        return write(target, header, key, _plaintext(entries, contents, count), keys)


def write(
    target: Path,
    header: layout.Header,
    key: SecretBuffer,
    plain: Iterable[bytes | memoryview],
    keys: Sequence[Recipient | RawKey],
) -> SealedModel:
    """Write a sealed file around an archive of the size that the header says."""
    front = layout.encode_header(header)
    digest = hashlib.sha256(front).digest()
    with Draft(target) as draft, Message.new(key, layout.CONTEXT + digest) as message:
        geometry = layout.geometry(len(front), header.payload_size)
        head = front + message.header
        draft.write(head)
        units = UnitSealer(message, geometry.data_bytes - len(head))
        draft.fill(units.size, lambda fd, offset: units.run(fd, offset, plain))
        grown = tree_of(digests_of(head) + units.digests)
        draft.write(grown.area)
        slots = wrap(key, _with_slots(keys), grown.root, digest)
        draft.write(slot_area.encode_area(slots))
        draft.publish()
    return SealedModel.of(str(target), header, geometry, digest, grown.root, slots)


def _plaintext(
    entries: Sequence[archive.Entry], contents: dict[str, Content], advance: Advance
) -> Iterator[bytes | memoryview]:
    """The archive. Raises InputError if a file is not what it was when it was measured."""
    placed = archive.place(entries)
    for item in placed:
        yield archive.local_header(item)
        crc = 0
        for block in stream(contents[item.entry.name], advance):
            crc = zlib.crc32(block, crc)
            yield block
        if crc != item.entry.crc32:
            raise InputError(
                f"the bytes of {item.entry.name} changed while they were sealed", hint="seal again"
            )
    yield archive.directory(placed)


class _Counter:
    """Turns "so many bytes more" into "so many of all"."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self, more: int) -> None:
        # The manifest is not in the total: it is made from what is being counted.
        self._done = min(self._done + more, self._total)
        if self._progress is not None:
            self._progress(self._done, self._total)


def _input_key(keys: Sequence[Recipient | RawKey]) -> SecretBuffer:
    for key in keys:
        if isinstance(key, RawKey):
            return key.unwrap((), b"", b"")
    fresh = SecretBuffer(cobblestone.KEY_BYTES)
    # Read straight into locked memory: os.urandom would leave a copy in a bytes object.
    with Path("/dev/urandom").open("rb", buffering=0) as source:
        if source.readinto(memoryview(fresh)) != cobblestone.KEY_BYTES:
            raise OSError("the operating system gave too few random bytes")
    return fresh


def _with_slots(keys: Sequence[Recipient | RawKey]) -> list[Recipient]:
    return [key for key in keys if not isinstance(key, RawKey)]


def _check_options(keys: Sequence[Recipient | RawKey], name: str, version: str) -> None:
    for option, value, allowed in (
        ("name", name, layout.NAME),
        ("version", version, layout.VERSION),
    ):
        if not allowed.fullmatch(value):
            raise ConfigError(f"{value[:80]!r}; wanted {allowed.pattern}", key=option)
    raw = sum(isinstance(key, RawKey) for key in keys)
    if not keys or raw > 1 or len(keys) - raw > slot_area.MAX_SLOTS:
        raise ConfigError(
            f"{len(keys) - raw} recipients and {raw} raw keys; wanted at least one of either,"
            f" at most {slot_area.MAX_SLOTS} recipients and one raw key",
            key="keys",
        )


def _check_target(target: Path, source: Path, found: package.Package) -> None:
    place = target.resolve()
    if any(place == file.path for file in found.originals.values()):
        raise ConfigError(f"{target} is part of the model that is sealed", hint="choose another -o")
    if source.is_dir() and place.is_relative_to(source.resolve()):
        raise ConfigError(f"{target} lies in the folder that is sealed", hint="choose another -o")


def _payload_size(plain_bytes: int) -> int:
    size = cobblestone.sealed_size(plain_bytes)
    if size > layout.MAX_PAYLOAD_BYTES:
        raise InputError(f"{size} bytes to seal; at most {layout.MAX_PAYLOAD_BYTES} are possible")
    return size
