"""Images in archives, layouts and stores: found by name and platform, with the right layers."""

from __future__ import annotations

import base64
import gzip
import json
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealserve.errors import ConfigError, IntegrityError
from sealserve.policy.execution.image import Image, Images, Platform, open_images
from sealserve.policy.execution.images import (
    Cache,
    files,
    find_images,
    layer_root,
    names,
    store,
)
from support.policy_layers import (
    MadeImage,
    archive,
    docker_archive,
    entry,
    layer,
    oci_layout,
    sha256,
    tar_split,
    write_folder,
)

BASE, TOP, OTHER = layer(entry("base", b"1")), layer(entry("top", b"2")), layer(entry("o", b"3"))
FIELDS = {
    "Entrypoint": ["/app"],
    "Cmd": ["--serve"],
    "Env": ["A=1"],
    "WorkingDir": "/srv",
    "User": "5:6",
    "StopSignal": "SIGQUIT",
    "Labels": {"a": "b"},
    "ExposedPorts": {"80/tcp": {}},
}
APP = MadeImage([BASE, TOP, BASE], ["demo.example/app:1.4"], FIELDS)
TOOL = MadeImage([BASE, OTHER], ["demo.example:5000/tool:2", "tool"])
ARM = MadeImage([OTHER], ["demo.example/app:1.4"], architecture="arm64")


def zstd(data: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")  # pip install 'sealserve[owner]'
    packed: bytes = zstandard.ZstdCompressor().compress(data)
    return packed


def split_gzip(data: bytes) -> bytes:
    """Two members, which is one stream."""
    return gzip.compress(data[:700]) + gzip.compress(data[700:])


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "two gzips": split_gzip,
    "zstd": zstd,
    "two zstds": lambda data: zstd(data[:700]) + zstd(data[700:]),
}


@pytest.fixture
def put(tmp_path: Path) -> Callable[[bytes], Path]:
    def put(data: bytes) -> Path:
        path = tmp_path / "image.tar"
        path.write_bytes(data)
        return path

    return put


Put = Callable[[bytes], Path]


# ---- finding


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_an_archive_of_docker(pack: Callable[[bytes], bytes], put: Put) -> None:
    images = open_images(put(pack(docker_archive(APP, TOOL))))
    assert images.names == (*APP.names, *TOOL.names)
    found = images.find("demo.example/app:1.4")
    assert found == Image(
        layers=APP.roots,
        entrypoint=("/app",),
        cmd=("--serve",),
        env=("A=1",),
        working_dir="/srv",
        user="5:6",
        stop_signal="SIGQUIT",
        labels={"a": "b"},
    )
    assert found.command == ("/app", "--serve")
    assert images.find("tool").layers == TOOL.roots


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_a_layout(pack: Callable[[bytes], bytes], tmp_path: Path, put: Put) -> None:
    made = oci_layout(APP, TOOL, pack=pack)
    for path in (write_folder(tmp_path / "layout", made), put(archive(made))):
        images = open_images(path)
        assert images.find("demo.example/app:1.4").layers == APP.roots
        assert images.find(TOOL.names[0]).layers == TOOL.roots


@pytest.mark.parametrize("index", [False, True], ids=["flat", "nested"])
def test_platforms(index: bool, tmp_path: Path) -> None:
    path = write_folder(tmp_path / "layout", oci_layout(ARM, APP, index=index))
    assert open_images(path).find().layers == APP.roots
    arm = Platform.parse("linux/arm64/v8")
    assert open_images(path, platform=arm).find().layers == ARM.roots
    with pytest.raises(
        ConfigError, match="the image is for linux/arm64, linux/amd64; wanted linux/s390x"
    ):
        open_images(path, platform=Platform("linux", "s390x")).find()


def test_a_digest_is_a_name(tmp_path: Path) -> None:
    made = oci_layout(APP, ARM, TOOL, index=True)
    path = write_folder(tmp_path / "layout", made)
    outer = json.loads(made["index.json"])["manifests"][0]["digest"]
    inner = json.loads(made[f"blobs/sha256/{outer.removeprefix('sha256:')}"])["manifests"]
    assert open_images(path).find(f"any/name@{inner[2]['digest']}").layers == TOOL.roots
    with pytest.raises(ConfigError, match="2 images of this name"):
        open_images(path).find(f"any/name@{outer}")
    with pytest.raises(ConfigError, match="has no image"):
        open_images(path).find(f"{APP.names[0]}@sha256:{'0' * 64}")


