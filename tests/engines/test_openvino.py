"""The OpenVINO engine: values, errors, the cache of compiled networks, determinism."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
from onnx import TensorProto, helper, numpy_helper

from facesieve.engines.models.centerface import CenterFace
from facesieve.engines.models.scrfd import Scrfd
from facesieve.engines.models.yunet import YuNet
from facesieve.engines.openvino import OpenVinoEngine
from facesieve.engines.openvino_requests import parts
from facesieve.engines.signature import PixelInput
from facesieve.stream.errors import EngineClosed, EngineUnavailable, ModelInvalid

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("specialise", [False, True])
def test_values_and_signature(affine: bytes, specialise: bool) -> None:
    with OpenVinoEngine(affine, precision="fp32", specialise=specialise) as engine:
        assert engine.inputs == {"x": ((None, 3), np.dtype(np.float32))}
        assert engine.outputs == {"y": ((None, 3), np.dtype(np.float32))}
        assert engine.precision == "fp32"
        for n in (2, 1, 2):
            np.testing.assert_array_equal(engine.infer({"x": X[:n]})["y"], 2 * X[:n] + 1)


def test_feeds_that_are_not_contiguous(affine: bytes) -> None:
    with OpenVinoEngine(affine, precision="fp32") as engine:
        turned = np.asfortranarray(X)
        np.testing.assert_array_equal(engine.infer({"x": turned})["y"], 2 * X + 1)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({"z": X}, r"expected inputs \['x'\], got \['z'\]"),
        ({}, r"expected inputs \['x'\], got \[\]"),
        ({"x": X.astype(np.float64)}, "as float32, got float64"),
        ({"x": X[:, :2]}, r"\(\?, 3\), got \(2, 2\)"),
        ({"x": X[0]}, r"\(\?, 3\), got \(3,\)"),
        ({"x": X[:0]}, "nothing to compute"),
    ],
)
def test_feeds_that_do_not_fit(affine: bytes, feeds: dict[str, np.ndarray], said: str) -> None:
    with OpenVinoEngine(affine) as engine, pytest.raises(ModelInvalid, match=said):
        engine.infer(feeds)


def test_closed(affine: bytes) -> None:
    engine = OpenVinoEngine(affine)
    engine.close()
    engine.close()
    with pytest.raises(EngineClosed):
        engine.infer({"x": X})
    with pytest.raises(EngineClosed):
        _ = engine.precision


def test_absent_device_and_file(affine: bytes, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no device 'TOASTER' here; it has CPU"):
        OpenVinoEngine(affine, device="TOASTER")
    with pytest.raises(ModelInvalid, match="no such file"):
        OpenVinoEngine(tmp_path / "none.onnx")


@pytest.mark.parametrize("name", ["text.onnx", "text.tflite", "text.xml", "text.txt", "text"])
@pytest.mark.parametrize("data", [b"not a network", b"    TFL3 neither", b"<html> </html>"])
def test_what_is_no_network_is_refused_in_our_words_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelInvalid, match=f"{name}: not a"):
        OpenVinoEngine(tmp_path / name)
    assert capfd.readouterr() == ("", ""), "OpenVINO's own parsers complained"


def test_an_onnx_model_is_looked_through_whatever_its_name(affine: bytes, tmp_path: Path) -> None:
    model = onnx.load_from_string(affine)
    outside = model.graph.initializer[0]
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../secret")
    (tmp_path / "models").mkdir()
    (tmp_path / "secret").write_bytes(bytes(99))
    path = tmp_path / "models" / "network.bin"
    path.write_bytes(affine)
    with OpenVinoEngine(path, precision="fp32") as engine:
        np.testing.assert_array_equal(engine.infer({"x": X})["y"], 2 * X + 1)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelInvalid, match="secret"):
        OpenVinoEngine(path)


def test_a_huge_tensor_is_refused_whatever_the_batch() -> None:
    """Rows are free; one of them is too large already."""
    repeats = numpy_helper.from_array(np.array([1, 1 << 20, 1 << 20], np.int64), "repeats")
    node = helper.make_node("Tile", ["x", "repeats"], ["y"])
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 1, 1]), ("y", None))
    )
    graph = helper.make_graph([node], "huge", [x], [y], [repeats])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelInvalid, match=r"makes a tensor of 1099511627776 values; refused"):
        OpenVinoEngine(model.SerializeToString())


def test_what_openvino_says_is_told_without_its_headings() -> None:
    node = helper.make_node("Mish", ["x"], ["y"], domain="my.own")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xy")
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.own", 1)],
        ir_version=8,
    )
    with pytest.raises(ModelInvalid, match=r"operations: my\.own\.Mish$"):
        OpenVinoEngine(model.SerializeToString())


@pytest.mark.parametrize("op", ["ConstantOfShape", "Expand"])
def test_a_small_file_that_makes_a_huge_tensor_is_refused(op: str) -> None:
    size = numpy_helper.from_array(np.array([1 << 40], np.int64), "size")
    nodes = [
        helper.make_node(op, ["size"] if op == "ConstantOfShape" else ["x", "size"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "y"))
    model = helper.make_model(
        helper.make_graph(nodes, "huge", [x], [y], [size]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    with pytest.raises(ModelInvalid, match="makes a tensor of 1099511627776 values"):
        OpenVinoEngine(model.SerializeToString())


def test_pixels_are_converted_in_the_graph(mean_colour: bytes) -> None:
    pixels = PixelInput(mean=(10, 20, 30), std=(2, 4, 8), batch=None)
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    with OpenVinoEngine(mean_colour, pixels=pixels, precision="fp32", specialise=True) as engine:
        assert engine.inputs == {"x": ((None, None, None, 3), np.dtype(np.uint8))}
        means = (image.mean((1, 2)) - [10, 20, 30]) / [2, 4, 8]
        np.testing.assert_allclose(engine.infer({"x": image})["y"], means, rtol=1e-5)


def test_pixels_reach_the_first_convolution_without_turning_twice(convolutions: bytes) -> None:
    """Their layout is the one that convolutions work in: nothing is to be transposed, and nothing changes."""
    pixels = PixelInput(batch=None, height=112, width=112)
    image = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    with OpenVinoEngine(convolutions, precision="fp32") as engine:
        wanted = engine.infer({"x": pixels.normalise(image)})["y"].copy()
    with OpenVinoEngine(convolutions, pixels=pixels, precision="fp32", specialise=True) as engine:
        np.testing.assert_array_equal(engine.infer({"x": image})["y"], wanted)
        (request,) = engine._requests.values()
        nodes = request.get_compiled_model().get_runtime_model().get_ordered_ops()
        turned = [n for n in nodes if n.get_rt_info()["layerType"] == "Transpose"]
        assert not [n.get_friendly_name() for n in turned if n.get_output_partial_shape(0).rank == 4]


def test_networks_of_one_thread_are_not_all_kept_on_the_first_core(affine: bytes) -> None:
    with OpenVinoEngine(affine, precision="fp32", threads=1) as engine:
        assert not engine._compiled(()).get_property("ENABLE_CPU_PINNING")


def test_many_shapes_keep_few_compilations(affine: bytes) -> None:
    with OpenVinoEngine(affine, precision="fp32", specialise=True) as engine:
        for n in range(1, 25):
            x = np.full((n, 3), n, np.float32)
            np.testing.assert_array_equal(engine.infer({"x": x})["y"], 2 * x + 1)
        assert len(engine._requests) == 16


def test_second_start_loads_what_the_first_compiled(
    weights: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).integers(0, 256, (1, 352, 640, 3), dtype=np.uint8)

    def start() -> dict[str, np.ndarray]:
        with OpenVinoEngine(
            weights("centerface"), pixels=CenterFace.PIXELS, specialise=True, cache_dir=tmp_path
        ) as engine:
            return {name: value.copy() for name, value in engine.infer({"input.1": x}).items()}

    first = start()
    stored = list(tmp_path.iterdir())
    assert [p.suffix for p in stored] == [".compiled"]
    inode = stored[0].stat().st_ino
    monkeypatch.delattr(ov.Core, "compile_model")
    second = start()
    assert stored[0].stat().st_ino == inode, "it was stored again"
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_batch_is_read_and_written_in_place(convolutions: bytes) -> None:
    x = np.random.default_rng(2).random((3, 3, 112, 112), dtype=np.float32)
    with OpenVinoEngine(convolutions, precision="fp32") as engine:
        y = engine.infer({"x": x})["y"]
        (request,) = engine._requests.values()
        assert request.get_input_tensor(0).data.ctypes.data == x.ctypes.data
        assert request.get_output_tensor(0).data.ctypes.data == y.ctypes.data


@pytest.mark.parametrize("streams", [None, 1, 2, 3])
def test_throughput_shares_a_batch_out_and_changes_nothing(convolutions: bytes, streams: int | None) -> None:
    x = np.random.default_rng(5).random((7, 3, 112, 112), dtype=np.float32)
    with OpenVinoEngine(convolutions, precision="fp32", threads=2) as engine:
        wanted = {n: engine.infer({"x": x[:n]})["y"].copy() for n in (1, 2, 7)}
    with OpenVinoEngine(
        convolutions, precision="fp32", hint="throughput", streams=streams, threads=3
    ) as engine:
        assert engine._shares is not None
        if streams is not None:
            assert len(engine._shares) == min(streams, os.cpu_count() or 1)
        for n, y in wanted.items():
            np.testing.assert_array_equal(engine.infer({"x": x[:n]})["y"], y)
        used = engine._shares._requests
        y = engine.infer({"x": x})["y"]
        assert used[0].get_input_tensor(0).data.ctypes.data == x.ctypes.data
        assert used[0].get_output_tensor(0).data.ctypes.data == y.ctypes.data
        if len(used) > 1:
            start = 7 // len(used)
            assert used[1].get_input_tensor(0).data.ctypes.data == x[start:].ctypes.data


def test_a_batch_is_run_in_parts_of_the_sizes_compiled_for(convolutions: bytes, tmp_path: Path) -> None:
    x = np.random.default_rng(4).random((7, 3, 112, 112), dtype=np.float32)
    with (
        OpenVinoEngine(convolutions, threads=1) as whole,
        OpenVinoEngine(convolutions, threads=1, rows=(1, 2, 4), cache_dir=tmp_path) as engine,
    ):
        assert not list(tmp_path.iterdir()), "a size is compiled when it is first needed"
        for n in range(1, 8):
            y = engine.infer({"x": x[:n]})["y"]
            np.testing.assert_array_equal(y, whole.infer({"x": x[:n]})["y"], err_msg=str(n))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("rows", "cut"), [(1, [1]), (2, [2]), (3, [2, 1]), (7, [4, 2, 1]), (12, [4, 4, 4]), (13, [4, 4, 4, 1])]
)
def test_few_parts_make_up_a_batch(rows: int, cut: list[int]) -> None:
    assert parts(rows, (1, 2, 4)) == cut


def test_a_graph_whose_rows_are_not_apart_is_not_cut(mean_colour: bytes) -> None:
    with OpenVinoEngine(mean_colour, rows=(1, 2)) as engine:
        y = engine.infer({"x": np.full((4, 3, 8, 8), 9, np.float32)})["y"]
        np.testing.assert_allclose(y, np.full((4, 3), 9))


def test_what_cannot_be_shared_out_runs_whole(mean_colour: bytes) -> None:
    """Its input says four images; a share of two would be refused."""
    x = np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)
    with OpenVinoEngine(mean_colour, precision="fp32", hint="throughput", streams=2) as engine:
        np.testing.assert_allclose(engine.infer({"x": x})["y"], x.mean((2, 3)), rtol=1e-5)


def test_a_stored_network_has_the_names_of_its_graph(tmp_path: Path) -> None:
    """Where a node behind an output is compiled away, the compiled port has the names of both."""
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Exp", ["half"], ["a_half"]),
        helper.make_node("Cast", ["a_half"], ["quality"], to=TensorProto.FLOAT),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in ("x", "quality"))
    graph = helper.make_graph(nodes, "cast", [x], [y])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    for _ in range(2):
        with OpenVinoEngine(model, precision="fp32", cache_dir=tmp_path) as engine:
            assert list(engine.outputs) == ["quality"]
            np.testing.assert_allclose(engine.infer({"x": X})["quality"], np.exp(X), rtol=2e-3)


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_cache_is_compiled_anew(affine: bytes, tmp_path: Path, damage: bytes | None) -> None:
    with OpenVinoEngine(affine, cache_dir=tmp_path):
        (stored,) = tmp_path.iterdir()
    whole = stored.read_bytes()
    stored.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with OpenVinoEngine(affine, precision="auto", cache_dir=tmp_path) as engine:
        np.testing.assert_array_equal(engine.infer({"x": X})["y"], 2 * X + 1)
    assert stored.stat().st_size == len(whole)


def test_cache_of_another_processor_is_compiled_anew(affine: bytes, tmp_path: Path) -> None:
    # A cache folder may move with a disk, an image of a machine or a container's volume.
    with OpenVinoEngine(affine, precision="fp32", cache_dir=tmp_path):
        (stored,) = tmp_path.iterdir()
    blob = stored.read_bytes()[32:]
    assert b";isa=" in blob
    at = blob.index(b";isa=") + len(b";isa=")
    foreign = blob[:at] + b"#" + blob[at + 1 :]
    stored.write_bytes(hashlib.sha256(foreign).digest() + foreign)
    with OpenVinoEngine(affine, precision="fp32", cache_dir=tmp_path) as engine:
        np.testing.assert_array_equal(engine.infer({"x": X})["y"], 2 * X + 1)
    assert stored.read_bytes()[32:] == blob


def test_other_external_data_are_another_network(affine: bytes, tmp_path: Path) -> None:
    model = onnx.load_from_string(affine)
    path, x = tmp_path / "m.onnx", X
    for factor in (2, 3):
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((), factor, np.float32), "two"))
        onnx.save(model, str(path), save_as_external_data=True, location="data", size_threshold=0)
        with OpenVinoEngine(path, precision="fp32", cache_dir=tmp_path / "cache") as engine:
            np.testing.assert_array_equal(engine.infer({"x": x})["y"], factor * x + 1)
        (tmp_path / "data").unlink()
        model = onnx.load_from_string(affine)


def test_cache_keys_differ_by_what_was_compiled(affine: bytes, tmp_path: Path) -> None:
    for threads in (1, 2):
        OpenVinoEngine(affine, threads=threads, precision="fp32", cache_dir=tmp_path).close()
    OpenVinoEngine(affine, threads=1, hint="throughput", precision="fp32", cache_dir=tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_known_network_is_read_only_to_compile_it(
    affine: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(affine).hexdigest()
    with OpenVinoEngine(affine, sha256=sha256, precision="fp32", cache_dir=tmp_path) as first:
        signatures = first.inputs, first.outputs
    monkeypatch.setattr("facesieve.engines.openvino.read", lambda *_: pytest.fail("read"))
    with OpenVinoEngine(affine, sha256=sha256, precision="fp32", cache_dir=tmp_path) as second:
        assert (second.inputs, second.outputs) == signatures
        np.testing.assert_array_equal(second.infer({"x": X})["y"], 2 * X + 1)


def test_cache_folder_that_cannot_be_written(affine: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineUnavailable, match="cannot store a compiled network"):
        OpenVinoEngine(affine, cache_dir=tmp_path / "file" / "cache")


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("detector", [CenterFace, YuNet, Scrfd])
def test_same_bytes_whatever_the_threads(
    weights: Callable[[str], Path],
    shared: Path,
    clip: Callable[..., list[np.ndarray]],
    detector: type[CenterFace | YuNet | Scrfd],
    precision: str,
) -> None:
    model = {
        "centerface": lambda: weights("centerface"),
        "yunet": lambda: shared / "models/yunet_n_dynamic.onnx",
        "scrfd": lambda: shared / "models/scrfd_500m_kps.onnx",
    }[detector.name]()
    image = clip("short_hamilton_clip.mp4", 60, 1)[0][None, :352]
    seen = []
    for threads in (1, 2, 0, 2):
        with OpenVinoEngine(
            model, pixels=detector.PIXELS, precision=precision, threads=threads, specialise=True
        ) as engine:
            (name,) = engine.inputs
            seen.append(b"".join(out.tobytes() for out in engine.infer({name: image}).values()))
    assert len(set(seen)) == 1


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_a_face_scores_the_same_whatever_the_threads_and_its_company(
    convolutions: bytes, precision: str
) -> None:
    """The bytes of one row depend neither on the threads nor on the other rows of its batch."""
    x = np.random.default_rng(5).random((9, 3, 112, 112), dtype=np.float32)
    seen = set()
    for threads in (1, 2):
        with OpenVinoEngine(convolutions, precision=precision, threads=threads) as engine:
            seen |= {engine.infer({"x": x[:n]})["y"][0].tobytes() for n in (1, 2, 5, 9)}
            seen.add(engine.infer({"x": np.roll(x, 4, 0)})["y"][4].tobytes())
    assert len(seen) == 1
