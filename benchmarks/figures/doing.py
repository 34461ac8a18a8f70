"""A row is done as the command line does it: trained or resumed, evaluated, and read."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures.rows import Row
from benchmarks.machine import processor
from simulacra.ground.errors import SimulacraError
from simulacra.ground.storage import write_json
from simulacra.ground.threads import usable
from simulacra.judging.figures.figure import Figure
from simulacra.judging.results import Results
from simulacra.models.registry import MODELS
from simulacra.report.ranking import unit_of

ROOT = Path(__file__).parents[2]
DONE, STOPPED, NOT_RUN, NO_MODEL, OTHER = (
    "done", "stopped", "not run", "no such model", "of another command",
)  # fmt: skip
_INTERRUPTED = (130, 143)
"""Exit codes of a command that was asked to stop, and saved."""


class RowError(SimulacraError):
    """A row whose command failed; the message says why."""


@dataclass
class Note:
    """What is kept of a row beside its run.

    Args:
        command: Those that it was done by, see `Row.text`.
        others: Seconds of processors that all other processes of the machine took meanwhile;
            `None` where the system does not say.
        wall: Seconds meanwhile.
        found: What was measured, once it is done.
    """

    command: str
    others: float | None = 0.0
    wall: float = 0.0
    found: dict[str, Any] | None = None


class Place:
    """Where rows are done: a folder with a run and a note for each.

    Args:
        folder: Of a family.
        data_dir: Folder of named data sets.
    """

    def __init__(self, folder: Path, data_dir: Path | None = None) -> None:
        self.folder, self.data_dir = folder, data_dir

    def run(self, row: Row) -> Path:
        """The folder of a row's run."""
        return self.folder / row.name

    def note(self, row: Row) -> Note | None:
        """What is kept of a row, if it was ever begun."""
        path = self._note(row)
        return Note(**json.loads(path.read_text("utf-8"))) if path.is_file() else None

    def _note(self, row: Row) -> Path:
        return self.folder / f"{row.name}.json"

    def state(self, row: Row) -> str:
        """How far a row is."""
        if row.model not in MODELS:
            return NO_MODEL
        note, begun = self.note(row), (self.run(row) / "run.json").is_file()
        if note is not None and note.command != row.text and (begun or note.found):
            return OTHER
        if note is not None and note.found is not None:
            return DONE
        return STOPPED if begun else NOT_RUN

    def do(self, row: Row) -> dict[str, Any]:
        """Bring a row to its end, from where it is, and give what was measured.

        Raises:
            RowError: If its command fails; what was trained stays.
            KeyboardInterrupt: If it was stopped; what was trained stays.
        """
        run, state = self.run(row), self.state(row)
        if state == OTHER:
            raise RowError(f"{run} is of another command: remove it and {self._note(row)} first")
        note = (state == STOPPED and self.note(row)) or Note(row.text)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keep(row, note)
        data = [] if self.data_dir is None else ["--data-dir", str(self.data_dir)]
        if state == STOPPED:
            words = ["resume", str(run), *data]
        else:
            words = [*row.command, "--out", str(run), *data]
        self._call(words, row, note)
        self._call(["evaluate", str(run), *row.looked, *data], row, note)
        results = Results.from_json(json.loads((run / "results.json").read_text("utf-8")))
        note.found = {
            "command": row.text,
            "figures": figures_of(results),
            "date": results.date,
            "machine": {
                "processor": processor(), "cores": usable(), "device": results.machine.device,
                "python": results.machine.python, "torch": results.machine.torch,
            },
            "commit": commit(),
            # in processors: of two, 1.0 is a half of the machine
            "beside": None if note.others is None else round(note.others / note.wall, 2),
        }  # fmt: skip
        self._keep(row, note)
        return note.found

    def _keep(self, row: Row, note: Note) -> None:
        write_json(self._note(row), asdict(note))

    def _call(self, words: Sequence[str], row: Row, note: Note) -> None:
        """One command of ours, which shows what it always shows, in a process of its own."""
        before, begun = busy(), time.perf_counter()
        shown = shlex.join(["simulacra", *words])
        print(f"\n$ {shown}", file=sys.stderr, flush=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        log = self.folder / f"{row.name}.log"
        with (
            log.open("a", encoding="utf-8") as file,
            subprocess.Popen(
                [sys.executable, "-m", "simulacra", *words], env=environment, text=True,
                stdout=file, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
            ) as command,
        ):  # fmt: skip
            last, stopped = "", False
            assert command.stderr is not None
            while True:
                try:
                    for line in command.stderr:
                        last = line.strip() or last
                        file.write(line)
                        print(line, end="", file=sys.stderr, flush=True)
                    code = command.wait()
                    break
                except KeyboardInterrupt:
                    # the command was told so too: it saves, and says how to go on
                    stopped = True
        after = busy()
        note.wall += time.perf_counter() - begun
        if note.others is not None and before is not None and after is not None:
            note.others += max(0.0, after - before)
        else:
            note.others = None
        self._keep(row, note)
        if stopped or code in _INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise RowError(f"{shown} ended with exit code {code}: {last}")


def busy() -> float | None:
    """Seconds of processors that others than this process and its ended children took so far."""
    try:
        line = Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return None
    user, nice, system, _, _, interrupts, soft, *_ = map(int, line.split()[1:])
    all_ = (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
    return all_ - sum(os.times()[:4])


def figures_of(results: Results) -> dict[str, Any]:
    """What a row shows, of the results of one run."""
    (entry,) = results.models
    score = entry.likelihood or entry.likelihood_given_label
    view = results.views[0] if results.views else None
    samples, real = entry.samples, results.references.real
    found: dict[str, Any] = {
        "steps": entry.steps,
        "seconds": entry.cost.training_seconds,
        "parameters": entry.cost.parameters,
        "warnings": list(entry.warnings),
    }
    if score is not None:
        in_bits = score.bits_per_dim is not None
        found["score"] = {
            "relation": score.relation, "draws": score.draws, "error": score.standard_error,
            "value": score.bits_per_dim if in_bits else score.log_likelihood,
            "unit": unit_of(results),
        }  # fmt: skip
    codes = entry.codebook
    if codes is not None and codes.rate is not None and codes.distortion is not None:
        found["codebook"] = {
            "rate": codes.rate.nats, "distortion": codes.distortion.nats,
            "used": codes.used, "entries": codes.entries,
        }  # fmt: skip
    if entry.verification is not None and entry.verification.codes is not None:
        found["verification"] = _rounded(entry.verification.codes.area)
    if entry.kl is not None:
        found["gap"] = {**asdict(entry.kl), "exact": score is not None and score.exact}
    if view is not None and samples is not None and "frechet" in samples.views.get(view.name, {}):
        found["frechet"] = {
            **_rounded(samples.views[view.name]["frechet"]),
            "extractor": view.extractor,
            "real": real and _rounded(real.views[view.name]["frechet"]),
        }
        found["fidelity"] = {
            name: {"samples": _rounded(figure), "real": real and _of(real.views[view.name], name)}
            for name, figure in samples.views[view.name].items()
            if name in FIDELITY
        }
    return found


FIDELITY = ("precision", "recall", "coverage", "suspects")
"""Figures of samples beside the distance, by the judge's names."""


def _of(figures: Mapping[str, Figure], name: str) -> dict[str, Any] | None:
    return _rounded(figures[name]) if name in figures else None


def _rounded(figure: Figure) -> dict[str, Any]:
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value
            for key, value in asdict(figure).items()}  # fmt: skip


def commit() -> str:
    """The commit that is checked out, with a + where files of the program differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    return git("rev-parse", "--short", "HEAD") + "+" * bool(git("status", "--porcelain", "src"))
