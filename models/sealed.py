"""What a sealed model is, to everybody who has no key for it."""

from __future__ import annotations

from dataclasses import dataclass

from sealserve.models.format import Geometry, Header
from sealserve.models.slots import Slot


@dataclass(frozen=True, slots=True)
class SealedModel:
    """The public facts of a sealed model.

    path: path or URL, without secrets. created: UTC, `YYYY-MM-DDTHH:MM:SSZ`. root: 32 bytes; only
    as good as where it came from: `inspect` takes it from the file, `verify` compares it.
    hash_offset: V, for `veritysetup`. payload_offset, payload_size: the Cobblestone message.
    key_id: 16 hexadecimal digits. header_sha256: of the bytes before the message.
    """

    path: str
    name: str
    version: str
    created: str
    root: bytes
    hash_offset: int
    payload_offset: int
    payload_size: int
    key_id: str
    batch_independent: bool
    slots: tuple[Slot, ...]
    header_sha256: bytes

    @classmethod
    def of(
        cls,
        path: str,
        header: Header,
        geometry: Geometry,
        header_sha256: bytes,
        root: bytes,
        slots: tuple[Slot, ...],
    ) -> SealedModel:
        """Gather them."""
        return cls(
            path=path,
            name=header.name,
            version=header.version,
            created=header.created,
            root=root,
            hash_offset=geometry.data_bytes,
            payload_offset=geometry.payload_offset,
            payload_size=header.payload_size,
            key_id=header.key_id,
            batch_independent=header.batch_independent,
            slots=slots,
            header_sha256=header_sha256,
        )
