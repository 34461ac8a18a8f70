"""`Model` and its capabilities: what a generative model promises, whatever its family.

A capability is a class, asked for by `isinstance`; one that a model lacks does not exist on it.
Observations are raw levels (see `DataSpec`); likelihoods are in nats per observation.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from simulacra.ground.spec import DataSpec
from simulacra.models.stages import Player, Stage
from simulacra.models.takes import Takes
from simulacra.nn.context import MapContextKind


class Model(nn.Module, ABC):
    """Something that learns from observations, given a `DataSpec`.

    A constructor takes the spec and keywords, stores each keyword verbatim as an attribute, and
    checks them: the keywords are the configuration.

    Args:
        spec: The form of the data.

    Example:
        >>> import simulacra as sim, torch
        >>> class Mean(sim.Model):
        ...     def __init__(self, spec):
        ...         super().__init__(spec)
        ...         self.mean = torch.nn.Parameter(torch.zeros(spec.event_shape))
        ...     def loss(self, x, context=None, *, turn="model"):
        ...         return {"loss": ((x - self.mean) ** 2).sum((1, 2, 3)).mean()}
        >>> data = sim.load_data("digits")
        >>> mean = sim.fit(Mean(data.spec), data, "3steps")
    """

    turns: tuple[str, ...] = ("model",)
    """Who moves in one training step, in order; one optimiser for each distinct name."""

    players: Mapping[str, Player] = MappingProxyType({})
    """How players move that do not all move alike."""

    kept: tuple[str, ...] | None = None
    """See `Stage`: players of whose weights the average is kept; all, unless it says otherwise."""

    classes_in_batch: tuple[int, int] | None = None
    """(P, K): a batch is K observations of each of P classes, and `loss` is told these.

    Of data without labels their groups.
    """

    told_in_batch: float | None = None
    """Part of a batch whose labels are told whole, at least, where some are and some are not."""

    validation_cost: int = 1
    """Passes through the network that `validation_loss` takes for one observation."""

    not_compiled: str = ""
    """Why a step is never compiled: torch compiles no second derivatives (gradient penalties)."""

    context: MapContextKind = "none"
    """What the model is told beside an observation."""

    takes: ClassVar[Takes] = Takes()
    """Which forms of data it is for; others are refused with `MissingCapability`."""

    preset: ClassVar[Mapping[str, Any]] = {}
    """Training options that suit it, where they are not the usual ones; the user's come before."""

    small: ClassVar[tuple[dict[str, Any], ...]] = ({},)
    """Keywords of tiny models, the usual ones first: what the laws are tried with."""

    smaller: ClassVar[tuple[dict[str, Any], ...]] = ()
    """What makes it smaller where memory lacks, beside layers of half the units; the best first."""

    laws: ClassVar[tuple[str, ...]] = (
        "simulacra.models.lawbook.configuration",
        "simulacra.models.lawbook.behaviour",
        "simulacra.models.lawbook.probability",
        "simulacra.models.lawbook.device",
        "simulacra.models.lawbook.bounds",
        "simulacra.models.lawbook.refining",
        "simulacra.models.lawbook.codebooks",
        "simulacra.models.lawbook.games",
    )
    """Modules whose `LAWS` each model of this class keeps, beside those of its bases."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.takes.check(spec, type(self).__name__)
        self.spec = spec

    @classmethod
    def signature(cls) -> dict[str, inspect.Parameter]:
        """The constructor's keywords, with their types and defaults.

        Of a constructor that ends in `**keywords` also those of the next one among its bases.
        """
        found: dict[str, inspect.Parameter] = {}
        for base in cls.__mro__:
            if "__init__" not in vars(base):
                continue
            own = inspect.signature(vars(base)["__init__"], eval_str=True).parameters.values()
            found = {p.name: p for p in own if p.kind is p.KEYWORD_ONLY} | found
            if all(p.kind is not p.VAR_KEYWORD for p in own):
                break
        return found

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401, ARG003 (any keywords)
        """What a model with these keywords takes, where they make it less than `takes`."""
        return cls.takes

    @classmethod
    def class_for(cls, **keywords: Any) -> type[Model]:  # noqa: ANN401, ARG003 (any keywords)
        """The class of a model with these keywords, where one changes what the model can do.

        A subclass that has the same keywords; the registry builds it in place of this one.
        """
        return cls

    @property
    def keywords(self) -> dict[str, Any]:
        """The keywords that this model was built with."""
        return {name: getattr(self, name) for name in self.signature()}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What its training consists of, one after another: one stage, unless it says otherwise."""
        return (Stage("training", self.turns, kept=self.kept),)

    def player(self, turn: str) -> nn.Module:
        """The module that moves in a turn: the model itself, unless it is a game."""
        return self

    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialise from data, once, before the first step; nothing unless a model needs it.

        Args:
            x: A few thousand training observations `(N, *event_shape)`.
            context: Their context.

        One that also names an argument `count` is told how many training observations there are,
        and one that names `classes` how many classes its batches are made of.
        """

    @abstractmethod
    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Scalars of one turn's move; the one called `loss` is minimised.

        Args:
            x: Observations `(N, *event_shape)`.
            context: Row *i* belongs to row *i* of `x`.
            turn: Whose move it is, one of a stage's.

        A loss that also names an argument `place` is told how far its stage is, from 0 to 1, as a
        scalar tensor; without being told it is at the end. What is returned beside scalars is
        summed over a step's batches, for `moved`.
        """

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """Act after a player's move, as by clipping weights or moving a codebook.

        Args:
            turn: Whose move it was.
            sums: What `loss` returned beside scalars, summed over all batches of the move.
        """

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor | None:
        """What the best step is chosen by, `(N,)`; without, the last one is taken.

        Of a `Game` without it is that of the smallest distance, see `training.balance`.

        Never a figure that the judge uses of samples: who is chosen by that has seen it.

        Args:
            x: Validation observations `(N, *event_shape)`.
            context: Row *i* belongs to row *i* of `x`.
        """
        return None


