"""`trustd init`: a whole trust service, or a folder that is as it was."""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealserve.attestation import roots
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys import keyfile
from sealserve.keys.connection import Connection
from sealserve.keys.trustd import offline, pkcs8
from sealserve.keys.trustd.bearers import NOBODY, Bearers
from sealserve.keys.trustd.database import Database
from sealserve.keys.trustd.folder import SCHEMA, Folder
from sealserve.keys.trustd.records import Records
from sealserve.keys.trustd.setup import Wanted, init
from sealserve.keys.trustd.state import State
from sealserve.keys.trustd.token_keys import TokenKeyRing
from sealserve.native.errors import ConfigError, IntegrityError, UnavailableError
from support.models_cramped import cramped

NOW = datetime.now(UTC).replace(microsecond=0)
LISTEN = "127.0.0.1:8443"


@pytest.fixture
def wanted(simulated_root: SimulatedRoot) -> Wanted:
    return Wanted(LISTEN, simulated_root_sha256=simulated_root.ark_sha256.hex())


def state_of(folder: Path) -> State:
    records = Folder(folder).records()
    try:
        return State.load(records)
    finally:
        records.close()


def token_key_of(folder: Path) -> rsa.RSAPrivateKey:
    with offline.opened(Folder(folder)) as service:
        return TokenKeyRing(service.records, service.audit).newest().key


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


