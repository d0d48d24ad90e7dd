"""Where sealed files come from: paths, URLs, and what is said when they cannot be had."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from sealserve.cli.main import run
from sealserve.models import inspect, storage
from sealserve.native.errors import ConfigError, FormatError, IntegrityError, UnavailableError
from support.models_onnx import small
from support.models_sealed import seal_model
from support.ports import free_port


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/b.sealed", "a/b.sealed"),
        ("https://h.example/a/b", "https://h.example/a/b"),
        ("https://me:secret@h.example:8443/a?token=secret#secret", "https://h.example:8443/a"),
        ("s3://secret@bucket/key", "s3://bucket/key"),
    ],
)
def test_messages_name_a_url_without_its_secrets(source, name):
    assert storage.public_name(source) == name


UNREADABLE = {
    "no driver": "nothing://host/file",
    "not a URL": "https://[::1/file?token=secret",
    "a bad port": "https://host:port/file?token=secret",
    "missing": "file:///nowhere/at/all",
}


@pytest.mark.parametrize("url", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("verb", ["inspect", "verify"])
def test_a_url_that_leads_nowhere(verb, url, capsys):
    options = ["--root", "00" * 32] if verb == "verify" else []
    assert run([verb, url, *options]) in (8, 10)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "unforeseen" not in err
    assert "secret" not in err


def test_more_than_the_limit_is_not_fetched(tmp_path):
    (tmp_path / "large").write_bytes(bytes(5000))
    url = f"file://{tmp_path}/large"
    with (
        pytest.raises(FormatError, match="has more than 4999 bytes"),
        storage.opened(url, max_bytes=4999),
    ):
        pass
    with storage.opened(url, max_bytes=5000) as fd:
        assert os.fstat(fd).st_size == 5000


@contextmanager
def failing(url: str, mode: str) -> Iterator[object]:
    raise PermissionError(13, "denied for token=secret")
    yield


def test_a_drivers_words_are_not_repeated(monkeypatch):
    monkeypatch.setattr(fsspec, "open", failing)
    with pytest.raises(UnavailableError) as caught:
        inspect("s3://bucket/key")
    assert "secret" not in str(caught.value)
    assert "PermissionError" in str(caught.value)


class Quiet(SimpleHTTPRequestHandler):
    """The simplest server there is: whole files and no ranges; `/401` refuses."""

    def do_GET(self):
        if self.path.startswith("/401"):
            self.send_error(401)
        else:
            super().do_GET()

    def do_HEAD(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    """The URL under which tmp_path is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_of_a_web_server(web, tmp_path):
    """Larger than what drivers fetch at a time."""
    sealed = seal_model(small(), tmp_path / "net.sealed")
    assert inspect(f"{web}/net.sealed?token=secret").root == sealed.root
    data = os.urandom(7 << 20)
    (tmp_path / "large").write_bytes(data)
    with storage.opened(f"{web}/large") as fd:
        assert os.pread(fd, len(data) + 1, 0) == data


def test_a_url_that_the_server_does_not_have(web):
    with pytest.raises(ConfigError, match=f"there is no {web}/none"):
        inspect(f"{web}/none")


def test_a_url_that_the_server_refuses(web):
    with pytest.raises(UnavailableError, match=f"cannot read {web}/401: HTTP 401"):
        inspect(f"{web}/401?token=secret")


def test_a_server_that_is_not_there():
    with pytest.raises(UnavailableError, match="Connection refused") as caught:
        inspect(f"http://127.0.0.1:{free_port()}/net.sealed?token=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("https://h.invalid/k", "aiohttp"),
        ("s3://bucket/key", "s3fs"),
        ("gs://b/k", "gcsfs"),
        ("abfs://c/k", "adlfs"),
    ],
)
def test_a_driver_that_is_not_installed(url, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError) as caught:
        inspect(url)
    assert caught.value.hint == f"install the package {package}"


def test_a_scheme_nobody_knows():
    with pytest.raises(ConfigError) as caught:
        inspect("nothing://host/file")
    assert "https://" in caught.value.hint


def test_what_was_fetched_cannot_be_changed_by_others(tmp_path):
    """A copy without a name, so that two reads of it give the same."""
    path = tmp_path / "net.sealed"
    seal_model(small(), path)
    with storage.opened(f"file://{path}") as fd:
        before = os.pread(fd, 100, 0)
        path.write_bytes(bytes(path.stat().st_size))
        assert os.pread(fd, 100, 0) == before
        assert os.fstat(fd).st_nlink == 0


@pytest.mark.parametrize("path", ["", "a\0b", "a" * 5000], ids=["empty", "zero byte", "too long"])
def test_a_path_that_cannot_be(path):
    with pytest.raises(ConfigError, match=r"cannot read|not a regular file"):
        inspect(path)


def test_an_unlinked_path_is_a_path(tmp_path, monkeypatch):
    """Only `://` makes a URL: a colon is a letter like others."""
    monkeypatch.chdir(tmp_path)
    seal_model(small(), tmp_path / "c:net.sealed")
    assert inspect("c:net.sealed").name == "net"


def test_descriptors_are_closed(tmp_path):
    seal_model(small(), tmp_path / "net.sealed")
    before = len(list(Path("/proc/self/fd").iterdir()))
    inspect(tmp_path / "net.sealed")
    (tmp_path / "bad").write_bytes(b"x" * 100)
    with pytest.raises((FormatError, IntegrityError)):
        inspect(tmp_path / "bad")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
