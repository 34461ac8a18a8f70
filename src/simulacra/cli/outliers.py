"""The command that says how far observations lie out of what a model has learned."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from simulacra.cli import terminal
from simulacra.cli.flags import (
    Code,
    Device,
    Out,
    Whole,
    check_device,
    check_positive,
    file_target,
    results_folder,
    whole,
)
from simulacra.cli.inputs import opened
from simulacra.cli.waiting import Waiting
from simulacra.ground.errors import MissingCapability

if TYPE_CHECKING:
    from torch import Tensor

    from simulacra.data.dataset import Dataset, Observations
    from simulacra.data.stored import StoredRows
    from simulacra.models.model import Model
    from simulacra.tasks.outliers import Separation

_LISTED = 10
"""Observations in the terminal's table, those with the highest scores."""
_DRAWN = 24
"""Observations that are drawn of each end."""
_BEYOND = "beyond 99 %"


def outliers(
    run: Path,
    source: Annotated[str, Parameter(name="DATA")],
    /,
    *,
    number: Annotated[int | None, Parameter(name=["--number", "-n"], converter=whole)] = None,
    draws: Whole = 1,
    out: Out = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Score how far observations lie out of what a model has learned, the farthest first.

    Two scores: −log p, and −log p less what a plain compressor needs (levels only). The first alone
    ranks some foreign pictures below the data themselves, because they are simple. Each is held
    against the run's validation data: how many lie beyond 99 % of these, and how surely the score
    tells one from the other (AUROC; 0.5 is a guess).

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        source: A data set's name, of which the test split is scored; or a folder of pictures or
            sounds, an image, an .npy, .npz, .csv, .tsv or .parquet. It is read in the run's form.
        number: Score only so many, drawn from DATA without regard to order, and as many
            validation data; all by default.
        draws: Importance draws of a bound on likelihood.
        out: A .csv file of all scores, with the picture beside it; by default the picture alone,
            RUN/outliers-DATA.png.
        data_dir: Folder that holds the files of named sets.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    from simulacra.data.catalogue import NAMES
    from simulacra.data.foreign.anything import read_anything
    from simulacra.data.splits import permutation
    from simulacra.ground.storage import write_bytes

    check_positive(number=number, draws=draws)
    place = check_device(device)
    found = opened(run)
    named = found.record["data"]["options"]["source"] in NAMES
    label = re.sub(r"[^\w.-]+", "-", Path(source).name or "data")
    table = None if out is None else file_target(out, "--out", ".csv")
    folder = results_folder(found)
    picture = table.with_suffix(".png") if table else folder / f"outliers-{label}.png"
    picture = file_target(picture, "--out")
    model = _scored_by(found.model(code=code).to(place).eval())
    data = found.dataset(str(data_dir) if data_dir and named else None)
    foreign = read_anything(source, data, data_dir)
    for line in foreign.notes:
        terminal.note(line)
    if known := _known(foreign.observations.x, data.train.x):
        terminal.note(
            f"{known} of {len(foreign.observations)} observations are training data, which a model "
            "finds more usual than new ones like them"
        )
    ours, names, theirs = foreign.observations, foreign.names, data.validation
    if number is not None:
        chosen = permutation(len(ours))[:number]
        names = [names[row] for row in chosen.tolist()]
        ours, theirs = ours.take(chosen), theirs.take(permutation(len(theirs))[:number])
    with Waiting() as waiting:
        waiting.begin(f"scoring {len(ours)} of {foreign.name}")
        scored = _score(model, ours, data, draws)
        waiting.begin(f"scoring {len(theirs)} validation observations")
        usual = _score(model, theirs, data, draws)
    _tell(scored, usual, names, foreign.name, model)
    order = scored.ranked()
    write_bytes(picture, _drawn(ours, theirs, data, order, scored, usual, foreign.name))
    if table is not None:
        write_bytes(table, _written(scored, usual, names, order))
        terminal.note(f"{table}: all {len(ours)}, the highest score first")
    terminal.note(f"{picture}: those that score highest, and those that score lowest")


def _scored_by(model: Model) -> Model:
    """The model, if it scores.

    Raises:
        MissingCapability: If it does not, saying which would.
    """
    from simulacra.models.model import Likelihood

    name = type(model).__name__
    if not isinstance(model, Likelihood):
        raise MissingCapability(f"{name} has no likelihood to score by: train nice or vae instead")
    if model.context == "vector":
        raise MissingCapability(
            f"this {name} scores an observation given its context vector, which DATA do not have: "
            "train one with --set context=none"
        )
    return model


@dataclass(frozen=True, eq=False)
class _Scored:
    """Scores of observations, all in the unit that people see.

    Args:
        unit: bits/dim, or nats of continuous vectors.
        minus_log_p: −log p, `(N,)`.
        code: What a plain compressor needs, `(N,)`; nothing of continuous vectors.
    """

    unit: str
    minus_log_p: Tensor
    code: Tensor | None

    @property
    def scores(self) -> dict[str, Tensor]:
        """Each score by its name, that by which observations are ranked last."""
        found = {"−log p": self.minus_log_p}
        if self.code is not None:
            found["corrected"] = self.minus_log_p - self.code
        return found

    def ranked(self) -> Tensor:
        """Places from the highest score to the lowest; what is not finite is highest."""
        score = list(self.scores.values())[-1]
        return score.nan_to_num(nan=math.inf, posinf=math.inf).argsort(descending=True, stable=True)


def _score(model: Model, observations: Observations, data: Dataset, draws: int) -> _Scored:
    import torch

    from simulacra.judging.figures.likelihood import likelihood
    from simulacra.tasks.bayes import class_frequencies
    from simulacra.tasks.compressed import compressed_bits
    from simulacra.tasks.outliers import corrected

    spec = data.spec
    frequencies = class_frequencies(data.train, spec) if model.context == "label" else None
    # nobody is told what class it is: p(x) is the sum over all
    untold = spec.labels(torch.full((len(observations),), -1)) if spec.classes else None
    observations = replace(observations, context=untold)
    found = likelihood(model, observations, class_frequencies=frequencies, draws=draws).marginal
    if found is None:
        raise MissingCapability(
            f"{data.name} tells no label whole, and this {type(model).__name__} has no p(x): "
            "train one with --set context=none"
        )
    if spec.levels is None:
        return _Scored("nats", -found.values, None)
    code = torch.cat([compressed_bits(x, spec) for x, _ in observations.batches(1000)])
    score = corrected(found.values, code)
    return _Scored("bits/dim", (score + code) / spec.dims, code / spec.dims)


def _separations(scored: _Scored, usual: _Scored) -> dict[str, Separation]:
    from simulacra.tasks.outliers import separation

    pairs = zip(scored.scores.items(), usual.scores.values(), strict=True)
    return {name: separation(ours, theirs) for (name, ours), theirs in pairs}


def _known(ours: Tensor | StoredRows, trained: Tensor | StoredRows) -> int:
    """How many observations are among those trained on; 0 of files too large to be read for it."""
    from simulacra.data.stored import StoredRows

    if isinstance(ours, StoredRows) or isinstance(trained, StoredRows):
        return 0
    seen = {row.numpy().tobytes() for row in trained.to(ours.dtype)}
    return sum(row.numpy().tobytes() in seen for row in ours)


def _tell(scored: _Scored, usual: _Scored, names: list[str], source: str, model: Model) -> None:
    """The observations with the highest scores, and what each score tells of all."""
    order, found = scored.ranked().tolist(), _separations(scored, usual)
    (*_, (ranked_by, last)) = found.items()
    rows = []
    for row in order[:_LISTED]:
        cells = {"observation": names[row], scored.unit: _figure(scored.minus_log_p[row])}
        if scored.code is not None:
            cells["compressed"] = _figure(scored.code[row])
            cells["corrected"] = f"{float(scored.scores[ranked_by][row]):+.3f}"
        rows.append({**cells, _BEYOND: "yes" if bool(last.beyond[row]) else "no"})
    right = (scored.unit, "compressed", "corrected")
    terminal.print_table(rows, right=right, words=("observation",))
    if len(order) > _LISTED:
        terminal.print_line(f"… and {len(order) - _LISTED} more, with lower scores")
    terminal.print_line("")
    terminal.print_table(
        [
            {
                "score": name,
                f"median of {source}": _figure(scored.scores[name].median()),
                "of validation": _figure(usual.scores[name].median()),
                _BEYOND: f"{int(each.beyond.sum())} of {len(order)}",
                "AUROC": _with_error(each),
            }
            for name, each in found.items()
        ],
        right=(f"median of {source}", "of validation", _BEYOND, "AUROC"),
        words=("score",),
    )
    terminal.note(
        f"{_BEYOND}: above what 99 % of {len(usual.minus_log_p)} validation observations score; of "
        "data like these 1 % would be"
    )
    plain = found["−log p"]
    if plain.auroc < 0.5 - 2 * (0 if math.isnan(plain.standard_error) else plain.standard_error):
        terminal.note(
            f"by −log p alone observations of {source} are likelier than the validation data: a "
            "likelihood also measures how simple one is, and does not find these"
        )
    if scored.code is None:
        terminal.note("numbers without levels have no lossless code: −log p is all there is")
    if not getattr(model, "exact", True):
        terminal.note(
            f"{type(model).__name__} has a bound on likelihood, and scores are the bound's"
        )


def _figure(value: Tensor) -> str:
    """Three decimals, unless it is so large that these say nothing."""
    return f"{float(value):.3f}" if abs(float(value)) < 1e6 else f"{float(value):.4g}"


def _with_error(found: Separation) -> str:
    if math.isnan(found.standard_error):
        return f"{found.auroc:.3f}"
    return f"{found.auroc:.3f} ± {1.96 * found.standard_error:.3f}"


def _written(scored: _Scored, usual: _Scored, names: list[str], order: Tensor) -> bytes:
    """All scores as a CSV file, the highest first."""
    found, text = _separations(scored, usual), io.StringIO()
    unit = "bits_per_dim" if scored.code is not None else "nats"
    heads = ["rank", "observation", unit, f"beyond_{unit}"]
    if scored.code is not None:
        heads += ["compressed_bits_per_dim", "corrected", "beyond_corrected"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    for rank, row in enumerate(order.tolist(), 1):
        cells: list[object] = [
            rank, names[row], float(scored.minus_log_p[row]), int(found["−log p"].beyond[row])
        ]  # fmt: skip
        if scored.code is not None:
            score = float(scored.scores["corrected"][row])
            cells += [float(scored.code[row]), score, int(found["corrected"].beyond[row])]
        writer.writerow(cells)
    return text.getvalue().encode()


def _drawn(
    ours: Observations,
    theirs: Observations,
    data: Dataset,
    order: Tensor,
    scored: _Scored,
    usual: _Scored,
    source: str,
) -> bytes:
    """A PNG of those that score highest and lowest; of vectors, where they lie."""
    import torch

    from simulacra.data.splits import permutation
    from simulacra.drawing import animation, charts, files, grids, planes
    from simulacra.tasks.components import COMPONENTS, ends_of, on_a_plane
    from simulacra.tasks.densities import Plane

    spec = data.spec

    def shown(split: Observations, rows: Tensor) -> Tensor:
        return spec.to_float(split.batch(rows)[0])

    ends = [order[:_DRAWN], order[-_DRAWN:].flip(0)] if len(order) > 1 else [order]
    words = ["highest score first", "lowest score first"][: len(ends)]
    if spec.is_image:
        images = [grids.grid(shown(ours, rows), columns=8) for rows in ends]
        return files.png(animation.strip(animation.captioned(images, words)))
    if spec.rate is not None:
        some = [charts.waves(shown(ours, rows[:8]), spec.rate, columns=1) for rows in ends]
        images = [animation.raster(each) for each in some]
        return files.png(animation.strip(animation.captioned(images, words)))
    known = shown(theirs, permutation(len(theirs))[:2000]).flatten(1).double()
    here = shown(ours, permutation(len(ours))[:2000]).flatten(1).double()
    beyond = list(_separations(scored, usual).values())[-1].beyond.nonzero()[:, 0]
    if spec.dims == 1:
        both = torch.cat([known, here])[:, 0]
        figure = planes.line(
            known[:, 0], ends_of(both), samples=here[:, 0], words=("validation", source)
        )
        return files.png(figure)
    flat = on_a_plane(known)
    extent = Plane.around(torch.cat([flat(known), flat(here)])).extent
    far = flat(shown(ours, beyond[:2000]).double()) if len(beyond) else torch.empty(0, 2)
    panels = [
        planes.Panel("validation data", extent, points=flat(known)),
        planes.Panel(source, extent, points=flat(here)),
        planes.Panel(f"{source}, {_BEYOND}", extent, points=far),
    ]
    names = data.columns if spec.dims == 2 else COMPONENTS
    return files.png(planes.planes(panels, names=names))
