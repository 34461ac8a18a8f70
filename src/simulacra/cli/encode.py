"""The commands that write codes, and that say what a linear classifier finds in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.cli import terminal
from simulacra.cli.flags import (
    Code,
    Device,
    Json,
    Out,
    check_device,
    file_target,
    results_folder,
)
from simulacra.cli.inputs import opened
from simulacra.cli.output import write_arrays
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulacra.data.dataset import Dataset
    from simulacra.models.model import Model


def encode(
    run: Path,
    /,
    *sources: str,
    out: Out = None,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Write the codes of observations, or a gan's features, as an .npz file, for other programs.

    Without DATA, those of the run's own data: arrays train, validation and test, whose rows are in
    the order of the data, and train_labels, validation_labels and test_labels where there are any,
    -1 for one that is not told. With it, arrays codes and names. Of a vae a code is the mean of
    what q(z|x) draws; of a model that takes labels, that of an observation under its own.

    A gan has no encoder: of it they are features, what its discriminator sees in its last layer but
    one, which tell observations apart and which nothing decodes. Its codes are sought by invert.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        sources: Data sets, of which the test split is encoded, folders, or files of pictures or raw
            values, read in the run's form; the run's own data by default.
        out: The .npz file; RUN/codes.npz by default, of a gan RUN/features.npz.
        data_dir: Folder that holds the files of named sets, if it moved.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    import numpy as np

    from simulacra.data.catalogue import NAMES
    from simulacra.tasks.codes import encoder_of, has_features

    place = check_device(device)
    found = opened(run)
    model = found.model(code=code).to(place)
    encoder_of(model)
    game = has_features(model)
    called = "codes" if game is None else "features"
    target = file_target(out or results_folder(found) / f"{called}.npz", "--out", ".npz")
    named = found.record["data"]["options"]["source"] in NAMES
    data = found.dataset(str(data_dir) if data_dir and (named or not sources) else None)
    arrays = (
        _of_sources(model, data, sources, data_dir, called) if sources else _of_splits(model, data)
    )
    # words as such: `numpy.load` refuses objects
    arrays["run"] = np.array(found.folder.name)
    if game is not None:
        arrays["what"] = np.array(f"features of the {game.opponent}: nothing decodes them")
    write_arrays(target, arrays)
    shown = ", ".join(f"{key} {value.shape}" for key, value in arrays.items() if value.ndim)
    terminal.note(f"{target}: {shown}")
    if game is not None:
        terminal.note(
            f"these are features of the {game.opponent}, and no codes that the generator decodes: "
            "invert seeks such"
        )


def _of_splits(model: Model, data: Dataset) -> dict[str, NDArray[Any]]:
    from simulacra.cli.waiting import Waiting
    from simulacra.tasks.codes import encode_split

    arrays: dict[str, NDArray[Any]] = {}
    with Waiting() as waiting:
        for name, split in data.splits.items():
            if not len(split):
                continue
            waiting.begin(f"encoding {len(split)} {name} observations")
            arrays[name] = encode_split(model, split).numpy()
            if split.context is not None and not split.context.is_floating_point():
                arrays[f"{name}_labels"] = split.context.numpy()
    return arrays


def _of_sources(
    model: Model, data: Dataset, sources: tuple[str, ...], data_dir: Path | None, called: str
) -> dict[str, NDArray[Any]]:
    import numpy as np

    from simulacra.data.foreign.anything import read_anything
    from simulacra.tasks.codes import encode_split, has_features

    if model.context != "none" and has_features(model) is None:
        raise UsageError(
            f"this {type(model).__name__} is told a {model.context} with each observation, which "
            "other data do not have: leave DATA out, for its own"
        )
    codes, names = [], []
    for source in sources:
        foreign = read_anything(source, data, data_dir)
        for line in foreign.notes:
            terminal.note(line)
        codes.append(encode_split(model, foreign.observations).numpy())
        alone = len(sources) == 1 or foreign.names == [source]
        names += foreign.names if alone else [f"{source} [{name}]" for name in foreign.names]
    return {called: np.concatenate(codes), "names": np.array(names)}


def probe(
    run: Path,
    /,
    *,
    data_dir: Path | None = None,
    device: Device = "auto",
    code: Code = None,
    json: Json = False,
) -> None:
    """Say what a linear classifier finds in codes, beside principal components and raw values.

    Of a gan, in the features of its discriminator: those of its last layer but one.

    Multinomial logistic regression on standardised features learns the classes of 5000 training
    observations at most, its regularisation chosen on a fifth of them; told is the share of
    validation observations, 5000 at most, whose class it finds, with a 95 % interval. The test
    split is not looked at. Of the model's training, validation data chose the best step.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        data_dir: Folder that holds the data's files, if it moved.
        device: Where codes are computed.
        code: file.py:Class of a model of your own.
        json: Print JSON.
    """
    from dataclasses import asdict

    from simulacra.cli.waiting import Waiting
    from simulacra.tasks.probe import probe as probed

    place = check_device(device)
    found = opened(run)
    model = found.model(code=code).to(place)
    data = found.dataset(str(data_dir) if data_dir else None)
    with Waiting() as waiting:
        waiting.begin("fitting linear classifiers")
        results = probed(model, data)
    if json:
        terminal.print_json([asdict(each) for each in results])
        return
    rows = [
        {
            "features": each.name,
            "each": f"{each.features}" if each.features else "",
            "classes found": f"{each.accuracy:.1%}",
            "95 % interval": f"{each.low:.1%} … {each.high:.1%}",
        }
        for each in results
    ]
    terminal.print_table(rows, right=["each", "classes found", "95 % interval"])
    first = results[0]
    terminal.note(
        f"of {first.observations} validation observations, learned from {first.trained} training "
        "ones; the test split was not looked at"
    )
