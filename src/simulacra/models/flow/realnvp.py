"""RealNVP: couplings of checkerboards and of channels, in several scales."""

from __future__ import annotations

import torch

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.flow.elementwise import Kind
from simulacra.models.flow.maps import ActNorm, FlowMap, Reordering
from simulacra.models.flow.networks import ResidualNetwork
from simulacra.models.flow.pictures import Dequantisation, PictureFlow
from simulacra.models.flow.scales import ChannelCoupling, Form, MultiScale
from simulacra.nn.context import ContextKind


class RealNVP(PictureFlow):
    """Couplings of checkerboards and then of channels, in several scales of a picture.

    Each coupling scales and shifts one half of the values, as a residual network says that sees the
    other half. After each scale but the last half of the channels are factored out as codes.

    Paper: L. Dinh, J. Sohl-Dickstein, S. Bengio, "Density estimation using Real NVP", 2016, arXiv
        1605.08803, sections 3.2 to 3.7.
    Departs from the paper: a scale squeezes first, and a checkerboard's black and white fields are
        channels of squeezed pictures, so that a network works at a quarter of the cost; all scales
        have both kinds of coupling; in place of batch normalisation, channels are standardised once
        at the start, by learnt shifts and scales; networks have no weight normalisation, and what
        skips a block goes no farther than behind it; log-scales are bounded smoothly, without a
        learnt factor; outputs are divided by the square root of the hidden channels; the noise
        that is added to levels is learnt (Flow++, arXiv 1902.00275); the logit keeps clear of its
        ends by 1e-6, not 0.05; a context, when given, enters every coupling.

    Args:
        spec: Pictures of ordered levels, of two pixels or more, of any side and colour.
        scales: Their number, at most: pictures of one pixel are not squeezed any more.
        steps: Couplings of each kind in each scale.
        hidden: Channels of the couplings' networks.
        blocks: Residual blocks of each network.
        coupling: What is done to each value: additive, affine, spline (monotone
            rational-quadratic) or logistics (their mixture's distribution function).
        parts: Bins of a spline, or logistics of a mixture, 1 to 64.
        dequantisation: Of the noise that is added to levels: uniform, or variational, which is
            learnt.
        context: What the couplings are told beside the observation: none, label or vector.

    Raises:
        MissingCapability: If a picture has one pixel.
        UsageError: If a keyword is out of its range.
    """

    preset = {"lr": 4e-3}
    small = (
        {"scales": 2, "steps": 1, "hidden": 6, "blocks": 1},
        {"scales": 1, "steps": 2, "hidden": 6, "coupling": "additive", "context": "label"},
        {"scales": 1, "steps": 1, "hidden": 6, "context": "vector", "dequantisation": "uniform"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        scales: int = 3,
        steps: int = 3,
        hidden: int = 32,
        blocks: int = 2,
        coupling: Kind = "affine",
        parts: int = 4,
        dequantisation: Dequantisation = "variational",
        context: ContextKind = "none",
    ) -> None:
        if blocks < 1:
            raise UsageError(f"blocks is at least 1, got {blocks}")
        super().__init__(
            spec, scales=scales, steps=steps, hidden=hidden, coupling=coupling, parts=parts,
            dequantisation=dequantisation, context=context,
        )  # fmt: skip
        self.blocks = blocks
        told = self.context_features.width

        def network(inputs: int, outputs: int, told: int) -> ResidualNetwork:
            return ResidualNetwork(inputs, hidden, outputs, told, blocks)

        def couplings(form: Form) -> list[FlowMap]:
            each: list[FlowMap] = []
            for i in range(steps):
                each.append(ActNorm(form.channels, form.pixels, form.mask))
                each.append(
                    ChannelCoupling(form, self._elementwise(), network, told, first=i % 2 == 1)
                )
            return each

        def maps(form: Form) -> list[FlowMap]:
            # from (black, white) fields to (upper, lower) ones, which are halves of the channels
            order = torch.arange(form.channels, device="cpu").view(4, -1)[[0, 2, 1, 3]].flatten()
            halves = form.reordered(order)
            there, back = Reordering(order), Reordering(order.argsort())
            return [*couplings(form), there, *couplings(halves), back]

        self.maps.append(MultiScale(spec.event_shape, scales, maps))
