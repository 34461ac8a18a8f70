"""`RandomFeatures`: what pictures are compared by where a pixel's place should matter less."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RandomFeatures(nn.Module):
    """The activations of small random networks, each over the picture at another size.

    He, Wang and Hopcroft 2016 (arXiv 1606.04801) found random weights enough to invert features and
    to transfer textures. At each of three sizes, halved from one to the next, two layers of 3×3
    convolutions answer to patches of up to 5×5 pixels of it.

    Nothing here is shared with what samples are judged by, which are other filters in another
    arrangement: a model that was trained on the judge's features would have seen its marks.

    Args:
        channels: Of a picture.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(_SEED)
        for scale in range(_SCALES):
            inputs = channels
            for layer in range(_LAYERS):
                weight = torch.randn(_FILTERS, inputs, 3, 3, generator=generator, device="cpu")
                # of the variance that keeps that of what goes through (He et al. 2015)
                weight *= (2 / weight[0].numel()) ** 0.5
                self.register_buffer(f"filters_{scale}_{layer}", weight)
                inputs = _FILTERS

    def forward(self, x: Tensor) -> list[Tensor]:
        """Activations `(N, filters, height, width)` of pictures `(N, C, H, W)`, at each size."""
        found = []
        for scale in range(_SCALES):
            x = F.avg_pool2d(x, 2, ceil_mode=True) if scale else x
            y = x
            for layer in range(_LAYERS):
                filters = self.get_buffer(f"filters_{scale}_{layer}")
                # zeros beyond the edge would be an edge that is not there
                y = F.leaky_relu(F.conv2d(F.pad(y, [1] * 4, mode="replicate"), filters), _SLOPE)
                found.append(y)
        return found

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean squared difference of all activations, each layer alike, `(N,)`."""
        pairs = zip(self(x), self(y), strict=True)
        layers = [(a - b).square().flatten(1).mean(1) for a, b in pairs]
        return torch.stack(layers).mean(0)


_SEED = 1606_04801
_SCALES = 3
_LAYERS = 2
_FILTERS = 16
_SLOPE = 0.1
