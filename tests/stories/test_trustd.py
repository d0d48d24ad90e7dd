"""The trust service from outside: made, run, stopped, killed, and never heard of its secrets."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

from sealserve.attestation.simulated import Machine, SimulatedRoot
from sealserve.keys.connection import Connection
from sealserve.keys.opener import connect_vault
from sealserve.keys.owner import OwnedVault, open_reference
from sealserve.keys.place import VaultOptions
from sealserve.keys.trustd import offline
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.state import State
from sealserve.keys.trustd.token_keys import TokenKeyRing
from sealserve.keys.wrap import RsaRecipient
from sealserve.native.errors import ReleaseError, SealserveError
from sealserve.native.secret import SecretBuffer
from sealserve.policy.expectations import UvmLaunch
from sealserve.policy.release_build import Admitted
from support.attestation_simulated import HOST_DATA
from support.keys_spellings import private_numbers, spellings
from support.keys_trustd_process import RUN, Ran, Running, running, sealserve
from support.ports import free_port
from support.server_process import SECONDS

KEY = bytes(range(50, 82))


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def initialised(tmp_path: Path, simulated_root: SimulatedRoot, port: int) -> Ran:
    root = ("--simulated-root-sha256", simulated_root.ark_sha256.hex())
    ran = sealserve(tmp_path, "trustd", "init", "vault", "--listen", f"127.0.0.1:{port}", *root)
    assert ran.status == 0, ran.err
    return ran


@pytest.fixture
def vault(tmp_path: Path, initialised: Ran) -> Path:
    """The folder of a trust service."""
    return tmp_path / "vault"


@pytest.fixture
def owned(vault: Path, port: int) -> Iterator[OwnedVault]:
    """The service through the owner's client."""
    reference = f"trustd:127.0.0.1:{port}/model"
    with closing(open_reference(reference, vault / "connection.toml")) as opened:
        yield opened


def test_init_says_what_the_owner_needs(vault: Path, initialised: Ran, port: int) -> None:
    connection = Connection.load(vault / "connection.toml")
    assert connection.address == f"127.0.0.1:{port}"
    assert connection.authority().sha256 in initialised.out
    assert "vault/connection.toml" in initialised.out
    assert "proves nothing about hardware" in initialised.err
    assert connection.token not in initialised.out + initialised.err


def test_init_for_programs(tmp_path: Path, port: int) -> None:
    options = ("--listen", "0.0.0.0:1", "--address", f"vault.example:{port}", "--platform", "real")
    ran = sealserve(tmp_path, "trustd", "init", "vault", *options, "--json")
    assert ran.status == 0
    assert "no launch is endorsed" in ran.err
    connection = Connection.load(tmp_path / "vault" / "connection.toml")
    assert ran.json == {
        "address": f"vault.example:{port}",
        "ca_sha256": connection.authority().sha256,
        "connection": "vault/connection.toml",
        "platform": "real",
    }


def test_init_with_an_issuer_of_endorsements(tmp_path: Path, port: int) -> None:
    options = ("--listen", f"127.0.0.1:{port}", "--platform", "real")
    issuer = "did:x509:0:sha256:abc::eku:1.2.3"
    endorsed = ("--uvm-issuer", issuer, "--uvm-feed", "Feed", "--uvm-minimum-svn", "104")
    ran = sealserve(tmp_path, "trustd", "init", "vault", *options, *endorsed)
    assert (ran.status, ran.err) == (0, "")
    with offline.opened(Folder(tmp_path / "vault")) as service:
        assert service.state.launch == UvmLaunch(issuer, "Feed", 104)


ROOT = ("--simulated-root-sha256", "ab" * 32)
LISTEN = ("--listen", "127.0.0.1:8443")
REFUSED_INIT: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no address": (("vault", *ROOT), 2, "--listen"),
    "no root": (("vault", *LISTEN), 8, "tee info"),
    "a wildcard": (("vault", "--listen", "0.0.0.0:8443", *ROOT), 8, "--address HOST:PORT"),
    "another platform": (("vault", *LISTEN, *ROOT, "--platform", "azure"), 2, "azure"),
    "a root for real machines": (
        ("vault", *LISTEN, *ROOT, "--platform", "real"),
        8,
        "no simulated",
    ),
    "half an issuer": (
        ("vault", *LISTEN, "--platform", "real", "--uvm-feed", "Feed"),
        8,
        "--uvm-issuer: is missing",
    ),
    "a folder that is not empty": ((".", *LISTEN, *ROOT), 8, "hint"),
    "a folder in no folder": (("a/b", *LISTEN, *ROOT), 8, "cannot be made"),
}


