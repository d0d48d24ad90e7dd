"""`trustd init`: make a trust service in a folder, whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from sealserve.attestation import Roots
from sealserve.attestation.uvm import MAX_SVN
from sealserve.keys import authority, keyfile
from sealserve.keys.connection import PLATFORMS, SIMULATED, Connection
from sealserve.keys.keyid import vault_host
from sealserve.keys.trustd import certificates
from sealserve.keys.trustd.audit import AuditLog, Entry
from sealserve.keys.trustd.bearers import OWNER, Bearers
from sealserve.keys.trustd.database import Database
from sealserve.keys.trustd.folder import SCHEMA, Folder
from sealserve.keys.trustd.passphrase import require_usable, seal
from sealserve.keys.trustd.records import MASTER_KEY_BYTES, Records
from sealserve.keys.trustd.state import State, described
from sealserve.keys.trustd.token_keys import TokenKeyRing
from sealserve.models.draft import partial_beside
from sealserve.native.errors import ConfigError, UnavailableError, unwritten
from sealserve.policy.expectations import UvmLaunch

_ANY_ADDRESS = ("0.0.0.0", "[::]")  # noqa: S104 - refused as a name, not bound


@dataclass(frozen=True, slots=True)
class Wanted:
    """listen: HOST:PORT to bind. address: what clients call it; "" is the same as listen.

    simulated_root_sha256: the one simulated root it believes; "" for real hardware.
    uvm_issuer, uvm_feed, uvm_minimum_svn: whose endorsements count on real machines; all or none.
    passphrase: what opens the master key; None leaves it to whoever can read its file.
    """

    listen: str
    address: str = ""
    platform: str = SIMULATED
    simulated_root_sha256: str = ""
    uvm_issuer: str = ""
    uvm_feed: str = ""
    uvm_minimum_svn: int | None = None
    passphrase: bytes | None = field(default=None, repr=False)


def init(directory: Path, wanted: Wanted, now: datetime) -> Connection:
    """Make the service; the owner's way to it, with the only copy of the owner's token.

    Raises ConfigError, UnavailableError; then the folder is as it was.
    """
    if wanted.passphrase is not None:
        require_usable(wanted.passphrase)
    state = _new_state(wanted, now)
    _require_a_name(directory)
    partial = partial_beside(directory)
    try:
        _require_empty(directory)
        partial.mkdir(mode=0o700)
        connection = _fill(Folder(partial), state, wanted.passphrase, now)
        partial.rename(directory)  # the kernel refuses to replace a folder that is not empty
    except OSError as error:
        raise unwritten(error, str(directory), "cannot be made") from error
    except UnavailableError as error:  # it names a file in a folder that nobody else knows
        error.message = error.message.replace(str(partial), str(directory))
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return connection


def _require_a_name(directory: Path) -> None:
    """A folder is made beside its place, so it cannot be the one we stand in."""
    if directory.name in ("", ".."):
        raise ConfigError(
            "is no name for a new folder",
            file=str(directory),
            hint="name the folder to make, for example vault",
        )


def _require_empty(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        raise ConfigError(
            "the folder is not empty",
            file=str(directory),
            hint="a trust service is never overwritten; choose another folder",
        )


def _fill(folder: Folder, state: State, passphrase: bytes | None, now: datetime) -> Connection:
    master_key = os.urandom(MASTER_KEY_BYTES)
    if passphrase is None:
        keyfile.write_new(folder.master_key, master_key, mode=0o600)
    else:
        sealed = seal(master_key, passphrase)
        keyfile.write_new(folder.master_sealed, sealed, mode=0o600)
    with closing(Records(Database(folder.database, SCHEMA), master_key)) as records:
        state.keep(records)
        audit = AuditLog(records.database, state.audit_key)
        audit.append(
            Entry.SERVICE_CREATED,
            address=state.address,
            ca_sha256=state.ca_sha256,
            platform=state.platform,
            simulated_root_sha256=state.simulated_root_sha256,
            launch=asdict(state.launch) if state.launch else None,
        )
        TokenKeyRing(records, audit).rotate(state.token_title, now)
        token = Bearers(records, audit).add(OWNER, [OWNER], now)
    pem = state.ca.public_bytes(serialization.Encoding.PEM)
    connection = Connection(state.address, state.platform, token, pem.decode())
    folder.database.chmod(0o600)
    keyfile.write_new(folder.ca, connection.ca.encode(), mode=0o644)
    keyfile.write_new(folder.audit, state.audit_pem(), mode=0o644)
    keyfile.write_new(folder.connection, connection.to_toml().encode(), mode=0o600)
    return connection


def _new_state(wanted: Wanted, now: datetime) -> State:
    address = _address(wanted)
    root = _simulated_root(wanted)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    return State(
        address=address,
        listen=wanted.listen,
        platform=wanted.platform,
        simulated_root_sha256=root,
        launch=_launch(wanted),
        ca=certificates.new_ca(
            f"sealserve trust service ({described(wanted.platform)})", ca_key, now
        ),
        ca_key=ca_key,
        audit_key=ed25519.Ed25519PrivateKey.generate(),
    )


def _address(wanted: Wanted) -> str:
    bound = vault_host(wanted.listen)
    address = vault_host(wanted.address) if wanted.address else bound
    if address.rpartition(":")[0] in _ANY_ADDRESS or address in _ANY_ADDRESS:
        raise ConfigError(
            f"{address} is every address of this machine and none that clients could name",
            key="--address" if wanted.address else "--listen",
            hint="say with --address HOST:PORT what they call it",
        )
    return address


def _launch(wanted: Wanted) -> UvmLaunch | None:
    """Never guessed: whoever may endorse a launch decides what HOST_DATA is worth."""
    given = {
        "--uvm-issuer": wanted.uvm_issuer,
        "--uvm-feed": wanted.uvm_feed,
        "--uvm-minimum-svn": wanted.uvm_minimum_svn,
    }
    missing = [option for option, value in given.items() if value in ("", None)]
    if len(missing) == len(given):
        return None
    if wanted.platform == SIMULATED:
        raise ConfigError(
            "endorsements count on real machines; a simulated one is known by its measurement",
            key=next(option for option in given if option not in missing),
        )
    if missing:
        raise ConfigError(
            "is missing: issuer, feed and minimum svn of an endorsement belong together",
            key=missing[0],
        )
    if not wanted.uvm_issuer.startswith("did:x509:"):
        raise ConfigError(
            f"seen {wanted.uvm_issuer[:40]!r}; expected a did:x509", key="--uvm-issuer"
        )
    if wanted.uvm_minimum_svn is None or not 0 <= wanted.uvm_minimum_svn <= MAX_SVN:
        raise ConfigError(f"is a number up to {MAX_SVN}", key="--uvm-minimum-svn")
    return UvmLaunch(wanted.uvm_issuer, wanted.uvm_feed, wanted.uvm_minimum_svn)


def _simulated_root(wanted: Wanted) -> str:
    if wanted.platform not in PLATFORMS:
        raise ConfigError(f"is one of {', '.join(PLATFORMS)}", key="--platform")
    if wanted.platform != SIMULATED:
        if wanted.simulated_root_sha256:
            raise ConfigError(
                "a service for real machines believes no simulated root",
                key="--simulated-root-sha256",
            )
        return ""
    if not wanted.simulated_root_sha256:
        raise ConfigError(
            "is missing: nothing simulated is believed by default",
            key="--simulated-root-sha256",
            hint="`sealserve tee info` prints it; or choose --platform real",
        )
    digest = authority.digest(wanted.simulated_root_sha256)
    try:
        Roots.simulated(bytes.fromhex(digest))
    except ValueError as error:
        raise ConfigError(str(error), key="--simulated-root-sha256") from None
    return digest
