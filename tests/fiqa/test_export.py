"""Checkpoints become graphs that say the same; those that are none are refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from facesieve.fiqa import export
from facesieve.fiqa.export import export_student, import_checkpoint
from facesieve.fiqa.networks import AIKD, DifFIQAR, EDifFIQA, build_student
from facesieve.stream.errors import ModelInvalid


class TinyBackbone(nn.Module):
    embedding_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 7, stride=8)
        self.norm = nn.BatchNorm2d(4)
        self.prelu = nn.PReLU(4)
        self.fc = nn.Linear(4 * 14 * 14, 8)

    def forward(self, x):
        return self.fc(self.prelu(self.norm(self.conv(x))).flatten(1))


def chips(n, seed=3):
    return np.random.default_rng(seed).integers(0, 256, (n, 112, 112, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", [EDifFIQA, AIKD, DifFIQAR])
def test_contract_and_parity(tmp_path, kind):
    torch.manual_seed(0)
    student = kind(TinyBackbone()).eval()
    out = tmp_path / "deep" / "student.onnx"
    written = export_student(student, out)
    assert written.difference < 1e-4
    assert [p.name for p in out.parent.iterdir()] == ["student.onnx"]
    if kind is DifFIQAR:  # equal weights give equal bytes
        export_student(student, tmp_path / "again.onnx")
        assert (tmp_path / "again.onnx").read_bytes() == out.read_bytes()
    model = onnx.load(out)
    assert model.opset_import[0].version <= 20
    assert {node.domain for node in model.graph.node} == {""}
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert b"site-packages" not in out.read_bytes()
    assert b"test_export.py" not in out.read_bytes()
    session = onnxruntime.InferenceSession(str(out))
    for n in (1, 3):
        embedding, quality = session.run(["embedding", "quality"], {"chips": chips(n)})
        x = (torch.from_numpy(chips(n)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
        with torch.no_grad():
            expected = student(x)
        assert quality.shape == (n,)
        np.testing.assert_allclose(embedding, expected[0], atol=1e-4)
        np.testing.assert_allclose(quality, expected[1], atol=1e-4)


def test_a_graph_that_disagrees_is_refused_and_not_left(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", 0.0)
    with pytest.raises(ModelInvalid, match=r"agree.*s\.onnx"):
        export_student(EDifFIQA(TinyBackbone()), tmp_path / "s.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_that_overflow_are_refused(tmp_path):
    student = EDifFIQA(TinyBackbone())
    with torch.no_grad():
        student.mlp.l2.bias.fill_(float("nan"))
    with pytest.raises(ModelInvalid, match="finite quality"):
        export_student(student, tmp_path / "s.onnx")


def test_a_checkpoint_of_another_architecture_is_named(tmp_path):
    path = tmp_path / "t.pth"
    torch.save(build_student("ediffiqa-t").state_dict(), path)
    with pytest.raises(ModelInvalid, match=r"missing: base_model\.conv1\.weight.*unexpected.*t\.pth"):
        import_checkpoint(path, "ediffiqa-s", tmp_path / "s.onnx")


@pytest.mark.slow
def test_a_student_of_another_teacher_keeps_its_width(tmp_path):
    torch.manual_seed(0)
    torch.save(build_student("ediffiqa-t", 24).state_dict(), tmp_path / "t.pth")
    import_checkpoint(tmp_path / "t.pth", "ediffiqa-t", tmp_path / "t.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "t.onnx"))
    embedding, quality = session.run(["embedding", "quality"], {"chips": chips(2)})
    assert (embedding.shape, quality.shape) == ((2, 24), (2,))


@pytest.mark.slow
def test_the_tiny_published_student(tmp_path):
    torch.manual_seed(0)
    student = build_student("ediffiqa-t").eval()
    for norm in student.modules():  # statistics as after training, so that folded batch norms are tested
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
    torch.save(student.state_dict(), tmp_path / "t.pth")
    written = import_checkpoint(tmp_path / "t.pth", "ediffiqa-t", tmp_path / "t.onnx")
    assert written.parameters == 1_726_849
    embedding, quality = onnxruntime.InferenceSession(str(written.path)).run(None, {"chips": chips(2)})
    with torch.no_grad():
        expected = export.ChipsIn(student)(torch.from_numpy(chips(2)))
    np.testing.assert_allclose(embedding, expected[0], atol=1e-4)
    np.testing.assert_allclose(quality, expected[1], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-5)
