"""The metadata service of an Azure host, by plain HTTP and with an end."""

from __future__ import annotations

import pytest

from sealserve.attestation.devices.host_service import HostService
from sealserve.attestation.thim import HostCertificate
from sealserve.errors import UnavailableError
from support.attestation_vectors import vector
from support.keys_server import Raw, Reply, serve_plainly

DOCUMENT = vector("ccfdns/aci-genoa-v3").read("host_amd_cert.json")
SHORT = 0.3


@pytest.fixture
def told():
    opened = []

    def make(answer, seconds=5.0):
        server = serve_plainly(answer)
        server.__enter__()
        opened.append(server)
        return server, HostService(server.url, seconds=seconds)

    yield make
    for server in opened:
        server.__exit__(None, None, None)


def test_the_hosts_document_is_read(told):
    server, service = told(lambda request: Reply(body=DOCUMENT))
    assert service.certificate() == HostCertificate.parse(DOCUMENT)
    (request,) = server.requests
    assert request.path == "/metadata/THIM/amd/certification"
    assert request.headers["metadata"] == "true"


REFUSALS = {
    "another status": (Reply(404), "answered HTTP 404"),
    "a redirect": (Reply(302, headers={"Location": "/x"}), "answered HTTP 302"),
    "something else": (Reply(body=b"<html>"), "answered unreadably"),
    "a chain of one": (Reply(body=DOCUMENT.replace(b"certificateChain", b"x")), "unreadably"),
    "more than there can be": (Reply(body=bytes(32 * 1024 + 1)), "more than 32768 bytes"),
    "half of it": (Raw([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"]), "does not answer"),
    "no http": (Raw([b"hello\r\n"]), "does not answer"),
}


@pytest.mark.parametrize(("answer", "why"), REFUSALS.values(), ids=REFUSALS)
def test_anything_else_is_unavailable(told, answer, why):
    server, service = told(lambda request: answer)
    with pytest.raises(UnavailableError, match=why):
        service.certificate()
    assert len(server.requests) == 1


def test_a_host_that_says_nothing_is_left(told):
    server, service = told(lambda request: server.silence(), seconds=SHORT)
    with pytest.raises(UnavailableError, match="nothing came in time"):
        service.certificate()


def test_nobody_there_is_told(told):
    server, service = told(lambda request: Reply())
    server.shutdown()
    server.socket.close()
    with pytest.raises(UnavailableError, match="connection refused"):
        service.certificate()
