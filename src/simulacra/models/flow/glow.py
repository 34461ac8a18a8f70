"""Glow: steps of a normalisation, a 1×1 convolution and a coupling, in several scales."""

from __future__ import annotations

from simulacra.ground.spec import DataSpec
from simulacra.models.flow.elementwise import Kind
from simulacra.models.flow.maps import ActNorm, FlowMap, InvertibleConv
from simulacra.models.flow.networks import GlowNetwork
from simulacra.models.flow.pictures import Dequantisation, PictureFlow
from simulacra.models.flow.scales import ChannelCoupling, Form, MultiScale
from simulacra.nn.context import ContextKind


class Glow(PictureFlow):
    """Steps of a normalisation, a 1×1 convolution and a coupling, in several scales of a picture.

    A scale squeezes 2×2 pixels into one of four times the channels, goes `steps` steps, and factors
    out half of the channels: codes, after a coupling that sees the other half, which goes on.

    Paper: D. P. Kingma, P. Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions",
        2018, arXiv 1807.03039, sections 2 and 3, table 1.
    Departs from the paper: couplings are of mixtures of logistics unless told otherwise, and the
        noise that is added to levels is learnt (both of Flow++, arXiv 1902.00275); levels are
        stretched by a logit, and standardised channel by channel, both counted; the half that is
        changed changes from step to step; a coupling's log-scale is bounded smoothly, its outputs
        are divided by the square root of the hidden channels; where a side is odd, a pixel that
        lacks some of its channels is not mixed; a context, when given, enters every coupling.

    Args:
        spec: Pictures of ordered levels, of two pixels or more, of any side and colour.
        scales: L, at most: pictures of one pixel are not squeezed any more.
        steps: K, of each scale.
        hidden: Channels of the couplings' networks.
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
        {"scales": 2, "steps": 1, "hidden": 8, "parts": 2},
        {"scales": 1, "steps": 1, "hidden": 8, "coupling": "affine", "context": "label"},
        {
            "scales": 2, "steps": 1, "hidden": 6, "coupling": "spline", "context": "vector",
            "dequantisation": "uniform",
        },
    )  # fmt: skip

    def __init__(
        self,
        spec: DataSpec,
        *,
        scales: int = 3,
        steps: int = 4,
        hidden: int = 64,
        coupling: Kind = "logistics",
        parts: int = 4,
        dequantisation: Dequantisation = "variational",
        context: ContextKind = "none",
    ) -> None:
        super().__init__(
            spec, scales=scales, steps=steps, hidden=hidden, coupling=coupling, parts=parts,
            dequantisation=dequantisation, context=context,
        )  # fmt: skip
        told = self.context_features.width

        def network(inputs: int, outputs: int, told: int) -> GlowNetwork:
            return GlowNetwork(inputs, hidden, outputs, told)

        def coupled(form: Form, *, first: bool = False) -> ChannelCoupling:
            return ChannelCoupling(form, self._elementwise(), network, told, first=first)

        def maps(form: Form) -> list[FlowMap]:
            each: list[FlowMap] = []
            for i in range(steps):
                each.append(ActNorm(form.channels, form.pixels, form.mask))
                each.append(InvertibleConv(form.channels, form.pixels, form.mask))
                each.append(coupled(form, first=i % 2 == 1))
            return each

        self.maps.append(MultiScale(spec.event_shape, scales, maps, coupled))