@pytest.mark.parametrize(("options", "status", "words"), REFUSED_INIT.values(), ids=REFUSED_INIT)
def test_init_refuses_and_leaves_nothing(
    options: tuple[str, ...], status: int, words: str, tmp_path: Path
) -> None:
    ran = sealserve(tmp_path, "trustd", "init", *options)
    assert (ran.status, ran.out) == (status, "")
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_line_when_it_answers_and_success_when_it_is_told_to_stop(
    number: int, vault: Path, port: int, owned: OwnedVault
) -> None:
    with running(vault) as service:
        address = f"127.0.0.1:{port}"
        assert service.ready == (
            f"ready: attestation service and key vault {address}; machines simulated, "
            f"proves nothing about hardware; ca sha256 {owned.ca_sha256}\n"
        )
        assert listens(port)
        assert service.stop(number) == (0, "")
        assert service.err == ""
    assert not listens(port)


PATIENT = """
import sys
from pathlib import Path
from sealserve.keys.trustd import server
from sealserve.keys.trustd.folder import Folder
from sealserve.keys.trustd.throttle import Rates

server.DRAIN_SECONDS = 86400
server.run(Folder(Path(sys.argv[1])), Rates(), lambda ready: print(ready.line(), flush=True))
"""


def test_a_client_that_stays_does_not_keep_it_from_ending(vault: Path, port: int) -> None:
    """Not even where the time to drain is endless."""
    tls = Connection.load(vault / "connection.toml").authority().tls()
    with (
        running(vault, (sys.executable, "-I", "-c", PATIENT)) as service,
        socket.create_connection(("127.0.0.1", port)) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
        socket.create_connection(("127.0.0.1", port)),  # and one without a handshake
    ):
        encrypted.sendall(b"GET /simulated/certs HTTP/1.1\r\nHost: x\r\n\r\n")
        assert encrypted.recv(15) == b"HTTP/1.1 200 OK"
        assert service.stop()[0] == 0


def test_a_request_under_way_is_answered_before_the_end(vault: Path, port: int) -> None:
    tls = Connection.load(vault / "connection.toml").authority().tls()
    with (
        running(vault) as service,
        socket.create_connection(("127.0.0.1", port)) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
    ):
        head = b"POST /attest/SevSnpVm HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
        encrypted.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert encrypted.recv(12) == b"HTTP/1.1 100"  # so it has begun
        service.process.send_signal(signal.SIGTERM)
        while listens(port):
            pass
        encrypted.sendall(b"{}")
        answer = b"".join(iter(lambda: encrypted.recv(65536), b""))
        assert b"HTTP/1.1 400 " in answer
        assert b"BadParameter" in answer
        assert service.process.wait(SECONDS) == 0


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_nothing_of_its_memory_goes_into_a_core_file(vault: Path) -> None:
    with running(vault) as service:
        limits = Path(f"/proc/{service.process.pid}/limits").read_text().splitlines()
    (core,) = (line.split() for line in limits if line.startswith("Max core file size"))
    assert core[4:6] == ["0", "0"]


def test_a_restart_keeps_keys_and_authority(vault: Path, owned: OwnedVault) -> None:
    with running(vault) as service:
        made = owned.key_for(Admitted((HOST_DATA.hex(),)))
        first = service.ready
        assert service.stop()[0] == 0
    with running(vault) as service:
        assert service.ready == first
        assert owned.vault.get("model", made.key_id.version) == made
        assert owned.key_for(Admitted((HOST_DATA.hex(),))) == made


def test_a_kill_loses_no_key_that_was_answered(vault: Path, owned: OwnedVault) -> None:
    answered: list[str] = []

    def create() -> None:
        try:
            while True:
                answered.append(owned.vault.create("model", policy).key_id.version)
        except SealserveError:
            pass  # it was killed

    with running(vault) as service:
        policy = owned.key_for(Admitted((HOST_DATA.hex(),))).policy
        creating = threading.Thread(target=create)
        creating.start()
        while len(answered) < 3:
            creating.join(0.01)
        assert service.stop(signal.SIGKILL)[0] == -signal.SIGKILL
        creating.join()
    with running(vault) as service:
        for version in answered:
            assert owned.vault.get("model", version).key_id.version == version
        assert service.stop()[0] == 0


