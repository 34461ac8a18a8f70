"""The command that goes on with what was stopped."""

from __future__ import annotations

from pathlib import Path

from simulacra.cli.compare import alone, go_on_comparing
from simulacra.cli.flags import COMPARISON, Code, Json, open_run, run_folder
from simulacra.cli.train import go_on
from simulacra.ground.errors import UsageError
from simulacra.models import registry


def resume(
    run: Path,
    /,
    *,
    data_dir: Path | None = None,
    code: Code = None,
    tensorboard: bool = False,
    json: Json = False,
) -> None:
    """Go on with a training, or a comparison, that was stopped.

    Args:
        run: A run's name below runs/, or the folder of a run or comparison.
        data_dir: Folder that holds the data's files, if it moved.
        code: file.py:Class of a model of your own.
        tensorboard: Write files for TensorBoard too, into RUN/tensorboard.
        json: Print JSON, of a comparison.
    """
    folder = run_folder(run)
    if (folder / COMPARISON).is_file():
        from simulacra.comparing.compare import recorded
        from simulacra.data.catalogue import load

        alone()
        asked = recorded(folder)
        for name in asked["models"]:
            keywords = asked["keywords"].get(name, {})
            if registry.of_record(name, keywords, code)[0] != name:
                raise UsageError(f"{folder} compares {name!r}, got --code {code}: pass that")
        read = asked.pop("data") | ({"data_dir": str(data_dir)} if data_dir else {})
        go_on_comparing(load(**read), folder, **asked, json=json)
        return
    opened = open_run(run)
    registry.allowed_name(opened.record["model"], code)
    found = opened.dataset(str(data_dir) if data_dir else None)
    go_on(opened, found, code=code, tensorboard=tensorboard)
