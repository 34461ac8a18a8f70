"""A report as files: the page, its figures as JSON, the likelihoods as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from simulacra.ground.errors import ResourceError
from simulacra.ground.storage import write_bytes, write_json
from simulacra.judging.figures.likelihood import Score
from simulacra.judging.judgement import Judged
from simulacra.report.page import render

RESULTS = "results.json"
REPORT = "report.html"
LIKELIHOODS = "likelihoods.csv"


def write_report(folder: Path | str, judged: Judged) -> Path:
    """Write `report.html`, `results.json` and `likelihoods.csv`, a row a test observation.

    Args:
        folder: Is made if it is not there; files of these names in it are replaced.
        judged: What was measured: of `judge_model`, or of `Judge.together`.

    Returns:
        Where the page is.

    Raises:
        ResourceError: If the folder cannot be written.

    Example:
        >>> import simulacra as sim, dataclasses, tempfile, torch
        >>> data = sim.load_data("digits")
        >>> few = {name: split.take(torch.arange(19)) for name, split in data.splits.items()}
        >>> data = dataclasses.replace(data, **few)  # so that it takes a second
        >>> judged = sim.judge_model(sim.build("nice", data.spec), data)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     sim.write_report(place, judged).name
        'report.html'
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot make the folder {folder}: {error.strerror}") from error
    write_json(folder / RESULTS, judged.results.to_json())
    write_bytes(folder / REPORT, render(judged.results, judged.pictures).encode())
    if judged.scores:
        write_bytes(folder / LIKELIHOODS, _table(judged.scores).encode())
    return folder / REPORT


def _table(scores: Mapping[str, Score]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", *scores])
    first = next(iter(scores.values()))
    columns = [score.values.tolist() for score in scores.values()]
    writer.writerows(zip(first.rows.tolist(), *columns, strict=True))
    return text.getvalue()
