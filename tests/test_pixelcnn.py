"""PixelCNN's blind spot, where a colour of a pixel is handed on by the later colours of it."""

from __future__ import annotations

import pytest

import laws
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.pixelcnn import PixelCNN


@pytest.mark.parametrize("colours", [1, 2, 3])
def test_the_blind_spot_of_a_first_kernel_that_is_the_smaller(colours):
    with seeded(0):
        model = PixelCNN(
            DataSpec((colours, 4, 5), 3), channels=12, layers=1, first_kernel_size=3, kernel_size=5
        )
    laws.is_causal(laws.randomise(model).double())


def test_a_first_kernel_that_sees_no_other_pixel_is_refused():
    with pytest.raises(UsageError, match="first_kernel_size is at least 3"):
        PixelCNN(DataSpec((1, 4, 4), 3), first_kernel_size=1)
