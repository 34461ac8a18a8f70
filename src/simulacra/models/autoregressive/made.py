"""MADE: an autoencoder whose masks leave no path from a value, or a later one, to its output."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    Categorical,
    Distribution,
    MixtureSameFamily,
    Normal,
    TransformedDistribution,
)
from torch.nn import functional as F

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.standardised import Standardised
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.distributions import Narrowing
from simulacra.nn.levels import as_input, categorical
from simulacra.nn.masked_linear import MaskedLinear, MaskedLinearStream, deal_degrees
from simulacra.nn.precision import at_least_float32

_NARROWEST = 1e-3
"""Least standard deviation of a Gaussian, in those of the data: a density has no top."""


class MADE(Standardised, Autoregressive):
    """A masked autoencoder: fully connected layers, each value's output sees earlier values only.

    The likelihood is exact. Levels have a softmax; of continuous vectors, which are standardised
    first, and counted, each value has a mixture of Gaussians (MADE MoG of Papamakarios, Pavlakou
    and Murray 2017, arXiv 1705.07057). With several masks a training step uses one of them, drawn
    from torch's generator; evaluation and sampling take the mean of the conditional probabilities
    under all masks, which is an autoregressive distribution again, and as exact.

    Paper: M. Germain, K. Gregor, I. Murray, H. Larochelle, "MADE: Masked Autoencoder for
        Distribution Estimation", 2015, arXiv 1502.03509.
    Departs from the paper: the order is always the raster's, so that several masks differ in
        connections alone and completions stay exact, and not order-agnostic; the degrees of a
        layer are spread evenly and then dealt out, not drawn; levels enter scaled to [−1, 1],
        unordered ones one-hot; a softmax for more than two levels; the vectors' Gaussians, no
        narrower than a thousandth of the data; a context, when given, enters every hidden layer,
        where some units then see no value, but it; dropout, where it is asked for.

    Args:
        spec: Any observations.
        hidden: Widths of the hidden layers.
        masks: Number of connectivity masks over the same weights.
        direct: Whether earlier values also reach an output directly (the paper's A).
        components: Gaussians of each value of a continuous vector.
        dropout: Probability of dropping a hidden unit.
        context: What the model is told beside the observation: none, label or vector.

    Raises:
        UsageError: If a keyword is out of its range.
    """

    takes = Takes()
    small = (
        {"hidden": (16, 12)},
        {"hidden": (8,), "masks": 3, "direct": False, "components": 2},
        {"hidden": (10,), "masks": 2, "components": 2, "context": "label"},
        {"hidden": (12,), "components": 2, "context": "vector"},
    )

    smaller = ({"direct": False},)

    def __init__(
        self,
        spec: DataSpec,
        *,
        hidden: tuple[int, ...] = (512,),
        masks: int = 1,
        direct: bool = True,
        components: int = 10,
        dropout: float = 0.0,
        context: ContextKind = "none",
    ) -> None:
        if not hidden or min(*hidden, masks, components) < 1 or not 0 <= dropout < 1:
            raise UsageError(
                "hidden has at least one width, hidden, masks and components are positive, "
                f"dropout in [0, 1); got hidden={hidden}, masks={masks}, "
                f"components={components}, dropout={dropout}"
            )
        super().__init__(spec)
        self.hidden, self.masks, self.direct = tuple(hidden), masks, direct
        self.components, self.dropout, self.context = components, dropout, context
        self.context_features = ContextEmbedding(context, spec, 32)
        told = self.context_features.width
        dims = spec.dims
        self.inputs = 1 if spec.levels is None or spec.ordered else spec.levels
        # one logit less than levels: adding the same to all changes nothing
        self.outputs = 3 * components if spec.levels is None else spec.levels - 1
        # a unit of degree m sees the first m values; one of degree 0 the context alone
        least = min(0 if told else 1, dims - 1)
        every = torch.arange(dims).expand(masks, -1)
        degrees = [(every + 1).repeat_interleave(self.inputs, 1)]
        for layer, width in enumerate(hidden):
            degrees.append(deal_degrees(width, least, dims, masks, layer))
        degrees.append(every.repeat_interleave(self.outputs, 1))
        *between, last = pairwise(degrees)
        self.W = nn.ModuleList(MaskedLinear(*pair) for pair in between)
        self.V = MaskedLinear(*last)
        self.A = MaskedLinear(degrees[0], degrees[-1], bias=False) if direct else None
        self.U = nn.Linear(told, sum(hidden), bias=False) if told else None
        self.drop = nn.Dropout(dropout)

    @property
    def _hidden_layers(self) -> list[MaskedLinear]:
        return [layer for layer in self.W if isinstance(layer, MaskedLinear)]

    def _in_order(self, x: Tensor) -> Tensor:
        """Values `(N, dims)` in the order of prediction, from `(N, *event_shape)`."""
        return (x.movedim(1, -1) if self.spec.is_image else x).flatten(1)

    def _in_place(self, values: Tensor) -> Tensor:
        """`(N, *event_shape, …)` from `(N, dims, …)`; the reverse of `_in_order`."""
        if not self.spec.is_image:
            return values.unflatten(1, self.spec.event_shape)
        colours, height, width = self.spec.event_shape
        return values.unflatten(1, (height, width, colours)).movedim(3, 1)

    def _told(self, context: Tensor | None, like: Tensor) -> list[Tensor]:
        """What the context adds to each hidden layer, `(N, width)`; nothing without."""
        features = self.context_features(context, like)
        return [] if self.U is None else list(self.U(features).split(self.hidden, 1))

    def _network(self, x: Tensor, told: list[Tensor], which: Tensor) -> Tensor:
        """Equations 8 to 13 under one mask, `(N, dims · outputs)`."""
        h = x
        for i, layer in enumerate(self.W):
            h = layer(h, which)
            h = self.drop(F.relu(h + told[i] if told else h))
        y = self.V(h, which)
        return y if self.A is None else y + self.A(x, which)

    def _mean(self, raw: Tensor) -> Tensor:
        """The mean of the conditionals under several masks, from the outputs `(masks, …, outputs)`.

        Returns:
            Logits `(…, levels)`; or log-weights, means and standard deviations of all masks'
            Gaussians, `(…, 3, masks · components)`.
        """
        raw = at_least_float32(raw)
        if self.spec.levels is not None:
            logits = F.pad(raw, (1, 0))
            return logits[0] if len(raw) == 1 else logits.log_softmax(-1).logsumexp(0)
        logits, loc, log_scale = raw.chunk(3, -1)
        scale = log_scale.clamp(-10, 7).exp() + _NARROWEST
        return torch.stack([logits.log_softmax(-1), loc, scale], -2).movedim(0, -2).flatten(-2)

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x_i | x_<i, context), all at once; batch `(N, *event_shape)`."""
        values = self._in_order(x if self.spec.levels else self.standardised(x))
        inputs = as_input(values, self.spec, self.V.weight.dtype)
        told = self._told(context, inputs)
        which = torch.arange(self.masks)
        if self.training and self.masks > 1:
            which = torch.randint(self.masks, (1,))
        every = which.to(x.device).unbind()
        raw = torch.stack([self._network(inputs, told, mask) for mask in every])
        parameters = self._in_place(self._mean(raw.unflatten(-1, (self.spec.dims, -1))))
        if self.spec.levels is not None:
            return categorical(parameters)
        logits, loc, scale = parameters.unbind(-2)
        # not validated: what is not finite must reach the likelihood, where it is counted
        standardised = MixtureSameFamily(
            Categorical(logits=logits, validate_args=False),
            Normal(loc, scale, validate_args=False),
            validate_args=False,
        )
        units = AffineTransform(self.shift, self.scale)
        return TransformedDistribution(standardised, units, validate_args=False)

    def blind_spot(self) -> Tensor:
        """Earlier values that no path of hidden units leads to a later one, if there are too few.

        None with direct connections. See `Autoregressive.blind_spot`.
        """
        dims = self.spec.dims
        # the lowest degree that a value reaches, layer by layer; dims if there is none
        reached = torch.arange(1, dims + 1)
        for layer in self._hidden_layers:
            degrees = torch.cat([layer.targets[0].cpu().sort().values, torch.tensor([dims])])
            reached = degrees[torch.searchsorted(degrees, reached).clamp_max(len(degrees) - 1)]
        blind = torch.ones(dims, dims, dtype=torch.bool).triu(1)
        blind &= (reached[:, None] > torch.arange(dims)) & (self.A is None)
        place = self.order.argsort()
        return blind[place][:, place]

    @torch.no_grad()
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The predictions from cached units: each is computed once, when all that it sees is known.

        See `Autoregressive.in_turn`.

        Yields:
            Logits `(n, levels)`; or log-weights, means and standard deviations of the Gaussians of
            a vector's value, `(n, 3, masks · components)`, in the units of the data.
        """
        n, dims, weight = canvas.shape[0], self.spec.dims, self.V.weight
        # units are zero until they are known
        known = weight.new_zeros(1, dims * self.inputs, n)
        told = [each.T for each in self._told(context, known[0].T)]
        x = h = known.expand(self.masks, -1, -1)
        hidden = []
        for i, layer in enumerate(self._hidden_layers):
            stream = MaskedLinearStream(layer, h, dims, told[i] if told else None)
            h = weight.new_zeros(self.masks, layer.out_features, n)
            hidden.append((stream, stream.by_degree(h)))
        outputs = [MaskedLinearStream(self.V, h, dims)]
        if self.A is not None:
            outputs.append(MaskedLinearStream(self.A, x, dims))
        block = math.isqrt(dims)
        # views of all values at once: one by one they take as long as the products
        read, write = canvas.view(n, dims).unbind(1), known[0].split(self.inputs)
        levels = torch.arange(self.spec.levels or 0, device=canvas.device)
        entries = as_input(levels[:, None], self.spec, weight.dtype).T.contiguous()
        for degree, position in enumerate(self.order.tolist()):
            if degree % block == 0:
                for stream in [*(stream for stream, _ in hidden), *outputs]:
                    stream.start(degree, min(degree + block, dims))
            for stream, units in hidden:
                torch.clamp_min(stream.step(degree), 0, out=units[degree])
            raw = outputs[0].step(degree)
            for direct in outputs[1:]:
                raw = raw + direct.step(degree)
            prediction = self._mean(raw.mT)
            if self.spec.levels is not None:
                yield prediction
                torch.index_select(entries, 1, read[position], out=write[degree])
            else:
                shift, scale = self.shift.flatten()[position], self.scale.flatten()[position]
                logits, loc, spread = prediction.unbind(1)
                yield torch.stack([logits, loc * scale + shift, spread * scale], 1)
                write[degree].copy_((read[position] - shift) / scale)

    def draw(self, prediction: Tensor, uniform: Tensor, narrowing: Narrowing) -> Tensor:
        """Values `(n,)` of a prediction of `in_turn`; of a vector, by one uniform draw each.

        It chooses the Gaussian, and what is left of it, stretched to (0, 1), the value.

        Raises:
            MissingCapability: If the Gaussians of a vector are to be narrowed.
        """
        if self.spec.levels is not None:
            return super().draw(prediction, uniform, narrowing)
        if narrowing != Narrowing():
            raise MissingCapability(
                "temperature, top_k and top_p are for levels: made draws continuous vectors from "
                "its Gaussians as they are, so leave these options out"
            )
        logits, loc, scale = prediction.unbind(1)
        p = logits.softmax(-1)
        cdf = p.cumsum(-1)
        place = uniform[:, None] * cdf[:, -1:]
        chosen = (place >= cdf[:, :-1]).sum(-1, keepdim=True)
        rest = (place - (cdf - p).gather(1, chosen)) / p.gather(1, chosen)
        # its ends, where the normal has no value, become the middles of its outer steps
        eps = torch.finfo(rest.dtype).eps
        z = torch.special.ndtri(rest.clamp(eps / 4, 1 - eps / 2))
        return (loc.gather(1, chosen) + scale.gather(1, chosen) * z)[:, 0]
