"""Where the files of named sets are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from simulacra.ground.errors import DataError

VARIABLE = "SIMULACRA_DATA"
"""The environment variable that names the folder of data files."""


def data_folder(data_dir: str | Path | None) -> Path | None:
    """The folder with the files of named sets: the argument, else the environment's.

    Raises:
        DataError: If the folder does not exist.
    """
    named = data_dir or os.environ.get(VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser().absolute()
    if not folder.is_dir():
        origin = "--data-dir" if data_dir else VARIABLE
        raise DataError(f"{origin} names {folder}, which is not a folder: correct it")
    return folder


def locate(
    wanted: Sequence[Sequence[str]], folders: Sequence[str], data_dir: str | Path | None
) -> tuple[list[Path], str]:
    """Paths of a set's files, and a sentence that says what is missing, empty if nothing is.

    Args:
        wanted: For each file the names it may have, the best first.
        folders: Names of the set's own folder, one level down.
        data_dir: As in `data_folder`.

    Returns:
        One path for each file that is there, and the sentence.
    """
    hint = f"name the folder that holds them with --data-dir or {VARIABLE}"
    folder = data_folder(data_dir)
    if folder is None:
        everything = ", ".join(" or ".join(names) for names in wanted)
        return [], f"needs {everything}, and no folder is given to look in: {hint}"
    # all files from one place, the set's own first: MNIST and Fashion-MNIST share their names
    places = [*(folder / name for name in folders), folder]
    attempts = [[_first(place, names) for names in wanted] for place in places]
    best = max(attempts, key=lambda paths: sum(path is not None for path in paths))
    missing = [" or ".join(wanted[i]) for i, path in enumerate(best) if path is None]
    found = [path for path in best if path is not None]
    if not missing:
        return found, ""
    looked = ", ".join(str(place) for place in places)
    return found, f"needs {', '.join(missing)}, not found in {looked}: {hint}"


def _first(place: Path, names: Sequence[str]) -> Path | None:
    return next((place / name for name in names if (place / name).is_file()), None)