class Sampling(Model):
    """Draws new observations.

    Example:
        >>> import simulacra as sim
        >>> gan = sim.build("gan", sim.DataSpec((1, 8, 8), levels=2), {"hidden": (16,)})
        >>> isinstance(gan, sim.Sampling), isinstance(gan, sim.Likelihood)
        (True, False)
    """

    @abstractmethod
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """Independent draws.

        Args:
            n: How many.
            context: One row for each draw.

        Returns:
            `(n, *event_shape)`: int64 levels, or floats of a continuous vector.
        """


class Stepwise(Sampling):
    """Draws an observation in steps, each of which needs the one before.

    Example:
        >>> import simulacra as sim
        >>> model = sim.build("made", sim.DataSpec((1, 2, 2), levels=2), {"hidden": (4,)})
        >>> isinstance(model, sim.Stepwise)
        True
        >>> len([x.clone() for x in model.sample_steps(3)])
        4
    """

    @abstractmethod
    def sample_steps(self, n: int, context: Tensor | None = None) -> Iterator[Tensor]:
        """The observations as they grow, one step after another.

        Args:
            n: How many at once.
            context: One row for each.

        Yields:
            `(n, *event_shape)`, which may be the same tensor after every step: clone it to keep it.
        """

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """The last of `sample_steps`; see `Sampling.sample`."""
        *_, last = self.sample_steps(n, context)
        return last


class Likelihood(Model):
    """Says how probable an observation is.

    Example:
        >>> import simulacra as sim, torch
        >>> class Coin(sim.Likelihood):
        ...     exact = True
        ...     def log_likelihood(self, x, context=None, *, draws=1, seed=0):
        ...         return torch.full((len(x),), -self.spec.dims * torch.tensor(2.0).log())
        ...     def loss(self, x, context=None, *, turn="model"):
        ...         return {"loss": -self.log_likelihood(x).mean()}
        >>> coin = Coin(sim.DataSpec((1, 2, 2), levels=2))
        >>> round(float(coin.log_likelihood(torch.zeros(1, 1, 2, 2))), 4)
        -2.7726
    """

    @property
    @abstractmethod
    def exact(self) -> bool:
        """Whether `log_likelihood` is the log-likelihood itself and not a lower bound of it."""

    @abstractmethod
    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Log p(x), or a lower bound of it, in nats; a row's value does not depend on the others.

        Args:
            x: Observations `(N, *event_shape)`.
            context: One row for each observation.
            draws: Importance draws of a stochastic bound: more make it tighter. Where they are
                `averaged`, more make it more certain.
            seed: Of the bound's noise, which is keyed by (seed, observation).

        Returns:
            `(N,)`.
        """

    @property
    def averaged(self) -> bool:
        """Whether draws are averaged, as those over times and traces are.

        The log of a mean of their exponentials would exceed log p(x).
        """
        return False

    def solver_error(
        self, x: Tensor, context: Tensor | None = None, *, seed: int = 0
    ) -> Tensor | None:
        """By how much solving equations in steps is off, in nats `(N,)`, with its sign.

        Nothing of a model that solves none; of others what is left, as an estimate, of
        `log_likelihood` with one draw less what it were with steps without end.

        Args:
            x: Observations `(N, *event_shape)`.
            context: One row for each observation.
            seed: See `log_likelihood`.
        """
        return None

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The negative log-likelihood, or the bound's, in nats, `(N,)`."""
        return -self.log_likelihood(x, context)


