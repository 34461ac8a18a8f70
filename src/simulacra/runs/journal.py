"""`Journal`: what a training leaves to look at, beside its checkpoints."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.drawing.observations import look
from simulacra.ground.errors import UsageError
from simulacra.ground.storage import write_bytes
from simulacra.models.model import Sampling
from simulacra.runs.metrics import BALANCE, METRICS, Metrics
from simulacra.tasks.sample import draw
from simulacra.training.loop import Training
from simulacra.training.progress import Record

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

ROWS = 200
"""How many rows of metrics a training writes, about."""
_PICTURES = 4
"""How many pictures of samples it draws."""
_DRAWING = 0.01
"""Share of a budget in seconds that each but the last may take, of which it is a part."""
_SAMPLES = -4  # key of a random stream, beside those of `train` and `run`


class _TooLong(Exception):  # noqa: N818 (no error, but the end of a picture)
    """A picture takes longer than it may."""


class Journal:
    """`metrics.csv`, `samples/` and, if asked for, TensorBoard's files in `tensorboard/`.

    Args:
        folder: The run's.
        training: Its plan made, at the step that it goes on from.
        tensorboard: Whether to write scalars and pictures for TensorBoard too; see
            `check_tensorboard`.
    """

    def __init__(self, folder: Path, training: Training, *, tensorboard: bool = False) -> None:
        self.folder, self.training = folder, training
        self.stage, place = training.progress.stage, training.plan.place(training.progress.step)
        self.rows, self.drawn = int(ROWS * place), int(_PICTURES * place)
        self.board = _board(folder / "tensorboard", training) if tensorboard else None
        staged = len(training.stages) > 1
        self.metrics = Metrics(folder / METRICS, training.progress.step, staged=staged)
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> Journal:
        self.stack.enter_context(self.metrics)
        if self.board is not None:
            self.stack.callback(self.board.close)
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def add(self, record: Record) -> None:
        """Take in a step."""
        training = self.training
        # where the next stage has begun, this one was at its end
        of_this = record.stage == training.progress.stage
        place = training.plan.place(record.step) if of_this else 1.0
        if record.stage != self.stage:
            self.rows, self.drawn, self.stage = 0, 0, record.stage
        write = record.validated or int(ROWS * place) > self.rows
        self.metrics.add(record, write=write)
        if self.board is not None and write:
            scalars = {
                **record.losses, "lr": record.lr, "validation": record.validation,
                "inverse_error": record.inverse_error,
                **{f"{BALANCE}{name}": value for name, value in record.balance.items()},
            }  # fmt: skip
            for name, value in scalars.items():
                if value is not None:
                    self.board.add_scalar(name, value, record.step, new_style=True)
        self.rows = max(self.rows, int(ROWS * place))
        # before its last stage a model need not know yet how to draw
        last = record.stage == len(training.stages) - 1
        if record.validated and last and int(_PICTURES * place) > self.drawn:
            self.drawn = int(_PICTURES * place)
            if place == 1:
                with training.not_counting():
                    self._draw()
                return
            may = math.inf if training.plan.seconds is None else _DRAWING * training.plan.seconds
            with training.spending("pictures"), contextlib.suppress(_TooLong):
                self._draw(may)

    def _draw(self, seconds: float = math.inf) -> None:
        """A picture of what the model draws now.

        Args:
            seconds: That it may take, of a model that draws in steps.
        """
        training = self.training
        model, spec = training.averaged, training.model.spec
        if not isinstance(model, Sampling) or model.context != "none":
            return
        until = training.clock() + seconds

        def check(_: object) -> None:
            if training.clock() > until:
                raise _TooLong

        count, seed = 16 if spec.levels else 1000, (training.options.seed, _SAMPLES)
        x = draw(model, count, seed=seed, on_step=check).x
        if not bool(x.isfinite().all()):
            return
        folder = self.folder / "samples"
        folder.mkdir(exist_ok=True)
        write_bytes(folder / f"{training.progress.step:08d}.png", look(spec, x))
        if self.board is not None and spec.is_image:
            self.board.add_images("samples", spec.to_float(x), training.progress.step)


def check_tensorboard() -> None:
    """Refuse to write for TensorBoard without it.

    Raises:
        UsageError: If it is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "TensorBoard is not installed: pip install 'simulacra[tensorboard]'"
        ) from error


def _board(folder: Path, training: Training) -> SummaryWriter:
    """TensorBoard's writer; what it wrote after the step that is gone on from is passed over."""
    from torch.utils.tensorboard import SummaryWriter

    made: Any = SummaryWriter(str(folder), purge_step=training.progress.step + 1)
    writer: SummaryWriter = made
    return writer
