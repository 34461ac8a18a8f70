"""The command that does a finished run again, to the same bits."""

from __future__ import annotations

from pathlib import Path

from simulacra.cli import terminal
from simulacra.cli.flags import RUNS, Code, Out, new_folder, open_run
from simulacra.cli.train import go_on
from simulacra.ground import processes
from simulacra.ground.errors import UsageError
from simulacra.models import registry


def again(
    run: Path, /, *, out: Out = None, data_dir: Path | None = None, code: Code = None
) -> None:
    """Do a finished run again from its record, and say whether the weights are the same bits.

    The new training makes as many steps as the old one, by the same plan, with as many threads,
    and whatever was changed meanwhile is changed again; it may take longer or shorter. On another
    kind of processor, or with another version of torch, the last digits differ.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        out: The new run's folder, which must not exist; runs/RUN-again by default.
        data_dir: Folder that holds the data's files, if it moved.
        code: file.py:Class of a model of your own.
    """
    from simulacra.runs.again import again as done_again
    from simulacra.runs.again import differences

    if processes.count() > 1:
        raise UsageError("a run is done again in one process: start it without torchrun")
    before = open_run(run)
    registry.allowed_name(before.record["model"], code)
    found = before.dataset(str(data_dir) if data_dir else None)
    folder = out if out is not None else new_folder(RUNS, f"{before.folder.name}-again")
    made = done_again(before, folder)
    go_on(made, found, code=code, tensorboard=False)
    other = differences(before, made)
    if not other:
        terminal.note(f"the weights are those of {before.folder}, bit for bit")
        return
    changed = [
        f"{name} {before.record['versions'].get(name)} then, {now} now"
        for name, now in made.record["versions"].items()
        if before.record["versions"].get(name) != now
    ]
    why = "; ".join(changed) or "is the processor another one?"
    terminal.note(f"weights differ from those of {before.folder} in {other[0]}"
                  f"{f' and {len(other) - 1} more' if len(other) > 1 else ''}: {why}")  # fmt: skip