FILES = {
    "audit.pem": 0o644,
    "ca.pem": 0o644,
    "connection.toml": 0o600,
    "master.key": 0o600,
    "trustd.sqlite": 0o600,
}


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077])
def test_a_folder_with_five_files_of_their_modes(
    umask: int, wanted: Wanted, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        init(tmp_path / "vault", wanted, NOW)
    finally:
        os.umask(before)
    modes = {path.name: mode_of(path) for path in (tmp_path / "vault").iterdir()}
    assert modes == FILES
    assert mode_of(tmp_path / "vault") & 0o077 == 0
    assert everything(tmp_path) == ["vault", *(f"vault/{name}" for name in sorted(FILES))]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_empty_folder_that_is_there_is_taken(wanted: Wanted, tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir(mode=0o755)
    init(tmp_path / "vault", wanted, NOW)
    assert mode_of(tmp_path / "vault") == 0o700
    assert state_of(tmp_path / "vault").address == LISTEN


def test_the_connection_leads_to_the_service(wanted: Wanted, tmp_path: Path) -> None:
    made = init(tmp_path / "vault", wanted, NOW)
    assert Connection.load(tmp_path / "vault" / "connection.toml") == made
    state = state_of(tmp_path / "vault")
    assert (made.address, made.platform) == (state.address, state.platform) == (LISTEN, "simulated")
    assert made.authority().sha256 == state.ca_sha256
    assert (tmp_path / "vault" / "ca.pem").read_text() == made.ca
    with offline.opened(Folder(tmp_path / "vault")) as service:
        bearers = Bearers(service.records, service.audit)
        assert (bearers.of(made.token).name, bearers.of(made.token).roles) == ("owner", ("owner",))
        assert bearers.of(made.token[:-1]) == bearers.of("") == NOBODY
    assert state.simulated_root_sha256 == wanted.simulated_root_sha256


def test_two_services_share_nothing(wanted: Wanted, tmp_path: Path) -> None:
    one, other = (init(tmp_path / name, wanted, NOW) for name in ("one", "other"))
    assert one.token != other.token
    assert one.authority().sha256 != other.authority().sha256
    master_keys = {(tmp_path / name / "master.key").read_bytes() for name in ("one", "other")}
    assert len(master_keys) == 2


def test_nothing_secret_stands_in_clear_but_the_owners_token(
    wanted: Wanted, tmp_path: Path
) -> None:
    made = init(tmp_path / "vault", wanted, NOW)
    state = state_of(tmp_path / "vault")
    token_key = token_key_of(tmp_path / "vault")
    secrets = {
        "token": made.token.encode(),
        "digest of the token": hashlib.sha256(made.token.encode()).digest(),
        "CA key": numbers(state.ca_key),
        "token key": number(token_key.private_numbers().d),
        "a prime": number(token_key.private_numbers().p),
        "PKCS #8": pkcs8.encode(token_key),
        "audit key": state.audit_key.private_bytes_raw(),
        "master key": (tmp_path / "vault" / "master.key").read_bytes(),
    }
    found = {
        (name, path.name)
        for path in (tmp_path / "vault").iterdir()
        for name, secret in secrets.items()
        if secret in path.read_bytes()
    }
    assert found == {("token", "connection.toml"), ("master key", "master.key")}
    told = tomllib.loads((tmp_path / "vault" / "connection.toml").read_text())
    assert told.keys() == {"version", "address", "platform", "token", "ca"}
    assert len(made.token) == 43  # 256 bits
    assert made.token not in repr(made) + repr(state)


def numbers(key: ec.EllipticCurvePrivateKey) -> bytes:
    return number(key.private_numbers().private_value)


def number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def test_the_authority_signs_leaves_and_nothing_between(wanted: Wanted, tmp_path: Path) -> None:
    init(tmp_path / "vault", wanted, NOW)
    ca = state_of(tmp_path / "vault").ca
    assert ca.issuer == ca.subject
    (name,) = ca.subject
    assert name.value == "sealserve trust service (simulated, no hardware)"
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert ca.not_valid_before_utc < NOW < ca.not_valid_after_utc


def test_a_service_for_real_machines(wanted: Wanted, tmp_path: Path) -> None:
    made = init(tmp_path / "vault", Wanted(LISTEN, platform="real"), NOW)
    state = state_of(tmp_path / "vault")
    assert (made.platform, state.platform, state.simulated_root_sha256) == ("real", "real", "")
    assert state.issuer == f"https://{LISTEN}"
    assert state.roots().platform == "snp"
    simulated = init(tmp_path / "other", wanted, NOW)
    assert state_of(tmp_path / "other").issuer == f"https://{simulated.address}/simulated"
    assert state_of(tmp_path / "other").roots().platform == "simulated"


ADDRESSES = {
    "as it listens": (LISTEN, "", LISTEN),
    "in other letters": ("LocalHost:8443", "", "localhost:8443"),
    "the port of https": ("127.0.0.1", "", "127.0.0.1"),
    "an address of six groups": ("[::1]:8443", "", "[::1]:8443"),
    "something else": (LISTEN, "Vault.Example:443", "vault.example"),
    "every address": ("0.0.0.0:8443", "vault.example:8443", "vault.example:8443"),
    "every address of six groups": ("[::]:8443", "[2001:DB8::1]:1", "[2001:db8::1]:1"),
}


@pytest.mark.parametrize(("listen", "address", "called"), ADDRESSES.values(), ids=ADDRESSES)
def test_what_clients_call_it(
    listen: str, address: str, called: str, wanted: Wanted, tmp_path: Path
) -> None:
    made = init(tmp_path / "vault", replace(wanted, listen=listen, address=address), NOW)
    assert made.address == called
    state = state_of(tmp_path / "vault")
    assert (state.address, state.listen) == (called, listen)


AMD = next(iter(roots.ARK_SHA256.values()))
REFUSED = {
    "no host": ({"listen": ":8443"}, "not HOST or HOST:PORT"),
    "a URL": ({"listen": "https://127.0.0.1:8443"}, "not HOST or HOST:PORT"),
    "port 0": ({"listen": "127.0.0.1:0"}, "port 0"),
    "a port too far": ({"listen": "127.0.0.1:65536"}, "port 65536"),
    "a host that cannot be": ({"listen": "127.0.0.256:8443"}, "not HOST or HOST:PORT"),
    "every address": ({"listen": "0.0.0.0:8443"}, "--address HOST:PORT"),
    "every address and the port of https": ({"listen": "0.0.0.0"}, "--address HOST:PORT"),
    "every address of six groups": ({"listen": "[::]:8443"}, "--address HOST:PORT"),
    "every address, written out": ({"listen": "[0:0:0:0:0:0:0:0]:1"}, "--address HOST:PORT"),
    "clients call it every address": ({"address": "0.0.0.0:8443"}, "none that clients could name"),
    "an address that is none": ({"address": "vault example"}, "not HOST or HOST:PORT"),
    "another platform": ({"platform": "snp"}, "is one of simulated, real"),
    "no root": ({"simulated_root_sha256": ""}, "nothing simulated is believed by default"),
    "half a root": ({"simulated_root_sha256": "ab" * 16}, "not a SHA-256 digest"),
    "a root of AMD's": ({"simulated_root_sha256": AMD}, "a root of AMD's"),
    "a simulated root for real machines": ({"platform": "real"}, "believes no simulated root"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_refused_options_leave_nothing(
    change: dict[str, str], words: str, wanted: Wanted, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        init(tmp_path / "vault", replace(wanted, **change), NOW)
    assert words in str(caught.value)
    assert everything(tmp_path) == []


def test_a_folder_with_something_in_it_is_left_alone(wanted: Wanted, tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / ".hidden").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="not empty"):
        init(tmp_path / "vault", wanted, NOW)
    assert everything(tmp_path) == ["vault", "vault/.hidden"]


def test_a_service_is_never_made_over_another(wanted: Wanted, tmp_path: Path) -> None:
    init(tmp_path / "vault", wanted, NOW)
    before = {path: path.read_bytes() for path in (tmp_path / "vault").iterdir()}
    with pytest.raises(ConfigError, match="never overwritten"):
        init(tmp_path / "vault", wanted, NOW)
    assert {path: path.read_bytes() for path in (tmp_path / "vault").iterdir()} == before


def test_one_that_appears_meanwhile_stays(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the folder and the rename somebody else makes a service there."""
    write_new = keyfile.write_new

    def meanwhile(path: Path, data: bytes, *, mode: int) -> None:
        (tmp_path / "vault").mkdir(exist_ok=True)
        (tmp_path / "vault" / "theirs").touch()
        write_new(path, data, mode=mode)

    monkeypatch.setattr(keyfile, "write_new", meanwhile)
    with pytest.raises(ConfigError, match="cannot be made"):
        init(tmp_path / "vault", wanted, NOW)
    assert everything(tmp_path) == ["vault", "vault/theirs"]


@pytest.mark.parametrize("place", ["file", "link", "nowhere/vault", ".", "..", "/"])
def test_what_is_no_place_for_a_folder(
    place: str, wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "file").touch()
    (here / "empty").mkdir()
    (here / "link").symlink_to("empty")
    if place == ".":
        here = here / "empty"
    monkeypatch.chdir(here)
    before = everything(tmp_path)
    with pytest.raises(ConfigError):
        init(Path(place), wanted, NOW)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("kibibytes", [4, 16, 64])
def test_a_full_disk_leaves_nothing(kibibytes: int, wanted: Wanted, tmp_path: Path) -> None:
    with cramped(tmp_path / "small", kibibytes) as folder:
        with pytest.raises(UnavailableError) as caught:
            init(folder / "vault", wanted, NOW)
        assert caught.value.message.startswith(f"{folder}/vault")
        assert ".partial" not in str(caught.value)
        assert everything(folder) == []


# ---- what `trustd run` opens


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_master_key_that_others_may_use(mode: int, wanted: Wanted, tmp_path: Path) -> None:
    init(tmp_path / "vault", wanted, NOW)
    (tmp_path / "vault" / "master.key").chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}"):
        Folder(tmp_path / "vault").records()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_master_key_of_another_length(size: int, wanted: Wanted, tmp_path: Path) -> None:
    init(tmp_path / "vault", wanted, NOW)
    (tmp_path / "vault" / "master.key").write_bytes(bytes(size))
    with pytest.raises(ConfigError, match="is not 32 bytes long"):
        Folder(tmp_path / "vault").records()


@pytest.mark.parametrize("name", ["master.key", "trustd.sqlite"])
def test_a_folder_where_one_file_is_missing(name: str, wanted: Wanted, tmp_path: Path) -> None:
    init(tmp_path / "vault", wanted, NOW)
    (tmp_path / "vault" / name).unlink()
    with pytest.raises(ConfigError, match=name):
        Folder(tmp_path / "vault").records()
    assert name not in everything(tmp_path / "vault")  # and none is made by looking


def test_the_master_key_of_another_service(wanted: Wanted, tmp_path: Path) -> None:
    init(tmp_path / "vault", wanted, NOW)
    (tmp_path / "vault" / "master.key").write_bytes(bytes(32))
    with pytest.raises(IntegrityError, match="does not open"):
        state_of(tmp_path / "vault")


def test_a_service_that_was_never_complete(tmp_path: Path) -> None:
    records = Records(Database(tmp_path / "trustd.sqlite", SCHEMA), bytes(32))
    with pytest.raises(IntegrityError, match="service settings is missing"):
        State.load(records)
    records.close()
