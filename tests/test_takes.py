"""What a model takes, what it says of the rest, and whom it sends them to."""

from __future__ import annotations

import pytest

from simulacra.ground.errors import MissingCapability
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.autoregressive.pixelcnn import PixelCNN
from simulacra.models.takes import Takes

GREY, TEN = DataSpec((1, 4, 6), 16), DataSpec((3, 10, 10), 256)
PALETTE = DataSpec((1, 4, 4), 3, ordered=False)
SOUND, VECTORS = DataSpec((9,), 256), DataSpec((3,), None)


@pytest.mark.parametrize(
    ("takes", "words", "spec", "refusal"),
    [
        (Takes(), "levels or continuous vectors", GREY, None),
        (Takes(vectors=False), "levels", VECTORS, "needs levels, these are vectors (3,)"),
        (
            Takes(sounds=False, vectors=False), "pictures of levels", SOUND,
            "needs pictures of levels, these are sounds (9,)",
        ),
        (
            Takes(pictures=False, sounds=False), "continuous vectors", PALETTE,
            "needs continuous vectors, these are pictures (1, 4, 4) of unordered levels",
        ),
        (
            Takes(unordered=False), "ordered levels or continuous vectors", PALETTE,
            "needs ordered levels or continuous vectors, "
            "these are pictures (1, 4, 4) of unordered levels",
        ),
        (Takes(pictures=False, vectors=False), "sounds of levels", SOUND, None),
        (Takes(most_levels=2), "2 levels or continuous vectors", GREY,
         "needs 2 levels, these have 16"),
        (Takes(fewest_levels=17), "at least 17 levels or continuous vectors", GREY,
         "needs at least 17 levels, these have 16"),
        (Takes(most_levels=2), "2 levels or continuous vectors", VECTORS, None),
        (
            Takes(smallest_side=5), "levels or continuous vectors, sides of at least 5", GREY,
            "needs sides of at least 5, these are pictures (1, 4, 6)",
        ),
        (
            Takes(smallest_side=4, largest_side=8), "levels or continuous vectors, sides of 4 to 8",
            TEN, "needs sides of 4 to 8, these are pictures (3, 10, 10)",
        ),
        (Takes(smallest_side=5), "levels or continuous vectors, sides of at least 5", SOUND, None),
        (
            Takes(values=10), "levels or continuous vectors, at least 10 values", SOUND,
            "needs at least 10 values, these have 9",
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_needed_and_what_came(
    takes: Takes, words: str, spec: DataSpec, refusal: str | None
) -> None:
    assert str(takes) == words
    assert takes.refusal(spec) == refusal
    assert takes.includes(spec) == (refusal is None)


def refusal(name: str, spec: DataSpec, **keywords: object) -> str:
    with pytest.raises(MissingCapability) as caught:
        registry.build(name, spec, keywords)
    return str(caught.value)


def test_who_is_refused_is_told_whom_to_use() -> None:
    """Models of different families that do take the data, the own one first; by their classes."""
    assert refusal("pixelcnn", VECTORS).endswith("vectors (3,): use made, gmm or vae")
    assert refusal("ddpm", PALETTE).endswith("unordered levels: use d3pm, kde or vae")
    assert refusal("nice", PALETTE).endswith("unordered levels: use kde, vae or pixelcnn")
    assert refusal("nice", DataSpec((1,), 4)).endswith("these have 1: use maf, gmm or vae")


def test_where_a_keyword_is_why_it_is_named() -> None:
    assert refusal("vae", VECTORS, latent=3, observation="categorical") == (
        "vae with observation=categorical needs levels, these are vectors (3,): "
        "leave observation=categorical out"
    )


def test_a_class_refuses_by_itself() -> None:
    with pytest.raises(MissingCapability, match=r"PixelCNN needs pictures of levels.*\(3,\)$"):
        PixelCNN(VECTORS)
