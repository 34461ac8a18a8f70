"""`Journal`: what a training leaves to look at, beside its checkpoints."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.drawing.observations import look
from simulacra.ground.errors import UsageError
from simulacra.ground.storage import write_bytes
from simulacra.models.model import Sampling
from simulacra.runs.metrics import METRICS, Metrics
from simulacra.tasks.sample import draw
from simulacra.training.loop import Training
from simulacra.training.plan import Record

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

ROWS = 200
"""How many rows of metrics a training writes, about."""
_PICTURES = 4
"""How many pictures of samples it draws."""
_SAMPLES = -4  # key of a random stream, beside those of `train` and `run`


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
        self.drawn, self.stage = self._quarters(training.progress.step), training.progress.stage
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
        every = max(1, self.training.plan.length // ROWS)
        write = record.validated or record.step % every == 0
        self.metrics.add(record, write=write)
        if self.board is not None and write:
            scalars = {**record.losses, "lr": record.lr, "validation": record.validation}
            for name, value in scalars.items():
                if value is not None:
                    self.board.add_scalar(name, value, record.step, new_style=True)
        if record.stage != self.stage:
            self.drawn, self.stage = 0, record.stage
        # before its last stage a model need not know yet how to draw
        last = record.stage == len(self.training.stages) - 1
        if record.validated and last and self._quarters(record.step) > self.drawn:
            self.drawn = self._quarters(record.step)
            self._draw()

    def _quarters(self, step: int) -> int:
        """How many quarters of its stage are done."""
        plan = self.training.plan
        return (step - plan.start) // max(1, plan.length // _PICTURES)

    def _draw(self) -> None:
        """A picture of what the model draws now."""
        training = self.training
        model, spec = training.averaged, training.model.spec
        if not isinstance(model, Sampling) or model.context != "none":
            return
        x = draw(model, 16 if spec.levels else 1000, seed=(training.options.seed, _SAMPLES)).x
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
