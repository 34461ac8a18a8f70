"""Triplet: an embedding in which an observation is nearer to its own identity than to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.embedding.base import Embedding, pairs, squared_distances
from simulacra.models.takes import Takes

Objective = Literal["triplet", "centre"]


class Triplet(Embedding):
    """A network to points on a sphere, where pictures of one person lie together.

    A triplet is an anchor, a positive of its identity and a negative of another. `triplet` asks
    that the anchor is nearer to the positive than to the negative, by a margin. Of every pair of
    anchor and positive in a batch one negative counts, the nearest that is farther than the
    positive: nearer ones, taken from the start, draw all codes into one point. `centre` learns to
    tell the training identities apart by a softmax, and draws features to the centres of theirs.

    What chooses the best step is the mean over all triplets of a batch of validation observations,
    of both objectives: what is mined goes by the network, and may grow while the network improves.

    Paper: F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet: A Unified Embedding for Face
        Recognition and Clustering", 2015, arXiv 1503.03832, section 3; Y. Wen, K. Zhang, Z. Li,
        Y. Qiao, "A Discriminative Feature Learning Approach for Deep Face Recognition", 2016, ECCV,
        equations 2 to 5, for `centre`.
    Departs from the paper: a small network, AdamW; where no negative is farther than the positive,
        the farthest is taken; centre loss has batches of so many observations of so many
        identities, and its features are seen by their directions.

    Args:
        spec: Any observations that have labels or groups.
        embedding: Size of a code.
        objective: What is learnt by: `triplet` or `centre`.
        margin: By how much farther the negative has to be, in squared distances of 0 to 4.
        centre: Weight of half the squared distance from the centre, beside the softmax.
        identities: In a batch; all that there are, where these are fewer.
        each: Observations of each identity in a batch.
        channels: Of the first convolution over pictures or sounds.

    Raises:
        UsageError: If a keyword is out of its range.
    """

    takes = Takes()
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"embedding": 3, "identities": 2, "each": 2, "channels": 4},
        {"embedding": 3, "identities": 2, "each": 2, "channels": 4, "objective": "centre"},
    )
    centres: Tensor
    """Of the features of each identity, `(classes, embedding)`."""

    def __init__(
        self,
        spec: DataSpec,
        *,
        embedding: int = 32,
        objective: Objective = "triplet",
        margin: float = 0.2,
        centre: float = 0.003,
        identities: int = 8,
        each: int = 8,
        channels: int = 32,
    ) -> None:
        if objective not in get_args(Objective):
            raise UsageError(f"objective is triplet or centre, got {objective!r}")
        if not 0 < margin < 4 or not 0 <= centre < float("inf"):
            raise UsageError(
                "margin is between 0 and 4 and centre is not negative and finite, got "
                f"{margin} and {centre}"
            )
        super().__init__(
            spec, embedding=embedding, identities=identities, each=each, channels=channels
        )
        self.objective, self.margin, self.centre = objective, margin, centre
        if objective == "centre":
            self.softmax = nn.Linear(embedding, max(1, spec.classes))
            self.register_buffer("centres", torch.zeros(max(1, spec.classes), embedding))

    # ---- identities of the softmax ---------------------------------------------------------------

    def _make_room(self, classes: int) -> None:
        """A new softmax over so many identities, and their centres, where there are others."""
        if classes != len(self.centres):
            # of groups nobody knows how many there are, until there are data
            self.softmax = nn.Linear(self.embedding, classes).to(self.centres)
            self.centres = self.centres.new_zeros(classes, self.embedding)

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None, *, classes: int = 0) -> None:
        """Take the moments of vectors, and make room for as many identities as there are."""
        super().prepare(x, context)
        if self.objective == "centre":
            self._make_room(max(classes, self.spec.classes, 1))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        *rest: Any,  # noqa: ANN401 (torch's own arguments)
    ) -> None:
        """Take as many identities as there are."""
        centres = state_dict.get(f"{prefix}centres")
        if self.objective == "centre" and centres is not None and len(centres):
            self._make_room(len(centres))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    # ---- learning --------------------------------------------------------------------------------

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The mean over mined triplets; or cross-entropy and distances from centres.

        Args:
            x: Observations `(N, *event_shape)`.
            context: The identity of each, `(N,)`.
            turn: There is one player.
        """
        same, features = self.same(context, len(x)), self.features(x)
        assert context is not None
        if self.objective == "centre":
            return self._centre_loss(features, context)
        gaps = squared_distances(normalize(features, dim=1))
        anchors, positives = pairs(same)
        near = gaps[anchors, positives]
        far = semi_hard(gaps, same, anchors, positives)
        each = (near - far + self.margin).relu()
        # the sum, so that a batch without pairs has a gradient of nothing
        return {
            "loss": each.sum() / max(1, len(each)),
            "active": (each > 0).to(each.dtype).sum() / max(1, len(each)),
        }

    def _centre_loss(self, features: Tensor, identities: Tensor) -> dict[str, Tensor]:
        softmax = cross_entropy(self.softmax(features), identities)
        own = self.centres[identities]
        gap = 0.5 * (features - own).square().sum(1).mean()
        # equation 4: Σ (c − x) of each identity, and how many observations there were of it
        counted = torch.cat([(own - features).detach(), features.new_ones(len(features), 1)], 1)
        sums = features.new_zeros(len(self.centres), self.embedding + 1)
        return {
            "loss": softmax + self.centre * gap, "softmax": softmax.detach(), "gap": gap.detach(),
            "moves": sums.index_add(0, identities, counted),
        }  # fmt: skip

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """Centres move to their observations, half as far as the mean of the batch says."""
        if "moves" in sums:
            total, count = sums["moves"].split([self.embedding, 1], 1)
            self.centres.sub_((_RATE * total / (1 + count)).to(self.centres))

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The mean loss of all triplets of each anchor, `(N,)`: it depends on the batch."""
        same = self.same(context, len(x))
        gaps = squared_distances(normalize(self.features(x), dim=1))
        anchors, positives = pairs(same)
        others = ~same[anchors]
        each = (gaps[anchors, positives, None] - gaps[anchors] + self.margin).relu()
        each = (each * others).sum(1) / others.sum(1).clamp_min(1)
        count = same.sum(1) - 1
        return gaps.new_zeros(len(x)).index_add(0, anchors, each) / count.clamp_min(1)


def semi_hard(gaps: Tensor, same: Tensor, anchors: Tensor, positives: Tensor) -> Tensor:
    """The distance of one negative for each pair of anchor and positive, `(pairs,)`.

    The nearest that is farther than the positive; the farthest, where none is.

    Args:
        gaps: Squared distances `(N, N)`.
        same: Which observations are of one identity, `(N, N)`.
        anchors: Place of each pair's anchor.
        positives: Place of its positive.
    """
    negative, away = ~same[anchors], gaps[anchors]
    farther = negative & (away > gaps[anchors, positives, None])
    nearest = away.masked_fill(~farther, torch.inf).amin(1)
    farthest = away.masked_fill(~negative, -torch.inf).amax(1)
    found = torch.where(farther.any(1), nearest, farthest)
    # without a negative there is no triplet, and no loss
    return torch.where(negative.any(1), found, torch.inf)


_RATE = 0.5
"""α of the paper."""
