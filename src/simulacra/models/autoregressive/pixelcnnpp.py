"""PixelCNN++: a mixture of logistics for each pixel, from two streams at several resolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.pixelcnnpp_blocks import (
    CachedResolution,
    GatedResNet,
    Resolution,
    features,
)
from simulacra.models.autoregressive.pixelcnnpp_convolutions import (
    PixelStream,
    RowStream,
    ShiftedConv2d,
)
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.distributions import DiscretisedLogistic
from simulacra.nn.levels import as_input
from simulacra.nn.logistic_mixture import DiscretisedLogisticMixture
from simulacra.nn.precision import at_least_float32, full_precision


class PixelCNNpp(Autoregressive):
    """A mixture of logistics for each pixel, from shifted convolutions at several resolutions.

    The likelihood is exact. Levels next to one another are known to be so: the distribution of a
    value has a few parameters, however many levels there are. One indicator chooses the mixture's
    component for all colours of a pixel, which follow one another in the order R, G, B: the
    location of each depends linearly on those before it.

    Paper: T. Salimans, A. Karpathy, X. Chen, D. P. Kingma, "PixelCNN++: Improving the PixelCNN with
        Discretized Logistic Mixture Likelihood and Other Modifications", 2017, arXiv 1701.05517.
    Departs from the paper: the defaults are smaller (there 160 channels, 5 blocks, 10 components,
        dropout 0.5); any number of colours is coupled, and any number of levels; an odd side is
        halved rounding up; the coefficients that couple colours go through tanh, and log-scales
        below −7 count as −7, as in the authors' code; above 256 levels the smallest scale stays
        as many levels wide as of 256. Sampling caches features as in arXiv 1704.06001.

    Args:
        spec: Pictures of ordered integer levels.
        channels: Width of both streams.
        blocks: Residual blocks of each stream at each resolution, on the way down; as many on the
            way up, and one more where the resolution was halved.
        scales: Resolutions, each half the one before it.
        components: Logistics in the mixture.
        dropout: Probability of dropping a feature inside each block.
        context: What the model is told beside the picture: none, label or vector; it enters every
            gate.
    """

    takes = Takes(sounds=False, vectors=False, unordered=False)
    preset = {"batch": 16, "lr": 3e-3}
    small = (
        {"channels": 4, "blocks": 1, "components": 3},
        {"channels": 4, "blocks": 1, "scales": 1, "components": 2, "context": "label"},
        {"channels": 5, "blocks": 1, "scales": 2, "components": 2, "context": "vector"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        channels: int = 32,
        blocks: int = 2,
        scales: int = 3,
        components: int = 5,
        dropout: float = 0.0,
        context: ContextKind = "none",
    ) -> None:
        if min(channels, blocks, scales, components) < 1 or not 0 <= dropout < 1:
            raise UsageError(
                "channels, blocks, scales and components are positive, dropout in [0, 1); got "
                f"channels={channels}, blocks={blocks}, scales={scales}, "
                f"components={components}, dropout={dropout}"
            )
        super().__init__(spec)
        self.channels, self.blocks, self.scales = channels, blocks, scales
        self.components, self.dropout, self.context = components, dropout, context
        self.colours, self.levels = spec.event_shape[0], self._levels
        self.context_features = ContextEmbedding(context, spec, channels)
        # the colours and a channel of ones, which tells the picture from its padding
        inputs = self.colours + 1
        self.first_u = weight_norm(ShiftedConv2d(inputs, channels, (2, 3), above=2))
        self.first_above = weight_norm(ShiftedConv2d(inputs, channels, (1, 3)))
        self.first_left = weight_norm(ShiftedConv2d(inputs, channels, (2, 1)))
        told = self.context_features.width
        self.network = Resolution(scales, channels, blocks, told, dropout)
        # logits, then locations and scales of each colour, then how colours move later ones
        pairs = self.colours * (self.colours - 1) // 2
        outputs = components * (1 + 2 * self.colours + pairs)
        self.out = weight_norm(nn.Conv2d(channels, outputs, 1))

    def _outputs(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The mixture's parameters at every pixel, `(N, H, W, outputs)`, in float32 at least."""
        inputs = self._with_ones(as_input(x, self.spec, self.out.bias.dtype))
        ul = self._streams(inputs, self.context_features(context, inputs))
        # a location that is rounded to bfloat16 is half a level off
        with full_precision(ul):
            return self.out(at_least_float32(F.elu(ul))).movedim(1, -1)

    def _streams(self, inputs: Tensor, told: Tensor) -> Tensor:
        """The features of the stream ul, which sees all that came before a pixel."""
        u = features(self.first_u(inputs))
        ul = features(self.first_above(inputs) + self.first_left(inputs))
        return self.network((u, ul), told)[1].plain

    @staticmethod
    def _with_ones(inputs: Tensor) -> Tensor:
        return F.pad(inputs, (0, 0, 0, 0, 0, 1), value=1.0)

    def _mixture(
        self, parameters: Tensor, x: Tensor
    ) -> Iterator[tuple[Tensor, DiscretisedLogistic]]:
        """One colour after another: the components' log-weights `(…, K)`, and the components.

        Args:
            parameters: `(…, outputs)`.
            x: Levels `(…, C)`; a colour is read after it was yielded.
        """
        k, colours = self.components, self.colours
        top = self.levels - 1
        # e^−7 of half the range, as in the paper, and not more levels than that is of 256
        floor = -7 - max(0.0, math.log(top / 255))
        own = 2 * k * colours
        logits, own_parameters, coupling = parameters.split(
            [k, own, parameters.shape[-1] - k - own], -1
        )
        logits, coupling = logits.log_softmax(-1), coupling.tanh()
        earlier: list[Tensor] = []
        for c in range(colours):
            mean, log_scale = own_parameters[..., 2 * k * c : 2 * k * (c + 1)].chunk(2, -1)
            # equation 3: the means are linear in the earlier colours; of one colour there are no
            # couplings, and torch's compiler splits nothing into no parts
            for pair, value in enumerate(earlier, c * (c - 1) // 2):
                mean = mean + coupling[..., pair * k : (pair + 1) * k] * value
            # from −1 … 1 to units of levels, where k + 0.5 is the middle of level k
            components = DiscretisedLogistic(
                (mean + 1) * (top / 2) + 0.5,
                log_scale.clamp_min(floor).exp() * (top / 2),
                self.levels,
                # not validated: what is not finite must reach the likelihood, where it is counted
                validate_args=False,
            )
            yield logits, components
            if c + 1 < colours:
                value = x[..., c : c + 1]
                logits = logits + components.log_prob(value)
                earlier.append(value.to(mean.dtype) * (2 / top) - 1)

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x_i | x_<i, context), all at once: mixtures, a batch `(N, C, H, W)`.

        The weight of a component of the pixel goes from colour to colour with the probability that
        it gave to those before: π_k Π_{c' < c} p_k(x_c' | x_<c').
        """
        each = self._mixture(self._outputs(x, context), x.movedim(1, -1))
        logits, loc, scale = (
            torch.stack(parts, 1)
            for parts in zip(*((w, part.loc, part.scale) for w, part in each), strict=True)
        )
        return DiscretisedLogisticMixture(logits, loc, scale, self.levels, validate_args=False)

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Exact log p(x) in nats, `(N,)`: log Σ_k π_k Π_c p_k(x_c | x_<c), over pixels.

        It is the product of the conditionals, without their normalising weights. `draws` and `seed`
        change nothing.
        """
        self.spec.check(x)
        values = x.movedim(1, -1)
        *_, (logits, last) = self._mixture(self._outputs(x, context), values)
        return (logits + last.log_prob(values[..., -1:])).logsumexp(-1).flatten(1).sum(1)

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Every convolution gives mean 0 and variance 1 on some data (arXiv 1602.07868, section 3).

        The last one of a block gives a tenth of that, so that the blocks begin near the identity.
        """
        small = {block.second for block in self.modules() if isinstance(block, GatedResNet)}

        def standardise(conv: Any, _: tuple[Tensor, ...], y: Tensor) -> Tensor:  # noqa: ANN401
            mean, spread = y.mean((0, 2, 3)), y.std((0, 2, 3), correction=0)
            # a channel that is constant on these data, as in the first row of one, stays
            scale = torch.where(spread > 1e-6, (0.1 if conv in small else 1.0) / spread, 1.0)
            magnitude = conv.parametrizations.weight.original0
            magnitude.mul_(scale.view_as(magnitude))
            conv.bias.sub_(mean).mul_(scale)
            return (y - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1)

        few, told = x[:128], None if context is None else context[:128]
        hooks = [
            module.register_forward_hook(standardise)
            for module in self.modules()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        ]
        training = self.training
        self.eval()
        self._outputs(few, told)
        self.train(training)
        for hook in hooks:
            hook.remove()

    @torch.no_grad()
    def blind_spot(self) -> Tensor:
        """Earlier pixels that no path reaches: none with enough blocks.

        A coarse row begins at an even row, so that a pixel in an odd one sees its own row at the
        finest resolution alone. See `Autoregressive.blind_spot`.
        """
        _, height, width = self.spec.event_shape
        pixels = height * width
        # the same network with one channel and such weights that only what is reached is positive
        with seeded(0):
            reach = PixelCNNpp(
                DataSpec((1, height, width), 2),
                channels=1, blocks=self.blocks, scales=self.scales, components=1,
            ).double().eval()  # fmt: skip
        for conv in reach.modules():
            if isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
                # elu(x) − elu(−x) has the sign of x
                sign = 1.0 - 2 * (torch.arange(conv.in_channels) % 2)
                conv.weight = sign.view(1, -1, 1, 1).expand_as(conv.weight).double()
                conv.bias = None
        light = torch.eye(pixels, dtype=torch.float64).view(pixels, 1, height, width)
        lit = [
            reach._streams(F.pad(some, (0, 0, 0, 0, 0, 1)), some.new_empty(len(some), 0))
            for some in light.split(256)
        ]
        unlit = torch.cat(lit).view(pixels, pixels) == 0
        earlier = torch.ones(pixels, pixels, dtype=torch.bool).triu(1)
        return (earlier & unlit).repeat(self.colours, self.colours)

    @torch.no_grad()
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The predictions from cached features: the network runs once per pixel.

        See `Autoregressive.in_turn`.
        """
        n, colours, height, width = canvas.shape
        bias, dtype = self.out.bias, self.out.bias.dtype
        told = self.context_features(context, bias.new_empty(n))
        matrix = self.out.weight[:, :, 0, 0].T.contiguous()
        u_rows, above = (RowStream(c, n, width) for c in (self.first_u, self.first_above))
        left = PixelStream(self.first_left, n, width)
        network = CachedResolution(self.network, n, width, told)
        for i in range(height):
            if i:
                finished = as_input(canvas[:, :, i - 1 : i], self.spec, dtype)
                for rows in (u_rows, above):
                    rows.push(self._with_ones(finished))
            network.start_row(i, u_rows.read())
            left.start_row(above.read())
            for j in range(width):
                ul = network.pixel(i, j, left.read(j))
                parameters = at_least_float32(torch.addmm(bias, F.elu(ul), matrix))
                pixel = canvas[:, :, i, j]
                for logits, components in self._mixture(parameters, pixel):
                    yield DiscretisedLogisticMixture(
                        logits, components.loc, components.scale, self.levels, validate_args=False
                    ).level_log_probs()
                slot = left.slots[j]
                slot[:, :colours] = as_input(pixel, self.spec, dtype)
                slot[:, colours] = 1
