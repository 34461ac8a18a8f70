"""`Learner`: a model in one of its stages, with what it needs to learn in that one."""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.storage import detached_copy
from simulacra.models.at_once import rows_at_once
from simulacra.models.game import Game
from simulacra.models.model import Invertible, Model
from simulacra.models.modes import evaluating, scoring
from simulacra.models.stages import Stage
from simulacra.models.swept import Swept
from simulacra.training.average import Average
from simulacra.training.balance import DISTANCE, SAMPLES, Balance
from simulacra.training.batches import Batches
from simulacra.training.engine import follow_first, sum_over_processes
from simulacra.training.options import Options
from simulacra.training.plan import FEW
from simulacra.training.players import Players

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Learner:
    """A model in a stage: its players with their optimisers, and the average of their weights.

    Args:
        model: On the engine's device.
        number: Of the stage, from 0.
        options: See `Options`.
        fabric: The engine.
        batches: What it learns from.
        validation: What its best step is chosen by.

    Raises:
        UsageError: If the stage goes by sweeps, and the model does not.
    """

    def __init__(
        self,
        model: Model,
        number: int,
        options: Options,
        fabric: Fabric,
        batches: Batches,
        validation: Batches,
    ) -> None:
        self.model, self.number, self.options = model, number, options
        self.fabric, self.batches, self.validation = fabric, batches, validation
        self.stage: Stage = model.stages[number]
        self.converged, self.steps = False, 0
        self._few: int | None = None
        self.balance = (
            Balance(model, batches, validation, options.seed) if isinstance(model, Game) else None
        )
        self.seen_of_game: dict[str, float] = {}
        """What the last validation saw; see `Balance.measure`. Nothing of what is no game."""
        self.average: Average | None = None
        self.players: Players | None = None
        if fabric.world_size > 1:
            # what exchanged gradients for the stage before does so until it is gone
            gc.collect()
        self._let_train()
        if not self.stage.by_sweeps:
            kept = [model.player(name) for name in self.stage.averaged]
            self.average = Average(model, kept, options.ema)
            self.players = Players(model, self.stage, options, fabric, batches)
        elif not isinstance(model, Swept):
            raise UsageError(
                f"{type(model).__name__}'s stage {self.stage.name!r} has no turns, and needs "
                "`statistics` and `maximise`: make the model a Swept"
            )

    def _let_train(self) -> None:
        """Let those train who move in this stage; what does not move keeps its statistics too."""
        self.model.train()
        everyone = {name for stage in self.model.stages for name in stage.players}
        for name in everyone - set(self.stage.players):
            self.model.player(name).eval()
        # of whom these may be parts
        for name in self.stage.players:
            self.model.player(name).train()

    @property
    def averaged(self) -> Model:
        """The model that is kept: with the average of the weights, or the swept model itself."""
        return self.model if self.average is None else self.average.model

    @property
    def estimates(self) -> bool:
        """Whether statistics are estimated before the kept model is looked at."""
        return self.average is not None and self.average.estimates

    @property
    def compiles(self) -> bool:
        """Whether the last step was the first one, of those that are compiled."""
        return self.options.compile and not self.stage.by_sweeps and self.steps == 1

    @property
    def steps_per_epoch(self) -> float:
        """Steps in one pass over the training data; a sweep over all of them is one."""
        if self.stage.by_sweeps:
            return float(self.batches.sweeps(self.stage.sweep))
        return max(1.0, len(self.batches) / (len(self.stage.turns) * self.options.accumulate))

    def step(
        self, step: int, rates: Mapping[str, float], place: float, averaged: int
    ) -> dict[str, float]:
        """One cycle of turns, or one sweep.

        Args:
            step: Its number, which seeds it.
            rates: Each player's learning rate.
            place: How far the stage is, from 0 to 1.
            averaged: Steps that the average has followed so far.

        Returns:
            Its scalars, or nothing if it was skipped.
        """
        self.steps += 1
        if self.players is None:
            with seeded(self.options.seed, step):
                return self._sweep(step)
        losses = self.players.step(step, rates, place)
        if losses and self.average is not None:
            self.average.update(averaged)
        return losses

    @property
    def observations_a_sweep(self) -> int:
        """How many one sweep goes over, in all processes."""
        return min(self.stage.sweep or self.batches.count, self.batches.count)

    def _sweep(self, step: int) -> dict[str, float]:
        """One sweep; its scalars, or nothing if it left the numbers."""
        model = self.model
        assert isinstance(model, Swept)
        # a covariance may be none any more
        broken: Any = torch.linalg.LinAlgError  # type: ignore[attr-defined]
        sums: tuple[Tensor, ...] | None = None
        with contextlib.suppress(broken):
            sums = model.sums(self.batches.sweep(step, self.stage.sweep))
        # before anything is exchanged, for all have to
        lost = sum_over_processes(self.fabric, torch.tensor(float(sums is None)))
        if bool(lost):
            return {}
        assert sums is not None
        # those of a part stand for all
        whole = self.batches.count / self.observations_a_sweep
        sums = tuple(each * whole for each in sums) if whole > 1 else sums
        scalars = {"loss": math.nan}
        with contextlib.suppress(broken):
            scalars = model.maximise(*(sum_over_processes(self.fabric, each) for each in sums))
        if self.fabric.world_size > 1:
            # another processor may round otherwise, and decide so
            scalars = self.fabric.broadcast(scalars)
        follow_first(self.fabric, model)
        converged = bool(scalars.pop("converged", 0.0))
        if not all(map(math.isfinite, scalars.values())):
            return {}
        self.converged = converged
        prefix = f"{self.stage.name}/" if len(model.stages) > 1 else ""
        return {prefix + name: value for name, value in scalars.items()}

    @torch.no_grad()
    def validate(self, limit: int) -> float | None:
        """Mean of what the best step is chosen by, of the model that is kept.

        Of a game, which is looked at from both sides meanwhile, it is the Fréchet distance of
        samples (see `Balance`), unless the model has a loss for it.

        Args:
            limit: Observations to look at, at most.
        """
        model = self.averaged
        score = model.stages[self.number].validation_loss or model.validation_loss
        sums = torch.zeros(2, dtype=torch.float64)
        lots = self.validation.in_lots(limit, self._looked_at_once(score))
        for number, (x, context) in enumerate(lots):
            if number % self.fabric.world_size != self.fabric.global_rank:
                continue
            with evaluating(model), scoring():
                values = score(x, context)
            if values is None:
                # in all processes alike
                break
            values = values.cpu().double()
            sums += torch.tensor([float(values.sum()), len(values)], dtype=torch.float64)
        total, count = sum_over_processes(self.fabric, sums).tolist()
        value = total / count if count else None
        if self.balance is None or not isinstance(model, Game):
            return value
        found = self.balance.measure(model, limit)
        # another processor may round otherwise
        found = found if self.fabric.world_size == 1 else self.fabric.broadcast(found)
        self.seen_of_game = found
        return found[DISTANCE] if value is None else value

    @property
    def validates_on(self) -> int:
        """How many observations, or samples, a validation looks at, at most."""
        return max(self.validation.count, SAMPLES if self.balance else 0)

    @torch.no_grad()
    def inverse_error(self, limit: int) -> float | None:
        """The largest inverse error of the model that is kept, the same in all processes.

        Args:
            limit: Validation observations to look at, at most.

        Returns:
            Infinity where one is no number; nothing of a model that is not invertible.
        """
        model = self.averaged
        if not isinstance(model, Invertible) or not limit:
            return None
        worst = torch.zeros((), dtype=torch.float64)
        score = model.stages[self.number].validation_loss or model.validation_loss
        for x, context in self.validation.in_lots(limit, self._looked_at_once(score)):
            with evaluating(model), scoring():
                errors = model.inverse_error(x, context)
            # a maximum with no number is no number
            worst = torch.maximum(worst, errors.max().cpu().double())
        # another processor may round otherwise
        found = math.inf if bool(worst.isnan()) else float(worst)
        return found if self.fabric.world_size == 1 else float(self.fabric.broadcast(found))

    def _looked_at_once(self, score: Callable[..., Tensor | None]) -> int:
        """How many observations to validate on together, which is found once."""
        if self._few is None and self.validation.classes is None:
            x, context = self.validation.rows(torch.arange(min(2, self.validation.count)))

            def look(rows: int) -> None:
                score(x[:rows], None if context is None else context[:rows])

            with evaluating(self.averaged), scoring():
                self._few = rows_at_once(look, FEW) if len(x) > 1 else FEW
        return self._few or FEW

    def settle(self, batches: int) -> None:
        """Bring the model that is kept to where the training is, in all processes alike.

        Args:
            batches: That statistics of normalisations are estimated from, at most.
        """
        if self.average is not None:
            self.average.settle(self._passes(self.average.model, batches))
        follow_first(self.fabric, self.model, self.averaged)

    def try_to_settle(self, batches: int) -> None:
        """`settle` where statistics are estimated, without a trace, to see what it takes."""
        if self.estimates and self.average is not None:
            before = detached_copy(self.average.state_dict())
            self.settle(batches)
            self.average.load_state_dict(before)

    def _passes(self, model: Model, batches: int) -> Iterator[Callable[[], object]]:
        """Losses of the first batches, as those who are kept call them in their turns."""
        for number in range(min(batches, len(self.batches))):
            x, context = self.batches.at(number)
            for turn in self.stage.averaged:
                # a gradient penalty is a gradient itself
                graph = torch.set_grad_enabled(bool(model.not_compiled))
                with seeded(self.options.seed, _PASS, number), graph:
                    yield partial(model.loss, x, context, turn=turn)

    def state_dict(self) -> dict[str, Any]:
        """All that its next steps depend on."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizers": {} if self.players is None else self.players.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state of this stage."""
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self.players is not None:
            self.players.load_state_dict(state["optimizers"])


_PASS = -5  # key of a random stream that belongs to no step
