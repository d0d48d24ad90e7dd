"""A container written for Microsoft's sidecar gets its keys from ours, on the simulated platform.

trustd, `tee run -- skr` and the client are processes of their own, or talk as if they were.
"""

from __future__ import annotations

import base64
import hashlib
import json
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sealserve.attestation import Evidence, Roots, verify
from sealserve.attestation.simulated import SimulatedRoot
from sealserve.keys.connection import Connection
from sealserve.keys.owner import open_reference
from sealserve.policy.release_build import Admitted, build
from support.attestation_simulated import NOW
from support.keys_foreign_client import ForeignClient, Said, b64
from support.keys_trustd_process import Running, running, sealserve
from support.keys_vault import b64url, der_chain, unb64url
from support.ports import free_port
from support.ready_process import ReadyProcess, started
from support.server_process import SEALSERVE, clean_environment

SECRET = bytes(range(200, 232))
USER_AGENT = "ConfidentialSkrContainer client_id=story"
ARGUMENTS = b64(json.dumps({"maaconfig": {"user_agent": USER_AGENT}}).encode())


@dataclass(frozen=True)
class Story:
    """Everything that was made on the way to a sidecar that is ready."""

    folder: Path
    vault: str
    client: ForeignClient
    sidecar: ReadyProcess
    trustd: Running
    host_data: str

    def release(self, **changes: str) -> Said:
        body = {"maa_endpoint": self.vault, "akv_endpoint": self.vault, "kid": "secret"}
        return self.client.post("/key/release", {**body, **changes})


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    simulated_root_dir: Path,
    simulated_root: SimulatedRoot,
) -> Iterator[Story]:
    """An owner, a machine with its policy, two keys under that policy and one under another."""
    folder = tmp_path_factory.mktemp("story") / "desk"
    folder.mkdir()
    vault, port = f"127.0.0.1:{free_port()}", free_port()
    root = ("--simulated-root-sha256", simulated_root.ark_sha256.hex())
    assert sealserve(folder, "trustd", "init", "vault", "--listen", vault, *root).status == 0
    connection = Connection.load(folder / "vault" / "connection.toml")
    skr = (*SEALSERVE, "skr", "--vault", f"trustd:{vault}", "--vault-ca-sha256",
           connection.authority().sha256, "--key", "secret", "--key", "model", "--key", "foreign",
           "--port", str(port))  # fmt: skip
    rules = ("--env-rule", "re2:SkrSideCarArgs=.+", "--env-rule", "LogLevel=info")
    generate = ("policy", "generate", "--process", "--json", *rules, "-o", "policy.rego", "--")
    ran = sealserve(folder, *generate, *skr)
    assert ran.status == 0, ran.err
    host_data = ran.json["sha256"]
    tee = ("tee", "run", "--policy", "policy.rego", "--root-dir", str(simulated_root_dir), "--")
    environment = clean_environment(SkrSideCarArgs=ARGUMENTS, LogLevel="info")
    with running(folder / "vault") as trustd:
        owner(folder, connection, host_data)
        log = folder.with_name("skr.err")
        with started(
            ReadyProcess, (*SEALSERVE, *tee, *skr), folder, log, env=environment
        ) as sidecar:
            assert sidecar.ready.startswith("ready: "), sidecar.err
            client = ForeignClient(f"127.0.0.1:{port}")
            yield Story(folder, vault, client, sidecar, trustd, host_data)


def owner(folder: Path, connection: Connection, host_data: str) -> None:
    """Bring the keys: `model` by our own tools, the others as any owner does."""
    reference = f"trustd:{connection.address}/model"
    with closing(open_reference(reference, folder / "vault" / "connection.toml")) as owned:
        owned.key_for(Admitted((host_data,)))
    issuer = f"https://{connection.address}/simulated"
    for name, allowed in {"secret": host_data, "hidden": host_data, "foreign": "ff" * 32}.items():
        policy = build(issuer, allowed, simulated=True)
        body = {
            "key": {"kty": "oct-HSM", "k": b64url(SECRET), "key_ops": ["encrypt", "decrypt"]},
            "attributes": {"exportable": True},
            "release_policy": {"data": b64url(policy)},
        }
        answer = httpx.put(
            f"https://{connection.address}/keys/{name}?api-version=7.4",
            json=body,
            headers={"Authorization": f"Bearer {connection.token}"},
            verify=connection.authority().tls(),
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text


def test_the_ready_line_says_what_may_be_asked(story: Story) -> None:
    assert story.sidecar.ready == (
        f"ready: sidecar http://{story.client.address}; platform simulated, proves nothing about "
        f"hardware; vaults {story.vault}; keys foreign, model, secret\n"
    )


def test_it_is_there(story: Story) -> None:
    said = story.client.get("/status")
    assert (said.status, said.json) == (200, {"message": "Status OK"})


def test_a_symmetric_key_arrives(story: Story) -> None:
    said = story.release()
    assert said.status == 200, said.json
    assert said.json.keys() == {"key"}
    key = json.loads(said.json["key"])
    assert key == {"kty": "oct", "k": b64url(SECRET), "key_ops": ["encrypt", "decrypt"]}


def test_an_rsa_key_arrives_whole(story: Story) -> None:
    said = story.release(kid="model")
    assert said.status == 200, said.json
    key = json.loads(said.json["key"])
    parts = ("n", "e", "d", "p", "q", "dp", "dq", "qi")
    assert key.keys() == {"kty", "key_ops", *parts}
    n, e, d, p, q, dp, dq, qi = (int.from_bytes(unb64url(key[part]), "big") for part in parts)
    private = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n)).private_key()
    assert (key["kty"], private.key_size) == ("RSA", 3072)


