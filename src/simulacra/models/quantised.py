"""`Quantised`: codes that are a grid of entries of a codebook, and what they cost."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor

from simulacra.models.model import Encoding, Latent


@dataclass(frozen=True)
class CodebookTerms:
    """What the code of each observation costs, and what it leaves untold; nats.

    Args:
        distortion: −log p(x | z) of the observation given its code, `(N,)`.
        rate: −log p(z) of the code under the prior, `(N,)`.
        indices: Which entry stands in each place of the code, int64 `(N, places)`.

    Example:
        >>> import simulacra as sim, torch
        >>> indices = torch.tensor([[3, 0]])
        >>> terms = sim.CodebookTerms(torch.tensor([5.0]), torch.tensor([1.5]), indices)
        >>> terms.total.item()
        6.5
    """

    distortion: Tensor
    rate: Tensor
    indices: Tensor

    @property
    def total(self) -> Tensor:
        """Rate + distortion, `(N,)`: what it takes to write the code, and then the observation."""
        return self.rate + self.distortion


class Quantised(Encoding, Latent):
    """Encodes to a grid of vectors, each one of the entries of a codebook.

    `encode` gives the entries themselves; `decode` takes any vectors, each for the entry that is
    nearest.

    Example:
        >>> import simulacra as sim, torch
        >>> spec = sim.DataSpec((1, 8, 8), levels=2)
        >>> vqvae = sim.build("vqvae", spec, {"codes": 16, "code_width": 4}).eval()
        >>> isinstance(vqvae, sim.Quantised), vqvae.codebook_size
        (True, 16)
        >>> terms = vqvae.codebook_terms(torch.zeros((5, 1, 8, 8), dtype=torch.long))
        >>> terms.distortion.shape, terms.rate.shape, terms.indices.shape
        (torch.Size([5]), torch.Size([5]), torch.Size([5, 16]))
    """

    @property
    @abstractmethod
    def codebook_size(self) -> int:
        """Entries that a code may have in each place."""

    @abstractmethod
    def codebook_terms(self, x: Tensor, context: Tensor | None = None) -> CodebookTerms:
        """Distortion, rate and indices; a row does not depend on the others, nor on chance.

        Args:
            x: Observations `(N, *event_shape)`.
            context: One row for each observation.
        """