def test_an_archive_of_docker_knows_no_digests(put: Put) -> None:
    with pytest.raises(ConfigError, match="has no image"):
        open_images(put(docker_archive(APP))).find(f"demo.example/app@sha256:{'0' * 64}")


def test_the_same_image_twice_is_one(put: Put) -> None:
    assert open_images(put(docker_archive(APP, APP))).find().layers == APP.roots


def test_names_that_are_not_there(put: Put) -> None:
    images = open_images(put(docker_archive(APP, TOOL)))
    with pytest.raises(ConfigError, match="2 images are here; there are 'demo"):
        images.find()
    with pytest.raises(ConfigError, match="has no image 'demo'; there are"):
        images.find("demo")
    with pytest.raises(ConfigError, match="has no image 'x'; none has a name here"):
        open_images(put(docker_archive(MadeImage([BASE])))).find("x")


def test_many_names_are_cut(put: Put) -> None:
    images = open_images(put(docker_archive(MadeImage([BASE], [f"a{n}" for n in range(20)]))))
    with pytest.raises(ConfigError, match="'a11' and 8 more"):
        images.find("x")


@pytest.mark.parametrize(
    ("asked", "written", "same"),
    [
        ("app", "app:latest", True),
        ("app", "docker.io/library/app:latest", True),
        ("a/app:1", "docker.io/a/app:1", True),
        ("docker.io/app", "app", True),
        ("localhost/app", "localhost/app:latest", True),
        ("host:5000/app", "host:5000/app:latest", True),
        ("app:1", "app:2", False),
        ("localhost/app", "app", False),
        ("a.b/app", "docker.io/a.b/app", False),
        ("1.4", "demo.example/app:1.4", False),
    ],
)
def test_names_that_are_the_same(asked: str, written: str, same: bool) -> None:
    assert names.same(asked, written) == same


def test_links_in_an_archive_are_followed(put: Put) -> None:
    data = {"layers/base.tar": BASE, "config.json": MadeImage([BASE, BASE]).document}
    manifest = [{"Config": "config.json", "Layers": ["one/layer.tar", "two/layer.tar"]}]
    links = [
        entry("one/layer.tar", type=tarfile.SYMTYPE, linkname="../layers/base.tar"),
        entry("two/layer.tar", type=tarfile.LNKTYPE, linkname="layers/base.tar"),
    ]
    members = [entry(name, each) for name, each in data.items()]
    path = put(layer(*members, *links, entry("manifest.json", json.dumps(manifest).encode())))
    assert open_images(path).find().layers == MadeImage([BASE, BASE]).roots


def test_links_in_a_circle(put: Put) -> None:
    manifest = [{"Config": "a", "Layers": []}]
    path = put(
        layer(
            entry("a", type=tarfile.SYMTYPE, linkname="b"),
            entry("b", type=tarfile.SYMTYPE, linkname="a"),
            entry("manifest.json", json.dumps(manifest).encode()),
        )
    )
    with pytest.raises(ConfigError, match="the archive has no member 'a'"):
        open_images(path).find()


def test_a_member_that_is_there_twice(put: Put) -> None:
    whole = docker_archive(APP)
    with pytest.raises(ConfigError, match=r"the archive has 'manifest\.json' twice"):
        open_images(put(entry("manifest.json", b"[]") + whole))


def test_progress(put: Put) -> None:
    seen: list[tuple[int, int]] = []
    path = put(docker_archive(MadeImage([BASE])))
    open_images(path, progress=lambda done, total: seen.append((done, total))).find()
    assert seen[-1] == (len(BASE), len(BASE))


def test_a_layer_alone(put: Put) -> None:
    for pack in PACKED.values():
        path = put(pack(TOP))
        assert find_images(path) is None
        assert layer_root(path) == MadeImage([TOP]).roots[0]
    with pytest.raises(ConfigError, match="is an archive without images"):
        open_images(put(TOP))


# ---- refusing


def images_of(data: dict[str, bytes], put: Put) -> Images:
    return open_images(put(archive(data)))


def manifest(**fields: object) -> bytes:
    return json.dumps([{"Config": "c", "Layers": ["l"], **fields}]).encode()


