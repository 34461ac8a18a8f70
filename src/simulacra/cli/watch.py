"""The command that shows a model learning."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import (
    DataFlags,
    Length,
    Out,
    Set,
    TrainingFlags,
    Whole,
    file_target,
    given,
    load,
)
from simulacra.cli.standing import counted
from simulacra.cli.stopping import Stop, stopping
from simulacra.cli.training_display import TrainingDisplay, kind_of, shown_as, unit_of
from simulacra.ground import processes
from simulacra.ground.errors import UsageError
from simulacra.models import registry
from simulacra.models.keywords import parse_assignments
from simulacra.training.options import Budget, Options

if TYPE_CHECKING:
    from simulacra.data.dataset import Dataset
    from simulacra.tasks.watch import Watching
    from simulacra.training.loop import Training

_FRAMES = {".gif": 40, ".png": 8}
"""Moments that are shown, by the kind of file."""
_TRAVELLED = {".gif": 25, ".png": 4}
"""Times at which samples are shown on their way, after all moments, of models that carry them."""
_SECONDS, _LAST = 0.15, 3.0
"""How long a frame is shown, and the last one."""
_SLOW = 1.0
"""Seconds that a frame may take before anybody is told how long all of them will."""


def watch(
    model: str,
    source: Annotated[str, Parameter(name="DATA")],
    /,
    *,
    budget: Length = "60s",
    out: Out = None,
    set_: Set = [],  # noqa: B006 (read only)
    frames: Whole | None = None,
    flags: DataFlags = DataFlags(),
    training: TrainingFlags = TrainingFlags(),
) -> None:
    """Train a model and show how it learns, as an animation or a strip of pictures.

    On numbers in one or two columns a frame shows the density, where the model has one, samples and
    data; of a generator with an opponent, how that scores each place and where it so pushes
    samples. Of more columns it shows the first two principal components. On pictures and sounds it
    shows samples, always from the same seed, or what comes back of a model that does not sample.

    Of a model that carries samples over a plane, as flow-matching, ddpm and vdm do, a frame shows
    their paths from noise to data; frames after the last moment show samples as they travel, and
    the field that carries them.

    Above stand step, seconds and the validation loss; of a game how well its opponent tells, and of
    toys with modes how many are covered. Frames follow one another geometrically, for
    a training does as much in its first hundredth as in the rest.

    Drawing is not counted as training. Nothing else is kept: the same training into a run folder
    is simulacra train MODEL DATA.

    Args:
        model: Its name (see: simulacra models), or my.py:MyModel.
        source: A data set's name (see: simulacra data), or a path.
        budget: How long: 90s, 5m, 1h, 2000steps, 10epochs, 2Mobs or 3Gflops.
        out: A .gif file, which moves, or a .png with the frames side by side;
            watch-MODEL-DATA.gif by default.
        set_: A keyword of the model (see: simulacra models MODEL); repeat it for more.
        frames: How many moments of the training at most, the first before any step and the last
            after all; 40 of a .gif and 8 of a .png by default.
        flags: How the data are read.
        training: How to train.
    """
    from simulacra.ground.randomness import seeded
    from simulacra.runs.run import BUILD
    from simulacra.tasks.watch import Watching
    from simulacra.training.batches import check_learnable
    from simulacra.training.engine import device_of
    from simulacra.training.loop import Training
    from simulacra.training.memory import check_room

    if processes.count() > 1:
        raise UsageError("watch trains in one process: leave torchrun out")
    if frames is not None and frames < 2:
        raise UsageError(f"--frames is at least 2, the first and the last, got {frames}")
    keywords, length = parse_assignments(set_), Budget.parse(budget)
    found_model = registry.find(model)
    if out is not None and out.suffix.lower() not in _FRAMES:
        raise UsageError(f"--out is a .gif or a .png file, got {str(out)!r}")
    found = load(source, flags)
    chosen = Options(**{**registry.preset(model), **given(training)})
    device_of(chosen)
    if chosen.compile and found_model.not_compiled:
        terminal.note(f"--compile is left out: {model} is not compiled, {found_model.not_compiled}")
    name = Path(model.rpartition(":")[0] or model).stem
    out = out or Path(f"watch-{name}-{found.name}.gif")
    target = file_target(out, "--out", out.suffix.lower())
    # so begins a run of the same seed
    with seeded(chosen.seed, BUILD):
        built = registry.build(model, found.spec, keywords)
    watching = Watching(built, found, seed=chosen.seed)
    check_learnable(built, found.train, chosen)
    check_room(built, found.train, chosen)
    terminal.note(f"{name} on {found.name}, to be watched")
    under_way = Training(built, found.train, found.validation, chosen)
    under_way.set_plan(length)
    most = frames or _FRAMES[target.suffix.lower()]
    stop = _train(under_way, watching, name, found, most)
    watching.travel(under_way.averaged, _TRAVELLED[target.suffix.lower()])
    _write(target, watching)
    if stop.number is not None:
        stop.leave()


def _train(training: Training, watching: Watching, name: str, found: Dataset, frames: int) -> Stop:
    """Train to the end, or until it is asked to stop, and look now and then."""
    from simulacra.tasks.watch import following

    kind = kind_of(training)
    looked: int | None = None
    told = False

    def look() -> None:
        nonlocal looked, told
        before = time.monotonic()
        with training.not_counting():
            watching.add(training.averaged, _words(training, found, kind), training.model)
        took, looked = time.monotonic() - before, training.progress.step
        if took > _SLOW and not told:
            told = True
            terminal.note(
                f"a frame takes {took:.0f} s, {frames} of them {took * frames:.0f} s beside the "
                "training: fewer --frames take less"
            )

    first = _first_seen(training)

    def due() -> bool:
        plan, seen = training.plan, training.progress.stage + 1 - first
        if seen < 1:
            return False
        # of several stages each may take what those before it left
        left = frames * seen // (len(training.stages) - first) - len(watching.moments)
        # the end of a stage is the beginning of the next one, and that of all is seen below
        left += not training.in_last_stage
        if left < 2:
            return False
        if looked is None or looked < plan.start:
            return True
        since = looked - plan.start
        after = following(since, plan.length, left, by_sweeps=training.stage.by_sweeps)
        return plan.known and training.progress.step - plan.start >= after

    with stopping() as stop, TrainingDisplay([name], found) as display:
        display.calibrating(name)
        display.on_start(name, training)
        if due():
            look()
        for record in training:
            display.on_record(name, record)
            if due():
                look()
            if stop.number is not None:
                break
        progress = training.progress
        if looked != progress.step:
            look()
    if stop.number is not None:
        terminal.note(f"stopped after {counted(progress.step, kind)}; what was seen is drawn")
        return stop
    why = ", converged" if progress.converged else ""
    made = f"{counted(progress.step, kind)} in {progress.seconds:.1f} s"
    terminal.note(f"done: {made}{why}")
    return stop


def _first_seen(training: Training) -> int:
    """The first stage that is watched: before it a model need not know yet how to draw."""
    first = len(training.stages) - 1
    while first > 0 and training.in_nats(first) and training.in_nats(first - 1):
        # its best step is chosen by the same likelihood, so it is the same model
        first -= 1
    return first


def _words(training: Training, found: Dataset, kind: str) -> str:
    """Where the training is: step, seconds, and what the best step is chosen by."""
    progress = training.progress
    words = f"{kind.removesuffix('s')} {progress.step}, {progress.seconds:.1f} s"
    training.settle()
    value = training.learner.validate(training.plan.validate_on)
    if value is None:
        return words
    if training.in_nats(progress.stage):
        return f"{words}, validation {shown_as(found)(value):.3f} {unit_of(found)}"
    return f"{words}, validation {value:.3f}"


def _write(target: Path, watching: Watching) -> None:
    """The file of what was seen."""
    from simulacra.drawing import animation, files
    from simulacra.ground.storage import write_bytes

    images = watching.images()
    if target.suffix.lower() == ".png":
        write_bytes(target, files.png(animation.strip(images)))
    else:
        write_bytes(target, animation.moving(images, seconds=_SECONDS, last=_LAST))
    way = f", {len(watching.travelled)} of samples on their way" if watching.travelled else ""
    terminal.note(f"{target}: {len(watching.moments)} moments of learning{way}")
