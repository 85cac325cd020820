"""Other authors' quality measures, for comparison and for users who have the weights.

| name      | quality                                         | network, weights                   | checked |
|-----------|-------------------------------------------------|------------------------------------|---------|
| lightqnet | the network's output                            | the authors' frozen graph          | yes     |
| magface   | length of the embedding                         | the authors' IResNets              | no      |
| ser-fiq   | 2·σ(−mean distance) of embeddings under dropout | any IResNet recogniser             | no      |
| pfe       | 1 / harmonic mean of the uncertainty σ²         | IResNet and the published head     | no      |
| sdd-fiqa  | the network's output                            | the authors' R50 checkpoint        | no      |
| cr-fiqa   | the network's output                            | the authors' IResNet-50/100        | no      |
| pcnet     | predicted confidence                            | IResNet, head; no published code   | no      |
| faceqnet  | the network's output                            | ResNet-50 and a head; Keras only   | no      |
| faceqgen  | how little a restoration changes the face       | yours; nothing is published        | no      |

Checked: against the authors' real weights, here. What is not follows the paper and public code alone, and
says so in its attribute `verified`.
"""

from .embedding import PFE, SERFIQ, MagFace
from .faceqgen import FaceQgen
from .faceqnet import FaceQnet
from .heads import CRFIQA, PCNet
from .open import BASELINES, BaselineName, open_baseline
from .scorer import BaselineScorer, TorchBaseline
from .sddfiqa import SDDFIQA

__all__ = [
    "BASELINES",
    "CRFIQA",
    "PFE",
    "SDDFIQA",
    "SERFIQ",
    "BaselineName",
    "BaselineScorer",
    "FaceQgen",
    "FaceQnet",
    "MagFace",
    "PCNet",
    "TorchBaseline",
    "open_baseline",
]
