"""The work that is measured: a model, a batch of observations, and what is done with them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import AdamW

from simulacra.data.dataset import Observations
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.model import Model, Sampling
from simulacra.models.registry import build, find
from simulacra.models.swept import Swept
from simulacra.training.options import Budget, Options

LEVELS, CLASSES = 256, 10
SAMPLES = (64, 1)
"""How many observations are sampled at once."""
PREPARED_FROM = 512
"""Observations that a model is prepared from, at least."""

Job = Callable[[], object]


def form(kind: type[Model], side: int, levels: int = LEVELS) -> DataSpec:
    """Grey pictures of a side, or for a model that takes none a sound of as many samples."""
    levels = min(levels, kind.takes.most_levels or levels)
    grey = DataSpec((1, side, side), levels=levels, classes=CLASSES)
    if kind.takes.includes(grey):
        return grey
    return DataSpec((side**2,), levels=levels, classes=CLASSES, coding="mu-law", rate=8000)


def size(spec: DataSpec) -> str:
    """How large an observation is, in words."""
    if spec.is_image:
        return "×".join(map(str, spec.event_shape[1:]))
    return f"{spec.dims} samples"


def pictures(spec: DataSpec, n: int, seed: int) -> Tensor:
    """Random levels `(n, *event_shape)`: what a picture shows changes no count of operations."""
    with seeded(seed):
        return torch.randint(spec.levels or 2, (n, *spec.event_shape))


def told(model: Model, n: int) -> Tensor | None:
    """Labels of so many observations, for a model that learns from these alone."""
    if model.context != "label" and model.classes_in_batch is None:
        return None
    device = next(model.parameters()).device
    return model.spec.labels(torch.arange(n, device=device) % model.spec.classes)


def step(model: Model, x: Tensor) -> Job:
    """One training step on a batch: forward, backward and AdamW for each turn, or one sweep.

    The learning rate is 0, which is as much work as any other and leaves the weights as they are,
    so that every round measures the same model.
    """
    model.train()
    turns = _turns(model)
    if isinstance(model, Swept) and not turns:
        return lambda: model.update([(x, None)])
    fused = x.device.type in ("cpu", "cuda")
    optimizers = {
        turn: AdamW(model.player(turn).parameters(), lr=0.0, weight_decay=0.0, fused=fused)
        for turn in turns
    }

    def run() -> None:
        model.train()
        for turn in turns:
            # a game's other players got gradients too
            model.zero_grad()
            model.loss(x, told(model, len(x)), turn=turn)["loss"].backward()
            optimizers[turn].step()

    return run


def _turns(model: Model) -> list[str]:
    return [turn for stage in model.stages for turn in stage.turns]


def forward(model: Model, x: Tensor) -> Job:
    """One evaluation of the loss on a batch, without gradients; of a game, one for each turn."""
    turns = _turns(model)

    @torch.no_grad()
    def run() -> None:
        model.train()
        for turn in turns or ["model"]:
            model.loss(x, told(model, len(x)), turn=turn)

    return run


def sample(model: Sampling, n: int) -> Job:
    """So many observations at once."""

    @torch.no_grad()
    def run() -> None:
        model.eval()
        model.sample(n, told(model, n))

    return run


def loop(model: Model, x: Tensor, options: Options) -> Job:
    """A step of `Training`: batch drawn, seeded, clipped, checked and averaged, beside `step`."""
    from simulacra.training.loop import Training  # half a second to import

    labels = told(model, len(x))
    split = Observations(x.cpu(), None if labels is None else labels.cpu())
    # as many as the other jobs have
    training = Training(model, split, split, options, threads=torch.get_num_threads())
    # so long that nothing happens in it but steps
    training.set_plan(Budget(10**9, "steps"))
    records = iter(training)
    return lambda: next(records)


class Work:
    """A model with its usual keywords, a batch of observations, and the jobs to be measured.

    Args:
        name: In the registry.
        side: Height and width of pictures; see `form`.
        batch: Observations in a batch.
        device: Where.
        seed: Of weights and observations.

    Raises:
        UsageError: If the model does not take these either.
    """

    def __init__(
        self, name: str, side: int, batch: int, device: torch.device, seed: int = 0
    ) -> None:
        self.name, self.seed, self.device = name, seed, device
        spec = form(find(name), side)
        self.x = pictures(spec, batch, seed).to(device)
        self.model = self._model(spec)

    def _model(self, spec: DataSpec) -> Model:
        with seeded(self.seed):
            model = build(self.name, spec).to(self.device)
            model.prepare(pictures(spec, PREPARED_FROM, self.seed).to(self.device))
        return model

    @property
    def names(self) -> list[str]:
        """What the model can do: `forward`, `step`, `loop`, `sample N`."""
        found = ["forward", "step"]
        # a training that begins with sweeps would be measured at these
        if self.model.stages[0].turns:
            found.append("loop")
        if isinstance(self.model, Sampling):
            found += [f"sample {n}" for n in SAMPLES]
        return found

    def job(self, name: str) -> Job:
        """One of `names`, ready to be called."""
        if name == "forward":
            return forward(self.model, self.x)
        if name == "step":
            return step(self.model, self.x)
        if name == "loop":
            # a next-to-zero rate, 0 being none that a training may have, and a model of its own,
            # which the training wraps
            options = Options(batch=len(self.x), lr=1e-12, seed=self.seed, device=self.device.type)
            return loop(self._model(self.model.spec), self.x, options)
        assert isinstance(self.model, Sampling)
        return sample(self.model, int(name.removeprefix("sample ")))
