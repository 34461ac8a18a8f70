"""Differentiable augmentation: what the opponent is shown where there are few pictures.

Where data are few, the opponent learns them by heart. Shown all pictures, real and generated, at
random places, in random light and with a part covered, it cannot; and as gradients go through, the
generator learns what looks right under all of these, not to make pictures that are covered in part.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

ENOUGH = 5000
"""Training pictures from which on none are augmented."""


def augmented(y: Tensor) -> Tensor:
    """Pictures in random light, moved, and with a part covered.

    Paper: S. Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", 2020,
        arXiv 2006.10738, policy colour + translation + cutout with its ranges.
    Departs from the paper: what comes in from outside is dark, and not grey.

    Args:
        y: `(N, C, H, W)` in [−1, 1].

    Returns:
        The same form; each picture by draws of its own.
    """
    return _covered(_moved(_lit(y)))


def _uniform(y: Tensor, low: float, high: float) -> Tensor:
    """A number for each picture, `(N, 1, 1, 1)`."""
    return low + (high - low) * torch.rand(len(y), 1, 1, 1, dtype=y.dtype, device=y.device)


def _lit(y: Tensor) -> Tensor:
    """Brightness by up to ±½, saturation by 0 to 2, contrast by ½ to 1½."""
    y = y + _uniform(y, -0.5, 0.5)
    if y.shape[1] > 1:
        grey = y.mean(1, keepdim=True)
        y = grey + (y - grey) * _uniform(y, 0.0, 2.0)
    mean = y.mean((1, 2, 3), keepdim=True)
    return mean + (y - mean) * _uniform(y, 0.5, 1.5)


def _moved(y: Tensor) -> Tensor:
    """By up to an eighth of each side; what comes in from outside is the darkest there is."""
    height, width = y.shape[2:]
    down, right = int(height / 8 + 0.5), int(width / 8 + 0.5)
    rows = _places(y, height, down)
    columns = _places(y, width, right)
    wide = pad(y + 1, (right, right, down, down))
    at = torch.arange(len(y), device=y.device)[:, None, None]
    # gathered by (picture, row, column), which puts the channels last
    shown = wide.movedim(1, -1)[at, rows[:, :, None], columns[:, None, :]]
    return shown.movedim(-1, 1) - 1


def _places(y: Tensor, side: int, most: int) -> Tensor:
    """Which rows, or columns, of a padded picture are shown, `(N, side)`."""
    by = torch.randint(0, 2 * most + 1, (len(y), 1), device=y.device)
    return by + torch.arange(side, device=y.device)


def _covered(y: Tensor) -> Tensor:
    """Half of each side, anywhere, grey."""
    keep = None
    for axis, side in ((2, y.shape[2]), (3, y.shape[3])):
        wide = (side + 1) // 2
        # its middle is anywhere, so that at the edges less of it is seen
        begin = torch.randint(0, side + 1 - wide % 2, (len(y), 1), device=y.device) - wide // 2
        at = torch.arange(side, device=y.device)
        if side == 1:
            # all of an axis of one would be covered
            continue
        here = ((begin <= at) & (at < begin + wide)).unsqueeze(1).unsqueeze(5 - axis)
        keep = here if keep is None else keep & here
    if keep is None:
        return y
    return y * (~keep).to(y.dtype)
