"""`metrics.csv`: how a training went, a row now and then, as `training.progress.Record` has it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from simulacra.ground.errors import CheckpointError
from simulacra.ground.storage import write_bytes
from simulacra.training.progress import Record

METRICS = "metrics.csv"
BALANCE = "balance/"
"""In front of the columns of what a look at a game sees; see `Balance.measure`."""


class Metrics:
    """A file of metrics, open for a training; a row's losses are means since the row before.

    Args:
        path: The file; it may be there.
        step: Steps that the training goes on from: rows of later ones are dropped.
        staged: Whether it has several stages, so that a row says which it is of, from 0.
    """

    def __init__(self, path: Path, step: int, *, staged: bool = False) -> None:
        self.staged = ["stage"] if staged else []
        self.path, self.sums, self.counts = path, dict[str, float](), dict[str, int]()
        self.header: list[str] = []
        rows: list[dict[str, str]] = []
        if path.is_file():
            # a full disk may have cut the last row, within a number even
            whole = path.read_text("utf-8", errors="replace").rpartition("\n")[0]
            reader = csv.DictReader(io.StringIO(whole))
            self.header = list(reader.fieldnames or [])
            # what came after the checkpoint will be done again
            numbered = (row for row in reader if (row.get("step") or "").isdecimal())
            rows = [row for row in numbered if int(row["step"]) <= step]
            text = io.StringIO()
            self._writer(text).writerows([dict.fromkeys(self.header, "") | row for row in rows])
            header = ",".join(self.header) + "\n" if self.header else ""
            write_bytes(path, (header + text.getvalue()).encode())

    def __enter__(self) -> Metrics:
        self.file = self.path.open("a", newline="")
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def _writer(self, file: Any) -> csv.DictWriter[str]:  # noqa: ANN401 (any text file)
        return csv.DictWriter(file, self.header, lineterminator="\n", extrasaction="ignore")

    def _widen(self, names: list[str]) -> None:
        """Give the file more columns, which are empty in the rows that it has."""
        self.file.close()
        rows = csv.DictReader(io.StringIO(self.path.read_text("utf-8")))
        text = io.StringIO()
        self.header += names
        self._writer(text).writeheader()
        self._writer(text).writerows([dict.fromkeys(self.header, "") | row for row in rows])
        write_bytes(self.path, text.getvalue().encode())
        self.file = self.path.open("a", newline="")

    def add(self, record: Record, *, write: bool) -> None:
        """Take in a step, and write a row if it is time for one."""
        for name, value in record.losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        if not write or not (self.header or self.sums):
            return
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        if not self.header:
            told = ["step", *self.staged, "epoch", "seconds", "lr"]
            self.header = [*told, *means, "validation", "skipped"]
            self._writer(self.file).writeheader()
        looked = {} if record.inverse_error is None else {"inverse_error": record.inverse_error}
        looked |= {f"{BALANCE}{name}": value for name, value in record.balance.items()}
        if more := [name for name in (*means, *looked) if name not in self.header]:
            # another stage has other losses, and what a look sees is not there at first
            self._widen(more)
        row = {
            "stage": record.stage,
            **means,
            "step": record.step,
            "epoch": f"{record.epoch:.4f}",
            "seconds": f"{record.seconds:.3f}",
            "lr": f"{record.lr:.6g}",
            "validation": "" if record.validation is None else record.validation,
            "skipped": record.skipped,
            **looked,
        }
        self._writer(self.file).writerow(row)
        self.file.flush()
        self.sums, self.counts = {}, {}


def read_metrics(path: Path) -> dict[str, list[float | None]]:
    """The columns of a file of metrics; `None` where a cell is empty, nothing without the file.

    Raises:
        CheckpointError: If it holds anything but numbers.
    """
    if not path.is_file():
        return {}
    # a full disk may have cut the last row
    whole = path.read_text("utf-8", errors="replace").rpartition("\n")[0]
    rows = list(csv.DictReader(io.StringIO(whole)))
    try:
        return {
            name: [float(row[name]) if row[name] else None for row in rows]
            for name in (rows[0] if rows else [])
        }
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