DOCKER = {"c": MadeImage([BASE]).document, "l": BASE, "manifest.json": manifest()}
CONFIG = json.loads(MadeImage([BASE]).document)


def configured(**fields: object) -> dict[str, bytes]:
    return {**DOCKER, "c": json.dumps({**CONFIG, **fields}).encode()}


REFUSED: dict[str, tuple[dict[str, bytes], str]] = {
    "a manifest that is no JSON": ({**DOCKER, "manifest.json": b"["}, "manifest.json is not JSON"),
    "a manifest that is no list": ({**DOCKER, "manifest.json": b"{}"}, "is not a list of images"),
    "a manifest of numbers": ({**DOCKER, "manifest.json": b"[1]"}, "is not a list of images"),
    "names that are numbers": (
        {**DOCKER, "manifest.json": manifest(RepoTags=[1])},
        "RepoTags is not a list of texts",
    ),
    "a configuration that is not there": (
        {**DOCKER, "manifest.json": manifest(Config="x")},
        "the archive has no member 'x'",
    ),
    "a configuration outside": (
        {**DOCKER, "manifest.json": manifest(Config="../../etc/passwd")},
        "the archive has no member '../../etc/passwd'",
    ),
    "a layer that is not there": (
        {**DOCKER, "manifest.json": manifest(Layers=["/etc/passwd"])},
        "the archive has no member '/etc/passwd'",
    ),
    "fewer layers": (
        {**DOCKER, "manifest.json": manifest(Layers=[])},
        "0 layers; the configuration names 1",
    ),
    "a configuration that is no object": ({**DOCKER, "c": b"[]"}, "is not a JSON object"),
    "a configuration twice": ({**DOCKER, "c": b'{"a":1,"a":1}'}, "member 'a' appears twice"),
    "a configuration not of UTF-8": ({**DOCKER, "c": b"\xff"}, "is not JSON we read"),
    "a configuration of megabytes": ({**DOCKER, "c": bytes((4 << 20) + 1)}, "at most 4194304"),
    "another digest than SHA-256": (
        configured(rootfs={"diff_ids": ["sha512:00"]}),
        "'sha512:00' is not the digest",
    ),
    "a thousand and one layers": (
        configured(rootfs={"diff_ids": ["x"] * 1001}),
        "1001 layers; at most 1000",
    ),
    "a command that is text": (configured(config={"Cmd": "a b"}), "Cmd is str; wanted list"),
    "a command of numbers": (configured(config={"Cmd": [1]}), "Cmd is not a list of texts"),
    "a true user": (configured(config={"User": True}), "User is bool; wanted str"),
    "a true signal": (configured(config={"StopSignal": True}), "StopSignal is bool; wanted str"),
    "labels of numbers": (configured(config={"Labels": {"a": 1}}), "not an object of texts"),
    "a layer that is none": (
        {**DOCKER, "c": MadeImage([b"x" * 900]).document, "l": b"x" * 900},
        "layer 1 of 1: this is no tar",
    ),
    "a layer of half a gzip": (
        {**DOCKER, "l": gzip.compress(BASE)[:-9]},
        "the gzip stream is broken",
    ),
    "a layer of no gzip": (
        {**DOCKER, "l": b"\x1f\x8b\x08" + bytes(99)},
        "the gzip stream is broken",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_refused(case: tuple[dict[str, bytes], str], put: Put) -> None:
    data, words = case
    with pytest.raises(ConfigError) as refused:
        images_of(data, put).find()
    assert words in str(refused.value)
    assert refused.value.file.endswith("image.tar")


def test_a_layer_of_no_zstd(put: Put) -> None:
    data = {**DOCKER, "l": zstd(BASE)[:5] + b"\xff" * 99}
    with pytest.raises(ConfigError, match="layer 1 of 1: the zstd stream is broken"):
        images_of(data, put).find()


def test_zstd_needs_a_package(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ConfigError, match="zstd needs the package zstandard") as refused:
        images_of({**DOCKER, "l": b"\x28\xb5\x2f\xfd" + bytes(99)}, put).find()
    assert refused.value.hint == "pip install 'sealserve[owner]'"


def test_a_number_may_be_a_signal(put: Put) -> None:
    assert images_of(configured(config={"StopSignal": 15}), put).find().stop_signal == 15


def test_an_image_without_platform_runs_anywhere(put: Put) -> None:
    assert images_of(configured(os=None, architecture=None), put).find()


def test_another_layer_than_the_image_names(put: Put) -> None:
    with pytest.raises(IntegrityError, match=f"a layer has the digest {sha256(TOP)}"):
        images_of({**DOCKER, "l": TOP}, put).find()


@pytest.mark.parametrize("size", [512, 1500])
def test_an_archive_that_ends_early(size: int, put: Put) -> None:
    members = archive({k: v for k, v in DOCKER.items() if k != "l"})[:-1024]
    path = put(members + entry("l", BASE)[: 512 + size])
    with pytest.raises(ConfigError, match="ends inside of"):
        open_images(path).find()


class TestLayouts:
    """What only an OCI layout can have wrong."""

    @pytest.fixture
    def made(self) -> dict[str, bytes]:
        return oci_layout(MadeImage([BASE]))

    def opened(self, made: dict[str, bytes], tmp_path: Path) -> Image:
        return open_images(write_folder(tmp_path / "layout", made)).find()

    def blob(self, made: dict[str, bytes], start: bytes) -> str:
        return next(name for name, data in made.items() if "blobs" in name and start in data)

    @pytest.mark.parametrize(
        "start", [b'"schemaVersion"', b'"diff_ids"'], ids=["manifest", "config"]
    )
    def test_an_altered_document(
        self, made: dict[str, bytes], start: bytes, tmp_path: Path
    ) -> None:
        name = self.blob(made, start)
        made[name] += b" "
        with pytest.raises(IntegrityError, match=f"the blob sha256:{name[13:]} has the digest"):
            self.opened(made, tmp_path)

    def test_an_altered_layer(self, made: dict[str, bytes], tmp_path: Path) -> None:
        made[f"blobs/sha256/{sha256(BASE)}"] = TOP
        with pytest.raises(IntegrityError, match="a layer has the digest"):
            self.opened(made, tmp_path)

    @pytest.mark.parametrize("digest", ["", "sha256:../../x", "sha256:" + "A" * 64])
    def test_a_digest_that_is_none(
        self, digest: str, made: dict[str, bytes], tmp_path: Path
    ) -> None:
        made["index.json"] = json.dumps({"manifests": [{"digest": digest}]}).encode()
        with pytest.raises(ConfigError, match="is not the digest"):
            self.opened(made, tmp_path)

    def test_a_blob_that_is_not_there(self, made: dict[str, bytes], tmp_path: Path) -> None:
        del made[f"blobs/sha256/{sha256(BASE)}"]
        with pytest.raises(ConfigError, match=f"there is no file {sha256(BASE)}"):
            self.opened(made, tmp_path)

    def test_indices_without_end(self, made: dict[str, bytes], tmp_path: Path) -> None:
        for _ in range(5):
            inner = made["index.json"]
            kind = "application/vnd.oci.image.index.v1+json"
            made[f"blobs/sha256/{sha256(inner)}"] = inner
            entries = [{"mediaType": kind, "digest": f"sha256:{sha256(inner)}"}]
            made["index.json"] = json.dumps({"manifests": entries}).encode()
        with pytest.raises(ConfigError, match="more than 3 deep"):
            self.opened(made, tmp_path)

    def test_what_is_attested_of_an_image_is_none(
        self, made: dict[str, bytes], tmp_path: Path
    ) -> None:
        index = json.loads(made["index.json"])
        about = {"vnd.docker.reference.type": "attestation-manifest"}
        index["manifests"].append({"digest": "sha256:" + "0" * 64, "annotations": about})
        made["index.json"] = json.dumps(index).encode()
        assert self.opened(made, tmp_path).layers == MadeImage([BASE]).roots

    def test_a_pipe_is_no_blob(self, made: dict[str, bytes], tmp_path: Path) -> None:
        folder = write_folder(tmp_path / "layout", made)
        (folder / f"blobs/sha256/{sha256(BASE)}").unlink()
        os.mkfifo(folder / f"blobs/sha256/{sha256(BASE)}")
        with pytest.raises(ConfigError, match="there is no file"):
            open_images(folder).find()


def test_what_is_no_place_of_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither an OCI layout nor a store"):
        open_images(tmp_path)
    with pytest.raises(ConfigError, match="there is no file missing"):
        open_images(tmp_path / "missing")
    with pytest.raises(ConfigError, match="cannot be read: File name too long"):
        open_images(tmp_path / ("n" * 300))


def test_members_have_a_limit(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_MEMBERS", 2)
    with pytest.raises(ConfigError, match="more than 2 members"):
        open_images(put(archive(DOCKER)))


@pytest.mark.parametrize("text", ["linux", "linux/", "/amd64", "a/b/c/d", ""])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(ConfigError, match="is no platform"):
        Platform.parse(text)


# ---- the cache


class TestCache:
    @pytest.fixture
    def image(self, put: Put) -> Path:
        return put(docker_archive(MadeImage([BASE])))

    @pytest.fixture
    def kept(self, image: Path, tmp_path: Path) -> Path:
        """The one entry, after the first time."""
        assert open_images(image, cache=tmp_path / "cache").find().layers == self.roots
        (entry_,) = (tmp_path / "cache").rglob(sha256(BASE))
        return entry_

    roots = MadeImage([BASE]).roots

    def again(self, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What is converted the second time."""
        converted: list[str] = []
        real = Cache._write

        def seen(self: Cache, diff_id: str, root: str) -> None:
            converted.append(diff_id)
            real(self, diff_id, root)

        monkeypatch.setattr(Cache, "_write", seen)
        assert open_images(image, cache=tmp_path / "cache").find().layers == self.roots
        return converted

    def test_a_layer_is_converted_once(
        self, image: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert kept.stat().st_mode & 0o777 == 0o600
        assert self.again(image, tmp_path, monkeypatch) == []

    def test_an_altered_layer_is_seen_all_the_same(
        self, kept: Path, put: Put, tmp_path: Path
    ) -> None:
        path = put(archive({**DOCKER, "l": BASE[:512] + b"2" + BASE[513:]}))
        with pytest.raises(IntegrityError, match="a layer has the digest"):
            open_images(path, cache=tmp_path / "cache").find()

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda path: path.write_text("0" * 64 + path.read_text()[64:]),
            lambda path: path.write_text(path.read_text()[:-1]),
            lambda path: path.write_text(path.read_text() * 2),
            lambda path: path.write_bytes(b"\xff" * 130),
            lambda path: path.chmod(0o622),
            lambda path: path.unlink(),
        ],
        ids=["another root", "cut", "longer", "no text", "writable by others", "gone"],
    )
    def test_a_spoilt_entry_is_none(
        self,
        spoil: Callable[[Path], Any],
        image: Path,
        kept: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        spoil(kept)
        assert self.again(image, tmp_path, monkeypatch) == [sha256(BASE)]

    def test_an_entry_under_another_name_is_none(
        self, kept: Path, put: Put, tmp_path: Path
    ) -> None:
        kept.rename(kept.with_name(sha256(TOP)))
        path = put(docker_archive(MadeImage([TOP])))
        assert open_images(path, cache=tmp_path / "cache").find().layers == MadeImage([TOP]).roots

    def test_a_cache_that_cannot_be_written(self, image: Path, tmp_path: Path) -> None:
        (tmp_path / "cache").write_bytes(b"a file")
        assert open_images(image, cache=tmp_path / "cache").find().layers == self.roots


# ---- stores


@pytest.fixture(params=["overlay", "vfs"])
def made_store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store with one image of two layers."""
    driver, root = request.param, tmp_path / "storage"
    image = MadeImage([BASE, TOP], ["localhost/app:latest"], FIELDS)
    identity = sha256(image.document)
    key = base64.b64encode(f"sha256:{identity}".encode()).decode()
    listed = [{"id": "bb1", "diff-size": len(BASE)}, {"id": "aa2", "parent": "bb1"}]
    images = [{"id": identity, "names": list(image.names), "layer": "aa2"}]
    split = {
        f"{driver}-layers/{name}.tar-split.gz": tar_split(data)
        for name, data in (("bb1", BASE), ("aa2", TOP))
    }
    contents = {"bb1": {"base": b"1"}, "aa2": {"top": b"2"}}
    unpacked = {
        f"{store._FOLDERS[driver].format(name)}/{file}": data
        for name, each in contents.items()
        for file, data in each.items()
    }
    return write_folder(
        root,
        {
            f"{driver}-images/images.json": json.dumps(images).encode(),
            f"{driver}-images/{identity}/={key}": image.document,
            f"{driver}-layers/layers.json": json.dumps(listed).encode(),
            **split,
            **unpacked,
        },
    )


def in_store(root: Path, name: str) -> Path:
    (found,) = (path for path in root.rglob(name) if path.is_file())
    return found


def test_a_store(made_store: Path) -> None:
    found = open_images(made_store).find("localhost/app")
    assert found.layers == MadeImage([BASE, TOP]).roots
    assert found.entrypoint == ("/app",)


def test_a_file_of_a_store_that_was_altered(made_store: Path) -> None:
    in_store(made_store, "top").write_bytes(b"3")
    with pytest.raises(IntegrityError, match="a layer has the digest"):
        open_images(made_store).find()


def test_a_file_of_a_store_that_was_cut(made_store: Path) -> None:
    in_store(made_store, "top").write_bytes(b"")
    with pytest.raises(ConfigError, match="'top' in the store is shorter than it was"):
        open_images(made_store).find()


def test_a_link_in_a_store_is_not_followed(made_store: Path, tmp_path: Path) -> None:
    path = in_store(made_store, "top")
    (tmp_path / "secret").write_bytes(b"2")
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="'top' in the store cannot be read"):
        open_images(made_store).find()


def test_a_device_in_a_store_is_not_read(made_store: Path) -> None:
    path = in_store(made_store, "top")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="'top' in the store is not a regular file"):
        open_images(made_store).find()


def resplit(root: Path, *records: dict[str, object]) -> None:
    data = b"".join(json.dumps(each).encode() + b"\n" for each in records)
    in_store(root, "bb1.tar-split.gz").write_bytes(gzip.compress(data))


def of_file(name: str, **fields: object) -> dict[str, object]:
    return {"type": 1, "name": name, "size": 1, **fields}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (of_file("../../secret"), "is no name of a file in a layer"),
        (of_file(""), "is no name of a file in a layer"),
        (of_file("/"), "is no name of a file in a layer"),
        (of_file("a\0b"), "cannot be read"),
        (of_file("missing/f"), "cannot be read"),
        (of_file("", name_raw="*"), "is not base64"),
        ({"type": 2, "payload": "*"}, "is not base64"),
        ({"type": "x"}, "type is str; wanted int"),
    ],
)
def test_a_record_that_leads_astray(
    record: dict[str, object], words: str, made_store: Path
) -> None:
    resplit(made_store, record)
    with pytest.raises(ConfigError, match=words):
        open_images(made_store).find()


