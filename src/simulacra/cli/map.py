"""The command that maps what a model has learned."""

from __future__ import annotations

from pathlib import Path

from simulacra.cli.flags import (
    Code,
    Device,
    Out,
    Whole,
    check_device,
    check_seed,
    file_target,
    results_folder,
)
from simulacra.cli.inputs import opened


def map(
    run: Path,
    /,
    *,
    seed: Whole = 0,
    out: Out = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Draw what a model has made of a plane: its density, the true one where it is known, samples.

    For data of two columns. Of a flow a second picture shows the density between its maps, from
    the base, as one after another is undone, to the data.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        seed: Of the samples.
        out: The PNG file; RUN/map.png by default. What lies between maps goes beside it.
        data_dir: Folder that holds the data's files, if it moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    from simulacra.cli.planes import draw_plane

    check_seed(seed)
    place = check_device(device)
    found = opened(run)
    target = file_target(out or results_folder(found) / "map.png", "--out")
    model = found.model(code=code).to(place).eval()
    data = found.dataset(str(data_dir) if data_dir else None)
    draw_plane(model, data, target, seed=seed)
