"""PixelRNN: a plain recurrent network over the values of a picture or a sound, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.outputs import Output, OutputKind, takes_output
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.levels import as_input


class PixelRNN(Autoregressive):
    """A plain LSTM or GRU reads the values in raster order and predicts the next: the baseline.

    The likelihood is exact. The network knows of two dimensions nothing but what it learns: the
    pixel above is a whole row of steps ago. This is not the Row LSTM or the Diagonal BiLSTM of
    the paper called "Pixel Recurrent Neural Networks" (arXiv 1601.06759).

    Paper: A. Graves, "Generating Sequences With Recurrent Neural Networks", 2013,
        arXiv 1308.0850, section 2: equations 1 to 6.
    Departs from the paper: pixels or sound samples instead of letters; no peephole connections
        from the cells to the gates, or a GRU (Cho et al. 2014, arXiv 1406.1078); before the first
        value a learnt one comes in; the cells start with memories of many lengths (Tallec and
        Ollivier 2018, arXiv 1804.11188); levels enter scaled to [−1, 1], unordered ones one-hot;
        a context, when given, enters every layer at every step beside the value; dropout, where
        it is asked for.

    Args:
        spec: Pictures, sounds or other events of integer levels.
        cell: lstm or gru.
        hidden: Width of each layer's state.
        layers: Number of recurrent layers; each also sees the input, and the output sees each.
        dropout: Probability of dropping a feature on its way up from a layer, not in time.
        output: What is said of a value: categorical, a probability of each level; gaussian, one
            number that is regressed; or logistics, a mixture of ten.
        context: What the model is told beside the values: none, label or vector.
    """

    takes = Takes(vectors=False)
    preset = {"batch": 16, "lr": 3e-3}
    small = (
        {"hidden": 8},
        {"hidden": 6, "layers": 3, "context": "label"},
        {"cell": "gru", "hidden": 6, "layers": 1, "context": "vector"},
        {"hidden": 6, "layers": 1, "output": "gaussian"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        cell: Literal["lstm", "gru"] = "lstm",
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.0,
        output: OutputKind = "categorical",
        context: ContextKind = "none",
    ) -> None:
        if cell not in ("lstm", "gru"):
            raise UsageError(f"cell is lstm or gru, got {cell!r}")
        if hidden < 1 or layers < 1 or not 0 <= dropout < 1:
            raise UsageError(
                "hidden and layers are positive, dropout in [0, 1); got "
                f"hidden={hidden}, layers={layers}, dropout={dropout}"
            )
        super().__init__(spec)
        takes_output(self.takes, output).check(spec, f"PixelRNN with output={output}")
        self.cell: Literal["lstm", "gru"] = cell
        self.hidden, self.layers, self.dropout, self.context = hidden, layers, dropout, context
        self.context_features = ContextEmbedding(context, spec, hidden)
        value = 1 if spec.ordered else self._levels
        self.start = nn.Parameter(torch.zeros(value))
        told = value + self.context_features.width
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.recurrent = nn.ModuleList(
            kind(told if i == 0 else told + hidden, hidden) for i in range(layers)
        )
        self.drop = nn.Dropout(dropout)
        self.last, self.output = Output(output, self._levels), output
        self.logits = nn.Linear(layers * hidden, self.last.numbers)
        for layer in self.recurrent:
            self._remember(layer)

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """Densities over levels need their order."""
        return takes_output(cls.takes, keywords.get("output", "categorical"))

    @torch.no_grad()
    def _remember(self, layer: nn.Module) -> None:
        """Biases with which features of the state fade in 1 to `dims` steps, as many in each."""
        h = self.hidden
        steps = torch.rand(h) * max(self.spec.dims - 2, 0) + 1
        _, _, from_input, from_state = layer.parameters()
        from_input.zero_()
        from_state.zero_()
        # how much is kept: f of an LSTM, z of a GRU; an LSTM's i lets in what f lets go
        from_input[h : 2 * h] = steps.log()
        if self.cell == "lstm":
            from_input[:h] = -steps.log()

    def _values(self, x: Tensor) -> Tensor:
        """Levels `(…)` as the network's input `(…, features)`."""
        features = as_input(x.reshape(-1, 1), self.spec, self.logits.weight.dtype)
        return features.view(*x.shape, self.start.shape[0])

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x_i | x_<i, context), all at once; batch `(N, *event_shape)`."""
        n, order = x.shape[0], self.order.to(x.device)
        # time comes first, as torch's recurrent layers like it
        values = self._values(x.flatten(1)[:, order[:-1]].T)
        values = torch.cat([self.start.expand(1, n, -1), values])
        told = self.context_features(context, values[0])
        inputs = torch.cat([values, told.expand(len(order), -1, -1)], -1)
        states: list[Tensor] = []
        for layer in self.recurrent:
            _lay_together(layer)
            below = [self.drop(states[-1])] if states else []
            states.append(layer(torch.cat([inputs, *below], -1))[0])
        numbers = self.logits(self.drop(torch.cat(states, -1)))
        numbers = numbers[order.argsort()].transpose(0, 1)
        found: Distribution = self.last(numbers.unflatten(1, self.spec.event_shape))
        return found

    @torch.no_grad()
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The predictions by one step of every layer a value; see `Autoregressive.in_turn`."""
        n, flat = canvas.shape[0], canvas.view(canvas.shape[0], self.spec.dims)
        told = self.context_features(context, self.start.new_empty(n))
        levels = torch.arange(self._levels, device=canvas.device)
        table = self._values(levels)
        value = table.shape[1]
        # the value before, and every layer's state, side by side
        seen = table.new_zeros(n, value + self.layers * self.hidden)
        seen[:, :value] = self.start
        gates = table.new_empty(n, 4 * self.hidden)
        stack = []
        for i in range(self.layers):
            weight, always = self._step_matrices(i, told)
            inputs = seen[:, : weight.shape[0]]
            advance = (_lstm if self.cell == "lstm" else _gru)(gates, inputs[:, -self.hidden :])
            stack.append((always, inputs, weight, advance))
        states, to_logits = seen[:, value:], self.logits.weight.T
        for position in self.order.tolist():
            for always, inputs, weight, advance in stack:
                torch.addmm(always, inputs, weight, out=gates)
                advance()
            yield self.last.logits(torch.addmm(self.logits.bias, states, to_logits))
            seen[:, :value] = table[flat[:, position]]

    def _step_matrices(self, i: int, told: Tensor) -> tuple[Tensor, Tensor]:
        """What one step of layer i multiplies, and what it adds at every step.

        Returns:
            `(features, 4 · hidden)` for the value and the states of the layers up to its own, and
            `(n, 4 · hidden)`. The four blocks are as `_lstm` or `_gru` takes them.
        """
        h, value, width = self.hidden, self.start.shape[0], told.shape[1]
        w_input, w_state, b_input, b_state = self.recurrent[i].parameters()
        # where torch's blocks go: of an LSTM i, f, g, o; of a GRU r, z, n
        into, back = ([0, 1, 3, 2],) * 2 if self.cell == "lstm" else ([0, 1, 2], [0, 1, 3])
        from_input = w_input.unflatten(0, (-1, h))
        weight = told.new_zeros(4, h, value + (i + 1) * h)
        weight[into, :, :value] = from_input[..., :value]
        if i:
            weight[into, :, -2 * h : -h] = from_input[..., value + width :]
        weight[back, :, -h:] = w_state.unflatten(0, (-1, h))
        always = told.new_zeros(told.shape[0], 4, h)
        always[:, into] += (from_input[..., value : value + width] @ told.T).movedim(-1, 0)
        always[:, into] += b_input.unflatten(0, (-1, h))
        always[:, back] += b_state.unflatten(0, (-1, h))
        return weight.flatten(0, 1).T.contiguous(), always.flatten(1)


