"""Neural spline flow: couplings of two halves, whose maps are monotone splines."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_uniform, keys_from
from simulacra.ground.spec import DataSpec
from simulacra.models.flow.base import Flow
from simulacra.models.flow.elementwise import Kind, elementwise
from simulacra.models.flow.halves import HalvesCoupling
from simulacra.models.flow.maps import Reordering
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextKind


def shuffled(dims: int, number: int) -> Tensor:
    """An order of all values, the same for the same number of values and of the map."""
    noise = keyed_uniform(keys_from(torch.tensor([number]), dims), (dims,))[0]
    return noise.argsort(stable=True)


class SplineFlow(Flow):
    """Couplings of two halves: one is bent by monotone splines, of which the other says the knots.

    A spline of rational quadratics has a slope of its own at each knot, and an inverse in closed
    form: a few of them part what is apart in the data, which scales and shifts do not.

    Paper: C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, "Neural Spline Flows", 2019, arXiv
        1906.04032, sections 3 and 4.
    Departs from the paper: values are standardised first; plain networks instead of residual ones;
        permutations, without linear maps after them; what the networks give is bounded smoothly,
        and bins and slopes are no less than a hundredth, or the map would not come back from
        rounding; a context, when given, enters every coupling.

    Args:
        spec: Ordered levels, or continuous vectors.
        couplings: How many, at least 2; the halves change places after each, and after two of them
            more than two values are shuffled.
        coupling: What is done to a half: additive, affine, spline, or logistics (the distribution
            function of a mixture).
        parts: Bins of a spline, or logistics of a mixture.
        hidden: Widths of each coupling's hidden layers.
        context: What the couplings are told beside the observation: none, label or vector.

    Raises:
        UsageError: If a keyword is out of its range.
    """

    preset = {"weight_decay": 1e-4}
    takes = Takes(unordered=False, values=2)
    small = (
        {"hidden": (4,), "couplings": 2, "parts": 4},
        {"hidden": (4,), "couplings": 3, "coupling": "affine", "context": "label"},
        {"hidden": (4, 4), "couplings": 2, "parts": 4, "context": "vector"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        couplings: int = 6,
        coupling: Kind = "spline",
        parts: int = 8,
        hidden: tuple[int, ...] = (128, 128),
        context: ContextKind = "none",
    ) -> None:
        if couplings < 2 or not 2 <= parts <= 64 or any(width < 1 for width in hidden):
            raise UsageError(
                "couplings is at least 2, parts 2 to 64 and hidden positive, got "
                f"couplings={couplings}, parts={parts}, hidden={hidden}"
            )
        super().__init__(spec, context)
        self.couplings, self.coupling, self.parts = couplings, coupling, parts
        self.hidden = tuple(hidden)
        told = self.context_features.width
        for i in range(couplings):
            if i and i % 2 == 0 and spec.dims > 2:
                self.maps.append(Reordering(shuffled(spec.dims, i)))
            map_ = elementwise(coupling, parts)
            self.maps.append(HalvesCoupling(spec.dims, map_, hidden, told, changes=1 - i % 2))
