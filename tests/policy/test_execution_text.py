"""The text of a policy: what the tool wrote is read and written again byte for byte."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealserve.native.errors import ConfigError
from sealserve.policy.execution.text import MAX_POLICY_BYTES, PolicyText, parse

VECTORS = Path(__file__).parent.parent / "vectors" / "policy"
HASHES = json.loads((VECTORS / "confcom" / "hashes.json").read_text())
PLAIN = (VECTORS / "confcom" / "image_defaults-no_default_fragments.rego").read_bytes()


@pytest.mark.parametrize("name", HASHES)
def test_a_policy_of_the_tool_is_written_again_byte_for_byte(name: str) -> None:
    data = (VECTORS / "confcom" / name).read_bytes()
    assert hashlib.sha256(data).hexdigest() == HASHES[name]
    assert parse(data).encode() == data


def test_a_published_policy_is_read() -> None:
    data = (VECTORS / "samples" / "attestation_example.rego").read_bytes().rstrip(b"\n")
    text = parse(data)
    assert text.encode() == data
    assert text.containers[0]["command"] == ["python", "payload.py"]
    assert text.fragments[0]["minimum_svn"] == "1"


def test_debug_flags_are_read_as_they_stand() -> None:
    text = parse((VECTORS / "confcom" / "image_defaults-debug.rego").read_bytes())
    assert text.flags["allow_dump_stacks"]
    assert not text.flags["allow_unencrypted_scratch"]


NEWER = VECTORS / "confcom/newer/volume_mounts.rego"


def test_both_bindings_of_writable_devices_are_read_and_written() -> None:
    """confcom binds one of them, and a guest then denies the other."""
    text = parse(NEWER.read_bytes().rstrip(b"\n"))
    assert not text.binds_rw_unmount
    both = dataclasses.replace(text, binds_rw_unmount=True).encode()
    bound = b"\nrw_mount_device := data.framework.rw_mount_device\n"
    assert both.count(bound + b"rw_unmount_device := data.framework.rw_unmount_device") == 1
    assert parse(both).binds_rw_unmount
    assert dataclasses.replace(parse(PLAIN), binds_rw_unmount=True).encode() == PLAIN


REFUSALS = {
    "empty": (b"", "package"),
    "a key file": (b"sealserve-hpke-public AAAA\n", "not an execution policy"),
    "an image": (b"\x89PNG", "not an execution policy"),
    "a package of its own": (PLAIN.replace(b"package policy", b"package policy2"), "layout"),
    "a line end at the end": (PLAIN + b"\n", "line end"),
    "not ASCII": (PLAIN.replace(b"TERM=xterm", "TERM=\u00fc".encode()), "not ASCII"),
    "not UTF-8": (PLAIN.replace(b"TERM=xterm", b"TERM=\xff"), "not ASCII"),
    "CRLF": (PLAIN.replace(b"\n", b"\r\n"), "layout"),
    "another package": (
        PLAIN.replace(b"package policy", b"package other"),
        "not an execution policy",
    ),
    "a paragraph more": (PLAIN.replace(b"\n\nreason", b"\n\nx := 1\n\nreason"), "layout"),
    "an import missing": (PLAIN.replace(b"import future.keywords.in\n", b""), "import"),
    "an old version key": (PLAIN.replace(b"api_version", b"api_svn"), "api_version"),
    "an unknown API": (PLAIN.replace(b'"0.10.0"', b'"0.9.0"'), "api_version 0.9.0"),
    "bindings of another API": (PLAIN.replace(b'"0.10.0"', b'"0.11.0"'), "mount_device"),
    "a binding of its own": (
        PLAIN.replace(b"data.framework.mount_overlay", b'{"allowed": true}'),
        "mount_device",
    ),
    "a binding of a later API": (
        PLAIN.replace(
            b"\n\nreason", b"\nrw_unmount_device := data.framework.rw_unmount_device\n\nreason"
        ),
        "mount_device",
    ),
    "a flag missing": (
        PLAIN.replace(b"\nallow_capability_dropping := true", b""),
        "allow_capability_dropping",
    ),
    "a flag that is a number": (
        PLAIN.replace(b"allow_dump_stacks := false", b"allow_dump_stacks := 0"),
        "allow_dump_stacks := 0",
    ),
    "a flag twice": (
        PLAIN.replace(
            b"allow_dump_stacks := false", b"allow_dump_stacks := true\nallow_dump_stacks := false"
        ),
        "form confcom writes",
    ),
    "flags in another order": (
        PLAIN.replace(
            b"allow_dump_stacks := false\nallow_runtime_logging := false",
            b"allow_runtime_logging := false\nallow_dump_stacks := false",
        ),
        "form confcom writes",
    ),
    "another reason": (PLAIN.replace(b"data.framework.errors", b"[]"), "reason"),
    "containers and fragments exchanged": (
        PLAIN.replace(b"fragments := []", b"containers := []"),
        "where fragments belongs",
    ),
    "containers is an object": (
        PLAIN[: PLAIN.index(b"containers")] + b"containers := {}\n\na\n\nb\n\nc",
        "list of objects",
    ),
    "a list of numbers": (PLAIN.replace(b"fragments := []", b"fragments := [1]"), "objects"),
    "blanks in the JSON": (PLAIN.replace(b'":false', b'": false', 1), "form confcom writes"),
    "keys in another order": (
        PLAIN.replace(
            b'"allow_elevated":false,"allow_stdio_access":true',
            b'"allow_stdio_access":true,"allow_elevated":false',
        ),
        "form confcom writes",
    ),
    "a key twice": (
        PLAIN.replace(b'"allow_elevated":false', b'"allow_elevated":true,"allow_elevated":false'),
        "twice",
    ),
    "NaN": (PLAIN.replace(b'"signals":[]', b'"signals":NaN', 1), "NaN"),
    "half a character": (PLAIN.replace(b"TERM=xterm", b"TERM=\\ud800"), "not JSON"),
    "nested too deep": (
        PLAIN.replace(b"fragments := []", b"fragments := " + b"[" * 9000),
        "deeper",
    ),
    "a number of 10000 digits": (
        PLAIN.replace(b"fragments := []", b"fragments := [" + b"9" * 10000 + b"]"),
        "JSON",
    ),
    "one byte over the limit": (b"x" * (MAX_POLICY_BYTES + 1), "at most"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_any_other_text_is_refused(name: str) -> None:
    data, words = REFUSALS[name]
    assert data != PLAIN
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        parse(data, file="p.rego")


def test_a_refusal_names_file_line_and_key() -> None:
    data = PLAIN.replace(b"data.framework.mount_overlay", b"data.framework.anything")
    with pytest.raises(ConfigError) as caught:
        parse(data, file="p.rego")
    line = PLAIN.split(b"\n").index(b"mount_device := data.framework.mount_device") + 1
    assert (caught.value.file, caught.value.line, caught.value.key) == (
        "p.rego",
        line,
        "mount_device",
    )


def test_an_api_version_without_a_known_layout_is_not_written() -> None:
    with pytest.raises(ConfigError, match=r"0\.13\.0"):
        PolicyText(containers=[], api_version="0.13.0").encode()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc\u00fc", max_size=3), inner)
    ),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text("abc", max_size=3), JSON_VALUES), max_size=3)


@given(containers=OBJECTS, fragments=OBJECTS)
def test_what_is_written_is_read_back(
    containers: list[dict[str, object]], fragments: list[dict[str, object]]
) -> None:
    data = PolicyText(containers=containers, fragments=fragments).encode()
    again = parse(data)
    assert list(again.containers) == containers
    assert list(again.fragments) == fragments


@given(at=st.integers(0, len(PLAIN) - 1), byte=st.integers(0, 255))
def test_a_changed_byte_is_another_policy_or_refused(at: int, byte: int) -> None:
    changed = PLAIN[:at] + bytes([byte]) + PLAIN[at + 1 :]
    try:
        text = parse(changed)
    except ConfigError:
        return
    assert text.encode() == changed


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_as_documented(data: bytes) -> None:
    for candidate in (data, PLAIN[:700] + data + PLAIN[700:]):
        with suppress(ConfigError):
            assert parse(candidate).encode() == candidate
