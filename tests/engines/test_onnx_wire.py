"""Hostile and damaged ONNX files are refused before a runtime sees them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from facesieve.engines import onnx_wire
from facesieve.stream.errors import ModelInvalid


def model_with(tensor: TensorProto) -> bytes:
    y = helper.make_tensor_value_info("w", TensorProto.FLOAT, None)
    node = helper.make_node("Identity", ["w"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", [], [y], [tensor])).SerializeToString()


def external(location: str, **part: str) -> bytes:
    tensor = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    for key, value in part.items():
        tensor.external_data.add(key=key, value=value)
    return model_with(tensor)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "sub/../../secret.bin", "link.bin"])
def test_external_data_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = folder / "m.onnx"
    path.write_bytes(external(location))
    with pytest.raises(ModelInvalid, match=r"outside the model's folder"):
        onnx_wire.check(path, str(path))


def test_external_data_beside_the_model_are_allowed_for_files_only(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(external("w.bin"))
    with pytest.raises(ModelInvalid, match="missing beside"):
        onnx_wire.check(path, "m")
    (tmp_path / "w.bin").write_bytes(bytes(16))
    onnx_wire.check(path, "m")
    with pytest.raises(ModelInvalid, match="must be whole"):
        onnx_wire.check(path.read_bytes(), "m")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({}, ""),
        ({"offset": "4"}, ""),
        ({"offset": "4", "length": "16", "checksum": "abc"}, ""),
        ({"offset": "5"}, "needs 16 bytes, and claims 16 from byte 5 of 'w.bin', which has 20"),
        ({"offset": str(10**15)}, "claims 16 from byte 1000000000000000"),
        ({"length": "4"}, "needs 16 bytes, and claims 4 from byte 0"),
        ({"offset": "-5"}, r"claims 16 bytes from byte -5 of 'w.bin': expected whole numbers"),
        ({"length": "all"}, r"claims all bytes from byte 0 of 'w.bin': expected whole numbers"),
    ],
)
def test_external_data_that_its_file_does_not_hold_are_refused(
    tmp_path: Path, part: dict[str, str], said: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(external("w.bin", **part))
    (tmp_path / "w.bin").write_bytes(bytes(20))
    if not said:
        onnx_wire.check(path, "m")
        return
    with pytest.raises(ModelInvalid, match=f"m: tensor 'w' .*{said}"):
        onnx_wire.check(path, "m")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"")

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # who runs as root is refused nothing
    with pytest.raises(ModelInvalid, match=r"m\.onnx: cannot be read \(Permission denied\)"):
        onnx_wire.check(path, str(path))


def test_external_data_hidden_in_a_subgraph_are_found(tmp_path: Path) -> None:
    inner = onnx.load_from_string(external("../secret.bin")).graph
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    c = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([node], "g", [c], [y])).SerializeToString())
    with pytest.raises(ModelInvalid, match=r"outside the model's folder"):
        onnx_wire.check(path, "m")


def test_a_tensor_that_claims_more_than_it_holds_is_refused() -> None:
    huge = TensorProto(name="w", dims=[1 << 20, 1 << 20], data_type=TensorProto.FLOAT, raw_data=bytes(16))
    with pytest.raises(ModelInvalid, match=r"needs 4398046511104 bytes, the file holds 16"):
        onnx_wire.check(model_with(huge), "m")


@pytest.mark.parametrize("garbage", [b"", b"not a network", b"\xff" * 100, b"\x00" * 100, b"\x0a\x03abc"])
def test_what_is_no_model_is_refused(garbage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(garbage)
    for model in (garbage, path):
        with pytest.raises(ModelInvalid):
            onnx_wire.check(model, "m")


@given(st.data())
def test_damage_raises_nothing_but_model_invalid(affine: bytes, data: st.DataObject) -> None:
    damaged = bytearray(affine)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(affine) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(affine)))])
    with contextlib.suppress(ModelInvalid):  # any other exception fails the test
        onnx_wire.check(cut, "m")


def test_inputs_can_be_declared_anew(mean_colour: bytes) -> None:
    freed = onnx_wire.with_input_shapes(mean_colour, {"x": (None, 3, None, 16)})
    model = onnx.load_from_string(freed)
    onnx.checker.check_model(model)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value or d.dim_param for d in dims] == ["d0", 3, "d2", 16]
    assert model.graph.node == onnx.load_from_string(mean_colour).graph.node


def test_initialisers_among_the_inputs_are_no_inputs() -> None:
    weight = numpy_helper.from_array(np.ones(3, np.float32), "w")
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("x", "w", "y")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g", infos[:2], infos[2:], [weight]
    )
    assert onnx_wire.input_names(helper.make_model(graph).SerializeToString()) == ("x",)
