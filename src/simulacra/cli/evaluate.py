"""The command that judges: trained models on the test split, or samples of any program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.cli import terminal
from simulacra.cli.flags import (
    Code,
    DataFlags,
    Device,
    Json,
    Out,
    Whole,
    check_device,
    check_positive,
    given,
    load,
    new_folder,
    open_run,
    results_folder,
)
from simulacra.cli.waiting import Waiting
from simulacra.ground.errors import DataError, UsageError

if TYPE_CHECKING:
    from simulacra.data.dataset import Dataset
    from simulacra.judging.judge import Judge
    from simulacra.judging.judgement import Judgement
    from simulacra.runs.run import Run

EVALUATIONS = Path("evaluations")
"""Where the reports of samples go, unless --out says otherwise."""


def evaluate(
    run: Path | None = None,
    /,
    *,
    against: Path | None = None,
    samples: Path | None = None,
    data: str | None = None,
    draws: Whole = 64,
    test_limit: Whole | None = None,
    inception: Path | None = None,
    out: Out = None,
    flags: DataFlags | None = None,
    device: Device = "auto",
    code: Code = None,
    json: Json = False,
) -> None:
    """Measure a trained model on the test split, or anyone's samples against data; write a report.

    What was measured before is kept in RUN/judgement, and used while nothing has changed.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        against: Another run on the same data, to be compared with observation by observation.
        samples: A folder or file of samples of any program, instead of a run; with --data.
        data: What the samples are to be held against: a name or path, as for `train`.
        draws: Importance draws of a bound on likelihood. Draws over times, which are averaged,
            are a sixteenth of these.
        test_limit: Look only at so many test observations, for the likelihood.
        inception: The weights of the Inception network of 2015-12-05 (.pth or .safetensors), to
            see samples by instead of our own classifier.
        out: Folder of the report; that of the run, or of two runs or samples a new one below
            evaluations/.
        flags: Of --data. Of a run, --data-dir says where its data's files are if they moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
        json: Print JSON.
    """
    check_positive(draws=draws, test_limit=test_limit)
    if inception is not None and not inception.is_file():
        raise UsageError(f"--inception is a file with the network's weights, got {inception}")
    if (run is None) == (samples is None):
        raise UsageError("evaluate takes a RUN, or --samples FOLDER with --data DATA")
    with Waiting() as waiting:
        if run is not None:
            runs = _runs(run, against, data, flags)
            place = check_device(device)
            from simulacra.judging.judge import Judge

            judge = Judge(
                _data_of(runs, flags), draws=draws, limit=test_limit, inception=inception,
                device=place, told=waiting.begin,
            )  # fmt: skip
            judged = _judged(judge, runs, code)
            seed, budget = runs[0].options.seed, _budget(runs)
            folder = out or (results_folder(runs[0]) if against is None else new_folder(
                EVALUATIONS, f"{runs[0].folder.resolve().name}-{runs[1].folder.resolve().name}"
            ))  # fmt: skip
        else:
            assert samples is not None  # one of the two is given
            stray = [name for name, given_ in (("--against", against), ("--test-limit", test_limit),
                                               ("--code", code)) if given_ is not None]  # fmt: skip
            if data is None or stray:
                missing = "--samples needs --data DATA to be held against"
                raise UsageError(
                    f"{stray[0]} is for a RUN, not for --samples" if stray else missing
                )
            if not samples.exists():
                raise DataError(f"{samples} does not exist: check the path")
            place = check_device(device)
            from simulacra.data.foreign.samples import read_samples
            from simulacra.judging.figures.sample_judge import MOST
            from simulacra.judging.judge import Judge

            found = load(data, flags)
            x, labels, notes = read_samples(samples, found)
            name = samples.resolve().name or str(samples)
            most = min(len(x), MOST)
            judge = Judge(found, inception=inception, most=most, device=place, told=waiting.begin)
            judged = [judge.foreign(name, x, labels, notes)]
            seed, budget, folder = 0, None, out or new_folder(EVALUATIONS, name)
        from simulacra.report.folder import write_report

        for each in judged:
            if each.found is not None:
                terminal.note(
                    f"{each.entry.model}: figures as they were measured before, from {each.found}: "
                    "remove it to measure again"
                )
        together = judge.together(judged, seed=seed, budget=budget)
        page = write_report(folder, together)
    if json:
        terminal.print_json(together.results.to_json())
    else:
        terminal.print_results(together.results)
    terminal.note(f"report: {page}")


def _runs(run: Path, against: Path | None, data: str | None, flags: Any) -> list[Run]:  # noqa: ANN401
    """The runs to judge, one or two.

    Raises:
        UsageError: If they are one and the same, or an option is for samples alone.
    """
    if data is not None:
        raise UsageError("--data is for --samples: a run has its own")
    runs = [_run(each, flags) for each in (run, against) if each is not None]
    if len({each.folder.resolve() for each in runs}) < len(runs):
        raise UsageError(f"--against is another run, got {runs[0].folder} twice")
    return runs


def _budget(runs: list[Run]) -> str:
    """What the runs were trained for: one budget, or that of each."""
    return " and ".join(dict.fromkeys(run.record["budget"] for run in runs))


def _run(run: Path, flags: Any) -> Run:  # noqa: ANN401 (a class made elsewhere)
    stray = set(given(flags)) - {"data_dir"}
    if stray:
        raise UsageError(
            f"--{min(stray)} is for --samples: the data of a run have their form already"
        )
    opened = open_run(run)
    for line in opened.newest("model", "weights", "training", records=("training",))[2]:
        terminal.note(f"{line}; the one before it is used")
    return opened


def _data_of(runs: list[Run], flags: Any) -> Dataset:  # noqa: ANN401 (a class made elsewhere)
    """The data that all runs share.

    Raises:
        UsageError: If one learned from others.
    """
    prints = {run.record["data"]["fingerprint"] for run in runs}
    if len(prints) > 1:
        names = list(dict.fromkeys(run.record["data"]["name"] for run in runs))
        got = " and ".join(names) + " in two forms" * (len(names) == 1)
        raise UsageError(f"both runs need the same data, got {got}: their figures do not compare")
    data_dir = given(flags).get("data_dir")
    return runs[0].dataset(str(data_dir) if data_dir else None)


def _judged(judge: Judge, runs: list[Run], code: str | None) -> list[Judgement]:
    judged = [judge.run(run, code=code) for run in runs]
    names = [each.entry.model for each in judged]
    if len(set(names)) == len(names):
        return judged
    # two of one kind go by the names of their runs
    folders = [str(run.folder) for run in runs]
    short = [run.folder.resolve().name for run in runs]
    return [
        replace(each, entry=replace(each.entry, model=name))
        for each, name in zip(judged, short if len(set(short)) == len(short) else folders,
                              strict=True)
    ]  # fmt: skip
