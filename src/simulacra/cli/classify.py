"""The command that classifies files by a conditional model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.cli import terminal
from simulacra.cli.flags import Code, Device, Json, Whole, check_device, check_positive, open_run
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.data.dataset import Dataset
    from simulacra.judging.figures.likelihood import Score
    from simulacra.models.model import Model


def classify(
    run: Path,
    /,
    *images: Path,
    draws: Whole = 64,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
    json: Json = False,
) -> None:
    """Say which class files belong to, by the likelihood of each in every class.

    A model that has a classifier of its own, such as m2, says it by that.

    Of the classes that the data have, one is always the most probable. So the likelihood of the
    file itself stands beside it, and a file less likely than 39 of 40 validation observations is
    marked. What is not marked need not be like the data: a blank picture is often more likely
    than any real one, so a likelihood cannot find it.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo; of a model
            trained with --set context=label.
        images: Image files, or .npy files of raw values; a row for each observation in them.
        draws: Importance draws of a bound on likelihood.
        data_dir: Folder that holds the data's files, if it moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
        json: Print JSON.
    """
    import torch

    from simulacra.data.foreign.observations import read_observations
    from simulacra.judging.figures.likelihood import in_units, likelihood
    from simulacra.tasks.bayes import class_frequencies, draws_of
    from simulacra.tasks.classify import classifier
    from simulacra.tasks.classify import classify as posterior

    check_positive(draws=draws)
    place = check_device(device)
    opened = open_run(run)
    for line in opened.newest("model", "weights", "training", records=("training",))[2]:
        terminal.note(f"{line}; the one before it is used")
    if not images:
        raise UsageError("classify needs a file at least: simulacra classify RUN IMAGE …")
    model = classifier(opened.model(code=code)).to(place).eval()
    found = opened.dataset(str(data_dir) if data_dir else None)
    read, names = [], []
    for path in images:
        rows = read_observations(path, found)
        read.append(rows)
        names += [str(path)] if len(rows) == 1 else [f"{path} [{row}]" for row in range(len(rows))]
    frequencies = class_frequencies(found.train, found.spec)
    if frequencies is None:
        raise UsageError(f"{found.name} tells no label of its training split whole: nothing to ask")
    draws = draws_of(model, draws)
    answer = posterior(model, torch.cat(read), frequencies, draws=draws)
    usual = likelihood(
        model, found.validation, class_frequencies=frequencies, draws=draws, limit=_USUAL
    ).marginal
    log_likelihood = in_units(answer.log_likelihood, found.spec)
    entries = _entries(names, answer.probabilities, log_likelihood, found, usual)
    if json:
        terminal.print_json({"bound": not model.exact, "images": entries})
        return
    figure = "log p" if found.spec.levels is None else "bits/dim"
    _print(entries, figure)
    _note(model, entries, figure, 0 if model.exact else draws)


_USUAL = 256
"""Validation observations that say which likelihoods are usual."""

_FEWEST = 40
"""With fewer, their outermost fortieths hold none."""


def _entries(
    names: list[str],
    probabilities: Tensor,
    log_likelihood: Tensor,
    found: Dataset,
    usual: Score | None,
) -> list[dict[str, Any]]:
    """What is said of each observation, in plain JSON values."""
    import torch

    words = found.class_names or tuple(map(str, range(found.spec.classes)))
    is_log = found.spec.levels is None
    scale = 1.0 if is_log else -found.spec.dims * math.log(2)
    low = high = math.nan
    if usual is not None and usual.observations >= _FEWEST and not usual.non_finite:
        ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
        low, high = (usual.values / scale).quantile(ends).tolist()
    entries = []
    for name, p, value in zip(names, probabilities, (log_likelihood / scale).tolist(), strict=True):
        entry: dict[str, Any] = {"image": name, "class": None, "probability": None}
        if not bool(p.isnan().any()):
            first, second = p.topk(2).indices.tolist()
            entry |= {"class": words[first], "probability": float(p[first])}
            entry |= {"second": words[second], "second_probability": float(p[second])}
        # fewer bits are more likely; what is likelier than usual may well be like the data
        less = value < low if is_log else value > high
        known = not math.isnan(low) and not math.isnan(value)
        entry["log_likelihood" if is_log else "bits_per_dim"] = value
        entry |= {"usual_low": low, "usual_high": high}
        entry["less_likely_than_usual"] = less if known else None
        entries.append(entry)
    return entries


_MARK = "less likely than 97.5 % of the data"


def _print(entries: list[dict[str, Any]], figure: str) -> None:
    key = "log_likelihood" if figure == "log p" else "bits_per_dim"
    terminal.print_table(
        [
            {
                "image": e["image"],
                "class": e["class"] or "none",
                "p": _percent(e["probability"]),
                "second": e.get("second", "–"),
                "p ": _percent(e.get("second_probability")),
                figure: f"{e[key]:.3f}",
                " ": _MARK if e["less_likely_than_usual"] else "",
            }
            for e in entries
        ],
        right=("p", "p ", figure),
        words=("image",),
    )


def _percent(p: float | None) -> str:
    """A probability, which is shown as 100 % only where it is."""
    if p is None:
        return "–"
    text = f"{100 * p:.1f} %"
    if text == "100.0 %" and p < 1:
        return ">99.9 %"
    return "<0.1 %" if text == "0.0 %" and p > 0 else text


def _note(model: Model, entries: list[dict[str, Any]], figure: str, draws: int) -> None:
    """What the table does not say by itself."""
    from simulacra.models.classifying import Classifying

    if isinstance(model, Classifying):
        terminal.note(
            f"the classes are those of the classifier that {type(model).__name__} learned, q(y | x)"
        )
    elif draws:
        terminal.note(
            f"{type(model).__name__} has a bound on likelihood ({draws} draws): its classes are "
            "those of the bound"
        )
    first = entries[0]
    if math.isnan(first["usual_low"]):
        terminal.note(f"what {figure} is usual is not known: there are too few validation data")
    else:
        terminal.note(
            f"95 % of validation data have {figure} {first['usual_low']:.3f} … "
            f"{first['usual_high']:.3f}; a less likely file is given a class all the same, and a "
            "likelier one need not be like them: a likelihood cannot find blank pictures"
        )
    broken = sum(e["class"] is None for e in entries)
    if broken:
        terminal.note(f"{broken} of {len(entries)} have no finite likelihood in any class")
