"""Models and folders that cannot be sealed: refused with both sides, and nothing is written."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sealserve.cli.main import run
from sealserve.models import RawKey, seal
from sealserve.models.names import MAX_ENTRIES
from sealserve.native.errors import ConfigError, InputError, SealserveError
from support.models_onnx import (
    classifier,
    model_of,
    point_outside,
    random_array,
    save_external,
    small,
    with_one,
)
from support.models_sealed import KEY

OPTIONS = {"keys": [RawKey(KEY)], "name": "net", "version": "1"}
Make = Callable[[Path], Path | None]  # fills a folder; returns what to seal, or None: the folder


def save(folder: Path, model: onnx.ModelProto | bytes, name: str = "net.onnx") -> Path:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / name).write_bytes(data)
    return folder / name


def outside(**places: str) -> Make:
    """A model whose weights of 1 MiB are said to be there, beside 1 MiB of them."""

    def make(folder: Path) -> Path:
        (folder / "w.bin").write_bytes(bytes(1 << 20))
        (folder / "sub").mkdir()
        (folder.parent / "secret").write_bytes(bytes(1 << 20))
        (folder / "link").symlink_to("../secret")
        (folder / "loop").symlink_to("loop")
        (folder / "up").symlink_to("..")
        return save(folder, point_outside(classifier(), **places))

    return make


def external_twice(folder: Path) -> Path:
    model = point_outside(classifier(), location="w.bin")
    model.graph.initializer[0].external_data.add(key="location", value="w.bin")
    return save(folder, model)


def external_strings(folder: Path) -> Path:
    (folder / "w.bin").write_bytes(bytes(1 << 20))
    model = point_outside(classifier(), location="w.bin")
    model.graph.initializer[0].data_type = TensorProto.STRING
    return save(folder, model)


def tensor_with(**fields: object) -> Make:
    """The first tensor of a small model with other fields."""

    def make(folder: Path) -> Path:
        model = small()
        tensor = model.graph.initializer[0]
        for name, value in fields.items():
            tensor.ClearField(name)
            if isinstance(value, list):
                getattr(tensor, name).extend(value)
            else:
                setattr(tensor, name, value)
        return save(folder, model)

    return make


def hole(path: Path, size: int) -> Path:
    """A file of zeros that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def attributes(count: int, size: int) -> Make:
    """Tensors that have to stand in the graph, whose bytes are the same part of a file."""

    def make(folder: Path) -> Path:
        hole(folder / "w.bin", size)
        model = small()
        for number in range(count):
            node = model.graph.node.add(op_type="Own", domain="own", output=[f"o{number}"])
            attribute = node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR)
            attribute.t.data_type = TensorProto.UINT8
            attribute.t.dims.append(size)
            attribute.t.data_location = TensorProto.EXTERNAL
            attribute.t.external_data.add(key="location", value="w.bin")
        return save(folder, model)

    return make


def varint(value: int) -> bytes:
    low = value & 0x7F
    return bytes([low | 0x80]) + varint(value >> 7) if value > 0x7F else bytes([low])


def nested(depth: int) -> Make:
    """A branch in a branch in a branch, with 2 KiB of tensor at the bottom."""

    def wrapped(tag: int, inner: bytes) -> bytes:
        return bytes([tag << 3 | 2]) + varint(len(inner)) + inner

    def make(folder: Path) -> Path:
        graph = wrapped(5, numpy_helper.from_array(random_array(1, 512)).SerializeToString())
        for _ in range(depth):  # GraphProto.node, NodeProto.attribute, AttributeProto.g
            graph = wrapped(1, wrapped(5, wrapped(6, graph)))
        return save(folder, small().SerializeToString() + wrapped(7, graph))

    return make


