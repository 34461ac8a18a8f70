"""`Training`: one loop for every family, iterated for records of its steps.

It shows nothing and writes nothing. All that is random in a step comes from (seed, step), so the
state that `state_dict` returns is enough to go on bit for bit. Several processes iterate in step:
whatever one of them decides by, all of them know.

A long file, for stages, plan, step and rollback all turn on one state: what can be told without it
stands in `learner` (a model in a stage), `pace`, `plan` and `changes`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.data.splits import permutation
from simulacra.ground.errors import DivergedError
from simulacra.ground.randomness import seeded
from simulacra.ground.storage import detached_copy
from simulacra.models.model import Likelihood, Model
from simulacra.models.modes import evaluating
from simulacra.models.stages import Player, Stage
from simulacra.training import units
from simulacra.training.batches import Batches
from simulacra.training.engine import (
    check_shared,
    follow_first,
    make_fabric,
    put_channels_last,
    settled,
    sum_over_processes,
)
from simulacra.training.learner import Learner
from simulacra.training.options import Budget, Options
from simulacra.training.pace import seconds_a_look, seconds_a_step, seconds_to_settle
from simulacra.training.plan import VALIDATION_SIZE, Event, Pace, Plan, Progress, Record
from simulacra.training.players import finite

_T = TypeVar("_T")


class Training:
    """A model learning from observations, in one stage after another.

    Args:
        model: Any family's; it is moved to the device.
        train: What it learns from.
        validation: What chooses the best step; not the test split.
        options: See `Options`.
        prepared: Whether the model begins with weights of another training, not with `prepare`.

    Example:
        >>> import simulacra as sim
        >>> data = sim.load_data("digits")
        >>> model = sim.build("nice", data.spec, {"hidden": (16,)})
        >>> training = sim.Training(model, data.train, data.validation, sim.Options(device="cpu"))
        >>> plan = training.set_plan(sim.Budget.parse("3steps"))
        >>> [record.step for record in training]
        [1, 2, 3]
    """

    learner: Learner
    """The model in its present stage."""

    def __init__(
        self,
        model: Model,
        train: Observations,
        validation: Observations,
        options: Options,
        *,
        prepared: bool = False,
    ) -> None:
        # a part of it is looked at, and its order may be by class
        few = permutation(len(validation))[:VALIDATION_SIZE]
        self.model, self.stages, self.options = model.train(), model.stages, options
        self.fabric = make_fabric(options)
        if not all(stage.by_sweeps for stage in self.stages):
            check_shared(options, self.fabric.world_size)
        self.batches = Batches(train, model, options, self.fabric)
        self.validation = Batches(validation.take(few), model, options, self.fabric)
        self.progress, self.plan = Progress(observations=0), Plan(0, 0)
        self.budget: Budget | None = None
        self.events: list[Event] = []
        model.to(self.fabric.device)
        begun = time.perf_counter()
        with seeded(options.seed, _PREPARE):
            few = torch.randperm(len(train))[: self._prepared_from]
            if not prepared:
                model.prepare(*self.batches.rows(few))
            if model.not_compiled:
                options = replace(options, compile=False)
            few = few[: self.batches.size]
            options = self.of_first(settled(options, model, self.batches.rows(few)))
        if options != self.options:
            self.options, self.fabric = options, make_fabric(options)
        if options.compile or options.precision == "bf16":
            put_channels_last(model)
        if self.stage.prepare is not None and not prepared:
            self._prepare_stage(self.stage)
        follow_first(self.fabric, model)
        self.progress.seconds = time.perf_counter() - begun
        self._enter(0)
        self._good = self.state_dict()

    # ---- stages --------------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        """The stage that it is in."""
        return self.stages[self.progress.stage]

    @property
    def in_last_stage(self) -> bool:
        """Whether no stage comes after the one that it is in."""
        return self.progress.stage == len(self.stages) - 1

    def in_nats(self, stage: int) -> bool:
        """Whether the best step of a stage is chosen by a negative log-likelihood."""
        return self.stages[stage].validation_loss is None and isinstance(self.model, Likelihood)

    @property
    def averaged(self) -> Model:
        """The model that is kept: with the average of the weights, or the swept model itself."""
        return self.learner.averaged

    def settle(self) -> None:
        """Bring the model that is kept to where the training is, in all processes alike."""
        self.learner.settle(self.plan.passes)

    def _enter(self, number: int) -> None:
        """Give a stage the optimisers and the average that it begins with."""
        self.progress.stage = number
        self.progress.in_nats = self.in_nats(number)
        if hasattr(self, "learner"):
            # that of the stage before makes room first
            del self.learner
        # of a stage that another one follows, the kept model at its best step
        self._best: dict[str, Tensor] | None = None
        self.learner = Learner(
            self.model, number, self.options, self.fabric, self.batches, self.validation
        )

    @property
    def _prepared_from(self) -> int:
        """How many observations a model initialises from."""
        return min(_PREPARE_SIZE, max(128, _PREPARE_VALUES // self.model.spec.dims))

    def _prepare_stage(self, stage: Stage) -> None:
        assert stage.prepare is not None
        with evaluating(self.model), seeded(self.options.seed, _PREPARE, self.progress.stage):
            few = torch.randperm(self.batches.count)[: self._prepared_from]
            stage.prepare(*self.batches.rows(few))

    def _begin_next(self) -> None:
        """Go from the end of a stage to the beginning of the next, with what was best."""
        begun = time.perf_counter()
        best = self._best or detached_copy(self.averaged.state_dict())
        self.model.load_state_dict(best)
        self.progress = self.progress.in_next_stage()
        if self.stage.prepare is not None:
            self._prepare_stage(self.stage)
        follow_first(self.fabric, self.model)
        self._enter(self.progress.stage)
        seconds = self.progress.seconds
        self.progress.seconds = self.of_first(seconds + time.perf_counter() - begun)
        self._plan_stage(self.progress.step, seconds)

    # ---- length --------------------------------------------------------------------------------

    def set_plan(self, budget: Budget) -> Plan:
        """Turn a budget into a number of steps; seconds are measured over the first ones.

        The steps that measure are undone, and after a quarter of the plan its pace is looked at
        once more; from then on the number of steps is frozen. Of several stages each is planned
        when it begins, of what is left, by the shares of those to come.
        """
        self.budget = budget
        return self._plan_stage(0, 0.0)

    def _plan_stage(self, start: int, begun: float) -> Plan:
        """The plan of the stage that begins.

        Args:
            start: Steps of the stages before.
            begun: Seconds that these took.
        """
        budget, progress = self.budget, self.progress
        assert budget is not None, "set_plan comes before the first step"
        share = self.stage.share / sum(each.share for each in self.stages[progress.stage :])
        if budget.unit == "s":
            whole = self.stage.share / sum(each.share for each in self.stages)
            # where those before took it all, there is something for this one nevertheless
            seconds = max((budget.amount - begun) * share, _LEAST * budget.amount * whole)
            self.plan = self._calibrate(seconds, start, begun)
            return self.plan
        left = budget.amount - units.spent(budget.unit, progress, start)
        count = units.steps_of(left * share, budget.unit, self.learner)
        self.plan = Plan.counted(count, self.model.validation_cost, start=start, begun=begun)
        return self.plan

    def _calibrate(self, seconds: float, start: int, begun: float) -> Plan:
        started = time.perf_counter()
        pace = self.pace(seconds)
        # what preparing took is the stage's own
        left = seconds - (self.progress.seconds - begun) - (time.perf_counter() - started)
        plan = Plan.within(seconds, left, pace, self.validation.count, start=start, begun=begun)
        return self.of_first(plan)

    def pace(self, seconds: float) -> Pace:
        """What steps and validations take, from some that are undone.

        Args:
            seconds: Of the training that is planned by it.
        """
        before, plan = self.state_dict(), self.plan
        # a plan so long that nothing happens in it but steps
        self.plan = Plan(10**9, 10**9, start=self.progress.step)

        def step() -> None:
            self._step()
            self.progress.step += 1

        def look(few: int) -> int:
            self.learner.validate(few)
            return self.validation.looked_at(few)

        steps = seconds_a_step(step, seconds, self.of_first)
        # the first process alone has looked at few; of many each looks at its share
        looks = seconds_a_look(look, seconds, self.of_first) / self.fabric.world_size
        settle = seconds_to_settle(self.learner.settle) if self.learner.estimates else 0.0
        self.load_state_dict(before)
        self.plan = plan
        return self.of_first(Pace(steps, looks, settle))

    # ---- the loop ------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Record]:
        """Train to the end of the plan, or until sweeps converge, in all stages.

        Yields:
            A record after every step; `state_dict` is whole at that moment.

        Raises:
            DivergedError: If non-finite numbers come back after three rollbacks.
        """
        self.meet_events()
        while self.progress.step < self.plan.steps and not self.progress.converged:
            yield self._advance()
            self.meet_events()

    def happens(self, event: Event, instead: Sequence[Event] = ()) -> None:
        """Change something from the next step on; see `changes`.

        Args:
            event: The change.
            instead: Of which events it takes the place.
        """
        self.events = [*(each for each in self.events if each not in instead), event]
        self.meet_events()

    def meet_events(self) -> None:
        """Apply what happens before the next step, which may have been applied already."""
        for event in self.events:
            if event.step == self.progress.step and event.plan is not None:
                self.plan = event.plan
            elif event.step == self.progress.step and event.player is not None:
                self.progress.rates[event.player] = event.lr

    def _advance(self) -> Record:
        progress, begun = self.progress, time.perf_counter()
        lr, rates = self._usual_rate(), {name: self.rate(name) for name in self.stage.players}
        losses = self._step()
        if len(set(rates.values())) == 1:
            (lr,) = set(rates.values())
        elif losses:
            losses |= {f"{name}/lr": rate for name, rate in rates.items()}
        progress.step += 1
        seen = units.observations_a_step(self.learner)
        progress.observations = (progress.observations or 0) + seen
        if losses:
            progress.streak = 0
        else:
            progress.skipped += 1
            progress.streak += 1
            if progress.streak == _STREAK:
                self._roll_back()
                progress = self.progress
        last = progress.step >= self.plan.steps or progress.converged
        # a skipped step left the weights as they were, so the last one is validated all the same
        validated = (self.plan.is_due(progress.step) and progress.streak == 0) or last
        if validated and not finite(self.model):
            # a finite loss can still have moved the weights out of the numbers
            self._roll_back()
            progress, validated, last = self.progress, False, False
        if validated:
            self.settle()
        value = self.learner.validate(self.plan.validate_on) if validated else None
        if value is not None and progress.improves(value) and not self.in_last_stage:
            self._best = detached_copy(self.averaged.state_dict())
        progress.seconds += time.perf_counter() - begun
        if validated:
            progress.seconds = self.of_first(progress.seconds)
            plan = self.plan
            if plan.seconds is not None and 4 * plan.place(progress.step) >= 1 and not last:
                self.plan = plan.recounted(progress.step, progress.seconds)
        done = progress.epochs + (progress.step - self.plan.start) / self.learner.steps_per_epoch
        record = Record(
            progress.step, done, progress.seconds, lr, losses, value, validated, progress.skipped,
            progress.stage,
        )  # fmt: skip
        if last and not self.in_last_stage:
            progress.epochs = done
            progress.flops += units.flops_of(
                self.budget, self.learner, progress.step - self.plan.start
            )
            self._begin_next()
        if validated:
            self._good = self.state_dict()
        return record

    def _step(self) -> dict[str, float]:
        """One cycle of turns, or one sweep; its scalars, or nothing if it was skipped."""
        progress = self.progress
        rates = {name: self.rate(name) for name in self.stage.players}
        place = self.plan.place(progress.step)
        losses = self.learner.step(progress.step, rates, place, progress.average_updates)
        progress.average_updates += bool(losses) and not self.stage.by_sweeps
        progress.converged = self.learner.converged
        return losses

    def rate(self, player: str) -> float:
        """A player's learning rate in the next step."""
        own, usual = self.model.players.get(player, Player()), self.options.lr
        return self._usual_rate() * (self.progress.rates.get(player, usual * own.lr) / usual)

    def _usual_rate(self) -> float:
        """The learning rate in the next step of who moves as the options say."""
        plan = self.plan
        rate = self.options.lr_at(self.progress.step - plan.start, plan.length)
        return rate * self.progress.lr_scale

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

    # ---- processes and state -------------------------------------------------------------------

    def of_first(self, value: _T) -> _T:
        """What the first process has: clocks differ, decisions must not."""
        return value if self.fabric.world_size == 1 else self.fabric.broadcast(value)

    def any_process(self, flag: bool) -> bool:
        """Whether it is true in one of the processes; all of them have to ask."""
        return bool(sum_over_processes(self.fabric, torch.tensor(float(flag))))

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the training depends on, copied."""
        state = self.learner.state_dict() | {
            "progress": asdict(self.progress),
            "plan": asdict(self.plan),
            "best": self._best,
            "budget": None if self.budget is None else str(self.budget),
        }
        copied: dict[str, Any] = detached_copy(state)
        return copied

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state; its tensors are copied."""
        state = detached_copy(state)
        progress = Progress(**state["progress"])
        if progress.stage != self.progress.stage:
            self._enter(progress.stage)
        self.learner.load_state_dict(state)
        self.learner.converged = progress.converged
        self.progress, self.plan = progress, Plan(**state["plan"])
        if progress.observations is None:
            progress.observations = units.observations_until(progress, self.plan, self.learner)
        self._best = state.get("best")
        if state.get("budget") is not None:
            self.budget = Budget.parse(state["budget"])
        self._good = state


_PREPARE = -1  # key of a random stream that belongs to no step, as is that of `batches`
_PREPARE_SIZE = 10_000
_LEAST = 0.1
"""Of a stage's share of the budget, what it has whatever the stages before took."""
_PREPARE_VALUES = 1 << 24
"""Of large observations fewer, so that they have no more values, of eight bytes each."""
_STREAK = 3
_ROLLBACKS = 3
