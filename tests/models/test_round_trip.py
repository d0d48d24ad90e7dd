"""What goes in comes out: every kind of model, sealed, checked, unsealed, and run."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sealserve.models import RawKey, inspect, open_model, seal, unseal, verify
from support.models_onnx import (
    WIDTH,
    batch,
    classifier,
    model_of,
    predict,
    random_array,
    same_bits,
    save_external,
    small,
    with_one,
    without_weights,
)
from support.models_sealed import KEY, FolderPlace, seal_model


def files_in(folder: Path) -> dict[str, int]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def round_trip(source: Path, tmp_path: Path) -> Path:
    """Seal, verify, unseal; the graph that comes back is one that onnx accepts."""
    sealed = seal_model(source, tmp_path / "net.sealed")
    verify(tmp_path / "net.sealed", sealed.root)
    unseal(tmp_path / "net.sealed", tmp_path / "out", RawKey(KEY), root=sealed.root)
    onnx.checker.check_model(tmp_path / "out/model.onnx")
    return tmp_path / "out"


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


OWN = "weights/00000"
SOURCES = {
    "inline": lambda path: saved(classifier(), path),
    "external, one file": lambda path: save_external(classifier(), path, "net.data"),
    "external, in a subfolder": lambda path: save_external(classifier(), path, "data/all.bin"),
    "external, a file per tensor": lambda path: save_external(classifier(), path),
}


@pytest.mark.parametrize("save", SOURCES.values(), ids=SOURCES)
def test_three_size_classes_have_their_places(save, tmp_path):
    source = tmp_path / "source/net.onnx"
    source.parent.mkdir()
    save(source)

    out = round_trip(source, tmp_path)

    found = files_in(out)
    graph, manifest = found.pop("model.onnx"), found.pop("manifest.json")
    assert found == {"weights/00000": WIDTH * WIDTH * 4, "weights/small": WIDTH * 16 * 4}
    assert graph < 1024
    assert manifest > 0
    assert same_bits(predict(source, batch()), predict(out / "model.onnx", batch()))


def test_inline_and_external_weights_give_the_same_archive(tmp_path):
    saved(classifier(), tmp_path / "a/net.onnx")
    (tmp_path / "b").mkdir()
    save_external(classifier(), tmp_path / "b/net.onnx", "net.data")
    for name in ("a", "b"):
        seal_model(tmp_path / name / "net.onnx", tmp_path / f"{name}.sealed")
        unseal(tmp_path / f"{name}.sealed", tmp_path / f"{name}.out", RawKey(KEY))
    one, other = tmp_path / "a.out", tmp_path / "b.out"
    for name in ("model.onnx", "weights/00000", "weights/small"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_opening_into_a_place_predicts_the_same_bits(tmp_path):
    source = saved(classifier(), tmp_path / "net.onnx")
    sealed = seal_model(source, tmp_path / "net.sealed")
    (tmp_path / "place").mkdir()
    place = FolderPlace(tmp_path / "place")

    with open_model(tmp_path / "net.sealed", sealed.root, RawKey(KEY), place) as opened:
        assert place.told == ["finish"]
        assert opened.sealed == sealed
        assert opened.weights == {"weights/00000": WIDTH * WIDTH * 4, "weights/small": 32768}
        assert set(opened.files) == {*opened.weights, "manifest.json"}
        answer = predict(bytes(opened.graph), batch(), folder=place.directory)
    assert opened.graph.inherited  # forked workers make their sessions of it
    assert opened.graph.wiped
    assert same_bits(predict(source, batch()), answer)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_any_number_of_threads_opens_the_same(threads, tmp_path):
    sealed = seal_model(classifier(), tmp_path / "net.sealed")
    (tmp_path / "place").mkdir()
    place = FolderPlace(tmp_path / "place")
    with open_model(tmp_path / "net.sealed", sealed.root, RawKey(KEY), place, threads=threads):
        weights = (tmp_path / "place/weights/00000").read_bytes()
    assert weights == random_array(1, WIDTH, WIDTH).tobytes()


@pytest.mark.parametrize(
    ("elements", "home"),
    [(255, None), (256, "weights/small"), ((1 << 18) - 1, "weights/small"), (1 << 18, OWN)],
    ids=["below 1 KiB: graph", "1 KiB: shared", "below 1 MiB: shared", "1 MiB: own entry"],
)
def test_the_borders_between_size_classes(elements, home, tmp_path):
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    model = with_one(random_array(5, 1, elements), nodes, width=elements)
    out = round_trip(saved(model, tmp_path / "net.onnx"), tmp_path)
    weights = {name: n for name, n in files_in(out).items() if name.startswith("weights")}
    assert weights == ({} if home is None else {home: elements * 4})


def test_shared_tensors_begin_on_cache_lines_with_zeros_between(tmp_path):
    arrays = {f"w{i}": random_array(i, 257 + i) for i in range(4)}
    nodes, previous = [], "x"
    for i, name in enumerate(arrays):
        nodes.append(helper.make_node("MatMul", [previous, f"s{i}"], [f"t{i}"]))
        nodes.append(helper.make_node("Add", [f"t{i}", name], [f"h{i}"]))
        previous = f"h{i}"
    sizes = [8, *(257 + i for i in range(4))]
    mixers = {f"s{i}": random_array(50 + i, sizes[i], sizes[i + 1]) for i in range(4)}
    nodes.append(helper.make_node("Identity", [previous], ["y"]))
    source = saved(model_of(nodes, {**arrays, **mixers}, 8), tmp_path / "net.onnx")

    out = round_trip(source, tmp_path)

    data = bytearray((out / "weights/small").read_bytes())
    model = onnx.load(out / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        if place:
            offset, length = int(place["offset"]), int(place["length"])
            assert offset % 64 == 0
            data[offset : offset + length] = bytes(length)
    assert not any(data)
    feeds = batch(2, 8)
    assert same_bits(predict(source, feeds), predict(out / "model.onnx", feeds))


def test_a_folder_keeps_its_other_files(tmp_path):
    folder = tmp_path / "folder"
    (folder / "deep/er").mkdir(parents=True)
    save_external(classifier(), folder / "net.onnx", "net.data")
    (folder / "labels.txt").write_text("yes\nno\n")
    (folder / "deep/er/empty").touch()
    (folder / "deep/Read me, please @ 1+1=2.txt").write_bytes(os.urandom(5000))

    out = round_trip(folder, tmp_path)

    others = ["labels.txt", "deep/er/empty", "deep/Read me, please @ 1+1=2.txt"]
    for name in others:
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    manifest = json.loads((out / "manifest.json").read_bytes())
    names = [file["name"] for file in manifest["files"]]
    assert names == ["net.onnx", *sorted([*others, "net.data"])]
    for file in manifest["files"]:
        original = (folder / file["name"]).read_bytes()
        assert file["size"] == len(original)
        assert file["sha256"] == hashlib.sha256(original).hexdigest()
    assert same_bits(predict(folder / "net.onnx", batch()), predict(out / "model.onnx", batch()))


def test_a_link_inside_the_folder_is_a_file_like_others(tmp_path):
    folder = tmp_path / "folder"
    saved(small(), folder / "net.onnx")
    (folder / "labels.txt").write_text("yes\n")
    (folder / "also.txt").symlink_to("labels.txt")
    out = round_trip(folder, tmp_path)
    assert (out / "also.txt").read_text() == "yes\n"
    assert not (out / "also.txt").is_symlink()


def test_a_model_without_weights(tmp_path):
    source = saved(without_weights(), tmp_path / "net.onnx")
    out = round_trip(source, tmp_path)
    assert set(files_in(out)) == {"model.onnx", "manifest.json"}
    feeds = batch(2, 8)
    assert same_bits(predict(source, feeds), predict(out / "model.onnx", feeds))


def test_an_empty_tensor_stays_in_the_graph(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Concat", ["h", "h"], ["y"], axis=1),
    ]
    (tmp_path / "source").mkdir()
    source = tmp_path / "source/net.onnx"
    save_external(with_one(np.zeros((8, 0), np.float32), nodes), source, "w.bin")
    out = round_trip(source, tmp_path)
    assert set(files_in(out)) == {"model.onnx", "manifest.json"}


@pytest.mark.parametrize(
    "name",
    ["net.onnx", "ünïcode 网.onnx", "a" * 245 + ".onnx", "-o.onnx", "a b,c=d.onnx", "%s{}.onnx"],
    ids=lambda name: name[:20],
)
def test_the_owners_file_may_have_any_printable_name(name, tmp_path):
    source = saved(classifier(), tmp_path / "source" / name)
    out = round_trip(source, tmp_path)
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert [file["name"] for file in manifest["files"]] == [name]


@pytest.mark.parametrize("length", [1, 200, 255], ids=str)
def test_the_sealed_file_may_have_any_name_the_disk_takes(length, tmp_path):
    source = saved(small(), tmp_path / "net.onnx")
    out = tmp_path / ("s" * length)
    seal_model(source, out)
    unseal(out, tmp_path / ("u" * length), RawKey(KEY))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["net.onnx", out.name, "u" * length]
    )


TYPES = ["FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT4", "UINT4", "INT32", "INT64"]


@pytest.mark.parametrize("name", [*TYPES, "BOOL", "FLOAT8E4M3FN"])
def test_every_type_comes_back(name, tmp_path):
    kind = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, name))
    array = np.random.default_rng(3).integers(0, 2, (64, 65)).astype(kind)
    model = with_one(np.zeros((8, 1), np.float32), [helper.make_node("Identity", ["w"], ["v"])])
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "w"))
    model.graph.node[0].CopyFrom(helper.make_node("Cast", ["w"], ["y"], to=TensorProto.FLOAT))
    model.opset_import[0].version = 21
    model.ir_version = 10
    source = saved(model, tmp_path / "net.onnx")
    out = round_trip(source, tmp_path)
    loaded = onnx.load(out / "model.onnx")
    assert loaded.graph.initializer[0].raw_data == model.graph.initializer[0].raw_data
    feeds = batch(1, 8)
    assert same_bits(predict(source, feeds), predict(out / "model.onnx", feeds))


def test_tensors_in_typed_fields_come_back(tmp_path):
    """float_data stands in the file as bytes; int64_data are varints and go through the parser."""
    floats = helper.make_tensor("f", TensorProto.FLOAT, [20, 30], random_array(1, 600).tolist())
    numbers = helper.make_tensor("i", TensorProto.INT64, [600], [i % 30 for i in range(600)])
    nodes = [
        helper.make_node("MatMul", ["x", "f"], ["h"]),
        helper.make_node("Gather", ["h", "i"], ["y"], axis=1),
    ]
    model = model_of(nodes, {}, 20)
    model.graph.initializer.extend([floats, numbers])
    source = saved(model, tmp_path / "net.onnx")
    out = round_trip(source, tmp_path)
    assert files_in(out)["weights/small"] == 2432 + 4800  # the second begins on a cache line
    feeds = batch(2, 20)
    assert same_bits(predict(source, feeds), predict(out / "model.onnx", feeds))


def constant(seed: int) -> onnx.NodeProto:
    return helper.make_node(
        "Constant", [], ["w"], value=numpy_helper.from_array(random_array(seed, 32, 32))
    )


def multiply(output: str) -> onnx.NodeProto:
    return helper.make_node("MatMul", ["x", "w"], [output])


def branch(seed: int) -> onnx.GraphProto:
    info = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    return helper.make_graph([constant(seed), multiply("z")], "branch", [], [info])


def in_a_constant() -> onnx.ModelProto:
    return model_of([constant(1), multiply("y")], {}, 32)


def in_a_branch() -> onnx.ModelProto:
    truth = numpy_helper.from_array(np.array(True))
    nodes = [
        helper.make_node("Constant", [], ["yes"], value=truth),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch(1), else_branch=branch(2)),
    ]
    return model_of(nodes, {}, 32)


def in_a_function() -> onnx.ModelProto:
    model = model_of([helper.make_node("F", ["x"], ["y"], domain="own")], {}, 32)
    body = [constant(1), multiply("y")]
    opset = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], body, opset))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def sparse() -> onnx.ModelProto:
    indices = np.arange(0, 1024, 3)
    values = numpy_helper.from_array(random_array(1, len(indices)), "w")
    tensor = helper.make_sparse_tensor(values, numpy_helper.from_array(indices, "at"), [32, 32])
    model = model_of([multiply("y")], {}, 32)
    model.graph.sparse_initializer.append(tensor)
    return model


HIDDEN = [in_a_constant, in_a_branch, in_a_function, sparse]


@pytest.mark.parametrize("make", HIDDEN, ids=lambda make: make.__name__)
def test_weights_are_found_wherever_they_hide(make, tmp_path):
    source = saved(make(), tmp_path / "net.onnx")
    sealed = seal_model(source, tmp_path / "net.sealed")
    unseal(tmp_path / "net.sealed", tmp_path / "out", RawKey(KEY), root=sealed.root)
    assert "weights/small" in files_in(tmp_path / "out")
    feeds = batch(2, 32)
    assert same_bits(predict(source, feeds), predict(tmp_path / "out/model.onnx", feeds))


def test_tensors_that_share_their_bytes_share_an_entry(tmp_path):
    (tmp_path / "source").mkdir()
    source = tmp_path / "source/net.onnx"
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("MatMul", ["h", "b"], ["y"]),
    ]
    model = model_of(nodes, {"a": random_array(1, WIDTH, WIDTH), "b": np.zeros((1, 1), "f4")}, 512)
    save_external(model, source, "w.bin")
    loaded = onnx.load(source, load_external_data=False)
    a, b = loaded.graph.initializer
    b.CopyFrom(a)
    b.name = "b"
    source.write_bytes(loaded.SerializeToString())
    out = round_trip(source, tmp_path)
    assert set(files_in(out)) == {"model.onnx", "manifest.json", "weights/00000"}
    assert same_bits(predict(source, batch()), predict(out / "model.onnx", batch()))


def test_what_seal_says_inspect_and_verify_say(tmp_path):
    sealed = seal_model(classifier(), tmp_path / "net.sealed", name="a.B_c-9", version="1.0+x-y")
    assert inspect(tmp_path / "net.sealed") == sealed
    assert verify(tmp_path / "net.sealed", sealed.root.hex()) == sealed
    assert (sealed.name, sealed.version) == ("a.B_c-9", "1.0+x-y")
    assert sealed.slots == ()


def test_each_seal_has_its_own_key_salt_and_root(tmp_path):
    from sealserve.keys import new_identity

    me = new_identity(tmp_path / "me")
    source = saved(small(), tmp_path / "net.onnx")
    sealed = [seal_model(source, tmp_path / str(i), keys=[me.recipient]) for i in range(2)]
    assert sealed[0].key_id != sealed[1].key_id
    assert sealed[0].root != sealed[1].root


def test_a_raw_key_twice_has_another_salt(tmp_path):
    source = saved(small(), tmp_path / "net.onnx")
    sealed = [seal_model(source, tmp_path / str(i)) for i in range(2)]
    assert sealed[0].key_id == sealed[1].key_id
    assert sealed[0].root != sealed[1].root


def test_batch_independence_is_declared_in_the_header(tmp_path):
    source = saved(small(), tmp_path / "net.onnx")
    options = {"keys": [RawKey(KEY)], "name": "n", "version": "1"}
    assert not seal(source, tmp_path / "a", **options).batch_independent
    assert seal(source, tmp_path / "b", **options, batch_independent=True).batch_independent
    assert inspect(tmp_path / "b").batch_independent


def test_progress_goes_from_start_to_end(tmp_path):
    source = saved(classifier(), tmp_path / "net.onnx")
    seen: list[tuple[int, int]] = []
    seal(
        source,
        tmp_path / "net.sealed",
        keys=[RawKey(KEY)],
        name="n",
        version="1",
        progress=lambda *step: seen.append(step),
    )
    verify_seen: list[tuple[int, int]] = []
    root = inspect(tmp_path / "net.sealed").root
    verify(tmp_path / "net.sealed", root, lambda *step: verify_seen.append(step))
    for steps in (seen, verify_seen):
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]
        assert len({total for _, total in steps}) == 1


def test_unsealed_files_are_their_owners_alone(tmp_path):
    seal_model(classifier(), tmp_path / "net.sealed")
    unseal(tmp_path / "net.sealed", tmp_path / "out", RawKey(KEY))
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    for name in files_in(tmp_path / "out"):
        assert (tmp_path / "out" / name).stat().st_mode & 0o777 == 0o600


def test_unseal_fills_an_empty_folder(tmp_path):
    seal_model(small(), tmp_path / "net.sealed")
    (tmp_path / "out").mkdir()
    unseal(tmp_path / "net.sealed", tmp_path / "out", RawKey(KEY))
    assert set(files_in(tmp_path / "out")) == {"model.onnx", "manifest.json"}


def test_unsealed_again_seals_to_the_same_entries(tmp_path):
    source = saved(classifier(), tmp_path / "source/net.onnx")
    out = round_trip(source, tmp_path)
    seal_model(out / "model.onnx", tmp_path / "again.sealed")
    unseal(tmp_path / "again.sealed", tmp_path / "again", RawKey(KEY))
    for name in ("model.onnx", "weights/00000", "weights/small"):
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_url_is_read_like_a_path(tmp_path):
    sealed = seal_model(classifier(), tmp_path / "net.sealed")
    url = f"file://{tmp_path}/net.sealed"
    assert verify(url, sealed.root).root == sealed.root
    unseal(url, tmp_path / "out", RawKey(KEY), root=sealed.root)
    assert "weights/00000" in files_in(tmp_path / "out")
