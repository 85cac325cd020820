"""Baselines against hand-computed cases and the published names, LightQNet against its real weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facesieve.fiqa.baselines import (
    CRFIQA,
    PFE,
    SDDFIQA,
    SERFIQ,
    BaselineScorer,
    FaceQgen,
    FaceQnet,
    MagFace,
    PCNet,
    TorchBaseline,
    open_baseline,
)
from facesieve.fiqa.baselines.embedding import UncertaintyModule, certainty, robustness
from facesieve.fiqa.baselines.maps import MAP_VALUES, final_map, symmetric
from facesieve.fiqa.faces import aligned_chips, read_faces
from facesieve.fiqa.networks import IResNet
from facesieve.stream.errors import ConfigError, ModelInvalid, WeightsUnavailable
from facesieve.stream.types import Crop

POINTS = np.array([[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]], np.float32)


def crops(chips: np.ndarray) -> list[Crop]:
    box = np.array([0, 0, 112, 112], np.float32)
    return [
        Crop(0, i, float(i), None, chip, None, (0, 0), box, POINTS, 0.9, 35.0, 0.0)
        for i, chip in enumerate(chips)
    ]


@pytest.fixture(scope="module")
def chips(shared: Path) -> np.ndarray:
    return aligned_chips(read_faces(shared / "data" / "lfw-train").take(list(range(0, 240, 40))))


@pytest.fixture(scope="module")
def backbone() -> IResNet:
    torch.manual_seed(0)
    return IResNet(18, embedding_size=8).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand((3, 3, 112, 112), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def scorer(shared: Path) -> BaselineScorer:
    return open_baseline(f"lightqnet:{shared / 'models' / 'lightqnet-dm100.pb'}")


class TestLightQNet:
    def test_gives_what_opencv_makes_of_the_same_graph(self, scorer, chips, shared: Path) -> None:
        network = cv2.dnn.readNetFromTensorflow(str(shared / "models" / "lightqnet-dm100.pb"))
        wanted = []
        for chip in chips:
            small = cv2.resize(chip, (96, 96)).astype(np.float32)
            network.setInput(cv2.dnn.blobFromImage((small - 128) / 128))
            wanted.append(float(network.forward().ravel()[0]))
        found = [quality.score for quality in scorer.score(crops(chips))]
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        assert scorer.verified
        assert scorer.name.startswith("lightqnet@")

    def test_falls_with_blur(self, scorer, chips) -> None:
        blurred = np.stack([cv2.GaussianBlur(chip, (0, 0), 4) for chip in chips])
        sharp, dull = ([q.score for q in scorer.score(crops(c))] for c in (chips, blurred))
        assert (np.array(sharp) > np.array(dull)).all()

    def test_no_crops_no_scores_and_none_after_close(self, shared: Path, chips) -> None:
        scorer = open_baseline(f"lightqnet:{shared / 'models' / 'lightqnet-dm100.pb'}")
        assert scorer.score([]) == []
        scorer.close()
        with pytest.raises(ValueError, match="closed"):
            scorer.score(crops(chips[:1]))


class TestMagFace:
    def test_is_the_length_of_the_embedding_of_bgr_pixels(self, images) -> None:
        torch.manual_seed(0)
        network = MagFace(IResNet(18, 8)).eval()
        with torch.no_grad():
            wanted = network.features(images[:, [2, 1, 0]]).pow(2).sum(1).sqrt()
            torch.testing.assert_close(network(images), wanted)
        assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {2e-5}
        assert not network.verified

    def test_reads_the_authors_layout_classifier_and_all(self, tmp_path: Path, backbone, chips) -> None:
        state = {f"features.module.{key}": value for key, value in backbone.state_dict().items()}
        torch.save({"state_dict": {**state, "parallel_fc.weight": torch.zeros(8, 4)}}, tmp_path / "m.pth")
        scorer = open_baseline(f"magface:{tmp_path / 'm.pth'}")
        same = MagFace(IResNet(18, 8))
        same.features.load_state_dict(backbone.state_dict())
        found = np.array([q.score for q in scorer.score(crops(chips[:2]))])
        np.testing.assert_allclose(found, TorchBaseline(same).score(chips[:2]), rtol=1e-5)
        assert not scorer.verified


class TestSERFIQ:
    def test_robustness_worked_out_by_hand(self) -> None:
        right, up = [3.0, 0.0], [0.0, 0.2]
        found = robustness(torch.tensor([[right, right, right], [right, right, up]]))
        mean = (0 + 2 * np.sqrt(2)) / 3
        np.testing.assert_allclose(found.numpy(), [1.0, 2 / (1 + np.exp(mean))])

    def test_is_the_spread_of_embeddings_under_its_masks(self, backbone, images) -> None:
        network = SERFIQ(backbone, passes=6, seed=3)
        with torch.no_grad():
            row = final_map(backbone, symmetric(images[:1]))[0]
            passes = torch.stack([backbone.fc(row * mask * 2) for mask in network.masks()])
            unit = passes / passes.norm(dim=1, keepdim=True)
            mean = torch.nn.functional.pdist(unit.double()).mean()
            torch.testing.assert_close(
                network(images)[0], (2 / (1 + mean.exp())).float(), rtol=1e-4, atol=1e-6
            )
        assert abs(float(network.masks().mean()) - 0.5) < 0.01

    def test_depends_on_neither_batch_nor_order(self, backbone, images) -> None:
        network = SERFIQ(backbone, passes=4)
        with torch.no_grad():
            together, alone = network(images), torch.cat([network(i[None]) for i in images.flip(0)]).flip(0)
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)

    def test_one_pass_has_no_distance(self, backbone) -> None:
        with pytest.raises(ValueError, match="two passes"):
            SERFIQ(backbone, passes=1)


class TestPFE:
    def test_certainty_is_one_over_the_harmonic_mean(self) -> None:
        variance = torch.tensor([[1.0, 4.0], [2.0, 2.0]])
        torch.testing.assert_close(certainty(variance.log()), torch.tensor([(1 + 0.25) / 2, 0.5]))

    def test_an_untrained_head_says_its_shift(self) -> None:
        head = UncertaintyModule(4).eval()
        with torch.no_grad():
            said = head(torch.rand(2, MAP_VALUES))
        torch.testing.assert_close(
            said, torch.full((2, 4), float(np.log(1e-6 + np.exp(-7)))), atol=1e-2, rtol=0
        )

    def test_a_face_gets_one_positive_number(self, backbone, images) -> None:
        network = PFE(backbone).eval()
        with torch.no_grad():
            found = network(images)
        assert found.shape == (3,)
        assert (found > 0).all()


class TestHeads:
    def test_crfiqa_is_a_line_on_the_embedding(self, images) -> None:
        torch.manual_seed(0)
        network = CRFIQA(18, 8).eval()
        with torch.no_grad():
            embedding = IResNet.forward(network, symmetric(images))
            torch.testing.assert_close(network(images), network.qs(embedding)[:, 0])
        assert {k for k in network.state_dict() if not k.startswith("qs.")} == set(
            IResNet(18, 8).state_dict()
        )

    def test_pcnet_is_a_probability(self, backbone, images) -> None:
        with torch.no_grad():
            network = PCNet(backbone).eval()
            found, logits = network(images), network.head(final_map(backbone, symmetric(images)))
        assert ((found >= 0) & (found <= 1)).all()
        torch.testing.assert_close(found, 1 / (1 + torch.exp(-logits[:, 0])))

    def test_sddfiqa_has_the_published_names_and_sizes(self) -> None:
        with torch.device("meta"):
            network = SDDFIQA()
        state = network.state_dict()
        shapes = {
            "input_layer.0.weight": (64, 3, 3, 3),
            "input_layer.2.weight": (64,),
            "body.0.res_layer.0.weight": (64,),
            "body.3.shortcut_layer.0.weight": (128, 64, 1, 1),
            "body.3.shortcut_layer.1.running_var": (128,),
            "body.23.res_layer.3.weight": (512, 512, 3, 3),
            "quality.1.weight": (25088,),
            "quality.3.weight": (1, 25088),
        }
        assert {name: tuple(state[name].shape) for name in shapes} == shapes
        assert not any(key.startswith("body.24.") for key in state)
        assert network(torch.empty((2, 3, 112, 112), device="meta")).shape == (2,)

    def test_faceqnet_is_a_resnet_50_with_two_layers(self) -> None:
        with torch.device("meta"):
            network = FaceQnet().eval()
        trained = sum(p.numel() for p in network.parameters())
        assert trained == 23_508_032 + (2048 * 32 + 32) + (32 + 1)
        assert network(torch.empty((2, 3, 112, 112), device="meta")).shape == (2,)


class TestFaceQgen:
    def test_what_needs_no_restoration_is_best(self, images) -> None:
        class Dim(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x * 0.5

        assert FaceQgen(nn.Identity())(images).tolist() == [0.0, 0.0, 0.0]
        wanted = -(symmetric(images) * 0.5).pow(2).mean(dim=(1, 2, 3))
        torch.testing.assert_close(FaceQgen(Dim())(images), wanted)

    def test_a_discriminator_has_the_word(self, images) -> None:
        class Brightness(nn.Module):
            def forward(self, x: Tensor, restored: Tensor) -> Tensor:
                return (x + restored)[:, :1]

        found = FaceQgen(nn.Identity(), Brightness())(images)
        torch.testing.assert_close(found, 2 * symmetric(images)[:, 0].mean(dim=(1, 2)))


class TestOpening:
    def test_weights_of_a_recogniser_serve_serfiq(self, tmp_path: Path, backbone, chips) -> None:
        torch.save(backbone.state_dict(), tmp_path / "r18.pth")
        scorer = open_baseline(f"ser-fiq:{tmp_path / 'r18.pth'}")
        (quality,) = scorer.score(crops(chips[:1]))
        assert 0 < quality.score <= 1
        assert quality.model.startswith("ser-fiq@")

    def test_other_weights_are_refused_by_name(self, tmp_path: Path) -> None:
        torch.save({"a.weight": torch.zeros(2)}, tmp_path / "other.pth")
        for name in ("magface", "ser-fiq", "pfe", "sdd-fiqa", "cr-fiqa", "pcnet", "faceqnet"):
            with pytest.raises(
                ModelInvalid,
                match=r"expected (an IResNet's weights|the weights of \w+, got \d+ missing).*other\.pth",
            ):
                open_baseline(f"{name}:{tmp_path / 'other.pth'}")

    @pytest.mark.parametrize("spec", ["lightqnet", "arcface:x.onnx", ":x"])
    def test_an_unknown_name_is_answered_with_the_known(self, spec: str) -> None:
        with pytest.raises(ConfigError, match="one of lightqnet, magface"):
            open_baseline(spec)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsUnavailable, match="gone"):
            open_baseline(f"cr-fiqa:{tmp_path / 'gone.pth'}")

    def test_a_score_that_is_no_number_is_refused(self, chips) -> None:
        class Nowhere(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.full((len(x),), float("nan"))

        with pytest.raises(ModelInvalid, match="finite"):
            BaselineScorer(TorchBaseline(Nowhere()), name="n", verified=False).score(crops(chips[:2]))
