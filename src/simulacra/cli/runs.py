"""The command that lists runs with their figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.cli import terminal
from simulacra.cli.flags import RUNS, Json
from simulacra.ground.errors import UsageError
from simulacra.report.cells import amount
from simulacra.report.text import number

if TYPE_CHECKING:
    from simulacra.runs.listing import Listed
    from simulacra.runs.run import Run
    from simulacra.training.progress import Outcome


def runs(folder: Path | None = None, /, *, json: Json = False) -> None:
    """List runs with their figures, the newest first.

    Seen is how many training observations the steps saw, one that came again counted again. The
    validation figure is the best that the training came to, the test figure what evaluate or
    compare found since: of a model that is told a context, given that context. The validation of
    sounds is in nats for a whole window here.

    Args:
        folder: Of runs, or of a comparison; runs/ by default.
        json: Print JSON.
    """
    from simulacra.runs.listing import listed

    place = RUNS if folder is None else folder
    if folder is not None and not folder.is_dir():
        raise UsageError(f"{folder} is no folder: name one that holds runs, or leave it out")
    there = listed(place)
    found = [_about(each) for each in there]
    if json:
        terminal.print_json(found)
        return
    if not found:
        terminal.note(f"{place} holds no runs: make one, as in simulacra train vae digits")
        return
    rows = [
        {
            "run": terminal.printable(about["name"]),
            "model": about["model"] or "–",
            "data": about["data"] or "–",
            "steps": f"{about['steps']}/{about['planned']}" if about["planned"] else "–",
            "seen": str(amount(about["observations"])),
            "validation": _figure(about["validation"]),
            "test": _figure(about["test"]),
            "unit": _unit(about),
            "made": _local(each),
            "state": _state(about),
        }
        for about, each in zip(found, there, strict=True)
    ]
    if all(about["finished"] and not about["broken"] for about in found):
        # nothing to be said of any
        rows = [{key: cell for key, cell in row.items() if key != "state"} for row in rows]
    words = [key for key in rows[0] if key == "state"]
    terminal.print_table(rows, right=("steps", "seen", "validation", "test"), words=words)


def _about(listed: Listed) -> dict[str, Any]:
    """What is said of a run, in plain JSON values."""
    run, outcome = listed.run, listed.outcome
    record = run.record if run else {}
    # what the other commands take for it
    own = listed.folder.is_relative_to(RUNS) and listed.folder != RUNS
    validation = test = None
    if run and outcome:
        validation, test = _validation(run, outcome), _judged(run, outcome.steps)
    return {
        "name": str(listed.folder.relative_to(RUNS) if own else listed.folder),
        "folder": str(listed.folder),
        "model": record.get("model"),
        "data": record.get("data", {}).get("name"),
        "budget": record.get("budget"),
        "steps": outcome.steps if outcome else 0,
        "planned": run.plan.steps if run and run.plan and run.plan.known else None,
        "observations": outcome.observations if outcome else 0,
        "validation": validation,
        "test": test,
        "created": record.get("created"),
        "finished": bool(outcome and outcome.finished),
        "broken": listed.broken or None,
    }


def _validation(run: Run, outcome: Outcome) -> dict[str, Any] | None:
    """The best validation, in the unit that its training showed.

    How much of a window of sound is not padding only the data say, which are not read for a list.
    """
    best = outcome.best
    if best is None:
        return None
    if not outcome.in_nats:
        # a loss of the model's own
        return {"value": best, "unit": "loss"}
    from simulacra.judging.figures.likelihood import bits_per_dim

    if run.spec.rate is not None:
        return {"value": best, "unit": "nats"}
    value = bits_per_dim(best, run.spec)
    if run.spec.levels is not None:
        return {"value": value, "unit": "bits/dim"}
    # of vectors the log-likelihood, as everywhere in a report
    return {"value": -value, "unit": "nats"}


def _judged(run: Run, steps: int) -> dict[str, Any] | None:
    """What its model was judged to be on the test split, if it was, and has not learned since."""
    from simulacra.judging.judgement import KEPT, kept

    judgement = kept(run.folder / KEPT)
    if judgement is None or judgement.entry.steps != steps:
        return None
    entry = judgement.entry
    found = entry.likelihood_given_label or entry.likelihood
    if found is None or found.log_likelihood is None:
        return None
    unit = "nats" if found.bits_per_dim is None else "bits/dim"
    if run.spec.rate is not None and found.bits_per_dim is not None:
        unit = "bits/valid sample"
    in_bits = found.bits_per_dim is not None
    of = run.record["data"].get("splits", {}).get("test")
    few = None if of is None or found.observations in (None, of) else found.observations
    return {
        "value": found.bits_per_dim if in_bits else found.log_likelihood,
        "unit": unit,
        "relation": "≥" if found.relation == "≤" and not in_bits else found.relation,
        # of a part of the test split alone
        "observations": few,
    }


def _figure(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "–"
    some = f" (of {figure['observations']})" if figure.get("observations") else ""
    return f"{figure.get('relation', '')} {number(figure['value'], None)}{some}".strip()


def _unit(about: dict[str, Any]) -> str:
    """What both figures are in; where they differ, that of validation, then that of test."""
    units = [figure["unit"] for figure in (about["validation"], about["test"]) if figure]
    return ", ".join(dict.fromkeys(units)) or "–"


def _local(listed: Listed) -> str:
    """When it was made, by the clock here."""
    return f"{listed.created:%d %b %H:%M}" if listed.created else "–"


def _state(about: dict[str, Any]) -> str:
    if about["broken"]:
        return f"broken: {terminal.printable(about['broken'])}"
    return "finished" if about["finished"] else "unfinished"
