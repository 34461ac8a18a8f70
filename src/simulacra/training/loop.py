"""`Training`: one loop for every family, iterated for records of its steps.

It shows nothing and writes nothing. All that is random in a step comes from (seed, step), so the
state that `state_dict` returns is enough to go on bit for bit. Several processes iterate in step:
whatever one of them decides by, all of them know.

A budget in seconds is kept by the clock: what it decides are events, which whoever makes the same
steps again follows. All time counts from the first thing that is made ready to the last step.

A long file, for stages, plan, step and rollback all turn on one state: what can be told without it
stands in `learner` (a model in a stage), `clocked`, `plan` and `changes`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.data.splits import permutation
from simulacra.ground.errors import DivergedError
from simulacra.ground.randomness import seeded
from simulacra.ground.storage import detached_copy
from simulacra.ground.threads import using, usual
from simulacra.models.game import Game
from simulacra.models.model import Likelihood, Model
from simulacra.models.modes import evaluating
from simulacra.models.stages import Player, Stage
from simulacra.training import units
from simulacra.training.batches import Batches
from simulacra.training.clocked import Clocked
from simulacra.training.course import Course
from simulacra.training.diagnosis import Diagnosis
from simulacra.training.engine import (
    check_shared,
    follow_first,
    make_fabric,
    put_channels_last,
    settled,
)
from simulacra.training.learner import Learner
from simulacra.training.options import Budget, Options
from simulacra.training.plan import VALIDATION_SIZE, Event, Plan
from simulacra.training.players import finite
from simulacra.training.progress import Progress, Record


class Training(Clocked):
    """A model learning from observations, in one stage after another.

    Args:
        model: Any family's; it is moved to the device.
        train: What it learns from.
        validation: What chooses the best step; not the test split.
        options: See `Options`.
        prepared: Whether the model begins with weights of another training, not with `prepare`.
        threads: Of the processor that work; by default half its cores, or as many as the
            user of torch has chosen. A budget in seconds tries others, unless they are chosen.
        clock: Says what time it is, in seconds; that of the system by default.

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
        threads: int | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(clock or time.perf_counter)
        # a part of it is looked at, and its order may be by class
        few = permutation(len(validation))[:VALIDATION_SIZE]
        self.model, self.stages, self.options = model.train(), model.stages, options
        self.fabric = make_fabric(options)
        if not all(stage.by_sweeps for stage in self.stages):
            check_shared(options, self.fabric.world_size)
        self.batches = Batches(train, model, options, self.fabric)
        self.validation = Batches(validation.take(few), model, options, self.fabric)
        self.progress = Progress(threads=threads or usual(), observations=0)
        self.plan = Plan(0, 0)
        self.budget: Budget | None = None
        model.to(self.fabric.device)
        self._mark = self.clock()
        with using(self.progress.threads):
            self._make_ready(train, prepared=prepared)
        self._good = self.state_dict()

    def _make_ready(self, train: Observations, *, prepared: bool) -> None:
        """Prepare the model and its first stage, and settle what options leave open."""
        model, options = self.model, self.options
        with seeded(options.seed, _PREPARE):
            few = torch.randperm(len(train))[: self._prepared_from]
            if not prepared:
                prepare: Callable[..., None] = model.prepare
                known = {"count": len(train), "classes": self.batches.kinds}
                told = {name: known[name] for name in known if name in _arguments(prepare)}
                prepare(*self.batches.rows(few), **told)
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
        self._enter(0)
        self.spend("preparing")

    # ---- stages --------------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        """The stage that it is in."""
        return self.stages[self.progress.stage]

    @property
    def course(self) -> Course | None:
        """How a game went so far; nothing of what is none."""
        model = self.model
        if not isinstance(model, Game) or self.stage.by_sweeps:
            return None
        return Course(self.progress.course, model.opponent, critic=model.estimates_distance)

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
        self._decisions = None

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
        best = self._best or detached_copy(self.averaged.state_dict())
        self.model.load_state_dict(best)
        self.progress = self.progress.in_next_stage()
        if self.stage.prepare is not None:
            self._prepare_stage(self.stage)
        follow_first(self.fabric, self.model)
        self._enter(self.progress.stage)
        begun = self.progress.seconds
        self.spend("preparing")
        self._plan_stage(self.progress.step, self.of_first(begun))
        before, now = self.stages[self.progress.stage - 1 :][:2]
        if before.validation_loss is now.validation_loss is None:
            # what is chosen by the same may have been better before its first step
            self._look()

    # ---- length --------------------------------------------------------------------------------

    def set_plan(self, budget: Budget) -> Plan:
        """Turn a budget into a number of steps; of one in seconds it is estimated as it goes.

        Of several stages each is planned when it begins, of what is left, by the shares of those to
        come.
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
            # where those before took it all, there is a step for this one nevertheless
            seconds = max((budget.amount - begun) * share, _LEAST * budget.amount)
            if not self.events.at(progress.tick, "stage"):
                with using(progress.threads):
                    plan = self._timed_plan(seconds, start, begun)
                self.happens(Event(progress.tick, plan=plan, made="stage"))
            self.meet_events("stage")
            return self.plan
        left = budget.amount - units.spent(budget.unit, progress, start)
        count = units.steps_of(left * share, budget.unit, self.learner)
        self.plan = Plan.counted(count, self.model.validation_cost, start=start, begun=begun)
        return self.plan

    # ---- the loop ------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Record]:
        """Train to the end of the plan, or until sweeps converge, in all stages.

        Yields:
            A record after every step; `state_dict` is whole at that moment.

        Raises:
            DivergedError: If non-finite numbers come back after three rollbacks.
        """
        self.goes_on()
        self.meet_events()
        while self.progress.step < self.plan.steps and not self.progress.converged:
            self.spend("other")
            with using(self.progress.threads):
                record = self._advance()
            yield record
            self.meet_events()
        self._going = False

    def _advance(self) -> Record:
        progress = self.progress
        progress.stopped_on = ""
        self.note_beginning()
        lr, rates = self._usual_rate(), {name: self.rate(name) for name in self.stage.players}
        losses = self._step()
        took = self.spend("compiling" if self.learner.compiles else "steps")
        if len(set(rates.values())) == 1:
            (lr,) = set(rates.values())
        elif losses:
            losses |= {f"{name}/lr": rate for name, rate in rates.items()}
        progress.step += 1
        seen = units.observations_a_step(self.learner)
        progress.observations = (progress.observations or 0) + seen
        if losses:
            progress.streak = 0
            if self.course is not None:
                self.course.moved(losses)
        else:
            progress.skipped += 1
            progress.streak += 1
            if progress.streak == _STREAK:
                self._roll_back()
                progress = self.progress
        self._decide(took)
        last = progress.step >= self.plan.steps or progress.converged
        # a skipped step left the weights as they were, so the last one is validated all the same
        due = progress.step - progress.looked_at >= self.plan.validate_every
        validated = (due and progress.streak == 0) or last
        if validated and not finite(self.model):
            # a finite loss can still have moved the weights out of the numbers
            self._roll_back()
            progress, validated, last = self.progress, False, False
        value, error, told = self._look() if validated else (None, None, ())
        balance = dict(self.learner.seen_of_game) if validated else {}
        done = progress.epochs + (progress.step - self.plan.start) / self.learner.steps_per_epoch
        record = Record(
            progress.step, done, progress.seconds, lr, losses, value, validated, progress.skipped,
            progress.stage, error, balance, told,
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

    def _look(self) -> tuple[float | None, float | None, tuple[Diagnosis, ...]]:
        """Validate the model that is kept: its loss, its inverse error, and what is to be told."""
        progress, plan = self.progress, self.plan
        self.settle()
        self.learner.seen_of_game = {}
        value = self.learner.validate(plan.validate_on) if plan.validate_on else None
        error = self.learner.inverse_error(plan.invert_on)
        best = value is not None and progress.improves(value)
        if best and not self.in_last_stage:
            self._best = detached_copy(self.averaged.state_dict())
        if best or value is None:
            progress.inverse_error = error
        progress.looks, progress.looked_at = progress.looks + 1, progress.step
        seconds = self.spend("validating")
        if plan.seconds is not None:
            self.decisions.pace.looked(seconds)
        progress.seconds = self.of_first(progress.seconds)
        waited = plan.waited_in_vain(progress.step, progress.best_step, self.stage.patience)
        if self.in_last_stage and waited:
            progress.converged = True
        if self.course is None:
            return value, error, ()
        place, seen = plan.place(progress.step), self.learner.seen_of_game
        told = self.course.looked(progress.step, place, seen)
        self.end_on([each.name for each in told])
        return value, error, tuple(told)

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
        return self.options.lr_at(*self.plan.position(self.progress.step)) * self.progress.lr_scale

    def _roll_back(self) -> None:
        """Go back to the last good state with half the learning rate, three times at most."""
        before = self.progress
        if before.rollbacks == _ROLLBACKS:
            raise DivergedError(
                f"step {before.step}: the loss or its gradient is not finite, and was not "
                f"after {_ROLLBACKS} rollbacks with half the learning rate each: lower --lr"
            )
        plan, decisions = self.plan, self._decisions
        self.load_state_dict(self._good)
        # of the same stage
        self.plan, self._decisions = plan, decisions
        now = self.progress
        now.rollbacks, now.lr_scale = before.rollbacks + 1, before.lr_scale / 2
        now.undone = before.undone + before.step - now.step
        # time goes on, and what somebody or the clock changed stays so
        for name in _ONCE:
            setattr(now, name, getattr(before, name))

    # ---- processes and state -------------------------------------------------------------------

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
        progress, plan = Progress(**state["progress"]), Plan(**state["plan"])
        if "looked_at" not in state["progress"]:
            # from before it was kept
            done = progress.step - plan.start
            progress.looked_at = progress.step - done % max(1, plan.validate_every)
            progress.threads = self.progress.threads
        if progress.stage != self.progress.stage:
            self._enter(progress.stage)
        self.learner.load_state_dict(state)
        self.learner.converged = progress.converged
        self.progress, self.plan, self._decisions = progress, plan, None
        if progress.observations is None:
            progress.observations = units.observations_until(progress, plan, self.learner)
        self._best = state.get("best")
        if state.get("budget") is not None:
            self.budget = Budget.parse(state["budget"])
        self._good = state


def _arguments(method: Callable[..., Any]) -> Collection[str]:
    return inspect.signature(method).parameters


_PREPARE = -1  # key of a random stream that belongs to no step, as is that of `batches`
_PREPARE_SIZE = 10_000
_LEAST = 0.01
"""Share of the budget that a stage has whatever those before took."""
_PREPARE_VALUES = 1 << 24
"""Of large observations fewer, so that they have no more values, of eight bytes each."""
_ONCE = ("skipped", "seconds", "spent", "threads", "rates", "observations", "peak_bytes")
"""What a rollback does not take back."""
_STREAK = 3
_ROLLBACKS = 3
