"""Masked linear layers: a parallel form for training, and a cached form for sampling.

Every unit has a degree, and an output sees the inputs whose degree is at most its own (Germain et
al. 2015, arXiv 1502.03509, equations 8 to 13).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.ground.randomness import keyed_uniform, keys_from


def deal_degrees(width: int, least: int, dims: int, masks: int, layer: int) -> Tensor:
    """m^l(k): the degree of each unit of a hidden layer under each mask, `(masks, width)`.

    The degrees from `least` to dims − 1 are spread evenly over the units, and every mask deals
    them out anew. The same arguments give the same degrees, whatever the version of torch.
    """
    degrees = least + torch.arange(width) * (dims - least) // width
    noise = keyed_uniform(keys_from(torch.arange(masks), layer), (width,))
    return degrees[noise.argsort(stable=True)]


class MaskedLinear(nn.Linear):
    """Linear map of which each output sees only the inputs of its own degree or of a lower one.

    Args:
        sources: Degree of each input under each mask, `(masks, inputs)` integers.
        targets: Degree of each output under each mask, `(masks, outputs)`. Each degree comes
            equally often under every mask, and so do connections.
        bias: Whether something is added.
    """

    sources: Tensor
    targets: Tensor

    def __init__(self, sources: Tensor, targets: Tensor, *, bias: bool = True) -> None:
        super().__init__(sources.shape[1], targets.shape[1], bias=bias)
        # not the masks themselves, each of which is as large as the weights
        self.register_buffer("sources", sources.int(), persistent=False)
        self.register_buffer("targets", targets.int(), persistent=False)

    @property
    def mask(self) -> Tensor:
        """The first mask; the others have as many connections."""
        return self.connections(0)

    def connections(self, which: int | Tensor) -> Tensor:
        """Booleans `(outputs, inputs)`: who sees whom under a mask, whose number may be a tensor.

        A compiled step then serves every mask.
        """
        which = torch.as_tensor(which, device=self.targets.device)
        targets, sources = (each.index_select(0, which)[0] for each in (self.targets, self.sources))
        return targets[:, None] >= sources

    def forward(self, x: Tensor, which: int | Tensor = 0) -> Tensor:
        """All outputs at once under one of the masks: `(N, inputs)` to `(N, outputs)`."""
        return F.linear(x, torch.where(self.connections(which), self.weight, 0), self.bias)


class MaskedLinearStream:
    """The cached form of one `MaskedLinear` under all its masks: one degree after another.

    Units are sorted by degree, so that those of a degree are neighbours under every mask. Several
    degrees make a block. What is known before a block is added to its outputs by one large matrix
    product; each step adds the little that became known within the block.

    Args:
        layer: The layer; its weights are read block by block.
        inputs: `(masks, inputs, n)` in the order of the degrees, zero where not known yet. Those
            of a degree are known once the step of that degree is asked for.
        degrees: Degrees go from 0 to below this.
        told: Added to the outputs, `(outputs, n)`, if anything is.
    """

    def __init__(
        self, layer: MaskedLinear, inputs: Tensor, degrees: int, told: Tensor | None = None
    ) -> None:
        self.inputs, self.weight = inputs, layer.weight.detach()
        bias = self.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias
        self.bias = bias.detach()[:, None].expand(-1, inputs.shape[2])
        self.bias = self.bias if told is None else self.bias + told
        sources, self.columns = layer.sources.sort(stable=True)
        targets, self.rows = layer.targets.sort(stable=True)
        # how many inputs and outputs have at most each degree, the same under every mask; the
        # last place, which is also the one before the first, says that none has less than 0
        every = torch.arange(degrees, device=inputs.device, dtype=torch.int32)
        self.read, self.written = (
            [*torch.searchsorted(sorted_[0], every, right=True).tolist(), 0]
            for sorted_ in (sources, targets)
        )
        self.counts = [self.written[d] - self.written[d - 1] for d in range(degrees)]

    def by_degree(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """Views of sorted outputs `(masks, outputs, n)`, those of each degree."""
        return outputs.split(self.counts, 1)

    def start(self, first: int, stop: int) -> None:
        """Begin the block of the degrees from `first` to below `stop`."""
        known, seen = self.read[first - 1], self.read[stop - 1]
        begin, end = self.written[first - 1], self.written[stop - 1]
        rows, columns = self.rows[:, begin:end], self.columns[:, None, :seen]
        weight = self.weight[rows[:, :, None], columns]
        outputs = torch.baddbmm(self.bias[rows], weight[:, :, :known], self.inputs[:, :known])
        # views of all steps at once: one by one they take as long as the products. No mask: what
        # is not known yet is zero
        self.first, self.recent = first, self.inputs[:, known:seen]
        self.outputs = outputs.split(self.counts[first:stop], 1)
        self.weights = weight[:, :, known:].split(self.counts[first:stop], 1)

    def step(self, degree: int) -> Tensor:
        """The outputs of a degree of the block, `(masks, outputs of the degree, n)`."""
        i = degree - self.first
        return torch.baddbmm(self.outputs[i], self.weights[i], self.recent)
