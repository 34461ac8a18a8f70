"""Principal components: the best linear autoencoder, and what others are measured by."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.model import Decoding, Encoding
from simulacra.models.standardised import Standardised
from simulacra.models.swept import Swept
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding
from simulacra.nn.levels import as_input, nearest_levels
from simulacra.nn.precision import double


class PCA(Standardised, Swept, Encoding, Decoding):
    """The plane of a few dimensions that lies nearest to the observations, and places on it.

    Levels are numbers from −1 to 1; vectors are standardised. It begins with scikit-learn's PCA of
    up to 10,000 observations. Of up to 2,048 values one sweep over all data adds up the covariance,
    and that is all; of larger observations sweeps take a subspace through the covariance, which is
    never made, again and again. The decoder gives the nearest level of a point, so there is no
    likelihood, and nothing to sample from.

    Paper: H. Hotelling, "Analysis of a Complex of Statistical Variables into Principal
        Components", 1933, J. Educ. Psychol. 24; N. Halko, P.-G. Martinsson, J. A. Tropp, "Finding
        Structure with Randomness", 2011, SIAM Rev. 53(2), arXiv 0909.4061, algorithm 4.4, of which
        each sweep is half a round.
    Departs from the paper: the subspace begins with components of a part of the data.

    Args:
        spec: Ordered levels, or continuous vectors.
        components: Size of a code; as many as an observation has values, where these are fewer.
    """

    takes = Takes(unordered=False)
    small = ({"components": 2},)
    mean: Tensor
    directions: Tensor
    last_loss: Tensor

    def __init__(self, spec: DataSpec, *, components: int = 16) -> None:
        if components < 1:
            raise UsageError(f"components is positive, got {components}")
        super().__init__(spec)
        self.components = components
        self.told = ContextEmbedding("none", spec)
        # beyond the code's own there are a few more, with which subspaces settle sooner
        most = components if self._by_covariance else components + _MORE
        self.register_buffer("mean", torch.zeros(spec.dims))
        self.register_buffer("directions", torch.eye(min(most, spec.dims), spec.dims))
        self.register_buffer("last_loss", torch.tensor(torch.finfo(torch.float32).max))

    @property
    def _by_covariance(self) -> bool:
        return self.spec.dims <= _COVARIANCE

    @property
    def axes(self) -> Tensor:
        """The principal directions, the one along which most varies first, `(components, D)`."""
        return self.directions[: self.components]

    @property
    def learnt(self) -> int:
        """A mean, and directions that are orthogonal and of length 1."""
        codes, dims = self.axes.shape
        return dims + codes * dims - codes * (codes + 1) // 2

    def _values(self, x: Tensor) -> Tensor:
        """Observations in units of their own, `(N, D)`."""
        y = x if self.spec.levels is not None else self.standardised(x)
        return as_input(y, self.spec, self.mean.dtype).flatten(1)

    # ---- sweeps ----------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Begin with scikit-learn's principal components of these observations."""
        super().prepare(x, context)
        self.last_loss.fill_(torch.finfo(self.last_loss.dtype).max)
        y = double(self._values(x))
        self.mean.copy_(y.mean(0))
        y = y - y.mean(0)
        # what they leave open, sweeps find from anywhere
        start = torch.randn(self.directions.shape, dtype=y.dtype).to(y.device)
        if bool(y.any()):
            found = _principal(y, len(start))
            start[: len(found)] = found
        self._take(torch.linalg.qr(start.T)[0].T)

    def statistics(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """Count, Σ|y|², Σ y and Σ y yᵀ, or Σ y (Q y)ᵀ of a subspace Q, of y without the mean."""
        y = double(self._values(x)) - double(self.mean)
        counts = torch.stack([y.new_tensor(float(len(y))), y.square().sum()])
        other = y if self._by_covariance else y @ double(self.directions).T
        return counts, y.sum(0), y.T @ other

    @torch.no_grad()
    def maximise(self, *sums: Tensor) -> dict[str, float]:
        """Principal components of the covariance, or its subspace one step on.

        Returns:
            `loss`, the squared error before the sweep; `explained`, the share of the variance that
            codes hold, before it as well; and `converged`.
        """
        counts, first, second = sums
        count, square = counts.tolist()
        off, directions = first / count, double(self.directions)
        images = second / count
        codes = double(self.axes)
        held = (images @ codes.T).T if self._by_covariance else images.T[: len(codes)]
        # what floats round away may leave less than nothing
        loss = max(0.0, square / count - float((held * codes).sum()))
        variance = square / count - float(off.square().sum())
        if self._by_covariance:
            covariance = images - torch.outer(off, off)
            _, vectors = torch.linalg.eigh(covariance)
            self._take(vectors.T.flip(0)[: len(directions)])
        else:
            covariances = images - torch.outer(off, directions @ off)
            self._take(torch.linalg.svd(covariances, full_matrices=False)[0].T)
        self.mean.add_(off.to(self.mean))
        little = self._by_covariance or float(self.last_loss) - loss <= _LITTLE * variance
        self.last_loss.fill_(loss)
        explained = 1 - loss / variance if variance > 0 else 1.0
        return {"loss": loss, "explained": explained, "converged": float(little)}

    def _take(self, directions: Tensor) -> None:
        """Keep directions, each with the sign that makes its largest value positive."""
        at = directions.abs().argmax(1, keepdim=True)
        self.directions.copy_(directions * directions.gather(1, at).sign())

    # ---- codes -----------------------------------------------------------------------------------

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Places along the principal directions, `(N, components)`."""
        self.spec.check(x)
        y = self._values(x)
        self.told(context, y)
        return (y - self.mean) @ self.axes.T

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The point of the plane, of levels the nearest ones."""
        self.told(context, z)
        y = (z @ self.axes + self.mean).view(-1, *self.spec.event_shape)
        return nearest_levels(y * self.scale + self.shift, self.spec)

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The squared distance from the plane, summed over values, `(N,)`."""
        y = self._values(x) - self.mean
        self.told(context, y)
        return (y - y @ self.axes.T @ self.axes).square().sum(1)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The mean squared distance from the plane."""
        return {"loss": self.validation_loss(x, context).mean()}


def _principal(y: Tensor, most: int) -> Tensor:
    """scikit-learn's principal components of centred rows `(N, D)`, as many as there are."""
    from sklearn import decomposition  # a second to import, and needed once

    seed = int(torch.randint(2**31, ()))
    found = decomposition.PCA(min(most, *y.shape), random_state=seed).fit(y.cpu().numpy())
    return torch.as_tensor(found.components_).to(y)


_COVARIANCE = 2048
"""Values of an observation up to which their covariance is made: 32 MiB, and seconds to solve."""
_MORE = 10
_LITTLE = 1e-6
"""Gain of a sweep, as a share of the variance, that is none."""
