"""`Refining`, `Carrying`, `Denoising`: samples that are refined from noise in so many steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from torch import Tensor

from simulacra.models.model import Model, Stepwise


class Refining(Stepwise):
    """Draws by refining noise, in as many steps as one likes: fewer are faster, and worse.

    Example:
        >>> import simulacra as sim
        >>> spec = sim.DataSpec((1, 8, 8), levels=17)
        >>> model = sim.build("ddpm", spec, {"channels": 8}).eval()
        >>> isinstance(model, sim.Refining), model.sample(2, steps=3).shape
        (True, torch.Size([2, 1, 8, 8]))
    """

    sampling_steps: int
    """Steps that a sample takes where no number is asked for."""

    @property
    def most_steps(self) -> int | None:
        """More steps than these would change nothing; `None` where there is no such number."""
        return None

    @property
    def guides(self) -> bool:
        """Whether it is told a context, whose weight can be raised."""
        return self.context != "none"

    @abstractmethod
    def sample_steps(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Iterator[Tensor]:
        """The observations as they are refined: what they begin as, and after each step.

        Args:
            n: How many at once.
            context: One row for each.
            steps: Calls of the network; `sampling_steps` by default. With another weight of the
                context than 1, each is a call with it and one without.
            guidance: Weight w of the context, of which w = 1 is what was learnt: what is predicted
                with it, less what is without, is taken w times (Ho and Salimans 2022, arXiv
                2207.12598, whose w is this less 1). Above 1 samples are more like their class, and
                less varied.

        One whose prior `narrows` takes a `temperature` too; see `Latent.sample`.

        Yields:
            `(n, *event_shape)`, which may be the same tensor after every step: clone it to keep it.

        Raises:
            UsageError: If `steps` is not positive, or another weight than 1 is asked for of a
                model that takes no context.
        """

    def sample(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """The last of `sample_steps`; see `Sampling.sample`."""
        *_, last = self.sample_steps(n, context, steps=steps, guidance=guidance)
        return last


class Carrying(Refining):
    """Refines along paths of which any point says how they go on: nothing is drawn on the way.

    Time goes from 0, where observations are, to 1, where noise is.

    Example:
        >>> import simulacra as sim
        >>> [name for name in ("flow-matching", "d3pm") if issubclass(sim.find(name), sim.Carrying)]
        ['flow-matching']
    """

    @abstractmethod
    def carried(self, x: Tensor, now: float, then: float, context: Tensor | None = None) -> Tensor:
        """Where points at one time are at another, as one step of the path has it.

        Args:
            x: `(N, *event_shape)` floats, in the units of observations.
            now: The time at which they are there, from 0 to 1.
            then: Another time.
            context: One row for each.

        Returns:
            `(N, *event_shape)`: floats of a continuous vector, or the nearest int64 levels.
        """


class Denoising(Model):
    """Takes normal noise of a known size from observations.

    Example:
        >>> import simulacra as sim
        >>> [name for name in ("ddpm", "d3pm") if issubclass(sim.find(name), sim.Denoising)]
        ['ddpm']
    """

    @abstractmethod
    def denoise(self, x: Tensor, noise: float, context: Tensor | None = None) -> Tensor:
        """The expected observation of each noisy one.

        Args:
            x: `(N, *event_shape)` floats in units of levels, which may lie beyond them; or vectors.
            noise: Standard deviation of the noise, in the same units; of vectors in those of the
                training data's deviation.
            context: One row for each observation.

        Returns:
            `(N, *event_shape)`: int64 levels, or floats of a continuous vector.
        """
