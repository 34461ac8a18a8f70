"""IAF: inverse autoregressive maps, whose samples take a pass and whose density goes in turn."""

from __future__ import annotations

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.flow.autoregressive_maps import (
    AutoregressiveMap,
    InverseAutoregressiveMap,
    MaskedNetwork,
)
from simulacra.models.flow.base import Flow
from simulacra.models.flow.elementwise import Affine
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextKind


class IAF(Flow):
    """Inverse autoregressive maps: each value is scaled and shifted by the codes before its own.

    It is MAF turned around: codes become samples in a pass, and the code of an observation is found
    value after value. Its likelihood is exact all the same, and so are the gradients: those of the
    codes are what the map implies of them.

    Paper: D. P. Kingma, T. Salimans, R. Jozefowicz, X. Chen, I. Sutskever, M. Welling, "Improving
        Variational Inference with Inverse Autoregressive Flow", 2016, arXiv 1606.04934, section 3.
    Departs from the paper: it is a model of data, trained by likelihood, and not the posterior of
        an autoencoder, which only ever needs the quick direction; z · exp(s) + t with |s| < 3,
        smoothly, instead of a gate; values are standardised first; every map starts as the
        identity; a context, when given, enters every hidden layer.

    Args:
        spec: Ordered levels, or continuous vectors.
        transforms: Number of affine maps; the order of values turns around after each.
        hidden: Widths of each map's hidden layers.
        context: What the maps are told beside the observation: none, label or vector.

    Raises:
        UsageError: If a keyword is out of its range.
    """

    preset = {"batch": 256, "lr": 3e-3, "weight_decay": 1e-4}
    takes = Takes(unordered=False)
    not_compiled = "for it finds codes value after value"
    small = (
        {"hidden": (8,), "transforms": 1},
        {"hidden": (8, 6), "transforms": 2, "context": "label"},
        {"hidden": (8,), "transforms": 2, "context": "vector"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        transforms: int = 4,
        hidden: tuple[int, ...] = (128, 128),
        context: ContextKind = "none",
    ) -> None:
        if not hidden or min(*hidden, transforms) < 1:
            raise UsageError(
                "hidden has at least one width, hidden and transforms are positive; "
                f"got hidden={hidden}, transforms={transforms}"
            )
        super().__init__(spec, context)
        self.transforms, self.hidden = transforms, tuple(hidden)
        told = self.context_features.width
        for i in range(transforms):
            map_ = Affine()
            network = MaskedNetwork(spec.dims, map_.parameters, hidden, told, backwards=i % 2 == 1)
            self.maps.append(InverseAutoregressiveMap(AutoregressiveMap(network, map_)))
