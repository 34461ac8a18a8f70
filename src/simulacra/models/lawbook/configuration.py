"""Laws of what a model says of itself: its keywords, its words, its weights and what it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability
from simulacra.ground.randomness import seeded
from simulacra.models.description import describe_class
from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import FORMS, contexts, observations
from simulacra.models.model import (
    Completion,
    Decoding,
    Encoding,
    Invertible,
    Likelihood,
    Model,
    Sampling,
    Stepwise,
)
from simulacra.models.registry import configured
from simulacra.models.saved import fill

_METHODS: dict[type[Model], str] = {
    Sampling: "sample", Stepwise: "sample_steps", Likelihood: "log_likelihood",
    Completion: "complete", Encoding: "encode", Decoding: "decode",
    Invertible: "inverse_error",
}  # fmt: skip


def again(model: Model) -> Model:
    """Another model of the same configuration, which went through JSON."""
    keywords: dict[str, Any] = json.loads(json.dumps(model.keywords))
    with seeded(9):
        return type(model)(model.spec, **configured(type(model), keywords)).eval()


def keeps_its_keywords(model: Model) -> None:
    """Each keyword is an attribute, as it was given; from them alone comes the same model."""
    for name in model.signature():
        hold(hasattr(model, name), f"the keyword {name} is not kept as an attribute")
    other = again(model)
    # keywords of a nested model that were left out are filled in
    own = configured(type(model), model.keywords)
    hold(other.keywords == own, f"of {own} come {other.keywords}")
    states = [model.state_dict(), other.state_dict()]
    shapes = [{k: v.shape for k, v in state.items()} for state in states]
    if shapes[0] != shapes[1] and shapes[0].keys() == shapes[1].keys():
        # one that holds observations has as many as there were, and takes them with its weights
        with suppress(RuntimeError):
            fill(other, dict(states[0]))
        shapes[1] = {k: v.shape for k, v in other.state_dict().items()}
    hold(shapes[0] == shapes[1], "the same keywords give weights of other shapes")


def says_what_its_keywords_mean(model: Model) -> None:
    """The docstring begins with a sentence, and has a line for each keyword."""
    about = describe_class(type(model), type(model).__name__)
    hold(bool(about.summary), "the class has no docstring")
    for name, (_, _, meaning) in about.keywords.items():
        hold(bool(meaning), f"the docstring's Args say nothing of the keyword {name}")


def has_the_methods_of_its_capabilities(model: Model) -> None:
    """What a model cannot do has no method on it; what it says it can do has one."""
    for kind, method in _METHODS.items():
        there, said = hasattr(model, method), isinstance(model, kind)
        hold(there == said, f"it has {method}, and is no {kind.__name__}")


def takes_what_it_says(model: Model) -> None:
    """The constructor refuses the forms of data that `takes` excludes, and no others."""
    kind, values = type(model), model.keywords
    for form, spec in FORMS.items():
        said = kind.takes_with(**values).includes(spec)
        try:
            with seeded(0):
                kind(spec, **values)
        except MissingCapability as error:
            hold(not said, f"`takes` includes {form}, which the constructor refuses: {error}")
        else:
            hold(said, f"`takes` excludes {form}, which the constructor takes")


@torch.no_grad()
def comes_back_with_its_weights(model: Model) -> None:
    """A model of the same keywords with the same weights scores and draws the same."""
    other = again(model)
    fill(other, dict(model.state_dict()))
    x, told = observations(model, 5), contexts(model, 5)
    asked: list[tuple[str, Callable[[Any], Tensor]]] = []
    if isinstance(model, Likelihood):
        asked.append(("scores", lambda each: each.log_likelihood(x, told)))
    if isinstance(model, Encoding):
        asked.append(("encodes", lambda each: each.encode(x, told)))
    if isinstance(model, Sampling):
        asked.append(("draws", lambda each: each.sample(5, told)))
    for what, ask in asked:
        answers = []
        for each in (model, other):
            with seeded(3):
                answers.append(ask(each))
        hold(torch.equal(*answers), f"saved and loaded, it {what} otherwise")


LAWS = (
    Law("keywords", Model, keeps_its_keywords, ("picture", "vectors", "sequence")),
    Law("docstring", Model, says_what_its_keywords_mean, ("picture", "vectors", "sequence")),
    Law(
        "capabilities", Model, has_the_methods_of_its_capabilities,
        ("picture", "vectors", "sequence"),
    ),
    Law(
        "takes", Model, takes_what_it_says, ("picture", "vectors", "sequence"),
        # who declares nothing is only refused, and taken at the constructor's word
        lambda model: type(model).takes is not Model.takes,
    ),
    Law(
        "saving", Model, comes_back_with_its_weights,
        ("picture", "colour-picture", "vectors", "sequence", "palette"),
    ),
)  # fmt: skip