def test_a_record_that_is_broken(made_store: Path) -> None:
    path = in_store(made_store, "bb1.tar-split.gz")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConfigError, match="the record of a layer's tar is broken"):
        open_images(made_store).find()


def test_a_record_with_a_long_line(made_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MAX_LINE_BYTES", 20)
    with pytest.raises(ConfigError, match="a line of megabytes"):
        open_images(made_store).find()


def test_a_layer_whose_tar_is_not_kept(made_store: Path) -> None:
    in_store(made_store, "bb1.tar-split.gz").unlink()
    with pytest.raises(ConfigError, match="does not keep the tar of layer bb1"):
        open_images(made_store).find()


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ([{"id": "aa2", "parent": "bb1"}], "the store has no layer 'bb1', or no end of it"),
        ([{"id": "aa2", "parent": "aa2"}], "the store has no layer 'aa2', or no end of it"),
        ([{"id": "../x"}], "layers.json has the id '../x'"),
        ({}, "layers.json is not a list of objects"),
    ],
)
def test_layers_that_are_not_listed(listed: object, words: str, made_store: Path) -> None:
    in_store(made_store, "layers.json").write_text(json.dumps(listed))
    with pytest.raises(ConfigError, match=words):
        open_images(made_store).find()


def test_a_list_has_a_limit(made_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MAX_LIST_BYTES", 10)
    with pytest.raises(ConfigError, match="at most 10 are read"):
        open_images(made_store)


def test_the_id_of_an_image_leads_nowhere_else(made_store: Path) -> None:
    in_store(made_store, "images.json").write_text('[{"id": "abc", "names": ["x"]}]')
    with pytest.raises(ConfigError, match="'sha256:abc' is not the digest"):
        open_images(made_store).find("x")
