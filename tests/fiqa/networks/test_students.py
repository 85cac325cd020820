"""Layouts of the published checkpoints: names, shapes, counts, and what the outputs are."""

from __future__ import annotations

import pytest
import torch

from facesieve.fiqa.networks import ARCHITECTURES, IResNet, build_student, embedding_size_of


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("architecture", "millions"),
    [
        ("ediffiqa-t", 1.73),
        ("ediffiqa-s", 24.55),
        ("ediffiqa-m", 44.12),
        ("ediffiqa-l", 65.68),
        ("aikd", 65.68),
        ("diffiqa-r", 65.16),
    ],
)
def test_parameter_counts_are_the_published_ones(architecture, millions):
    with torch.device("meta"):
        student = build_student(architecture)
    assert round(sum(p.numel() for p in student.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("architecture", "name", "shape"),
    [
        ("ediffiqa-t", "base_model.conv1.conv.weight", (64, 3, 3, 3)),
        ("ediffiqa-t", "base_model.conv1.prelu.weight", (64,)),
        ("ediffiqa-t", "base_model.conv2_dw.bn.running_var", (64,)),
        ("ediffiqa-t", "base_model.conv_23.conv_dw.conv.weight", (128, 1, 3, 3)),
        ("ediffiqa-t", "base_model.conv_3.model.3.project.conv.weight", (64, 128, 1, 1)),
        ("ediffiqa-t", "base_model.conv_4.model.5.conv.prelu.weight", (256,)),
        ("ediffiqa-t", "base_model.conv_45.conv.conv.weight", (512, 128, 1, 1)),
        ("ediffiqa-t", "base_model.conv_5.model.1.conv_dw.bn.bias", (256,)),
        ("ediffiqa-t", "base_model.conv_6_dw.conv.weight", (512, 1, 7, 7)),
        ("ediffiqa-t", "base_model.linear.weight", (512, 512)),
        ("ediffiqa-t", "base_model.bn.running_mean", (512,)),
        ("ediffiqa-t", "mlp.l1.weight", (1024, 512)),
        ("ediffiqa-s", "base_model.layer1.0.downsample.0.weight", (64, 64, 1, 1)),
        ("ediffiqa-s", "base_model.fc.weight", (512, 25088)),
        ("ediffiqa-m", "base_model.layer3.13.conv2.weight", (256, 256, 3, 3)),
        ("ediffiqa-l", "base_model.layer2.12.prelu.weight", (128,)),
        ("ediffiqa-l", "base_model.layer3.29.bn3.weight", (256,)),
        ("ediffiqa-l", "mlp.l2.bias", (1,)),
        ("aikd", "feature_extractor.features.running_var", (512,)),
        ("aikd", "quality_head.l2.weight", (1, 1024)),
        ("diffiqa-r", "base.prelu.weight", (64,)),
        ("diffiqa-r", "linear.weight", (1, 512)),
    ],
)
def test_names_and_shapes(architecture, name, shape):
    with torch.device("meta"):
        state = build_student(architecture).state_dict()
    assert tuple(state[name].shape) == shape


def test_linear_convolutions_have_no_activation():
    with torch.device("meta"):
        names = build_student("ediffiqa-t").state_dict().keys()
    assert not [name for name in names if "prelu" in name and ("project" in name or "conv_6_dw" in name)]


@pytest.mark.parametrize(("architecture", "length_is_one"), [("ediffiqa-t", True), ("ediffiqa-s", False)])
def test_embedding_length_and_head_input(architecture, length_is_one):
    student = build_student(architecture).eval()
    x = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        embedding, quality = student(x)
        again = student.head(embedding).squeeze(-1)
    assert embedding.shape == (2, 512)
    assert quality.shape == (2,)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(2), atol=1e-5) is length_is_one
    assert torch.equal(quality, again)


def test_features_scale_stays_at_one_and_counts_among_the_last_tensors():
    with torch.device("meta"):
        names = [name for name, _ in IResNet(100).named_parameters()]
        trained = dict(IResNet(100).named_parameters())
    assert names[-4:] == ["fc.weight", "fc.bias", "features.weight", "features.bias"]
    assert names[:4] == ["conv1.weight", "bn1.weight", "bn1.bias", "prelu.weight"]
    assert not trained["features.weight"].requires_grad


def test_iresnet_halves_four_times_from_a_full_size_stem():
    backbone = IResNet(18, embedding_size=8).eval()
    sizes = []
    for stage in (backbone.prelu, backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
        stage.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[1:])))
    with torch.no_grad():
        backbone(torch.randn(1, 3, 112, 112))
    assert sizes == [(64, 112, 112), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]


def test_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"ediffiqa-t.*got 'ediffiqa-x'"):
        build_student("ediffiqa-x")
    assert len(ARCHITECTURES) == 6


@pytest.mark.parametrize("architecture", ["ediffiqa-t", "ediffiqa-s"])
def test_the_width_of_an_embedding_is_read_off_student_and_backbone(architecture):
    with torch.device("meta"):
        student = build_student(architecture, 24)
    assert embedding_size_of(student.state_dict()) == 24
    assert embedding_size_of(student.backbone.state_dict()) == 24
    assert student.head(torch.zeros(1, 24, device="meta")).shape == (1, 1)
    assert embedding_size_of({}) == 512
