"""Where the components of a mixture begin: clusters of k-means, of each class its own."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def clusters(y: Tensor, classes: Tensor, count: int) -> Tensor:
    """The cluster of each observation, `(N,)` on its device; −1 if it is in none.

    Each class has clusters of its own where there are enough for all, by its size. Who is of no
    class that is known is in none then.

    Args:
        y: Observations `(N, D)`, as many as clusters at least.
        classes: Of each, `(N,)`; −1 where it is not told.
        count: Clusters, of all classes together.
    """
    values, found, begun = y.cpu().numpy(), torch.full((len(y),), -1), 0
    for rows, number in _groups(classes.cpu(), count):
        found[rows] = begun + _k_means(values[rows.numpy()], number)
        begun += number
    return found.to(y.device)


def _groups(classes: Tensor, count: int) -> list[tuple[Tensor, int]]:
    """Rows of each class, and how many clusters it has; or all rows, which have all clusters."""
    every = [(classes == label).nonzero()[:, 0] for label in classes.unique() if label >= 0]
    if not 1 < len(every) <= count:
        return [(torch.arange(len(classes)), count)]
    shares = [1] * len(every)
    # one after another goes to the class whose clusters are the largest
    for _ in range(count - len(every)):
        largest = max(range(len(every)), key=lambda i: len(every[i]) / shares[i])
        if shares[largest] == len(every[largest]):
            break
        shares[largest] += 1
    return list(zip(every, shares, strict=True))


def _k_means(values: object, number: int) -> Tensor:
    """The cluster of each row, after a few rounds: sweeps go on from there."""
    from sklearn.cluster import KMeans  # a second to import, and needed once
    from sklearn.exceptions import ConvergenceWarning

    seed = int(torch.randint(2**31, ()))
    with warnings.catch_warnings():
        # of copies of few rows there are fewer clusters, and so fewer components
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(number, n_init=1, max_iter=20, random_state=seed).fit_predict(values)
    return torch.as_tensor(found).long()
