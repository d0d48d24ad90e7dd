"""Where sealed files come from: paths, URLs, and what is said when they cannot be had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from sealserve.cli.main import run
from sealserve.models import inspect, storage
from sealserve.native.errors import ConfigError, FormatError, IntegrityError, UnavailableError
from support.models_onnx import small
from support.models_sealed import seal_model


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
