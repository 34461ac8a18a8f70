"""`RandomConvolutions`: what random filters answer to pictures and sounds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FILTERS = 32
_SCALES = 3


class RandomConvolutions(nn.Module):
    """Features of an untrained network, which needs neither labels nor weights from elsewhere.

    Filters are random, orthonormal among one another and without a mean, so that each answers
    to another pattern and none to brightness. At each of three scales, the observation shrunk by
    2 in a picture and by 4 in a sound from one to the next, a filter's rectified answers are
    averaged over each quarter (each half a side), and their spread over the whole is kept; and the
    mean of the observation itself over each quarter.

    Naeem, Oh, Uh, Choi and Yoo 2020 (arXiv 2002.09797) found that features of untrained networks
    judge samples well where pretrained ones were made for other data; these are far smaller.

    Args:
        channels: Of an observation.
        places: Dimensions after the channels: 2 of a picture, 1 of a sound.
        seed: Of the filters.
    """

    def __init__(self, channels: int, places: int, *, seed: int = 0) -> None:
        super().__init__()
        self.places = places
        self.by, size = (2, 5) if places == 2 else (4, 33)
        generator = torch.Generator().manual_seed(seed)
        for scale in range(_SCALES):
            shape = (_FILTERS, channels, *[size] * places)
            drawn = torch.randn(shape, generator=generator).flatten(1)
            drawn -= drawn.mean(1, keepdim=True)
            # rows are orthonormal where there are enough values for that
            filters = torch.linalg.qr(drawn.T)[0].T if drawn.shape[1] > _FILTERS else drawn
            filters = filters / filters.norm(dim=1, keepdim=True)
            shape = (len(filters), *shape[1:])
            self.register_buffer(f"filters_{scale}", filters.reshape(shape).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Features `(N, width)` of floats `(N, C, H, W)` or `(N, C, T)`."""
        two = self.places == 2
        convolve = F.conv2d if two else F.conv1d
        shrink = F.avg_pool2d if two else F.avg_pool1d
        over = F.adaptive_avg_pool2d if two else F.adaptive_avg_pool1d
        features = [over(x, 2).flatten(1)]
        for scale in range(_SCALES):
            if scale:
                x = shrink(x, self.by, ceil_mode=True)
            filters = self.get_buffer(f"filters_{scale}")
            # zeros beyond the edge would be an edge that is not there
            edge = [filters.shape[-1] // 2] * 2 * self.places
            answers = convolve(F.pad(x, edge, mode="replicate"), filters).relu()
            spread = answers.flatten(2).std(2, unbiased=False)
            features += [over(answers, 2).flatten(1), spread]
        return torch.cat(features, 1)
