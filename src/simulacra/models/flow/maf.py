"""MAF: masked autoregressive maps, whose density takes a pass and whose samples go in turn."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.flow.autoregressive_maps import AutoregressiveMap, MaskedNetwork
from simulacra.models.flow.base import Flow
from simulacra.models.flow.elementwise import Kind, elementwise
from simulacra.models.flow.masked_mixture import MaskedMixture
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextKind


class MAF(Flow):
    """Masked autoregressive maps one after another: each scales and shifts by the values before.

    An autoregressive model with Gaussian conditionals is a flow, whose codes are the standardised
    deviations from what was predicted; several of them stand one upon the codes of another. A
    density takes a pass. Samples are made value after value, of which every hidden unit is computed
    once.

    Paper: G. Papamakarios, T. Pavlakou, I. Murray, "Masked Autoregressive Flow for Density
        Estimation", 2017, arXiv 1705.07057, section 3; with more than one component, MAF MoG.
    Departs from the paper: z = y · exp(s) + t, with |s| < 3, smoothly, for without a bound it is
        known to blow up; no batch normalisation: values are standardised first, and every map
        starts as the identity; the degrees of a hidden layer are spread evenly; dropout; other
        maps of a value than affine ones, where they are asked for; a context, when given, enters
        every hidden layer.

    Args:
        spec: Ordered levels, or continuous vectors.
        transforms: Number of maps; the order of values turns around after each.
        hidden: Widths of each map's hidden layers, and of the base's.
        coupling: What is done to a value, given those before it: affine as in the paper; additive,
            spline, or logistics (the distribution function of a mixture).
        parts: Bins of a spline, or logistics of a mixture.
        components: Gaussians of the base's density of each code, given those before it; with 1 all
            codes are independent and normal.
        dropout: Probability of dropping a hidden unit.
        context: What the maps are told beside the observation: none, label or vector.

    Raises:
        UsageError: If a keyword is out of its range.
    """

    preset = {"weight_decay": 1e-4}
    takes = Takes(unordered=False)
    small = (
        {"hidden": (8,), "transforms": 2, "components": 2},
        {"hidden": (8, 6), "transforms": 2, "components": 1, "context": "label"},
        {"hidden": (8,), "transforms": 1, "coupling": "spline", "parts": 2, "context": "vector"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        transforms: int = 5,
        hidden: tuple[int, ...] = (256, 256),
        coupling: Kind = "affine",
        parts: int = 8,
        components: int = 10,
        dropout: float = 0.1,
        context: ContextKind = "none",
    ) -> None:
        if not hidden or min(*hidden, transforms, components) < 1 or not 2 <= parts <= 64:
            raise UsageError(
                "hidden has at least one width, hidden, transforms and components are positive, "
                f"parts 2 to 64; got hidden={hidden}, transforms={transforms}, "
                f"components={components}, parts={parts}"
            )
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout is in [0, 1), got {dropout}")
        super().__init__(spec, context)
        self.transforms, self.hidden = transforms, tuple(hidden)
        self.coupling, self.parts = coupling, parts
        self.components, self.dropout = components, dropout
        told = self.context_features.width

        def network(place: int, outputs: int) -> MaskedNetwork:
            backwards = place % 2 == 1
            return MaskedNetwork(
                spec.dims, outputs, hidden, told, backwards=backwards, dropout=dropout
            )

        for i in range(transforms):
            map_ = elementwise(coupling, parts)
            self.maps.append(AutoregressiveMap(network(i, map_.parameters), map_))
        self.mixture = network(transforms, 3 * components) if components > 1 else None

    def base(self, context: Tensor | None = None) -> Distribution:
        """Standard normal codes; or with components a mixture, given the codes before."""
        if self.mixture is None:
            return super().base()
        like = self.shift.expand(1 if context is None else len(context), *self.shift.shape)
        told = self.context_features(context, like)
        return MaskedMixture(self.mixture, self.shift.shape, told)

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Codes drawn from `base`, narrowed by a temperature: of a mixture one after another."""
        codes = self.base(context)
        if not isinstance(codes, MaskedMixture):
            return super().prior(n, context, temperature=temperature)
        return codes.sample(() if codes.batch_shape else (n,), temperature)
