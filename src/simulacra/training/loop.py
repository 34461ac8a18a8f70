"""`Training`: one loop for every family, iterated for records of its steps.

It shows nothing and writes nothing. All that is random in a step comes from (seed, step), so the
state that `state_dict` returns is enough to go on bit for bit. Several processes iterate in step:
whatever one of them decides by, all of them know.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from simulacra.data.dataset import Observations
from simulacra.data.splits import permutation
from simulacra.ground.errors import DivergedError
from simulacra.ground.randomness import seeded
from simulacra.ground.storage import detached_copy
from simulacra.models.model import Likelihood, Model, Swept
from simulacra.training.batches import Batches
from simulacra.training.engine import (
    check_shared,
    follow_first,
    make_fabric,
    settled,
    sum_over_processes,
)
from simulacra.training.options import Budget, Options
from simulacra.training.plan import FEW, VALIDATION_SIZE, VALIDATIONS, Plan, Progress, Record
from simulacra.training.players import Players, finite

_T = TypeVar("_T")


class Training:
    """A model learning from observations.

    Args:
        model: Any family's; it is moved to the device.
        train: What it learns from.
        validation: What chooses the best step; not the test split.
        options: See `Options`.

    Example:
        >>> import simulacra as sim
        >>> data = sim.load_data("digits")
        >>> model = sim.build("nice", data.spec, {"hidden": (16,)})
        >>> training = sim.Training(model, data.train, data.validation, sim.Options(device="cpu"))
        >>> plan = training.set_plan(sim.Budget.parse("3steps"))
        >>> [record.step for record in training]
        [1, 2, 3]
    """

    def __init__(
        self, model: Model, train: Observations, validation: Observations, options: Options
    ) -> None:
        self.options = options
        # a part of it is looked at, and its order may be by class
        few = permutation(len(validation))[:VALIDATION_SIZE]
        self.model = model.train()
        self.turns = model.turns
        self.fabric = make_fabric(options)
        if not isinstance(model, Swept):
            check_shared(options, self.fabric.world_size)
        self.batches = Batches(train, model, options, self.fabric)
        self.validation = Batches(validation.take(few), model, options, self.fabric)
        self.progress = Progress()
        self.plan = Plan(0, 0)
        model.to(self.fabric.device)
        begun = time.perf_counter()
        with seeded(options.seed, _PREPARE):
            most = min(_PREPARE_SIZE, max(128, _PREPARE_VALUES // model.spec.dims))
            few = torch.randperm(len(train))[:most]
            model.prepare(*self.batches.rows(few))
            few = few[: self.batches.size]
            options = self._of_first(settled(options, model, self.batches.rows(few)))
        if options != self.options:
            self.options, self.fabric = options, make_fabric(options)
        if options.compile or options.precision == "bf16":
            # the order in memory that kernels of low precision are quick in
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        follow_first(self.fabric, model)
        self.progress.seconds = time.perf_counter() - begun
        self.average: AveragedModel | None = None
        self.players: Players | None = None
        if not isinstance(model, Swept):
            self.average = AveragedModel(model, multi_avg_fn=self._average_parameters)
            self.average.module.eval()
            self.players = Players(model, options, self.fabric, self.batches)
        self._good = self.state_dict()

    # ---- length --------------------------------------------------------------------------------

    @property
    def steps_per_epoch(self) -> float:
        """Steps in one pass over the training data; a sweep is one."""
        if isinstance(self.model, Swept):
            return 1.0
        return max(1.0, len(self.batches) / (len(self.turns) * self.options.accumulate))

    def set_plan(self, budget: Budget) -> Plan:
        """Turn a budget into a number of steps; seconds are measured over the first ones.

        The steps that measure are undone, and after a quarter of the plan its pace is looked at
        once more; from then on the number of steps is frozen.
        """
        if budget.unit == "s":
            self.plan = self._calibrate(budget.amount)
        else:
            steps = budget.amount * (self.steps_per_epoch if budget.unit == "epochs" else 1)
            count = max(1, round(steps))
            self.plan = Plan(count, math.ceil(count / VALIDATIONS), VALIDATION_SIZE)
        return self.plan

    def _calibrate(self, seconds: float) -> Plan:
        start = time.perf_counter()
        before = self.state_dict()
        # a plan so long that nothing happens in it but steps
        self.plan = Plan(10**9, 10**9)
        times: list[float] = []
        while len(times) < 3 or sum(times) < 0.04 * seconds:
            begun = time.perf_counter()
            self._step()
            self.progress.step += 1
            times.append(self._of_first(time.perf_counter() - begun))
            if self._of_first(time.perf_counter() - start) > 0.2 * seconds:
                break
        begun = time.perf_counter()
        self._validate(FEW)
        each = max(1e-9, (time.perf_counter() - begun) / min(FEW, self.validation.count))
        # the first process alone has looked at these few; the rest is shared out
        each /= self.fabric.world_size
        self.load_state_dict(before)
        # the first step allocates, so it says little about the others
        usual = times[1:] or times
        left = seconds - self.progress.seconds - (time.perf_counter() - start)
        pace = sum(usual) / len(usual)
        most = self.validation.count
        return self._of_first(Plan.within(seconds, left, pace, each, most))

    # ---- the loop ------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Record]:
        """Train to the end of the plan, or until sweeps converge.

        Yields:
            A record after every step; `state_dict` is whole at that moment.

        Raises:
            DivergedError: If non-finite numbers come back after three rollbacks.
        """
        while self.progress.step < self.plan.steps and not self.progress.converged:
            yield self._advance()

    def _advance(self) -> Record:
        progress, begun = self.progress, time.perf_counter()
        lr = self.options.lr_at(progress.step, self.plan.steps) * progress.lr_scale
        losses = self._step()
        progress.step += 1
        if losses:
            progress.streak = 0
        else:
            progress.skipped += 1
            progress.streak += 1
            if progress.streak == _STREAK:
                self._roll_back()
                progress = self.progress
        last = progress.step >= self.plan.steps or progress.converged
        due = progress.step > 0 and progress.step % self.plan.validate_every == 0
        # a skipped step left the weights as they were, so the last one is validated all the same
        validated = (due and progress.streak == 0) or last
        if validated:
            self.follow_first()
        if validated and not finite(self.model):
            # a finite loss can still have moved the weights out of the numbers
            self._roll_back()
            progress, validated = self.progress, False
        value = self._validate(self.plan.validate_on) if validated else None
        best = math.inf if progress.best is None else progress.best
        if value is not None and value < best:
            progress.best, progress.best_step = value, progress.step
        progress.seconds += time.perf_counter() - begun
        if validated:
            progress.seconds = self._of_first(progress.seconds)
            if self.plan.seconds is not None and 4 * progress.step >= self.plan.steps and not last:
                self.plan = self.plan.recounted(progress.step, progress.seconds)
            self._good = self.state_dict()
        epoch = progress.step / self.steps_per_epoch
        return Record(
            progress.step, epoch, progress.seconds, lr, losses, value, validated, progress.skipped
        )

    def _step(self) -> dict[str, float]:
        """One cycle of turns, or one sweep; its scalars, or nothing if it was skipped."""
        step = self.progress.step
        if isinstance(self.model, Swept):
            with seeded(self.options.seed, step):
                return self._sweep(self.model)
        assert self.players is not None
        assert self.average is not None
        lr = self.options.lr_at(step, self.plan.steps) * self.progress.lr_scale
        losses = self.players.step(step, lr)
        if losses:
            self.average.update_parameters(self.model)
            self.progress.average_updates += 1
        return losses

    def _sweep(self, model: Swept) -> dict[str, float]:
        """One sweep; its scalars, or nothing if it left the numbers."""
        # a covariance may be none any more
        broken: Any = torch.linalg.LinAlgError  # type: ignore[attr-defined]
        sums: tuple[Tensor, ...] | None = None
        with contextlib.suppress(broken):
            sums = model.sums(self.batches.sweep())
        # before anything is exchanged, for all have to
        if self.any_process(sums is None):
            return {}
        assert sums is not None
        scalars = {"loss": math.nan}
        with contextlib.suppress(broken):
            scalars = model.maximise(*map(self._sum, sums))
        # another processor may round otherwise, and decide so
        scalars = self._of_first(scalars)
        follow_first(self.fabric, model)
        converged = bool(scalars.pop("converged", 0.0))
        if not all(map(math.isfinite, scalars.values())):
            return {}
        self.progress.converged = converged
        return scalars

    def _roll_back(self) -> None:
        """Go back to the last good state with half the learning rate, three times at most."""
        spent, skipped = self.progress.rollbacks + 1, self.progress.skipped
        scale, seconds = self.progress.lr_scale / 2, self.progress.seconds
        if spent > _ROLLBACKS:
            raise DivergedError(
                f"step {self.progress.step}: the loss or its gradient is not finite, and was not "
                f"after {_ROLLBACKS} rollbacks with half the learning rate each: lower --lr"
            )
        plan = self.plan
        self.load_state_dict(self._good)
        self.plan = plan
        self.progress.rollbacks, self.progress.skipped = spent, skipped
        self.progress.lr_scale, self.progress.seconds = scale, seconds

    @torch.no_grad()
    def _validate(self, limit: int) -> float | None:
        """Mean negative log-likelihood of the average model, nats per observation."""
        model = self.averaged
        if not isinstance(model, Likelihood):
            return None
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64)
        for start in range(0, min(limit, self.validation.count), FEW):
            if start // FEW % self.fabric.world_size != self.fabric.global_rank:
                continue
            rows = torch.arange(start, min(start + FEW, limit, self.validation.count))
            x, context = self.validation.rows(rows)
            values = model.log_likelihood(x, context).cpu().double()
            sums -= torch.tensor([float(values.sum()), -len(rows)], dtype=torch.float64)
        if isinstance(model, Swept):
            model.train()
        total, count = self._sum(sums).tolist()
        return total / count

    # ---- processes -----------------------------------------------------------------------------

    def _sum(self, values: Tensor) -> Tensor:
        """A tensor of sums, over all processes."""
        return sum_over_processes(self.fabric, values)

    def _of_first(self, value: _T) -> _T:
        """What the first process has: clocks differ, decisions must not."""
        return value if self.fabric.world_size == 1 else self.fabric.broadcast(value)

    def follow_first(self) -> None:
        """Give every process the first one's weights, and buffers that a loss changed."""
        follow_first(self.fabric, self.model, self.averaged)

    def any_process(self, flag: bool) -> bool:
        """Whether it is true in one of the processes; all of them have to ask."""
        return bool(self._sum(torch.tensor(float(flag))))

    # ---- parts ---------------------------------------------------------------------------------

    @property
    def averaged(self) -> Model:
        """The model that is kept: the average of the weights, or the swept model itself."""
        module = self.model if self.average is None else self.average.module
        assert isinstance(module, Model)
        return module

    def _average_parameters(
        self, averages: Sequence[Tensor], parameters: Sequence[Tensor], _: Tensor | int
    ) -> None:
        # early averages look back over a tenth of the steps so far, not at the initialisation
        count = self.progress.average_updates
        decay = min(self.options.ema, (1 + count) / (10 + count))
        torch._foreach_lerp_(list(averages), list(parameters), 1 - decay)

    # ---- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on, copied."""
        state = {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizers": {} if self.players is None else self.players.state_dict(),
            "progress": asdict(self.progress),
            "plan": asdict(self.plan),
        }
        copied: dict[str, Any] = detached_copy(state)
        return copied

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state; its tensors are copied."""
        state = detached_copy(state)
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.players is not None:
            self.players.load_state_dict(state["optimizers"])
        self.progress = Progress(**state["progress"])
        self.plan = Plan(**state["plan"])
        self._good = state


_PREPARE = -1  # key of a random stream that belongs to no step, as is that of `batches`
_PREPARE_SIZE = 10_000
_PREPARE_VALUES = 1 << 24
"""Of large observations fewer, so that they have no more values, of eight bytes each."""
_STREAK = 3
_ROLLBACKS = 3
