"""SDD-FIQA's network."""

from __future__ import annotations

from typing import ClassVar, Final

from torch import Tensor, nn

from .maps import MAP_VALUES, symmetric

UNITS: Final = ((64, 3), (128, 4), (256, 14), (512, 3))


class _Unit(nn.Module):
    """BN, conv 3×3, PReLU, conv 3×3 (stride), BN, plus the input (subsampled, or by 1×1 conv and BN)."""

    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if width_in != width_out:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(width_in),
            nn.Conv2d(width_in, width_out, 3, 1, 1, bias=False),
            nn.PReLU(width_out),
            nn.Conv2d(width_out, width_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return y


class SDDFIQA(nn.Module):
    """SDD-FIQA (Ou et al., CVPR 2021): distance between mated and non-mated similarities, regressed.

    x: (n, 3, 112, 112) RGB in [0, 1] → (n,), about 0 … 100, higher is better. Keys as published (R50 of
    TFace). Not checked against the authors' weights.
    """

    verified: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        units: list[nn.Module] = []
        width = 64
        for out, count in UNITS:
            for i in range(count):
                units.append(_Unit(width, out, 2 if i == 0 else 1))
                width = out
        self.body = nn.Sequential(*units)
        self.quality = nn.Sequential(
            nn.Flatten(), nn.PReLU(MAP_VALUES), nn.Dropout(0.5), nn.Linear(MAP_VALUES, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        quality: Tensor = self.quality(self.body(self.input_layer(symmetric(x))))
        return quality.squeeze(1)
