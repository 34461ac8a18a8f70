"""`Inception`: the network whose features the Fréchet Inception distance is made of."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.ground.errors import CheckpointError
from simulacra.ground.randomness import seeded

SIDE = 299
"""Pictures are brought to this height and width."""
WIDTH = 2048
"""Features of the last pooling layer, pool3."""
_CLASSES = 1008
"""Of the classifier that the weights are cut from; torchvision's own weights have 1000."""


class Inception(nn.Module):
    """Inception v3 up to its last pooling layer.

    Szegedy, Vanhoucke, Ioffe, Shlens and Wojna 2015 (arXiv 1512.00567), as the distance of
    Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter 2017 (arXiv 1706.08500) uses it: with the
    TensorFlow weights of 2015-12-05, whose average pooling does not count the padding, and whose
    last block pools by the maximum. Parameters are named as in the PyTorch form of these weights.

    Departs from the original: pictures are resized by torch's bilinear interpolation, not by
    TensorFlow's, which moves pixels by a fraction.
    """

    width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3)
        self.Mixed_5b = _BlockA(192, 32)
        self.Mixed_5c = _BlockA(256, 64)
        self.Mixed_5d = _BlockA(288, 64)
        self.Mixed_6a = _BlockB(288)
        self.Mixed_6b = _BlockC(768, 128)
        self.Mixed_6c = _BlockC(768, 160)
        self.Mixed_6d = _BlockC(768, 160)
        self.Mixed_6e = _BlockC(768, 192)
        self.Mixed_7a = _BlockD(768)
        self.Mixed_7b = _BlockE(1280)
        self.Mixed_7c = _BlockE(2048, pool_by_maximum=True)

    @classmethod
    def read(cls, path: Path) -> Inception:
        """The network with the weights of a file, in eval mode.

        Args:
            path: The weights of 2015-12-05 as a PyTorch state dict, known by the name
                `pt_inception-2015-12-05-6726825d.pth`, or the same tensors as .safetensors.

        Raises:
            CheckpointError: If the file cannot be read or holds other weights.
        """
        weights = _tensors(path)
        with seeded(0):
            network = cls()
        # counters of training steps, which some writers leave out
        own = {k: v for k, v in network.state_dict().items() if not k.endswith("_tracked")}
        shapes = {name: tuple(value.shape) for name, value in own.items()}
        shapes |= {"fc.weight": (_CLASSES, WIDTH), "fc.bias": (_CLASSES,)}
        found = {k: tuple(v.shape) for k, v in weights.items() if not k.endswith("_tracked")}
        wrong = sorted(k for k in shapes.keys() | found.keys() if shapes.get(k) != found.get(k))
        if wrong:
            name = wrong[0]
            raise CheckpointError(
                f"{path} holds other weights than Inception's of 2015-12-05: of {name} expected "
                f"{shapes.get(name, 'nothing')}, got {found.get(name, 'nothing')} "
                f"({len(wrong)} tensors differ): give pt_inception-2015-12-05-6726825d.pth"
            )
        broken = [k for k in own if not bool(weights[k].isfinite().all())]
        if broken:
            raise CheckpointError(f"{path} is broken: {broken[0]} has values that are no numbers")
        network.load_state_dict({k: weights[k].float() for k in own}, strict=False)
        return network.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Features `(N, 2048)` of intensities in [0, 1], `(N, 1 or 3, H, W)`; one is grey."""
        x = x.expand(-1, 3, -1, -1)
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False) * 2 - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, 2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, 2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Raises:
        CheckpointError: If it cannot be read, or holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # what a reader raises depends on where bytes stop making sense
        raise CheckpointError(
            f"{path} cannot be read as tensors: expected a PyTorch state dict or .safetensors "
            "with Inception's weights"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise CheckpointError(f"{path} holds no state dict: expected tensors by name")
    return found


class _Convolution(nn.Module):
    """A convolution, batch normalisation and ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _wide(inputs: int, outputs: int, size: int = 7) -> _Convolution:
    """A filter of one row."""
    return _Convolution(inputs, outputs, (1, size), padding=(0, size // 2))


def _tall(inputs: int, outputs: int, size: int = 7) -> _Convolution:
    """A filter of one column."""
    return _Convolution(inputs, outputs, (size, 1), padding=(size // 2, 0))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _BlockA(nn.Module):
    """Places stay; 1 × 1, 5 × 5 and two 3 × 3 beside pooling (figure 5 of the paper)."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Convolution(inputs, 64, 1)
        self.branch5x5_1 = _Convolution(inputs, 48, 1)
        self.branch5x5_2 = _Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = _Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = _Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Convolution(96, 96, 3, padding=1)
        self.branch_pool = _Convolution(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(_average(x))], 1)


class _BlockB(nn.Module):
    """Places are halved, from 35 × 35 to 17 × 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = _Convolution(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = _Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class _BlockC(nn.Module):
    """Places stay; 7 × 7 filters as a row and a column (figure 6 of the paper)."""

    def __init__(self, inputs: int, inner: int) -> None:
        super().__init__()
        self.branch1x1 = _Convolution(inputs, 192, 1)
        self.branch7x7_1 = _Convolution(inputs, inner, 1)
        self.branch7x7_2 = _wide(inner, inner)
        self.branch7x7_3 = _tall(inner, 192)
        self.branch7x7dbl_1 = _Convolution(inputs, inner, 1)
        self.branch7x7dbl_2 = _tall(inner, inner)
        self.branch7x7dbl_3 = _wide(inner, inner)
        self.branch7x7dbl_4 = _tall(inner, inner)
        self.branch7x7dbl_5 = _wide(inner, 192)
        self.branch_pool = _Convolution(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_average(x))], 1)


class _BlockD(nn.Module):
    """Places are halved, from 17 × 17 to 8 × 8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = _Convolution(inputs, 192, 1)
        self.branch3x3_2 = _Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Convolution(inputs, 192, 1)
        self.branch7x7x3_2 = _wide(192, 192)
        self.branch7x7x3_3 = _tall(192, 192)
        self.branch7x7x3_4 = _Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        three = self.branch3x3_2(self.branch3x3_1(x))
        return torch.cat([three, self.branch7x7x3_4(seven), F.max_pool2d(x, 3, 2)], 1)


class _BlockE(nn.Module):
    """Places stay; rows and columns side by side (figure 7 of the paper)."""

    def __init__(self, inputs: int, *, pool_by_maximum: bool = False) -> None:
        super().__init__()
        self.pool_by_maximum = pool_by_maximum
        self.branch1x1 = _Convolution(inputs, 320, 1)
        self.branch3x3_1 = _Convolution(inputs, 384, 1)
        self.branch3x3_2a = _wide(384, 384, 3)
        self.branch3x3_2b = _tall(384, 384, 3)
        self.branch3x3dbl_1 = _Convolution(inputs, 448, 1)
        self.branch3x3dbl_2 = _Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _wide(384, 384, 3)
        self.branch3x3dbl_3b = _tall(384, 384, 3)
        self.branch_pool = _Convolution(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self.pool_by_maximum else _average(x)
        return torch.cat(
            [
                self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three),
                self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double),
                self.branch_pool(pooled),
            ],
            1,
        )  # fmt: skip
