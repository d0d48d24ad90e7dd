"""A vault key over its life: two versions, two policies, and the end of the old ones.

Whether a machine opens the file is asked of the server's own opener, at a trust service.
"""

from __future__ import annotations

from contextlib import closing

import pytest

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.keys.opener import connect_vault
from sealserve.keys.place import VaultOptions
from sealserve.models import slot_area
from sealserve.native.errors import ReleaseError
from support.cli_vault import VaultDesk
from support.models_cli import Ran
from support.models_sealed import Regions

OWNER = ("--identity", "me.key")


class Roll:
    """One sealed file under one vault key, and machines that run under this or that policy."""

    def __init__(self, desk: VaultDesk, root: SimulatedRoot) -> None:
        self.desk = desk
        self._root = root
        desk.seal()

    def vault(self, *arguments: str) -> Ran:
        ran = self.desk.vault(*arguments)
        assert ran.status == 0, ran.err
        return ran

    def version_for(self, *policies: str, rotate: bool = False) -> str:
        """Make a version for machines under these policies and give the file a slot for it."""
        named = [part for policy in policies for part in ("--policy", policy)]
        anew = ("--rotate",) if rotate else ()
        made = self.vault("key", "create", self.desk.reference, *named, *anew, "--json")
        self.vault("rewrap", "net.sealed", "--keep", "--key", self.desk.reference, *OWNER)
        return str(made.json["key_version"])

    def disable(self, version: str) -> None:
        self.vault("key", "disable", f"{self.desk.reference}/{version}")

    def opens(self, policy: str) -> bool:
        """Whether a machine that runs under this policy gets the model's key."""
        trustd = self.desk.trustd
        options = VaultOptions(
            f"trustd:{trustd.connection.address}", ca_sha256=trustd.service.state.ca_sha256
        )
        machine = Machine(self._root, bytes.fromhex(self.desk.host_data(policy)))
        sealed = (self.desk.folder / "net.sealed").read_bytes()
        slots = slot_area.decode_area(Regions.of(sealed).slots)
        try:
            with closing(connect_vault(options, machine)) as opener:
                opener.unwrap(slots, b"", b"").wipe()
        except ReleaseError:
            return False
        return True


@pytest.fixture
def roll(desk: VaultDesk, simulated_root: SimulatedRoot) -> Roll:
    return Roll(desk, simulated_root)


def test_two_versions_are_good_during_a_roll(roll: Roll) -> None:
    old = roll.version_for("policy.rego")
    new = roll.version_for("policy.rego", rotate=True)
    for version in (old, new):
        roll.disable(version)
        assert roll.opens("policy.rego")
        roll.vault("key", "enable", f"{roll.desk.reference}/{version}")
    roll.disable(old)
    roll.disable(new)
    assert not roll.opens("policy.rego")


def test_two_policies_are_good_while_the_image_is_replaced(roll: Roll) -> None:
    old = roll.version_for("policy.rego")
    assert (roll.opens("policy.rego"), roll.opens("other.rego")) == (True, False)
    both = roll.version_for("policy.rego", "other.rego")
    roll.disable(old)
    assert (roll.opens("policy.rego"), roll.opens("other.rego")) == (True, True)
    roll.version_for("other.rego")
    roll.disable(both)
    assert (roll.opens("policy.rego"), roll.opens("other.rego")) == (False, True)


def test_a_slot_for_an_older_version(roll: Roll) -> None:
    """By its name, as while the newest is not out yet."""
    old = roll.version_for("policy.rego")
    roll.version_for("policy.rego", rotate=True)
    reference = f"{roll.desk.reference}/{old}"
    ran = roll.vault("rewrap", "net.sealed", "--key", reference, *OWNER, "--json")
    assert [slot["recipient"] for slot in ran.json["slots"]] == [roll.desk.kids[0]]
    assert roll.opens("policy.rego")
