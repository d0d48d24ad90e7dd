"""What a sealed model is, to everybody who has no key for it."""

from __future__ import annotations

from dataclasses import dataclass

from sealserve.models.format import Geometry, Header
from sealserve.models.slots import Slot

_BATCHING = {
    True: "requests may share a run: the owner declares rows independent",
    False: "every request runs by itself: nobody declares rows independent",
}


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

    def to_json(self) -> dict[str, object]:
        """The same facts for programs: bytes as hexadecimal digits."""
        return {
            "path": self.path,
            "name": self.name,
            "version": self.version,
            "created": self.created,
            "root": self.root.hex(),
            "hash_offset": self.hash_offset,
            "payload_offset": self.payload_offset,
            "payload_size": self.payload_size,
            "key_id": self.key_id,
            "batch_independent": self.batch_independent,
            "header_sha256": self.header_sha256.hex(),
            "slots": [
                {"kind": slot.kind, "recipient": slot.recipient, "algorithm": slot.algorithm}
                for slot in self.slots
            ],
        }

    def explain(self) -> str:
        """The same facts for people, a line each."""
        slots = [f"{slot.owner} ({slot.algorithm})" for slot in self.slots]
        facts = {
            "file": self.path,
            "model": f"{self.name}, version {self.version}, sealed {self.created}",
            "root": self.root.hex(),
            "hash offset": str(self.hash_offset),
            "payload": f"{self.payload_size} bytes from {self.payload_offset}",
            "key id": self.key_id,
            "batching": _BATCHING[self.batch_independent],
            "opens for": f"\n{'':13}".join(slots) or "the holder of its raw key",
        }
        return "\n".join(f"{name:<13}{fact}" for name, fact in facts.items())
