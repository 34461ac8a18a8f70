"""How to train: a budget, and the options that hold for every family. Nothing here needs torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from simulacra.ground.errors import UsageError

UNITS = "90s, 5m, 1h, 2000steps, 10epochs, 2Mobs or 3Gflops"
"""How a budget is written: minutes and hours are seconds; k, M and G go with the last two alone."""
_WRITTEN = re.compile(r"([-+0-9.e]+?) *(?:(s|m|h|steps?|epochs?)|([kMG]?)(obs|flops))")
_POWERS = {"G": 9, "M": 6, "k": 3, "": 0}


@dataclass(frozen=True)
class Budget:
    """How long to train: an amount of seconds, steps, epochs, observations or FLOPs.

    Args:
        amount: Positive and finite; whole for steps, observations and FLOPs.
        unit: What is counted: `obs` are training observations seen, one that comes again counted
            again; `flops` are floating-point operations of training, see `units.flops_a_step`.

    Example:
        >>> import simulacra as sim
        >>> sim.Budget.parse("5m")
        Budget(amount=300.0, unit='s')
        >>> sim.Budget.parse("2Mobs")
        Budget(amount=2000000.0, unit='obs')
        >>> str(sim.Budget(10, "epochs")), str(sim.Budget(20_000, "obs"))
        ('10epochs', '20kobs')
    """

    amount: float
    unit: Literal["s", "steps", "epochs", "obs", "flops"]

    def __post_init__(self) -> None:
        """Refuse a budget that no training can have."""
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise UsageError(f"a budget is positive, got {self.amount:g}{self.unit}: write {UNITS}")
        what = {"steps": "steps", "obs": "observations", "flops": "FLOPs"}.get(self.unit)
        if what and self.amount != int(self.amount):
            raise UsageError(f"a number of {what} is whole, got {self.amount:g}")
        if self.unit in ("steps", "obs") and self.amount >= 2**63:
            raise UsageError(f"a number of {what} is below 2^63, got {self.amount:g}")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """The budget written as `90s`, `5m`, `1h`, `2000steps`, `10epochs`, `2Mobs` or `3Gflops`.

        Raises:
            UsageError: If it is written otherwise; `5M` is neither minutes nor millions.
        """
        match = _WRITTEN.fullmatch(text.strip())
        try:
            if match is None:
                raise ValueError
            number, timed, power, counted = match.groups()
            # the nearest to what is written: 1.1 × 1e6 is not 1.1e6
            digits, e, exponent = number.partition("e")
            amount = float(f"{digits}e{(int(exponent) if e else 0) + _POWERS[power or '']}")
        except ValueError:
            raise UsageError(f"a budget is written {UNITS}, got {text!r}{_hint(text)}") from None
        if counted:
            return cls(amount, "obs" if counted == "obs" else "flops")
        if timed in ("s", "m", "h"):
            return cls(amount * {"s": 1, "m": 60, "h": 3600}[timed], "s")
        return cls(amount, "steps" if timed[0] == "s" else "epochs")

    def __str__(self) -> str:
        """As `parse` reads it, with the multiplier that makes it shortest."""
        if self.unit not in ("obs", "flops"):
            whole = self.amount == int(self.amount)
            return f"{int(self.amount) if whole else self.amount}{self.unit}"
        texts = [_shifted(int(self.amount), power) + name for name, power in _POWERS.items()]
        return min(texts, key=len) + self.unit


def _shifted(value: int, power: int) -> str:
    """A whole number without so many of its digits, as a decimal number that is no less exact."""
    whole, rest = divmod(value, 10**power)
    return f"{whole}.{rest:0{power}d}".rstrip("0").rstrip(".") if power else str(value)


def _hint(text: str) -> str:
    """What may have been meant by a unit in other letters."""
    number = text.strip().removesuffix("M").strip()
    if text.strip() != number and _WRITTEN.fullmatch(f"{number}m"):
        return f": {number}m is {number} minutes, {number}Mobs {number} million observations"
    small = _WRITTEN.fullmatch(text.strip().lower())
    return f": write {text.strip().lower()}" if small else ""


@dataclass(frozen=True)
class Options:
    """What a training takes beside the model, the data and the budget.

    Args:
        batch: Observations in one batch.
        accumulate: Batches whose gradients are averaged before a player moves; processes that
            train together share them out.
        lr: Learning rate of AdamW after the warm-up.
        betas: AdamW's decay rates of the gradient's first and second moments.
        weight_decay: AdamW's decay of the weights.
        warmup: Steps over which the learning rate rises from 0, at most a tenth of the training.
        schedule: What the learning rate does after the warm-up: cosine (to 0) or constant.
        clip: Largest norm of a player's gradient for each value of an observation; 0 does not
            clip.
        ema: Decay of the exponential moving average of the weights, which is the model that is
            validated and kept.
        seed: Of initialisation, batches and noise.
        device: auto, cpu, cuda or mps; auto takes a CUDA GPU where there is one, else the CPU.
        precision: Of the training: 32 (float32), bf16 (bfloat16 where it is safe), or auto: bf16
            where the processor has matrix units for it and the likelihood agrees with that in
            float32. Figures are always computed in float32.
        compile: Compile the training step, which takes half a minute first and needs a C++
            compiler.

    Example:
        >>> import simulacra as sim
        >>> options = sim.Options(batch=32, lr=2e-3, warmup=0, schedule="constant")
        >>> options.lr_at(step=7, steps=100)
        0.002
    """

    batch: int = 64
    accumulate: int = 1
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup: int = 100
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "32", "bf16"] = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no training can have."""
        for name in ("batch", "accumulate", "warmup", "seed"):
            if type(getattr(self, name)) is not int:
                raise UsageError(f"{name} is a whole number, got {getattr(self, name)!r}")
        betas_kept = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        rules = {
            "batch": (1 <= self.batch < 2**63, "at least 1 and below 2^63"),
            "accumulate": (1 <= self.accumulate < 2**63, "at least 1 and below 2^63"),
            "lr": (0 < self.lr < math.inf, "positive and finite"),
            "betas": (betas_kept, "two numbers in [0, 1)"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "at least 0 and finite"),
            "warmup": (0 <= self.warmup < 2**63, "at least 0 and below 2^63"),
            "schedule": (self.schedule in ("cosine", "constant"), "cosine or constant"),
            "clip": (0 <= self.clip < math.inf, "at least 0 and finite"),
            "ema": (0 <= self.ema < 1, "in [0, 1)"),
            "seed": (0 <= self.seed < 2**63, "at least 0 and below 2^63"),
            "device": (isinstance(self.device, str), "auto, cpu, cuda or mps"),
            "precision": (self.precision in ("auto", "32", "bf16"), "auto, 32 or bf16"),
        }
        for name, (kept, expected) in rules.items():
            if not kept:
                raise UsageError(f"{name} is {expected}, got {getattr(self, name)!r}")

    def lr_at(self, step: float, steps: float) -> float:
        """The learning rate of a step, counted from 0, in a training of so many steps.

        Where seconds are what there is of both, they are what they would be at an even pace.
        """
        warmup = min(self.warmup, steps // 10)
        if step < warmup:
            # a place in a schedule by seconds may lie between two steps
            return self.lr * min(1.0, (step + 1) / warmup)
        if self.schedule == "constant":
            return self.lr
        progress = (step - warmup) / max(1, steps - warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * progress))
