"""`Players`: who moves in a step of gradient learning, and how."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from simulacra.ground.randomness import seeded
from simulacra.models.model import Model
from simulacra.models.stages import Player, Stage
from simulacra.training.batches import Batches
from simulacra.training.buffers import Buffers
from simulacra.training.compiling import compiled
from simulacra.training.engine import sum_over_processes
from simulacra.training.options import Options

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Players:
    """The players of a stage, each with its optimiser; a step is one cycle of their turns.

    A turn is made of `accumulate` batches, whose gradients are averaged. They are numbered, each
    has its own seed, and the processes of a training share them out: so the same step is made by
    one process as by several, but for the order in which floats are added.

    Args:
        model: On the engine's device.
        stage: Whose turns they are.
        options: See `Options`.
        fabric: The engine.
        batches: What the players learn from.
    """

    def __init__(
        self, model: Model, stage: Stage, options: Options, fabric: Fabric, batches: Batches
    ) -> None:
        self.model, self.stage, self.options = model, stage, options
        self.fabric, self.batches = fabric, batches
        self._told_place = "place" in inspect.signature(type(model).loss).parameters
        if options.compile:
            # a method of this model alone, for the engine finds methods by their names
            loss = MethodType(compiled(type(model).loss), model)
            model.loss = loss  # type: ignore[method-assign]
        wrapped, *optimizers = fabric.setup(model, *map(self._optimizer, stage.players))
        wrapped.mark_forward_method("loss")
        self.wrapped = wrapped
        self.optimizers: dict[str, Optimizer] = dict(zip(stage.players, optimizers, strict=True))
        self.buffers = Buffers(model, fabric)

    def _optimizer(self, name: str) -> AdamW:
        options, own = self.options, self.model.players.get(name, Player())
        return AdamW(
            self.model.player(name).parameters(), lr=options.lr * own.lr,
            betas=own.betas or options.betas, weight_decay=options.weight_decay,
            fused=self.fabric.device.type in ("cpu", "cuda"),
        )  # fmt: skip

    def step(self, step: int, rates: Mapping[str, float], place: float) -> dict[str, float]:
        """One cycle of turns.

        Args:
            step: Its number, which seeds it.
            rates: Each player's learning rate.
            place: How far the stage is, from 0 to 1.

        Returns:
            Each turn's scalars, `loss` or `turn/loss`, in a game with the norm of its `gradient`;
            nothing if one was not finite: the player whose turn it was, and those after it, then
            stay where they are.
        """
        losses: dict[str, float] = {}
        several = len(self.stage.turns) > 1 or len(self.model.stages) > 1
        for number, name in enumerate(self.stage.names()):
            turn = self.stage.turns[number]
            self.buffers.begin(turn)
            scalars = self._turn(step, number, turn, rates[turn], place)
            if not all(map(math.isfinite, scalars.values())):
                self.buffers.take_back()
                return {}
            prefix = f"{name}/" if several else ""
            losses |= {prefix + key: value for key, value in scalars.items()}
        return losses

    def _turn(self, step: int, number: int, turn: str, lr: float, place: float) -> dict[str, float]:
        """One player's move; with a non-finite loss or gradient it stays where it is."""
        fabric, count = self.fabric, self.options.accumulate
        # all players' gradients: the one before may have left some on this one
        self.model.zero_grad()
        totals: dict[str, float] = {}
        sums: dict[str, Tensor] = {}
        mine = range(fabric.global_rank, count, fabric.world_size)
        for part in mine:
            x, context = self.batches.at((step * len(self.stage.turns) + number) * count + part)
            # processes exchange gradients once, with the last batch
            with self._exchange(part == mine[-1]), seeded(self.options.seed, step, number, part):
                scalars = self._loss(x, context, turn, place)
                means = self._means({k: v for k, v in scalars.items() if _is_scalar(k, v)})
                if not all(map(math.isfinite, means.values())):
                    return means
                fabric.backward(scalars["loss"] / len(mine))
            for name, value in means.items():
                totals[name] = totals.get(name, 0.0) + value / len(mine)
            for name, values in scalars.items():
                if not _is_scalar(name, values):
                    # of many batches, which fewer digits would not hold
                    wide = torch.promote_types(values.dtype, torch.float32)
                    sums[name] = values.detach().to(wide) + sums.get(name, 0)
        optimizer = self.optimizers[turn]
        norm = fabric.clip_gradients(
            self.wrapped, optimizer, error_if_nonfinite=False,
            # losses are sums over an observation's values, and so are their gradients
            max_norm=self.options.clip * self.model.spec.dims or math.inf,
        )  # fmt: skip
        if norm is not None:
            if not math.isfinite(float(norm)):
                return totals | {"gradient norm": float(norm)}
            if len(self.stage.players) > 1:
                # who overpowers the other shows in what is left to learn
                totals["gradient"] = float(norm)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        self.buffers.exchange(turn)
        with torch.no_grad():
            self.model.moved(turn, {k: sum_over_processes(fabric, v) for k, v in sums.items()})
        return totals

    @contextmanager
    def _exchange(self, now: bool) -> Iterator[None]:
        if self.fabric.world_size == 1:
            yield
            return
        with self.fabric.no_backward_sync(self.wrapped, enabled=not now):
            yield

    def _loss(
        self, x: Tensor, context: Tensor | None, turn: str, place: float
    ) -> dict[str, Tensor]:
        # a tensor, for a compiled step would be compiled anew for each number
        told = {"place": torch.tensor(place, device=x.device)} if self._told_place else {}
        try:
            # the engine casts in forward alone, unless the model is spread over processes
            with self.fabric.autocast():
                scalars: dict[str, Tensor] = self.wrapped.loss(x, context, turn=turn, **told)
                return scalars
        except ValueError as error:
            # torch's distributions refuse parameters that are not numbers
            if finite(self.model) and "constraint" not in str(error):
                raise
            return {"loss": torch.tensor(math.nan, device=self.fabric.device)}

    def _means(self, scalars: dict[str, Tensor]) -> dict[str, float]:
        """The scalars, averaged over the processes, which so agree on what is not finite."""
        names = ["loss"]
        loss = self._mean(scalars["loss"].detach().reshape(1))
        if bool(loss.isfinite()):
            # where a process met no number, it has no other scalars
            names += [name for name in scalars if name != "loss"]
        others = [scalars[name].detach().reshape(1).to(loss) for name in names[1:]]
        values = torch.cat([loss, self._mean(torch.cat(others))]) if others else loss
        return dict(zip(names, values.tolist(), strict=True))

    def _mean(self, values: Tensor) -> Tensor:
        return sum_over_processes(self.fabric, values.float()) / self.fabric.world_size

    def state_dict(self) -> dict[str, Any]:
        """Every optimiser's state by its player's name."""
        return {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state[name])
            for parameter, values in optimizer.state.items():
                for key, value in values.items():
                    if value.shape == parameter.shape:
                        # in the parameter's order in memory: fused optimisers go by that alone
                        values[key] = torch.empty_like(parameter).copy_(value)


def finite(model: Model) -> bool:
    """Whether every weight is a number."""
    return all(
        bool(value.isfinite().all())
        for value in model.state_dict().values()
        if value.is_floating_point()
    )


def _is_scalar(name: str, value: Tensor) -> bool:
    """Whether it is a scalar of a loss, and not what `Model.moved` is told."""
    return name == "loss" or not value.ndim
