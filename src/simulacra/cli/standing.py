"""Where a training stands, in the words of a log: one line now and then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulacra.training.diagnosis import Diagnosis
    from simulacra.training.loop import Training
    from simulacra.training.plan import Plan
    from simulacra.training.progress import Record


def plan_of(training: Training) -> Plan:
    """The plan that a stage goes by; of a training that is done again, the one by which it ends."""
    return training.events.end(training.progress.tick) or training.plan


def steps_of(training: Training) -> int | None:
    """The step at which the stage ends; `None` as long as nobody knows.

    Of a budget in seconds it is an estimate, made again and again.
    """
    plan = plan_of(training)
    return plan.steps if plan.known else None


def counted(count: int, kind: str) -> str:
    """So many steps or sweeps: `1 step`, `12 sweeps`."""
    return f"{count} {kind.removesuffix('s') if count == 1 else kind}"


def seconds_left(training: Training, pace: float) -> float | None:
    """How long the stage still takes: of its seconds if it has them, of its steps otherwise.

    Args:
        training: Under way.
        pace: Steps a second; 0 if that is not known.
    """
    plan, progress, steps = plan_of(training), training.progress, steps_of(training)
    if plan.seconds is not None and not plan.settled:
        return max(0.0, plan.seconds - (progress.seconds - plan.begun))
    return (steps - progress.step) / pace if steps is not None and pace else None


def of_steps(step: int, steps: int | None) -> str:
    """So many steps of all: ` 9/12`."""
    return f"{step}" if steps is None else f"{step:>{len(str(steps))}}/{steps}"


def losses_of(record: Record, unit: str = "") -> str:
    """The losses of a step, of each player; empty for a skipped one.

    Args:
        record: Of the step.
        unit: Of the losses, where it is known.
    """
    found = {k.removesuffix("/loss"): v for k, v in record.losses.items() if k.endswith("loss")}
    return ", ".join(f"{name} {value:#.4g}{unit}" for name, value in found.items())


def parts_of(training: Training, record: Record) -> str:
    """What a loss of codes is made of: `reconstruction   80.12, kl   12.31`; empty of others."""
    # torch is met when a training is there, not when help is asked for
    from simulacra.models.bounded import Bounded
    from simulacra.models.quantised import Quantised

    if not isinstance(training.model, Bounded | Quantised):
        return ""
    parts = {
        k.rpartition("/")[2]: v for k, v in record.losses.items() if not k.endswith(("loss", "/lr"))
    }
    # wide enough for a small one: the columns of a log stay where they are
    return ", ".join(f"{name} {value:#7.4g}" for name, value in parts.items())


def balance_of(training: Training) -> str:
    """What was last seen of a game: `real 62 %, fake 58 %, diversity 0.83`; empty of others."""
    seen, told = training.learner.seen_of_game, []
    if "real" in seen:
        told = [f"{name} {seen[name]:4.0%}" for name in ("real", "fake")]
    if "diversity" in seen:
        told.append(f"diversity {seen['diversity']:.2f}")
    return ", ".join(told)


def sentence(found: Diagnosis, keywords: Mapping[str, object]) -> str:
    """A diagnosis with what may help.

    Args:
        found: The diagnosis.
        keywords: Of the model.
    """
    from simulacra.training.diagnosis import advice

    return f"{found}. Try {advice(found.name, keywords)}"


class Columns:
    """Cells below one another: a column is as wide as its widest cell so far."""

    def __init__(self) -> None:
        self.widths: list[int] = []

    def line(self, cells: Sequence[str]) -> str:
        """Cells as one line, each to the right of its column."""
        widths = zip_longest(map(len, cells), self.widths, fillvalue=0)
        self.widths = [max(pair) for pair in widths]
        padded = (
            cell.rjust(width) for cell, width in zip(cells, self.widths, strict=True) if width
        )
        return "  ".join(padded).rstrip()


def line_cells(
    training: Training, record: Record, pace: float, validation: str, kind: str
) -> list[str]:
    """Where a training stands.

    Args:
        training: Under way.
        record: Of its last step.
        pace: Steps a second, of late; 0 if that is not known.
        validation: The last one, in words; empty before the first.
        kind: Of its steps: steps or sweeps.
    """
    left, parts = seconds_left(training, pace), parts_of(training, record)
    each = kind.removesuffix("s")
    quick = f"{pace:.3g} {kind}/s" if pace >= 1 else f"{1 / pace:.3g} s/{each}" if pace else ""
    return [
        training.stages[record.stage].name if len(training.stages) > 1 else "",
        f"{of_steps(record.step, steps_of(training))} {kind}",
        losses_of(record, " nats" if parts else ""),
        parts,
        validation,
        balance_of(training),
        quick,
        f"{record.seconds:.0f} s",
        "" if left is None else f"{span(left)} left",
        f"{record.skipped} skipped" if record.skipped else "",
    ]


def span(seconds: float) -> str:
    """A time in its usual unit: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