def _lay_together(layer: nn.Module) -> None:
    """Put the weights of a layer side by side in memory, as a GPU's kernels read them.

    Moving a model does so, copying it does not: then it would be done, and told, at every call.
    """
    assert isinstance(layer, nn.RNNBase)
    if len({each.untyped_storage().data_ptr() for each in layer.parameters()}) > 1:
        layer.flatten_parameters()


def _lstm(gates: Tensor, state: Tensor) -> Callable[[], None]:
    """One step of an LSTM from i, f, o and g side by side (equations 7 to 11, no peepholes)."""
    cell = torch.zeros_like(state, memory_format=torch.contiguous_format)
    i, f, o, g = gates.chunk(4, 1)
    ifo = gates[:, : -state.shape[1]]

    def advance() -> None:
        ifo.sigmoid_()
        cell.mul_(f).addcmul_(i, g.tanh_())
        torch.mul(o, torch.tanh(cell, out=g), out=state)

    return advance


def _gru(gates: Tensor, state: Tensor) -> Callable[[], None]:
    """One step of a GRU from r, z and the parts of n that come from input and from state."""
    r, z, new, back = gates.chunk(4, 1)
    rz = gates[:, : 2 * state.shape[1]]

    def advance() -> None:
        rz.sigmoid_()
        torch.lerp(new.addcmul_(r, back).tanh_(), state, z, out=state)

    return advance
