"""Which authority a trust service is under: one digest, compared whichever way it comes."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sealserve.keys.authority import Authority, digest
from sealserve.native.errors import ConfigError, ReleaseError, UnavailableError
from support.keys_server import LocalServer, Reply, serve
from support.keys_tls import Issued
from support.ports import free_port
from support.resets import left_open, reset_on_connecting


def answer(request):
    return Reply.of({})


@pytest.fixture
def server(ca):
    with serve(answer, ca) as server:
        yield server


@pytest.mark.parametrize("spelled", [str.lower, str.upper])
def test_a_file_with_the_right_digest(spelled, ca, tmp_path):
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    authority = Authority.load(tmp_path / "ca.pem", spelled(ca.sha256))
    assert authority.certificate == ca.certificate
    assert authority.sha256 == ca.sha256


def test_a_file_with_another_digest_names_both(ca, other_ca, tmp_path):
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    with pytest.raises(ConfigError) as caught:
        Authority.load(tmp_path / "ca.pem", other_ca.sha256)
    assert ca.sha256 in caught.value.message
    assert other_ca.sha256 in caught.value.message
    assert caught.value.file == str(tmp_path / "ca.pem")


def test_a_handshake_with_the_right_digest(ca, server):
    assert Authority.from_handshake(server.host, ca.sha256).certificate == ca.certificate
    assert server.requests == []


def test_a_handshake_with_another_digest_names_both(ca, other_ca, server):
    with pytest.raises(ReleaseError) as caught:
        Authority.from_handshake(server.host, other_ca.sha256)
    assert ca.sha256 in caught.value.message
    assert other_ca.sha256 in caught.value.message
    assert server.requests == []


def test_the_authority_of_another_chain_can_be_shown_and_does_not_help(ca, other_ca):
    """A stranger appends our CA to its chain: the digest is there, handshakes fail later."""
    stranger = other_ca.issue("127.0.0.1")
    both = Issued(stranger.key, stranger.certificate, (ca.certificate,))
    with LocalServer(answer, both) as server:
        authority = Authority.from_handshake(server.host, ca.sha256)
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(server, authority)


def connect(server, authority):
    host, port = server.server_address[:2]
    with (
        socket.create_connection((host, port)) as plain,
        authority.tls().wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        return encrypted.version()


def test_later_connections_verify_under_it(ca, other_ca, server):
    assert connect(server, Authority(ca.certificate)) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(server, Authority(other_ca.certificate))


def test_the_path_names_this_certificate_and_no_file(ca):
    authority = Authority(ca.certificate)
    with open(authority.path, "rb") as file:  # noqa: PTH123
        assert x509.load_pem_x509_certificate(file.read()) == ca.certificate
    assert authority.path.startswith("/proc/self/fd/")


def test_nobody_there():
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError) as caught:
        Authority.from_handshake(host, "0" * 64)
    assert caught.value.message == f"the vault trustd:{host} does not answer: connection refused"
    assert "sealserve trustd run" in caught.value.hint


def test_somebody_there_who_speaks_no_tls():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_greet, args=(listener,))
        thread.start()
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(UnavailableError) as caught:
            Authority.from_handshake(host, "0" * 64)
        thread.join()
    assert "does not answer: no TLS there" in caught.value.message
    assert "_ssl.c" not in caught.value.message


def test_a_reset_before_the_handshake_leaves_no_socket_open(monkeypatch):
    """Python's ssl module forgets one that is wrapped when its connection is gone already."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reset_on_connecting(monkeypatch, listener)
        with pytest.raises(UnavailableError, match="reset"):
            Authority.from_handshake(f"127.0.0.1:{listener.getsockname()[1]}", "0" * 64)
    assert left_open() == []


def _greet(listener):
    peer, _ = listener.accept()
    with peer:
        peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        peer.recv(4096)


def of_version_67(certificate):
    data = certificate.public_bytes(serialization.Encoding.DER)
    assert b"\xa0\x03\x02\x01\x02" in data
    data = data.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x42")
    return ssl.DER_cert_to_PEM_cert(data).encode()


NOT_ONE = {
    "empty": lambda ca: b"",
    "text": lambda ca: b"hello",
    "two": lambda ca: ca.pem * 2,
    "cut": lambda ca: ca.pem[:-30],
    "of version 67": lambda ca: of_version_67(ca.certificate),
    "a long file": lambda ca: ca.pem + b"\n" * 16 * 1024,
}


@pytest.mark.parametrize("make", NOT_ONE.values(), ids=NOT_ONE)
def test_a_file_that_is_not_one_certificate(make, ca, tmp_path):
    (tmp_path / "ca.pem").write_bytes(make(ca))
    with pytest.raises(ConfigError, match="not one PEM certificate"):
        Authority.load(tmp_path / "ca.pem", ca.sha256)


@pytest.mark.parametrize("name", ["none", "."])
def test_a_file_that_cannot_be_read(name, ca, tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Authority.load(tmp_path / name, ca.sha256)


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "0" * 62, "g" * 64, "sha256:" + "0" * 64])
def test_what_is_no_digest(text, server):
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        digest(text)
    with pytest.raises(ConfigError):
        Authority.from_handshake(server.host, text)
    assert server.connections == 0


def test_digits_with_gaps_are_no_digest(ca, server):
    """Python reads `00 ff`; a command line that is measured has one spelling."""
    with pytest.raises(ConfigError):
        digest(ca.sha256[:32] + " " + ca.sha256[32:])
