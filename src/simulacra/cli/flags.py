"""Options that several commands take."""

from __future__ import annotations

import itertools
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, make_dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from cyclopts import Parameter

from simulacra.data.form import Form
from simulacra.ground.docstrings import meanings
from simulacra.ground.errors import ResourceError, UsageError
from simulacra.training.options import Options

if TYPE_CHECKING:
    import torch

    from simulacra.data.dataset import Dataset
    from simulacra.runs.run import Run

RUNS = Path("runs")
"""Where runs are, unless --out says otherwise."""

COMPARISON = "compare.json"
"""As asked.RECORD, whose room imports all that judges: a run is opened without."""


_DATA_DIR = "Folder that holds the files of named sets; SIMULACRA_DATA otherwise."


def _flags(
    source: type, group: str, extra: Mapping[str, tuple[type, str]] = MappingProxyType({})
) -> Any:  # noqa: ANN401 (a class made here)
    """A dataclass whose fields are those of another, unset by default, with its docstring's help.

    What a user did not set then stays for the model's preset to choose.
    """
    hints = get_type_hints(source)
    told = meanings(source)
    made = make_dataclass(f"{source.__name__}Flags", [
        (
            f.name,
            Annotated[hints[f.name] | None, _parameter(told[f.name], f.default, hints[f.name])],
            None,
        )
        for f in fields(source)
    ] + [
        (name, Annotated[kind | None, Parameter(help=meaning)], None)
        for name, (kind, meaning) in extra.items()
    ])  # fmt: skip
    # cyclopts takes a class of the module `types`, where they are made, for a built-in one
    made.__module__ = __name__
    return Parameter(name="*", group=group)(made)


def whole(_: Any, tokens: Sequence[Any]) -> int:  # noqa: ANN401 (the parser's own types)
    """A whole number, which the parser would round to."""
    try:
        return int(tokens[0].value)
    except ValueError as error:
        raise ValueError(f"a whole number is expected, got {tokens[0].value!r}") from error


Whole = Annotated[int, Parameter(converter=whole)]


def _parameter(
    meaning: str,
    usual: Any,  # noqa: ANN401 (any option's value)
    kind: Any,  # noqa: ANN401 (any option's value)
) -> Parameter:
    shown = " ".join(map(str, usual)) if isinstance(usual, tuple) else usual
    # what is off or absent unless given needs no word
    tail = "" if usual is None or usual is False or usual == () else f" [usually: {shown}]"
    converter = whole if kind in (int, int | None) else None
    return Parameter(help=" ".join(meaning.split()) + tail, converter=converter)


if TYPE_CHECKING:
    TrainingFlags = Any
else:
    TrainingFlags = _flags(Options, "Training")


if TYPE_CHECKING:
    DataFlags = Any
else:
    DataFlags = _flags(Form, "Data", extra={"data_dir": (Path, _DATA_DIR)})


def load(source: str, flags: Any) -> Dataset:  # noqa: ANN401 (a class made above)
    """The data of a name or path, read as the flags say; told codes of a run, if they name one."""
    from simulacra.data.catalogue import load

    asked = given(flags)
    context = asked.get("context")
    if context is None or context.is_file() or context.suffix.lower() in (".npy", ".npz"):
        return load(source, **asked)
    encoder = open_run(context)
    del asked["context"]
    return encoder.tell(load(source, **asked))


Set = Annotated[
    list[str],
    Parameter(name="--set", metavar="KEY=VALUE", show_default=False),
]
StopOn = Annotated[
    list[str], Parameter(name="--stop-on", metavar="NAME", show_default=False, negative=())
]
Json = Annotated[bool, Parameter(help="Print JSON instead of a table.", show_default=False)]
Label = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
Out = Annotated[Path | None, Parameter(name=["--out", "-o"])]
Length = Annotated[str, Parameter(allow_leading_hyphen=True)]
Device = Annotated[
    str, Parameter(help="auto, cpu, cuda or mps; auto takes a CUDA GPU where there is one.")
]
Code = Annotated[str | None, Parameter(help="file.py:Class of a model of your own, for its runs.")]


def given(flags: Any) -> dict[str, Any]:  # noqa: ANN401 (a class made above)
    """The options that the user set."""
    return {k: v for k, v in vars(flags).items() if v is not None} if flags is not None else {}


def _zoo() -> Path:
    # as zoo.PLACE, which imports torch: a wrong name should be told without waiting for that
    return Path(str(resources.files("simulacra.runs"))) / "trained"


def results_folder(run: Run) -> Path:
    """Where that goes which is made with a run: into its folder, but never into the package."""
    return RUNS / run.folder.name if run.folder.parent == _zoo() else run.folder


def run_folder(run: Path) -> Path:
    """The folder of a run given by its path, its name below runs/, or its name in the zoo."""
    for folder in (run, RUNS / run, _zoo() / run):
        if any((folder / record).is_file() for record in ("run.json", COMPARISON)):
            return folder
    is_name = run.name == str(run) != ".."
    return RUNS / run if is_name and RUNS.is_dir() else run


def open_run(run: Path) -> Run:
    """A run to use, given as for `run_folder`.

    Raises:
        CheckpointError: If there is none.
        UsageError: If it is a comparison, which holds several.
    """
    from simulacra.runs.run import Run

    folder = run_folder(run)
    if (folder / COMPARISON).is_file():
        runs = ", ".join(sorted(shlex.quote(str(p.parent)) for p in folder.glob("*/run.json")))
        raise UsageError(f"{folder} is a comparison: name one of its runs, {runs}")
    return Run.open(folder)


def check_device(name: str) -> torch.device:
    """Where to compute.

    Raises:
        UsageError: If the machine lacks it.
    """
    from simulacra.training.engine import device_of

    return device_of(Options(device=name))


def check_positive(**values: float | None) -> None:
    """Refuse options that are no positive numbers.

    Raises:
        UsageError: Naming the first of them.
    """
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} is a positive number, got {value:g}")


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator takes.

    Raises:
        UsageError: If it is negative or too large.
    """
    if not 0 <= seed < 2**63:
        raise UsageError(f"--seed is at least 0 and below 2^63, got {seed}")


def file_target(path: Path, option: str, kind: str = ".png") -> Path:
    """The file of a kind that an option names, in a folder that is there.

    Raises:
        UsageError: If the name is that of another kind of file.
        ResourceError: If its folder cannot be made or written to.
    """
    if path.suffix.lower() != kind:
        raise UsageError(f"{option} is a {kind} file, got {str(path)!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot make {path.parent}: {error.strerror}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ResourceError(f"cannot write {path}: choose another {option}")
    return path


def new_folder(root: Path, name: str) -> Path:
    """A folder below `root` that is not there yet: `name`, `name-2`, `name-3` …."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(root / each for each in names if not (root / each).exists())
