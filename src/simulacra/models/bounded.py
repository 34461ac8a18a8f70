"""`Bounded`: a likelihood known by a bound over codes, whose terms can be told apart."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from simulacra.models.model import Encoding, Latent, Likelihood


@dataclass(frozen=True)
class Terms:
    """The evidence lower bound of each observation, in its parts; nats.

    Args:
        distortion: −E_q log p(x | z), by one code for each observation, `(N,)`.
        rates: What each unit of the code costs, `(N, units)`; a row sums to KL(q(z | x) ‖ p(z)),
            or to its estimate by the same code where there is no closed form.

    Example:
        >>> import simulacra as sim, torch
        >>> terms = sim.Terms(distortion=torch.tensor([5.0]), rates=torch.tensor([[1.5, 0.5]]))
        >>> terms.kl.item(), terms.bound.item()
        (2.0, -7.0)
    """

    distortion: Tensor
    rates: Tensor

    @property
    def kl(self) -> Tensor:
        """What the whole code costs, KL(q(z | x) ‖ p(z)), `(N,)`."""
        return self.rates.sum(1)

    @property
    def bound(self) -> Tensor:
        """The evidence lower bound of log p(x), `(N,)`."""
        return -self.distortion - self.kl


class Bounded(Likelihood, Encoding, Latent):
    """A likelihood that is known by a bound over codes, and what each unit of a code costs.

    `encode` gives the posterior's mean: what of it varies between observations is read from there.

    Example:
        >>> import simulacra as sim, torch
        >>> spec = sim.DataSpec((1, 2, 2), levels=2)
        >>> vae = sim.build("vae", spec, {"latent": 3, "hidden": (4,)}).eval()
        >>> isinstance(vae, sim.Bounded)
        True
        >>> terms = vae.terms(torch.zeros((5, 1, 2, 2), dtype=torch.long))
        >>> terms.distortion.shape, terms.rates.shape, terms.bound.shape
        (torch.Size([5]), torch.Size([5, 3]), torch.Size([5]))
    """

    @property
    def hierarchy(self) -> tuple[tuple[str, int], ...]:
        """The levels of its code, each with its name and number of units, in the code's order.

        The highest first; nothing where a code has one level alone.
        """
        return ()

    @abstractmethod
    def terms(self, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Terms:
        """The parts of the evidence lower bound; a row does not depend on the others.

        Args:
            x: Observations `(N, *event_shape)`.
            context: One row for each observation.
            seed: Of the codes' noise, which is keyed by (seed, observation).
        """