class Encoding(Model):
    """Maps observations to codes.

    Example:
        >>> import simulacra as sim
        >>> [name for name in ("gan", "vae", "nice") if issubclass(sim.find(name), sim.Encoding)]
        ['vae', 'nice']
    """

    @abstractmethod
    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The codes `(N, …)` of observations `(N, *event_shape)`, without noise."""


class Decoding(Model):
    """Maps codes to observations.

    Example:
        >>> import simulacra as sim
        >>> [name for name in ("gan", "vae", "made") if issubclass(sim.find(name), sim.Decoding)]
        ['gan', 'vae']
    """

    @abstractmethod
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Observations `(N, *event_shape)` from codes, drawn where the decoder is random."""


class Invertible(Encoding, Decoding):
    """Decoding undoes encoding, by construction and not by training.

    Example:
        >>> import simulacra as sim
        >>> [name for name in ("vae", "nice") if issubclass(sim.find(name), sim.Invertible)]
        ['nice']
    """

    @abstractmethod
    def inverse_error(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """How far each observation is from itself after there and back, `(N,)`: rounding alone.

        The largest |y′ − y| of its values, in the units of the model's own inputs, standardised
        where it standardises: before anything is put back to levels, which would hide it.

        Args:
            x: Observations `(N, *event_shape)`.
            context: One row for each observation.
        """


class Latent(Sampling, Decoding):
    """Draws observations by decoding codes drawn from a prior.

    Example:
        >>> import simulacra as sim
        >>> gan = sim.build("gan", sim.DataSpec((1, 8, 8), levels=2), {"latent": 2, "hidden": (9,)})
        >>> isinstance(gan, sim.Latent), gan.prior(3).shape
        (True, torch.Size([3, 2]))
    """

    @abstractmethod
    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Codes `(n, …)` drawn from the prior, each for a row of the context.

        Args:
            n: How many.
            context: One row for each code.
            temperature: Below 1 the codes lie nearer to the middle of the prior: of a normal or
                logistic one their distances from it are multiplied by this. 1 is the prior itself.
                A prior that cannot be narrowed does without this argument.
        """

    @property
    def narrows(self) -> bool:
        """Whether its prior takes a temperature, and `sample` with it."""
        methods = (self.prior, self.sample)
        return all("temperature" in inspect.signature(each).parameters for each in methods)

    def sample(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Decode codes drawn from the prior, narrowed by a temperature; see `Sampling.sample`."""
        # a prior without temperatures is one too, at 1
        told = {} if temperature == 1 else {"temperature": temperature}
        with torch.no_grad():
            return self.decode(self.prior(n, context, **told), context)


class Completion(Model):
    """Draws the hidden part of an observation given the rest.

    Example:
        >>> import simulacra as sim
        >>> [name for name in ("gmm", "vqvae") if issubclass(sim.find(name), sim.Completion)]
        ['gmm']
    """

    @abstractmethod
    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """Observations with the hidden values drawn and the observed ones kept.

        Args:
            x: `(N, *event_shape)`; hidden values may hold anything valid.
            observed: Booleans `(N, *event_shape)` or `(*event_shape)`, true where `x` is given.
            context: One row for each observation.
        """

    @abstractmethod
    def completes_exactly(self, observed: Tensor) -> bool:
        """Whether draws come from the model's own conditional given this mask."""


CAPABILITIES: dict[type[Model], str] = {
    Sampling: "samples", Likelihood: "likelihood", Completion: "completes", Encoding: "encodes",
    Decoding: "decodes", Latent: "latent",
}  # fmt: skip
"""What a model can do, in the words that people see."""


def capabilities(model: type[Model]) -> list[str]:
    """The capabilities of a class, derived from its bases."""
    return [word for kind, word in CAPABILITIES.items() if issubclass(model, kind)]
