"""What samples are worth that are refined in fewer steps than is usual."""

from __future__ import annotations

from simulacra.data.dataset import Dataset
from simulacra.judging.drawn import draw
from simulacra.judging.figures.records import InSteps, SampleFigures
from simulacra.judging.figures.sample_judge import SampleJudge
from simulacra.models.refining import Refining
from simulacra.tasks.refined import steps_taken

STEPS = (1, 2, 5, 10, 20, 50)
"""Numbers of steps that are tried beside a model's own."""
_WORK, _SHARE = 5e11, 0.25
"""FLOPs that this may take, a quarter of what a likelihood may; or a share of the usual draw."""


def in_steps(
    model: Refining,
    data: Dataset,
    judge: SampleJudge,
    usual: SampleFigures,
    *,
    flops: int | None,
) -> tuple[InSteps, ...]:
    """The Fréchet distance of samples that are refined in few steps and in more.

    All begin as the same noise, and are as many as any model's, for the distance falls as the
    count grows: so it may be read beside that of other models and of real data.

    Args:
        model: In eval mode.
        data: That it is judged on.
        judge: What samples are held against.
        usual: Of the samples in its own number of steps, which are not drawn again.
        flops: Of one of these, if known.

    Returns:
        From few steps to many; without those that would take long, or whose samples are no
        numbers. Empty where the usual samples have no figure.
    """
    own = usual.figure(judge.seen[0].view.name, "frechet")
    if own is None:
        return ()
    found = {steps_taken(model): own}
    for steps in tried(model, judge.count, flops):
        figure = judge.frechet(draw(model, data, judge.count, steps=steps).x)
        if figure is not None:
            found[steps] = figure
    return tuple(InSteps(steps=steps, frechet=figure) for steps, figure in sorted(found.items()))


def tried(model: Refining, n: int, flops: int | None) -> list[int]:
    """The numbers of steps beside its own that there is work for, from few to many.

    Args:
        model: Of which some take no more than `most_steps`.
        n: Samples of each.
        flops: Of a sample in its own number of steps, if known.
    """
    own = steps_taken(model)
    wanted = sorted({steps_taken(model, steps) for steps in STEPS} - {own})
    each = n * (flops or 0) / own
    most = max(_WORK, _SHARE * own * each)
    return [steps for at, steps in enumerate(wanted, 1) if each * sum(wanted[:at]) <= most]
