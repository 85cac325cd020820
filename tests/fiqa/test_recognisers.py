"""Recognisers that carry gradients: the same numbers as onnxruntime, in torch."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from facesieve.engines.models.recognisers import FAMILIES
from facesieve.fiqa import export
from facesieve.fiqa.networks import EDifFIQA, IResNet, build_student
from facesieve.fiqa.onnx_torch import OnnxNetwork
from facesieve.fiqa.recognisers import load_recogniser
from facesieve.stream.errors import ConfigError, ModelInvalid, WeightsUnavailable


def save_graph(path, nodes, weights, output_shape=("n", None), input_shape=("n", 3, 8, 8)):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def embedder_file(tmp_path):
    """A little of everything that embedders are made of."""
    rng = np.random.default_rng(0)

    def weight(*shape):
        return rng.normal(0, 0.5, shape).astype(np.float32)

    n = helper.make_node
    nodes = [
        n("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 0, 1, 2], strides=[2, 1], kernel_shape=[3, 3]),
        n("BatchNormalization", ["c1", "g", "b", "m", "v"], ["bn"], epsilon=1e-3),
        n("PRelu", ["bn", "slope"], ["p"]),
        n("Conv", ["p", "w2"], ["c2"], group=4, kernel_shape=[3, 3], dilations=[1, 2]),
        n("Clip", ["c2", "low", "high"], ["clip"]),
        n("MaxPool", ["clip"], ["mp"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        n("Sigmoid", ["mp"], ["s"]),
        n("Mul", ["mp", "s"], ["silu"]),
        n("GlobalAveragePool", ["silu"], ["gap"]),
        n("Flatten", ["gap"], ["flat"]),
        n("Gemm", ["flat", "w3", "b3"], ["fc"], transB=1, alpha=0.5),
        n("Erf", ["fc"], ["ge"]),
        n("ReduceL2", ["ge", "axis"], ["norm"], keepdims=1),
        n("Div", ["ge", "norm"], ["unit"]),
        n("Unsqueeze", ["unit", "axis"], ["u"]),
        n("Transpose", ["u"], ["t"], perm=[0, 2, 1]),
        n("Slice", ["t", "start", "end", "axis"], ["sl"]),
        n("Squeeze", ["sl", "last"], ["y"]),
    ]
    weights = {
        "w1": weight(4, 3, 3, 3), "b1": weight(4), "g": weight(4), "b": weight(4), "m": weight(4),
        "v": np.abs(weight(4)) + 0.1, "slope": weight(4, 1, 1), "w2": weight(4, 1, 3, 3), "w3": weight(6, 4),
        "b3": weight(6), "low": np.float32(-0.4), "high": np.float32(0.9), "axis": np.array([1]),
        "start": np.array([1]), "end": np.array([6]), "last": np.array([2]),
    }  # fmt: skip
    return save_graph(tmp_path / "embedder.onnx", nodes, weights, ("n", 5))


def test_onnx_in_torch_agrees_with_onnxruntime(embedder_file):
    x = np.random.default_rng(1).normal(size=(3, 3, 8, 8)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(str(embedder_file)).run(None, {"x": x})
    np.testing.assert_allclose(OnnxNetwork(embedder_file)(torch.from_numpy(x)), expected, atol=1e-5)


def test_gradients_reach_the_input(embedder_file):
    network = OnnxNetwork(embedder_file).double()
    x = torch.from_numpy(np.random.default_rng(2).normal(size=(1, 3, 8, 8))).requires_grad_(True)
    direction = torch.from_numpy(np.random.default_rng(3).normal(size=(1, 3, 8, 8)))
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    step = 1e-6
    with torch.no_grad():
        slope = (network(x + step * direction).sum() - network(x - step * direction).sum()) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-4)


def test_fixed_batch_is_widened(tmp_path):
    w = np.random.default_rng(0).normal(size=(5, 192)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y"], transB=1),
    ]
    path = save_graph(
        tmp_path / "one.onnx", nodes, {"w": w, "shape": np.array([1, -1])}, (1, 5), (1, 3, 8, 8)
    )
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(OnnxNetwork(path)(x), x.flatten(1) @ torch.from_numpy(w).T)


def test_unknown_operators_are_named(tmp_path):
    path = save_graph(tmp_path / "odd.onnx", [helper.make_node("Sinh", ["x"], ["y"])], {}, ("n", 3, 8, 8))
    with pytest.raises(ModelInvalid, match=r"Sinh.*odd\.onnx"):
        OnnxNetwork(path)


def test_unknown_onnx_wants_a_preprocessing(embedder_file):
    with pytest.raises(ConfigError, match=r"symmetric-bgr.*embedder\.onnx"):
        load_recogniser(embedder_file)
    x = torch.rand(2, 3, 8, 8)
    rgb, bgr = load_recogniser(embedder_file, "symmetric"), load_recogniser(embedder_file, "symmetric-bgr")
    torch.testing.assert_close(bgr(x.flip(1)), rgb(x))
    torch.testing.assert_close(rgb(x), OnnxNetwork(embedder_file)((x - 0.5) / 0.5))


def test_bad_files(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not protobuf at all")
    with pytest.raises(ModelInvalid, match=r"a\.onnx"):
        load_recogniser(tmp_path / "a.onnx")
    with pytest.raises(WeightsUnavailable, match=r"b\.onnx"):
        load_recogniser(tmp_path / "b.onnx")
    with pytest.raises(ConfigError, match=r"\.txt"):
        load_recogniser(tmp_path / "c.txt")
    torch.save({"w": torch.zeros(1)}, tmp_path / "d.pt")
    with pytest.raises(ModelInvalid, match=r"names like w"):
        load_recogniser(tmp_path / "d.pt")


@pytest.mark.parametrize("inside_student", [False, True])
def test_iresnet_is_recognised_by_its_names(tmp_path, inside_student):
    torch.manual_seed(0)
    backbone = IResNet(18).eval()
    prefix = "base_model." if inside_student else ""
    state = {prefix + name: value for name, value in backbone.state_dict().items()}
    torch.save(state | ({"mlp.l1.weight": torch.zeros(1)} if inside_student else {}), tmp_path / "r18.pth")
    x = torch.rand(1, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(load_recogniser(tmp_path / "r18.pth")(x), backbone((x - 0.5) / 0.5))


def test_mobilefacenet_is_recognised_by_its_names(tmp_path):
    torch.manual_seed(0)
    student = build_student("ediffiqa-t").eval()
    torch.save(student.state_dict(), tmp_path / "t.pth")
    x = torch.rand(1, 3, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(load_recogniser(tmp_path / "t.pth")(x), student((x - 0.5) / 0.5)[0])


@pytest.mark.slow
def test_our_own_exports_need_no_preprocessing(tmp_path):
    torch.manual_seed(0)
    student = EDifFIQA(IResNet(18, 16)).eval()
    network = export.ChipsIn(student)
    export._write_graph(network, tmp_path / "t.onnx")
    recogniser = load_recogniser(tmp_path / "t.onnx")
    chips = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8)
    x = (chips.permute(0, 3, 1, 2) / 255).requires_grad_(True)
    with torch.no_grad():
        expected, _ = network(chips)
    got = recogniser(x)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(got.sum(), x)
    assert gradient.abs().max() > 0


def test_foamliu_as_torch_and_as_onnx_agree(shared):
    x = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    ours = load_recogniser(shared / "models" / "mobilefacenet_foamliu.pt")
    converted = load_recogniser(shared / "models" / "mobilefacenet_foamliu.onnx")
    assert ours(x).shape == (2, 128)
    torch.testing.assert_close(converted(x), ours(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_published_name_stands_for_its_pixels(tmp_path, family):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["gap"]),
        helper.make_node("Flatten", ["gap"], ["y"]),
    ]
    path = save_graph(tmp_path / "means.onnx", nodes, {}, ("n", 3), ("n", 3, 112, 112))
    colours = torch.tensor([0.9, 0.5, 0.1])
    got = load_recogniser(path, family)(colours.view(1, 3, 1, 1).expand(1, 3, 112, 112))[0]
    wanted = (colours - 0.5) / 0.5
    assert torch.allclose(got, wanted.flip(0) if family == "adaface" else wanted, atol=1e-6)
