"""The Opener of a server: evidence, token, release, for the slots of the one configured vault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sealserve.attestation.evidence import EvidenceSource
from sealserve.keys.keyid import KeyId
from sealserve.keys.place import VaultOptions, find_place
from sealserve.keys.presenter import Attests, Presenter, Releases
from sealserve.keys.session import ReleaseConfig, ReleaseSession
from sealserve.models.slots import Slot
from sealserve.native.errors import ConfigError, IntegrityError, ReleaseError
from sealserve.native.secret import SecretBuffer


class VaultOpener:
    """Opens `azure` slots of one vault; a slot of any other host is never asked for."""

    def __init__(
        self,
        config: ReleaseConfig,
        service: Attests,
        vault: Releases,
        source: EvidenceSource,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.config = config
        self._service = service
        self._vault = vault
        self._presenter = Presenter(config.issuer, service, source, clock)
        self._clock = clock

    def close(self) -> None:
        """Close the connections to both."""
        self._service.close()
        self._vault.close()

    def unwrap(self, slots: Sequence[Slot], root: bytes, header_sha256: bytes) -> SecretBuffer:
        """The input key, released to this machine.

        root and header_sha256 are not used: Azure's wrap binds nothing, and a slot moved here
        from another model fails at the key commitment. With several slots of this vault (two
        versions of its key, while it is being rolled) the first that is released counts.
        Raises ReleaseError, EvidenceError, UnavailableError, IntegrityError.
        """
        del root, header_sha256
        ours = [slot for slot in slots if self._ours(slot)]
        if not ours:
            raise self._nothing_for_us(slots)
        for slot in ours[:-1]:
            try:
                return self._release(slot)
            except (ReleaseError, IntegrityError):
                continue  # the last slot's failure is the one that is told
        return self._release(ours[-1])

    def _release(self, slot: Slot) -> SecretBuffer:
        session = ReleaseSession(slot, self.config)
        answer = self._presenter.answer(session, self._vault)
        return session.accept_release(answer, now=self._clock())

    def _ours(self, slot: Slot) -> bool:
        """Slots are unauthenticated: an unreadable one is somebody else's, not a reason to stop."""
        try:
            return slot.kind == "azure" and KeyId.parse(slot.recipient).host == self.config.vault
        except ConfigError:
            return False

    def _nothing_for_us(self, slots: Sequence[Slot]) -> ReleaseError:
        foreign = [slot.owner for slot in slots]
        return ReleaseError(
            f"no slot belongs to the vault {self.config.vault}; the file has slots for "
            f"{', '.join(foreign) or 'nobody'}",
            hint="no token was sent anywhere; --vault names the only vault this server asks, "
            "and `sealserve publish` writes a slot for it",
        )


def connect_vault(options: VaultOptions, source: EvidenceSource) -> VaultOpener:
    """The opener that `serve --vault …` means. Raises as `find_place`."""
    place = find_place(options, source.platform)
    return VaultOpener(place.config, place.service(), place.vault(), source)