def test_a_port_in_use(vault: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        ran = sealserve(vault.parent, "trustd", "run", "vault")
    assert (ran.status, ran.out) == (10, "")
    assert f"cannot listen on 127.0.0.1:{port}" in ran.err
    assert "hint: is another trust service running there already?" in ran.err


def test_a_second_one_on_the_same_folder(vault: Path) -> None:
    with running(vault) as service:
        assert sealserve(vault.parent, "trustd", "run", "vault").status == 10
        assert service.stop()[0] == 0


def test_the_master_key_of_another_service(vault: Path) -> None:
    (vault / "master.key").write_bytes(bytes(32))
    ran = sealserve(vault.parent, "trustd", "run", "vault")
    assert (ran.status, ran.out) == (4, "")
    assert "does not open" in ran.err


def break_mode(vault: Path) -> None:
    (vault / "master.key").chmod(0o644)


def break_length(vault: Path) -> None:
    (vault / "master.key").write_bytes(bytes(31))


def break_folder(vault: Path) -> None:
    vault.rename(vault.with_name("elsewhere"))


def break_database(vault: Path) -> None:
    (vault / "trustd.sqlite").unlink()


def break_content(vault: Path) -> None:
    (vault / "trustd.sqlite").write_bytes(b"no database" * 1000)


BROKEN: dict[Callable[[Path], None], tuple[int, str]] = {
    break_mode: (8, "others may use it (mode 0644)"),
    break_length: (8, "is not 32 bytes long"),
    break_folder: (8, "trustd init` makes a trust service"),
    break_database: (8, "trustd.sqlite"),
    break_content: (10, "cannot be used"),
}


@pytest.mark.parametrize("damage", BROKEN, ids=lambda damage: damage.__name__)
def test_a_folder_that_cannot_be_run(damage: Callable[[Path], None], vault: Path) -> None:
    status, words = BROKEN[damage]
    damage(vault)
    ran = sealserve(vault.parent, "trustd", "run", "vault")
    assert (ran.status, ran.out) == (status, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


# ---- secrets


def secrets_of(vault: Path) -> dict[str, bytes]:
    """Everything that nobody may read anywhere, by name."""
    with closing(Folder(vault).records()) as records:
        state = State.load(records)
        (bearer,) = records.all_of("bearer")
        kept = [*records.versions("key", "model"), *records.versions("key", "oct")]
    with offline.opened(Folder(vault)) as service:
        token_key = TokenKeyRing(service.records, service.audit).newest().key
    keys: dict[str, object] = {"ca": state.ca_key, "token": token_key}
    found = {
        "owner token": Connection.load(vault / "connection.toml").token.encode(),
        "master key": (vault / "master.key").read_bytes(),
        "digest of the owner token": bearer.secret,
        "audit key": state.audit_key.private_bytes_raw(),
        "model key": KEY,
    }
    for record in kept:
        key = serialization.load_der_private_key(record.secret, None)
        keys[record.version] = key
    for name, each in keys.items():
        found |= {f"{name} {part}": value for part, value in private_numbers(each).items()}
    return found


def use(service: Running, owned: OwnedVault, simulated_root: SimulatedRoot, port: int) -> None:
    """A key made, released, refused; a wrong token; nonsense."""
    made = owned.key_for(Admitted((HOST_DATA.hex(),)))
    with SecretBuffer.from_bytes(KEY) as key:
        slot = RsaRecipient(made.key_id, made.public).wrap(key, b"", b"")
    options = VaultOptions(f"trustd:127.0.0.1:{port}", ca_sha256=owned.ca_sha256)
    for host_data, released in ((HOST_DATA, True), (bytes(32), False)):
        with closing(connect_vault(options, Machine(simulated_root, host_data))) as opener:
            if released:
                with opener.unwrap([slot], b"", b"") as key:
                    assert key.equals(KEY)
            else:
                with pytest.raises(ReleaseError, match="x-ms-sevsnpvm-hostdata"):
                    opener.unwrap([slot], b"", b"")


def test_no_secret_is_ever_said(
    vault: Path,
    initialised: Ran,
    owned: OwnedVault,
    simulated_root: SimulatedRoot,
    port: int,
) -> None:
    with running(vault) as service:
        use(service, owned, simulated_root, port)
        assert owned.vault.find("nobody") is None
        status, more = service.stop()
        said = f"{initialised.out}{initialised.err}{service.ready}{more}{service.err}".encode()
        events = [each["event"] for each in service.events]
    assert status == 0
    # that its owner looked for a key which is not there, twice, is worth no line
    assert events == ["key_made", "attested", "released", "attested", "refused"]
    secrets = secrets_of(vault)
    assert len(secrets) == 16
    told = {name for name, secret in secrets.items() if any(s in said for s in spellings(secret))}
    assert told == set()


def test_no_secret_lies_in_clear_beside_its_file(
    vault: Path, owned: OwnedVault, simulated_root: SimulatedRoot, port: int
) -> None:
    """While it runs, and after it was killed: also what SQLite writes beside the database."""
    with running(vault) as service:
        use(service, owned, simulated_root, port)
        written = {path.name: path.read_bytes() for path in vault.iterdir()}
        service.stop(signal.SIGKILL)
    assert {"trustd.sqlite-wal", "trustd.sqlite"} <= written.keys()
    assert all(
        path.stat().st_mode & 0o077 == 0 for path in vault.iterdir() if path.suffix != ".pem"
    )
    found = {
        (name, file)
        for name, secret in secrets_of(vault).items()
        for file, content in written.items()
        if any(spelling in content for spelling in spellings(secret))
    }
    assert found == {("owner token", "connection.toml"), ("master key", "master.key")}


# ---- what is done beside it


def test_the_audit_log_from_outside(
    vault: Path, owned: OwnedVault, simulated_root: SimulatedRoot, port: int
) -> None:
    with running(vault) as service:
        use(service, owned, simulated_root, port)
        ran = sealserve(vault.parent, "trustd", "audit", "verify", "vault", "--json")
        service.stop()
    told = ran.json
    assert (ran.status, told["releases"]) == (0, 1)
    assert "without --head" in ran.err
    for_people = sealserve(vault.parent, "trustd", "audit", "verify", "vault")
    assert told["head"] in for_people.out
    ran = sealserve(vault.parent, "trustd", "audit", "verify", "vault", "--head", told["head"])
    assert (ran.status, ran.err) == (0, "")
    ran = sealserve(vault.parent, "trustd", "audit", "verify", "vault", "--head", "ab" * 32)
    assert (ran.status, ran.out) == (4, "")
    assert "is not in this audit log" in ran.err
    assert "replaced by an older copy" in ran.err
    ran = sealserve(vault.parent, "trustd", "audit", "show", "vault", "--json")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["number"] for row in rows] == list(range(1, told["rows"] + 1))
    assert rows[-1]["head"] == told["head"]
    ran = sealserve(vault.parent, "trustd", "audit", "show", "vault", "--after", "3")
    assert [line.split()[2].rstrip(":") for line in ran.out.splitlines()] == [
        "key_created",
        "attested",
        "released",
        "attested",
        "release_refused",
    ]
    public = vault / "audit.pem"
    (vault / "master.key").unlink()  # an auditor has none
    ran = sealserve(vault.parent, "trustd", "audit", "verify", "vault", "--key", str(public))
    assert ran.status == 0


def test_tokens_and_a_new_token_key_while_it_runs(vault: Path, port: int) -> None:
    folder = vault.parent
    connection = Connection.load(vault / "connection.toml")
    reader = ("trustd", "token", "add", "vault", "reader", "--role", "read", "-o", "reader.token")
    with running(vault) as service:
        ran = sealserve(folder, *reader)
        token = (folder / "reader.token").read_text().strip()
        assert (ran.status, token in ran.out + ran.err) == (0, False)
        with httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            verify=connection.authority().tls(),
            trust_env=False,
            headers={"Authorization": f"Bearer {token}"},
        ) as client:
            assert client.get("/keys").status_code == 200
            assert client.put("/keys/model", json={}).status_code == 403
            (first,) = client.get("/simulated/certs").json()["keys"]
            ran = sealserve(folder, "trustd", "rotate-token-key", "vault", "--json")
            both = client.get("/simulated/certs").json()["keys"]
            assert [key["kid"] for key in both] == [first["kid"], ran.json["kid"]]
            listed = sealserve(folder, "trustd", "token", "list", "vault", "--json").json["tokens"]
            assert [(each["name"], each["roles"]) for each in listed] == [
                ("owner", ["owner"]),
                ("reader", ["read"]),
            ]
            assert sealserve(folder, "trustd", "token", "remove", "vault", "reader").status == 0
            assert client.get("/keys").status_code == 401
        assert service.stop()[0] == 0
    assert sealserve(folder, "trustd", "token", "remove", "vault", "reader").status == 8


def test_a_service_behind_a_passphrase(tmp_path: Path, port: int) -> None:
    words = tmp_path / "words"
    words.write_text("four words nobody says\n")
    words.chmod(0o600)
    told = ("--passphrase-file", "words")
    listen = ("--listen", f"127.0.0.1:{port}", "--platform", "real")
    assert sealserve(tmp_path, "trustd", "init", "vault", *listen, *told).status == 0
    assert not (tmp_path / "vault" / "master.key").exists()
    with running(tmp_path / "vault", (*RUN, *told)) as service:
        assert listens(port)
        assert service.stop()[0] == 0
    ran = sealserve(tmp_path, "trustd", "run", "vault")
    assert (ran.status, "--passphrase-file" in ran.err) == (8, True)
    words.write_text("four words somebody says\n")
    ran = sealserve(tmp_path, "trustd", "run", "vault", *told)
    assert (ran.status, "another passphrase" in ran.err) == (4, True)
