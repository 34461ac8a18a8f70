"""Pixel transformer: causal attention over the values of a picture or a sound, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.levels import categorical

Attend = Callable[[Tensor], Tensor]


class Block(nn.Module):
    """Attention to the values before, then an MLP, each added to what came in.

    Args:
        width: d, the features of a value.
        dropout: Probability of dropping a feature that is added.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.attended = nn.Linear(width, width)
        self.before_mlp = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, h: Tensor, attend: Attend) -> Tensor:
        """The features after the block; `attend` takes queries, keys and values `(…, 3d)`."""
        heard = attend(self.queries_keys_values(self.before_attention(h)))
        h = h + self.drop(self.attended(heard))
        return h + self.drop(self.narrow(F.gelu(self.widen(self.before_mlp(h)))))


def rotated(both: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries and keys `(…, 2, heads, 2, pairs)`, rotated; see `PixelTransformer._rotations`."""
    return torch.addcmul(both * cos, both.flip(-2), sin).to(both.dtype).flatten(-2)


class CachedAttention:
    """One block's attention to the values so far, of which each call adds one.

    Args:
        n: Number of observations.
        width: d.
        heads: Number of attention heads.
        rotations: For each value in order, what `rotated` takes.
        like: A tensor of the cache's type and device.
    """

    def __init__(
        self, n: int, width: int, heads: int, rotations: list[tuple[Tensor, Tensor]], like: Tensor
    ) -> None:
        self.rotations, self.count = rotations, 0
        self.keys = like.new_empty(n, heads, len(rotations), width // heads)
        self.values = torch.empty_like(self.keys)

    def __call__(self, features: Tensor) -> Tensor:
        """What the newest value hears, `(n, d)`, from its query, key and value `(n, 3d)`."""
        n, heads, _, width = self.keys.shape
        parts = features.view(n, 3, heads, 2, width // 2)
        q, k = rotated(parts[:, :2], *self.rotations[self.count]).unbind(1)
        self.keys.select(2, self.count).copy_(k)
        self.values.select(2, self.count).copy_(parts[:, 2].flatten(-2))
        self.count += 1
        keys, values = (c.narrow(2, 0, self.count) for c in (self.keys, self.values))
        return F.scaled_dot_product_attention(q.unsqueeze(2), keys, values).flatten(1)


class PixelTransformer(Autoregressive):
    """Causal attention looks back at all values before, wherever they are, to predict the next.

    The likelihood is exact, and there is no blind spot: every layer sees every earlier value.
    Attention costs the square of the number of values: for small pictures and short sounds.

    Paper: M. Chen, A. Radford, R. Child, J. Wu, H. Jun, D. Luan, I. Sutskever, "Generative
        Pretraining from Pixels", 2020, section 2 (it is not on arXiv); the architecture is the
        decoder of A. Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762.
    Departs from the paper: positions are rotations of queries and keys (RoFormer, arXiv
        2104.09864), of which rows rotate one half and columns the other, in place of learnt
        embeddings; a query has the position of the value that it predicts, a key that of the
        value that it holds; a learnt embedding says which colour comes next; colours are values
        of their own, not clusters of a palette of 512; a context, when given, is added before
        every block; it is small, and trained from nothing on its own data.

    Args:
        spec: Pictures, sounds or other events of integer levels.
        width: d, the features of a value.
        layers: Number of blocks.
        heads: Number of attention heads, which share the width.
        dropout: Probability of dropping a feature of what a block adds.
        context: What the model is told beside the values: none, label or vector.
    """

    takes = Takes(vectors=False)
    preset = {"batch": 16}
    small = (
        {"width": 8, "layers": 2, "heads": 2},
        {"width": 8, "layers": 1, "heads": 2, "context": "label"},
        {"width": 8, "layers": 1, "heads": 1, "context": "vector"},
    )
    rotary_cos: Tensor
    rotary_sin: Tensor
    colour: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        width: int = 64,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
        context: ContextKind = "none",
    ) -> None:
        if width < 1 or layers < 1 or heads < 1 or not 0 <= dropout < 1:
            raise UsageError(
                "width, layers and heads are positive, dropout in [0, 1); got "
                f"width={width}, layers={layers}, heads={heads}, dropout={dropout}"
            )
        # a rotation acts on pairs of features: for each head some of rows and some of columns
        pairs = 4 if spec.is_image else 2
        if width % (pairs * heads):
            raise UsageError(
                f"width is a multiple of {pairs} × heads = {pairs * heads}, got {width}"
            )
        super().__init__(spec)
        self.width, self.layers, self.heads = width, layers, heads
        self.dropout, self.context = dropout, context
        colours = spec.event_shape[0] if spec.is_image else 1
        self.start = nn.Parameter(torch.zeros(width))
        self.value = nn.Embedding(self._levels, width)
        self.next_colour = nn.Embedding(colours, width) if colours > 1 else None
        self.context_features = ContextEmbedding(context, spec, width)
        self.told = nn.ModuleList(
            nn.Linear(width, width, bias=False)
            for _ in range(layers if self.context_features.width else 0)
        )
        self.blocks = nn.ModuleList(Block(width, dropout) for _ in range(layers))
        self.drop = nn.Dropout(dropout)
        self.last = nn.LayerNorm(width)
        self.logits = nn.Linear(width, self._levels)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                # of what is added to the running sum, less the more of it there is
                added = name.endswith(("attended.weight", "narrow.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * layers) ** 0.5 if added else 0.02)
        colour = self.order // (spec.dims // colours)
        self.register_buffer("colour", colour, persistent=False)
        cos, sin = self._rotations()
        self.register_buffer("rotary_cos", cos, persistent=False)
        self.register_buffer("rotary_sin", sin, persistent=False)

    def _rotations(self) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines by which queries and keys are rotated.

        Returns:
            `(dims, 2, 1, 1, pairs)` and `(dims, 2, 1, 2, pairs)`: for each value in order its
            query and its key, and of each head's width two halves that make the pairs.
        """
        order = self.order
        if self.spec.is_image:
            _, height, width = self.spec.event_shape
            pixel = order % (height * width)
            place = torch.stack([pixel // width, pixel % width], 1)
            # so that the slowest rotations still tell the rows of a small picture apart
            base = 100.0
        else:
            place, base = order[:, None], 10_000.0
        # a key holds the value before; that of the start is nowhere in the event
        held = torch.cat([torch.full_like(place[:1], -1), place[:-1]])
        axes = place.shape[1]
        count = self.width // self.heads // 2 // axes
        speed = base ** -(torch.arange(count, dtype=torch.float64) / count)
        angle = (torch.stack([place, held], 1)[..., None] * speed).flatten(2)[:, :, None, None]
        sin = angle.sin()
        return angle.cos().float(), torch.cat([-sin, sin], 3).float()

    def _network(self, h: Tensor, told: list[Tensor], attends: Iterable[Attend]) -> Tensor:
        """The network, written once: `attends` do each block's attention, in parallel or cached."""
        for block, heard, attend in zip(self.blocks, told, attends, strict=True):
            h = block(h + heard, attend)
        return self.logits(self.last(h))

    def _told(self, context: Tensor | None, like: Tensor) -> list[Tensor]:
        """What the context adds before each block, `(N, d)`."""
        features = self.context_features(context, like)
        if not self.context_features.width:
            return [like.new_zeros(like.shape[0], self.width)] * self.layers
        return [linear(features) for linear in self.told]

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Categorical:
        """p(x_i | x_<i, context), all at once; batch `(N, *event_shape)`."""
        n, order = x.shape[0], self.order.to(x.device)
        before = self.value(x.flatten(1)[:, order[:-1]])
        h = torch.cat([self.start.expand(n, 1, -1), before], 1)
        if self.next_colour is not None:
            h = h + self.next_colour(self.colour)

        def attend(features: Tensor) -> Tensor:
            parts = features.view(n, len(order), 3, self.heads, 2, self.rotary_cos.shape[-1])
            q, k = rotated(parts[:, :, :2], self.rotary_cos, self.rotary_sin).permute(2, 0, 3, 1, 4)
            v = parts[:, :, 2].flatten(-2).transpose(1, 2)
            heard = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return heard.transpose(1, 2).flatten(2)

        told = [t[:, None] for t in self._told(context, h)]
        logits = self._network(self.drop(h), told, [attend] * self.layers)
        return categorical(logits[:, order.argsort()].unflatten(1, self.spec.event_shape))

    @torch.no_grad()
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The predictions by one step of every block a value, from the keys and values so far.

        See `Autoregressive.in_turn`.
        """
        n, flat = canvas.shape[0], canvas.view(canvas.shape[0], self.spec.dims)
        told = self._told(context, self.start.new_empty(n))
        rotations = list(zip(self.rotary_cos, self.rotary_sin, strict=True))
        attends = [CachedAttention(n, self.width, self.heads, rotations, self.start) for _ in told]
        h = self.start.expand(n, -1)
        for position, colour in zip(self.order.tolist(), self.colour.tolist(), strict=True):
            if self.next_colour is not None:
                h = h + self.next_colour.weight[colour]
            yield self._network(h, told, attends)
            h = self.value(flat[:, position])