def test_a_key_by_its_version(story: Story) -> None:
    (version,) = (
        each["version"] for each in story.trustd.events
        if each["event"] == "key_made" and each["key"] == "secret"
    )  # fmt: skip
    assert story.release(kid=f"secret/{version}").status == 200
    assert story.release(kid=f"secret/{'0' * 32}").status == 403


REFUSED = {
    "a key of another name": ({"kid": "hidden"}, 403, "none of this sidecar's keys"),
    "a key whose policy is for another machine": ({"kid": "foreign"}, 403, "hostdata"),
    "a key nobody has": ({"kid": "secret/" + "1" * 32}, 403, "was not found"),
    "another vault": ({"akv_endpoint": "evil.example"}, 403, "akv_endpoint evil.example"),
    "another service": ({"maa_endpoint": "evil.example"}, 403, "maa_endpoint evil.example"),
    "a name that is a path": ({"kid": "../secret"}, 400, "NAME or NAME/VERSION"),
}


@pytest.mark.parametrize(("changes", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_a_release_that_is_refused(
    changes: dict[str, str], status: int, words: str, story: Story
) -> None:
    said = story.release(**changes)
    assert said.status == status
    assert words in said.error


def test_a_report_over_the_callers_data(story: Story, simulated_root: SimulatedRoot) -> None:
    data = b'{"purpose":"story"}'
    raw = story.client.post("/attest/raw", {"runtime_data": b64(data)})
    assert raw.status == 200
    report = bytes.fromhex(raw.json["report"])
    assert len(report) == 1184
    assert report[80:144] == hashlib.sha256(data).digest() + bytes(32)
    assert report[192:224].hex() == story.host_data


def test_everything_to_verify_it(story: Story, simulated_root: SimulatedRoot) -> None:
    data = b"any bytes \xff at all"
    said = story.client.post("/attest/combined", {"runtime_data": b64(data)})
    assert said.status == 200
    told = ("endorsements", "evidence", "uvm_endorsements")
    assert said.json.keys() == {"endorsed_tcb", *told}
    parts = {name: base64.b64decode(said.json[name]) for name in told}
    leaf, intermediate, root = der_chain(parts["endorsements"].decode())
    uvm = parts["uvm_endorsements"] or None
    evidence = Evidence(parts["evidence"], leaf, intermediate, data, root=root, uvm_endorsement=uvm)
    claims = verify(evidence, Roots.simulated(simulated_root.ark_sha256), NOW)
    assert claims.report.host_data.hex() == story.host_data
    tcb = claims.report.reported_tcb
    assert int(said.json["endorsed_tcb"], 16) == int.from_bytes(tcb, "little")


def test_a_token_over_the_callers_data(story: Story) -> None:
    data = b'{"purpose":"story"}'
    said = story.client.post(
        "/attest/maa", {"maa_endpoint": story.vault, "runtime_data": b64(data)}
    )
    assert said.status == 200
    told = json.loads(unb64url(said.json["token"].split(".")[1]))
    assert told["x-ms-runtime"] == {"purpose": "story"}
    assert told["x-ms-sevsnpvm-hostdata"] == story.host_data


@pytest.mark.parametrize("path", ["/attest/raw", "/attest/combined", "/attest/maa"])
@pytest.mark.parametrize(
    "data", [b'{"keys":[]}', b'{"sealserve":{"purpose":"tls","version":1},"spki":""}']
)
def test_nothing_that_could_pass_for_claims_of_ours(path: str, data: bytes, story: Story) -> None:
    body = {"maa_endpoint": story.vault, "runtime_data": b64(data)}
    said = story.client.post(path, body)
    assert said.status == 403
    assert "runtime_data is not attested" in said.error


def test_no_platform_no_sidecar(tmp_path: Path) -> None:
    ran = sealserve(tmp_path, "skr", "--port", str(free_port()))
    assert (ran.status, ran.out) == (8, "")
    assert "no trusted execution environment found" in ran.err


def test_its_log_tells_what_was_done_and_no_secret(story: Story) -> None:
    story.release()
    story.release(kid="hidden", access_token="word-nobody-may-see")
    events = [json.loads(line) for line in story.sidecar.err.splitlines() if line[0] == "{"]
    assert {"released", "refused"} <= {each["event"] for each in events}
    said = story.sidecar.err
    assert "word-nobody-may-see" not in said
    for spelled in (b64url(SECRET), b64(SECRET), SECRET.hex()):
        assert spelled not in said


def test_it_ends_when_told(story: Story) -> None:
    """The last test here."""
    assert story.sidecar.stop(signal.SIGTERM) == (0, "")