def with_file(name: str, data: bytes = b"x") -> Make:
    """A folder with a model and a file of this name."""

    def make(folder: Path) -> None:
        save(folder, small())
        path = Path(os.fsdecode(os.fsencode(folder) + b"/" + os.fsencode(name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return make


def with_link(name: str, target: str) -> Make:
    def make(folder: Path) -> None:
        save(folder, small())
        (folder / name).symlink_to(target)

    return make


def with_pipe(folder: Path) -> None:
    save(folder, small())
    os.mkfifo(folder / "pipe")


def with_socket(folder: Path) -> None:
    save(folder, small())
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket has at most 108 bytes
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)


def with_two_models(folder: Path) -> None:
    save(folder, small())
    save(folder, small(), "other.onnx")


def a_folder_named_like_a_model(folder: Path) -> None:
    (folder / "net.onnx").mkdir()


def changed(make: Callable[[bytes], bytes]) -> Make:
    return lambda folder: save(folder, make(small().SerializeToString()))


SURROGATE = os.fsdecode(b"\xff")
SOURCES: dict[str, tuple[Make, type[SealserveError], str]] = {
    "external: parent folder": (outside(location="../secret"), InputError, "not a path below"),
    "external: parent inside": (outside(location="sub/../../secret"), InputError, "not a path"),
    "external: absolute": (outside(location="/etc/passwd"), InputError, "not a path below"),
    "external: link out": (outside(location="link"), InputError, "leads out of"),
    "external: folder link out": (outside(location="up/secret"), InputError, "leads out of"),
    "external: link loop": (outside(location="loop"), InputError, "cannot read"),
    "external: missing": (outside(location="none.bin"), InputError, "cannot read"),
    "external: folder": (outside(location="sub"), InputError, "not a regular file"),
    "external: this folder": (outside(location="."), InputError, "not a path below"),
    "external: empty": (outside(location=""), InputError, "not a path below"),
    "external: zero byte": (outside(location="w\0.bin"), InputError, "not a path below"),
    "external: too long": (outside(location="w" * 5000), InputError, "cannot read"),
    "external: no location": (outside(offset="0"), InputError, "wanted location"),
    "external: twice": (external_twice, InputError, "each once"),
    "external: more": (outside(location="w.bin", more="x"), InputError, "wanted location"),
    "external: strings": (external_strings, InputError, "cannot be external"),
    "external: offset beyond": (
        outside(location="w.bin", offset="4096"),
        InputError,
        "takes bytes 4096 to 1052672 of 'w.bin', which has 1048576",
    ),
    "external: far beyond": (outside(location="w.bin", offset="9" * 18), InputError, "which has"),
    "external: longer": (outside(location="w.bin", length="1048580"), InputError, "takes 1048576"),
    "external: shorter": (outside(location="w.bin", length="4"), InputError, "takes 1048576"),
    "external: negative": (outside(location="w.bin", offset="-1"), InputError, "wanted a number"),
    "external: huge": (outside(location="w.bin", offset="1" * 5000), InputError, "wanted a number"),
    "external: not a number": (outside(location="w.bin", length="x"), InputError, "a number"),
    "external: other digits": (outside(location="w.bin", length="٣"), InputError, "a number"),
    "tensor: too few bytes": (
        tensor_with(dims=[300, 4], raw_data=bytes(4796)),
        InputError,
        "has 4796 bytes of external data; its shape [300, 4] takes 4800",
    ),
    "tensor: in the graph, too few": (
        tensor_with(dims=[300, 4], raw_data=bytes(100)),
        InputError,
        "has 100 bytes; its shape [300, 4] takes 4800",
    ),
    "tensor: negative": (tensor_with(dims=[-300, 4]), InputError, "has the shape [-300, 4]"),
    "tensor: numbers of another count": (
        tensor_with(dims=[300], data_type=TensorProto.INT64, raw_data=b"", int64_data=[1] * 9),
        InputError,
        "takes 2400",
    ),
    "tensor: beyond memory": (
        tensor_with(dims=[1 << 40, 1 << 40], raw_data=bytes(2000)),
        InputError,
        "takes",
    ),
    "graph: 2 GiB of tensors that have to stand in it": (
        attributes(1, (1 << 31) - 1000),  # alone below the limit, not with what surrounds it
        InputError,
        "with the tensors that have to stand in it; at most 2147483647 are possible",
    ),
    "graph: one gibibyte thrice": (attributes(3, 1 << 30), InputError, "have to stand in it"),
    "graph: too deep": (nested(60), InputError, "100 deep"),
    "file: empty": (lambda folder: save(folder, b""), InputError, "has 0 bytes"),
    "file: 2 GiB": (
        lambda folder: hole(folder / "net.onnx", 1 << 31),
        InputError,
        "has 2147483648 bytes; a model file has 1 to 2147483647",
    ),
    "file: text": (lambda folder: save(folder, b"hello, world"), InputError, "not"),
    "file: another message": (lambda folder: save(folder, b"\x08\x01"), InputError, "no graph"),
    "file: cut": (changed(lambda data: data[:-3]), InputError, "not protobuf"),
    "file: more behind": (changed(lambda data: data + b"\0"), InputError, "not"),
    "file: bad wire type": (changed(lambda data: data + b"\x0f"), InputError, "not protobuf"),
    "file: endless number": (changed(lambda data: data + b"\xff" * 20), InputError, "not protobuf"),
    "file: length beyond": (changed(lambda data: data + b"\x3a\xff\x7f"), InputError, "protobuf"),
    "file: missing": (lambda folder: folder / "none.onnx", ConfigError, "no model at"),
    "file: name too long": (lambda folder: folder / ("a" * 300), ConfigError, "too long"),
    "file: below a file": (lambda folder: save(folder, b"x") / "more", ConfigError, "no model at"),
    "file: a pipe": (lambda folder: os.mkfifo(folder / "p") or folder / "p", InputError, "regular"),
    "file: a device": (lambda folder: Path("/dev/zero"), InputError, "not a regular file"),
    "file: name that is no text, small": (
        lambda folder: save(folder, small(), f"{SURROGATE}.onnx"),
        InputError,
        "cannot be printed",
    ),
    "file: name that is no text, large": (
        lambda folder: save(folder, classifier(), f"{SURROGATE}.onnx"),
        InputError,
        "cannot be printed",
    ),
    "folder: empty": (lambda folder: None, InputError, "one .onnx file; there: none"),
    "folder: two models": (with_two_models, InputError, "there: net.onnx, other.onnx"),
    "folder: a folder named so": (a_folder_named_like_a_model, InputError, "not a regular file"),
    "folder: manifest": (with_file("manifest.json"), InputError, "that name is reserved"),
    "folder: below manifest": (with_file("manifest.json/a"), InputError, "that name is reserved"),
    "folder: weights": (with_file("weights/00000"), InputError, "that name is reserved"),
    "folder: file weights": (with_file("weights"), InputError, "that name is reserved"),
    "folder: umlaut": (with_file("tschüß.txt"), InputError, "with characters other than"),
    "folder: line break": (with_file("a\nb"), InputError, "with characters other than"),
    "folder: backslash": (with_file("a\\b"), InputError, "with characters other than"),
    "folder: no text": (with_file(SURROGATE), InputError, "with characters other than"),
    "folder: 17 deep": (with_file("a/" * 16 + "b"), InputError, "16 folders deep"),
    "folder: 256 bytes": (with_file(f"{'a' * 128}/{'b' * 127}"), InputError, "longer than 255"),
    "folder: link out": (with_link("a", "/etc/passwd"), InputError, "leads out of the folder"),
    "folder: link up": (with_link("a", ".."), InputError, "not a regular file"),
    "folder: link loop": (with_link("a", "a"), InputError, "cannot read"),
    "folder: link nowhere": (with_link("a", "none"), InputError, "cannot read"),
    "folder: pipe": (with_pipe, InputError, "not a regular file"),
    "folder: socket": (with_socket, InputError, "not a regular file"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_source_is_refused(case, tmp_path, capsys):
    make, error, says = SOURCES[case]
    folder, out = tmp_path / "source", tmp_path / "net.sealed"
    folder.mkdir()
    source = make(folder) or folder
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SealserveError) as caught:
        seal(source, out, **OPTIONS)
    assert type(caught.value) is error, caught.value
    assert says in caught.value.message
    (tmp_path / "raw.key").write_bytes(KEY)
    arguments = [
        "-o",
        str(out),
        "--name",
        "n",
        "--version",
        "1",
        "--key",
        f"raw:{tmp_path}/raw.key",
    ]
    assert run(["seal", str(source), *arguments]) == error.exit_code
    err = capsys.readouterr().err
    assert "sealserve: " in err
    assert "Traceback" not in err
    (tmp_path / "raw.key").unlink()
    assert sorted(tmp_path.iterdir()) == before


def test_more_files_than_a_reader_takes(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    save(folder, small())
    for number in range(MAX_ENTRIES - 1):
        (folder / f"{number}").touch()
    with pytest.raises(InputError, match=f"{MAX_ENTRIES + 1} files to seal; at most {MAX_ENTRIES}"):
        seal(folder, tmp_path / "net.sealed", **OPTIONS)


def names_wrong() -> list[tuple[str, str]]:
    bad = ["", "-a", ".a", "a b", "a/b", "ä", "a\n", "a" * 129]
    return [("name", name) for name in bad] + [("version", name) for name in (*bad, "1" * 65)]


@pytest.mark.parametrize(("option", "value"), names_wrong())
def test_names_and_versions_that_no_header_holds(option, value, tmp_path):
    save(tmp_path, small())
    with pytest.raises(ConfigError, match=f"key {option}"):
        seal(tmp_path / "net.onnx", tmp_path / "out", **{**OPTIONS, option: value})


@pytest.mark.parametrize("count", [0, 2], ids=["no key", "two raw keys"])
def test_keys_are_at_least_one_and_one_raw_at_most(count, tmp_path):
    save(tmp_path, small())
    with pytest.raises(ConfigError, match="wanted at least one of either"):
        seal(tmp_path / "net.onnx", tmp_path / "out", **{**OPTIONS, "keys": [RawKey(KEY)] * count})


def test_a_recipient_twice_is_refused_before_the_model_is_read(tmp_path):
    from sealserve.keys import new_identity

    me = new_identity(tmp_path / "me").recipient
    with pytest.raises(ConfigError, match="two key slots for one recipient"):
        seal(tmp_path / "none.onnx", tmp_path / "out", **{**OPTIONS, "keys": [me, me]})
    with pytest.raises(ConfigError, match="65 recipients"):
        seal(tmp_path / "none.onnx", tmp_path / "out", **{**OPTIONS, "keys": [me] * 65})


TARGETS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "the model": (lambda path: path / "source/net.onnx", "part of the model"),
    "the model by another path": (lambda path: path / "source/../source/net.onnx", "part of"),
    "a link to the model": (lambda path: path / "link", "part of the model"),
    "its weights": (lambda path: path / "source/net.data", "part of the model"),
    "in the folder": (lambda path: path / "source/net.sealed", "lies in the folder"),
    "in a folder below": (lambda path: path / "source/sub/net.sealed", "lies in the folder"),
    "the folder": (lambda path: path / "source", "it is a folder"),
    "nowhere": (lambda path: path / "none/net.sealed", "its folder does not exist"),
    "below a file": (lambda path: path / "source/net.onnx/net.sealed", "does not exist"),
    "a name too long": (lambda path: path / ("a" * 256), "too long"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_a_target_that_cannot_be_is_refused(case, tmp_path, capsys):
    place, says = TARGETS[case]
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    save_external(classifier(), source / "net.onnx", "net.data")
    (tmp_path / "link").symlink_to("source/net.onnx")
    before = {p: p.read_bytes() for p in source.iterdir() if p.is_file()}
    with pytest.raises(ConfigError, match=says):
        seal(source, place(tmp_path), **OPTIONS)
    key = tmp_path.with_name(f"{tmp_path.name}.key")
    key.write_bytes(KEY)
    options = ["--name", "n", "--version", "1", "--key", f"raw:{key}"]
    assert run(["seal", str(source), "-o", str(place(tmp_path)), *options]) == 8
    key.unlink()
    assert {p: p.read_bytes() for p in source.iterdir() if p.is_file()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "source"]


def test_an_older_file_is_replaced_in_one_step(tmp_path):
    save(tmp_path, small())
    out = tmp_path / "net.sealed"
    seal(tmp_path / "net.onnx", out, **OPTIONS)
    before = out.read_bytes()
    with out.open("rb") as held:
        sealed = seal(tmp_path / "net.onnx", out, **OPTIONS)
        assert held.read() == before  # whoever had it open keeps it
    assert out.read_bytes() != before
    assert out.stat().st_size > sealed.hash_offset


def meddle(path: Path, steps: int, change: Callable[[Path], object]) -> Callable[[int, int], None]:
    """A progress callback that changes a file when it is called for that time."""
    left = [steps]

    def progress(done: int, total: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            change(path)

    return progress


MEDDLERS: dict[str, Callable[[Path], object]] = {
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "shorter": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "other bytes": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another file": lambda path: path.with_name("spare").replace(path),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", MEDDLERS.values(), ids=MEDDLERS)
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_file_that_changes_meanwhile_is_noticed(steps, change, tmp_path):
    save_external(with_one(np.ones((512, 512), np.float32)), tmp_path / "net.onnx", "net.data")
    weights = tmp_path / "net.data"
    (tmp_path / "spare").write_bytes(weights.read_bytes())
    before = {p.name for p in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"changed while|cannot read"):
        seal(
            tmp_path / "net.onnx",
            tmp_path / "net.sealed",
            **OPTIONS,
            progress=meddle(weights, steps, change),
        )
    assert {p.name for p in tmp_path.iterdir()} <= before


def test_bytes_that_change_under_an_unchanged_time_are_noticed(tmp_path):
    """The last line of defence: the checksum of what was measured."""
    path = tmp_path / "net.data"
    save_external(with_one(np.ones((512, 512), np.float32)), tmp_path / "net.onnx", "net.data")
    stamp = path.stat()

    def change(path: Path) -> None:
        with path.open("r+b") as file:
            file.write(b"other bytes")
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    with pytest.raises(InputError, match="changed while"):
        seal(
            tmp_path / "net.onnx",
            tmp_path / "net.sealed",
            **OPTIONS,
            progress=meddle(path, 5, change),
        )
    assert not (tmp_path / "net.sealed").exists()


def test_a_model_of_strings_keeps_them(tmp_path):
    strings = helper.make_tensor("w", TensorProto.STRING, [300], [b"word"] * 300)
    model = model_of([helper.make_node("Identity", ["x"], ["y"])], {}, 8)
    model.graph.initializer.append(strings)
    sealed = seal(save(tmp_path, model), tmp_path / "net.sealed", **OPTIONS)
    assert sealed.payload_size > 1200
