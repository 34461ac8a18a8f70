"""The command that goes on with what was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from simulacra.cli.compare import alone, go_on_comparing
from simulacra.cli.flags import COMPARISON, Code, Json, StopOn, open_run, run_folder
from simulacra.cli.train import go_on, leave_if_ended
from simulacra.ground.errors import CheckpointError, UsageError
from simulacra.models import registry
from simulacra.training.options import Budget

Rates = Annotated[list[str], Parameter(metavar="[PLAYER=]RATE", show_default=False)]


def resume(
    run: Path,
    /,
    *,
    budget: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    lr: Rates = [],  # noqa: B006 (read only)
    data_dir: Path | None = None,
    code: Code = None,
    tensorboard: bool = False,
    stop_on: StopOn = [],  # noqa: B006 (read only)
    retry: bool = False,
    json: Json = False,
) -> None:
    """Go on with a training, or a comparison, that was stopped; or train a run longer.

    Args:
        run: A run's name below runs/, or the folder of a run or comparison.
        budget: How much longer than planned to train: +10m, +2000steps, +10epochs, +2Mobs or
            +3Gflops; a run that has ended goes on, and its schedule ends later.
        lr: Another learning rate from here on, of one player of several as discriminator=1e-4;
            repeat it for more.
        data_dir: Folder that holds the data's files, if it moved.
        code: file.py:Class of a model of your own.
        tensorboard: Write files for TensorBoard too, into RUN/tensorboard.
        stop_on: End when a game is diagnosed so: strong, collapse, oscillation or divergence;
            repeat it for more. Without, what the run was told before holds.
        retry: Try again the models of a comparison that failed.
        json: Print JSON, of a comparison.
    """
    folder = run_folder(run)
    longer, rates = None if budget is None else _longer(budget), _rates(lr)
    if (folder / COMPARISON).is_file() and (longer or rates or stop_on):
        raise UsageError(
            f"{folder} is a comparison: --budget, --lr and --stop-on are for a single run"
        )
    if (folder / COMPARISON).is_file():
        from simulacra.comparing.asked import recorded
        from simulacra.data.catalogue import load
        from simulacra.runs.encoder import encoder_of

        alone()
        asked = recorded(folder)
        for name in asked["models"]:
            if registry.allowed_name(name, code) != name:
                raise UsageError(f"{folder} compares {name!r}, got --code {code}: pass that")
            # and those that it is made of
            registry.of_record(name, asked["keywords"].get(name, {}), code)
        read = asked.pop("data") | ({"data_dir": str(data_dir)} if data_dir else {})
        try:
            found = load(**read)
        except (UsageError, TypeError) as error:
            # they were loaded once, when the comparison began
            raise CheckpointError(f"{folder / COMPARISON}: its data are none: {error}") from error
        if (encoder := encoder_of(folder)) is not None:
            found = encoder.tell(found)
        go_on_comparing(found, folder, **asked, json=json, retry=retry)
        return
    if retry:
        raise UsageError(f"{folder} is a single run: --retry is for a comparison")
    opened = open_run(run)
    registry.allowed_name(opened.record["model"], code)
    found = opened.dataset(str(data_dir) if data_dir else None)
    outcome = go_on(
        opened, found, code=code, tensorboard=tensorboard, longer=longer, rates=rates,
        stop_on=stop_on,
    )  # fmt: skip
    leave_if_ended(outcome)


def _longer(text: str) -> Budget:
    """How much longer, as written."""
    if not text.strip().startswith("+"):
        raise UsageError(f"--budget says how much longer, as +10m, got {text!r}")
    return Budget.parse(text.strip()[1:])


def _rates(texts: list[str]) -> dict[str | None, float]:
    """Learning rates by player, as written."""
    rates: dict[str | None, float] = {}
    for text in texts:
        player, equals, rate = text.rpartition("=")
        try:
            value = float(rate)
        except ValueError as error:
            raise UsageError(f"--lr takes a rate, or PLAYER=RATE, got {text!r}") from error
        rates[player.strip() if equals else None] = value
    return rates
