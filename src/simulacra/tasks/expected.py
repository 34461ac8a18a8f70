"""What a random decoder expects of a code: what papers show in place of a draw."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent

from simulacra.ground.errors import MissingCapability
from simulacra.ground.randomness import seeded
from simulacra.models.at_once import rows_at_once
from simulacra.models.model import Decoding, Model
from simulacra.models.modes import evaluating, scoring
from simulacra.models.standardised import Standardised
from simulacra.tasks.sample import device_of

_AT_ONCE = 256
"""Codes together, where observations are small."""
_DECODE = 1


def decoding(model: Model) -> Decoding:
    """The model, if it decodes codes.

    Raises:
        MissingCapability: If it does not.
    """
    if isinstance(model, Decoding):
        return model
    raise MissingCapability(f"{type(model).__name__} decodes no codes: use vae, gan or nice")


def random_decoder(model: Model) -> Callable[[Tensor, Tensor | None], Distribution] | None:
    """p(x | z) of a model that draws when it decodes, with a mean that is known.

    `None` where a code is one observation, and where nothing but a draw shows what it stands for.
    """
    found: Callable[[Tensor, Tensor | None], Distribution] | None = getattr(
        model, "likelihood", None
    )
    return None if draws_alone(model) else found


def draws_alone(model: Model) -> bool:
    """Whether a model draws when it decodes, and knows no mean of what it draws."""
    return not getattr(model, "expects", True)


def mean_of(values: Distribution) -> Tensor:
    """The expected levels, or numbers, of a decoder's distribution; those of the data's form."""
    base = values.base_dist if isinstance(values, Independent) else values
    if isinstance(base, Categorical):
        return base.probs @ torch.arange(base.probs.shape[-1]).to(base.probs)
    mean: Tensor = base.mean
    return mean


def words_of(model: Model) -> str:
    """What `expected` gives of a model, in words; nothing where decoding is not random."""
    if draws_alone(model):
        return "draws"
    if random_decoder(model) is None:
        return ""
    if not model.spec.ordered and model.spec.levels is not None:
        return "likeliest levels"
    return "expected values" if model.spec.levels is None else "expected levels"


@scoring()
def expected(
    model: Model, codes: Tensor, context: Tensor | None = None, *, seed: int = 0
) -> Tensor:
    """What codes stand for, as numbers for people.

    Of a random decoder it is the expected level of each value, between the levels, without their
    noise; where levels have no order the likeliest; of vectors the mean. A decoder that is not
    random says itself, and one that knows no mean draws.

    Args:
        model: One that decodes; in eval mode meanwhile.
        codes: `(N, …)`, at least one, on any device.
        context: One row for each.
        seed: Of a decoder that draws for another reason, such as padding.

    Returns:
        As `DataSpec.to_float` gives them, `(N, …)` on the CPU.

    Raises:
        MissingCapability: If the model does not decode.
    """
    own, device = decoding(model), device_of(model)
    decoder = random_decoder(model)

    def look(z: Tensor, told: Tensor | None) -> Tensor:
        z, told = z.to(device), None if told is None else told.to(device)
        if decoder is None:
            return model.spec.to_float(own.decode(z, told)).cpu()
        values = decoder(z, told)
        if not model.spec.ordered and model.spec.levels is not None:
            return model.spec.to_float(likeliest(values)).cpu()
        mean = mean_of(values)
        if model.spec.levels is None and isinstance(model, Standardised):
            mean = mean * model.scale + model.shift
        return model.spec.to_float(mean).cpu()

    def rows(lot: slice) -> Tensor:
        return look(codes[lot], None if context is None else context[lot])

    with evaluating(model), seeded(seed, _DECODE):
        size = rows_at_once(lambda n: rows(slice(n)), min(len(codes), _AT_ONCE))
        return torch.cat([rows(slice(at, at + size)) for at in range(0, len(codes), size)])


def likeliest(values: Distribution) -> Tensor:
    """The likeliest level of each value of a categorical decoder."""
    base = values.base_dist if isinstance(values, Independent) else values
    if isinstance(base, Bernoulli):
        # torch has no mode of what is as likely as not
        return (base.logits > 0).long()
    return base.mode
