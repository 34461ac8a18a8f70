"""`Run`: a folder that holds one training, from its configuration to its best model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from simulacra.data.catalogue import HUB, NAMES
from simulacra.data.catalogue import load as load_data
from simulacra.data.dataset import Dataset
from simulacra.data.labels import LABEL
from simulacra.ground import processes
from simulacra.ground.errors import CheckpointError, DataError, ResourceError, UsageError, nearest
from simulacra.ground.locks import held
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import write_json
from simulacra.ground.threads import settled
from simulacra.models import registry, saved
from simulacra.models.model import Model
from simulacra.models.sizes import TRAINED
from simulacra.runs.alone import alone, check_free
from simulacra.runs.checkpoints import best_sound, checkpoints, newest_sound
from simulacra.runs.encoder import ENCODER, Encoder, encoder_of
from simulacra.runs.journal import Journal, check_tensorboard
from simulacra.runs.metrics import METRICS, read_metrics
from simulacra.runs.record import (
    RECORD,
    budget_of,
    class_names_of,
    new_record,
    options_of,
    read_record,
    said_of,
)
from simulacra.runs.recorded import RecordedTraining
from simulacra.runs.start import START, fill_from, inherited
from simulacra.training.batches import check_learnable
from simulacra.training.engine import device_of, together
from simulacra.training.loop import Training
from simulacra.training.memory import PeakMemory, check_room
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Plan
from simulacra.training.players import finite
from simulacra.training.progress import Outcome as Outcome
from simulacra.training.progress import Progress, Record

BUILD = -3
"""Key of the random stream of new weights, beside those of `training`."""


class Run:
    """A folder with `run.json`, `checkpoints/`, `metrics.csv` and `samples/`.

    Args:
        folder: Where it is; see `create` and `open`.
        record: What is in `run.json`.

    Example:
        >>> import simulacra as sim, tempfile
        >>> from pathlib import Path
        >>> data = sim.load_data("digits")
        >>> with tempfile.TemporaryDirectory() as place:
        ...     run = sim.Run.create(
        ...         Path(place) / "first", model="gmm", keywords={"components": 2}, data=data,
        ...         options=sim.Options(device="cpu"), budget=sim.Budget(2, "steps"),
        ...     )
        ...     outcome = run.train(data)
        ...     model = sim.Run.open(run.folder).model()
        >>> outcome.finished, model.keywords["components"]
        (True, 2)
    """

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder, self.record = folder, record

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        model: str,
        keywords: dict[str, Any],
        data: Dataset,
        options: Options,
        budget: Budget,
        start: Run | None = None,
    ) -> Run:
        """A new run, after its model was built once to see that it can be.

        Args:
            folder: That holds it.
            model: See `registry.find`.
            keywords: Of the model, which are those of `start` where they are left out.
            data: What it learns from.
            options: How it trains.
            budget: How long.
            start: A run whose weights it begins with, instead of new ones; they are copied.

        Raises:
            ResourceError: If memory has no room for such a training.
            UsageError: If the folder exists and is not empty, or the model refuses, cannot learn
                from such data, or is not the one that it is to begin with.
        """
        source: Model | None = None
        if start is not None:
            usual = inherited(start.record, model, start.folder)
            # nothing that its keywords name is imported, unless loading it allows that
            source, keywords = start.model(code=model), usual | keywords
        built = registry.build(model, data.spec, keywords, copies=TRAINED)
        registry.check_own(model, built.keywords)
        for split in (data.train, data.validation):
            check_learnable(built, split, options)
        check_room(built, data.train, options)
        begun: tuple[Model, dict[str, Any]] | None = None
        if start is not None and source is not None:
            fill_from(built, source, start.folder)
            begun = built, {"run": str(start.folder), "steps": start.outcome().steps}
        return cls.of(
            folder,
            model=model,
            keywords=built.keywords,
            data=data,
            options=options,
            budget=budget,
            begun=begun,
        )

    @classmethod
    def of(
        cls,
        folder: Path,
        *,
        model: str,
        keywords: dict[str, Any],
        data: Dataset,
        options: Options,
        budget: Budget,
        begun: tuple[Model, dict[str, Any]] | None = None,
    ) -> Run:
        """As `create`, of a model that was built already: `keywords` are all that it has.

        Args:
            folder: That holds it.
            model: See `registry.find`.
            keywords: Of the model.
            data: What it learns from.
            options: How it trains.
            budget: How long.
            begun: The model with the weights that it begins with, where these are not new ones,
                and what the record says of them.

        Raises:
            UsageError: If the folder exists and is not empty.
        """
        if processes.first():
            check_free(folder)
        record = new_record(model, keywords, data, options, budget)
        record |= {"start": begun[1]} if begun else {}
        run = cls(folder, record)
        if processes.first():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ResourceError(f"cannot make the folder {folder}: {error.strerror}") from error
            with held(folder, "made"):
                # which somebody may have done since
                check_free(folder)
                if begun:
                    # a record without them would begin with new ones
                    saved.save(begun[0], folder / START, model)
                if data.encoder is not None:
                    # so that its vectors are known wherever the run goes
                    data.encoder.save(folder / ENCODER)
                write_json(folder / RECORD, record)
        return run

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """A run that exists.

        Raises:
            CheckpointError: If there is none, or its record cannot be read.
        """
        folder = Path(folder)
        path = folder / RECORD
        if not path.is_file():
            others = [p.parent.name for p in folder.parent.glob(f"*/{RECORD}")]
            raise CheckpointError(f"{folder} holds no run: {nearest(folder.name, others)}")
        return cls(folder, read_record(path))

    @property
    def spec(self) -> DataSpec:
        """The form of its data."""
        return DataSpec.from_json(self.record["spec"])

    @property
    def options(self) -> Options:
        """How it trains."""
        return options_of(self.record)

    @property
    def budget(self) -> Budget:
        """How long it was asked to train."""
        return budget_of(self.record)

    @property
    def plan(self) -> Plan | None:
        """How long it trains, once that is known."""
        return Plan(**self.record["plan"]) if self.record["plan"] else None

    def dataset(self, data_dir: str | None = None) -> Dataset:
        """Its data, loaded again.

        Raises:
            DataError: If they are not those that it was made with.
        """
        options = dict(self.record["data"]["options"])
        if data_dir is not None:
            # of a named set the folder with its files, else where the data themselves are now
            moved = options["source"] not in NAMES and not options["source"].startswith(HUB)
            options["source" if moved else "data_dir"] = data_dir
        try:
            data = load_data(**options)
        except (UsageError, TypeError) as error:
            # it was loaded once, when the run was made
            raise CheckpointError(f"{self.folder / RECORD}: its data are none: {error}") from error
        data = data if self.encoder is None else self.encoder.tell(data)
        self._check(data)
        return data

    @cached_property
    def encoder(self) -> Encoder | None:
        """The model whose codes its own is told, if its data were told by one: see `tell`.

        Raises:
            CheckpointError: If it is not there any more, or another one.
        """
        said = self.record["data"].get("encoder")
        found = None if said is None else encoder_of(self.folder)
        if said is not None and (found is None or found.hash != said["hash"]):
            what = "is lost" if found is None else "is another one than its record says"
            raise CheckpointError(f"the encoder of {self.folder} {what}: train again")
        return found

    @property
    def form(self) -> Dataset:
        """The form of its data, without any observation: how files are read for its model."""
        data = self.record["data"]
        form = Dataset.of_form(data["name"], self.spec, data["options"])
        names = {part: tuple(words) for part, words in class_names_of(self.record).items()}
        if self.spec.parts:
            form = replace(form, part_names=names)
        else:
            form = replace(form, class_names=names.get(LABEL, ()))
        return replace(form, encoder=self.encoder)

    def tell(self, data: Dataset) -> Dataset:
        """Data with the codes of this run's model as context vectors, in place of labels.

        A run on such data keeps a copy of the model, and needs this run no more. The vectors are
        the codes less their mean, divided by one spread for all numbers: see `Encoder`.

        Args:
            data: Read in any form; the same source is read once more as this run's own was.

        Raises:
            MissingCapability: If the model does not encode, or takes context itself.
            DataError: If the data cannot be read as this run's own.
            UsageError: If they have context vectors already, or the model is a user's own.

        Example:
            >>> import simulacra as sim, tempfile
            >>> from pathlib import Path
            >>> data = sim.load_data("digits")
            >>> with tempfile.TemporaryDirectory() as place:
            ...     run = sim.Run.create(
            ...         Path(place) / "codes", model="pca", keywords={"components": 3}, data=data,
            ...         options=sim.Options(device="cpu"), budget=sim.Budget(1, "steps"),
            ...     )
            ...     outcome = run.train(data)
            ...     told = run.tell(data)
            >>> told.spec.context_width, told.encoder.vectors(data.test.x[:2]).shape
            (3, torch.Size([2, 3]))
        """
        return Encoder(self.model(), dict(self.record), str(self.folder)).tell(data)

    def _check(self, data: Dataset) -> None:
        """Refuse data that are not those of the run."""
        expected = self.record["data"]["fingerprint"]
        if data.fingerprint != expected:
            raise DataError(
                f"{data.name} is not what {self.folder} was made with: its fingerprint is "
                f"{data.fingerprint[:12]}…, expected {expected[:12]}…"
            )

    def metrics(self) -> dict[str, list[float | None]]:
        """The columns of `metrics.csv`; `None` where a cell is empty."""
        return read_metrics(self.folder / METRICS)

    def checkpoints(self) -> list[Path]:
        """Its checkpoints, newest first; incomplete ones are not there."""
        return checkpoints(self.folder)

    def newest(
        self, *names: str, records: tuple[str, ...] = ()
    ) -> tuple[Path, dict[str, Any], list[str]]:
        """The newest sound checkpoint: where, its values, and what is wrong with newer ones.

        See `newest_sound` for the arguments.

        Raises:
            CheckpointError: If no checkpoint is sound.
        """
        return newest_sound(self.folder, *names, records=records)

    def outcome(self) -> Outcome:
        """How its training ended, or how far it came.

        Raises:
            CheckpointError: If no checkpoint is sound.
        """
        folder, state, _ = self.newest("training", records=("training",))
        try:
            training = state["training"]
            return Outcome.of(Progress(**training["progress"]), Plan(**training["plan"]))
        except (KeyError, TypeError, UsageError) as error:
            raise CheckpointError(f"{folder} does not say how far its training came") from error

    def model(self, *, code: str | None = None) -> Model:
        """The model to use: of the best validation, or of the last step if nothing validates.

        Args:
            code: See `saved.load`.

        Raises:
            CheckpointError: If no checkpoint is sound, or it holds another model than the record.
        """
        folder, state = best_sound(self.folder)
        if json.dumps(state["model"], sort_keys=True) != json.dumps(
            said_of(self.record), sort_keys=True
        ):
            raise CheckpointError(f"{folder} holds another model than {self.folder / RECORD} says")
        return saved.of(state, folder, code=code)

    def train(
        self,
        data: Dataset,
        *,
        code: str | None = None,
        on_start: Callable[[Training, list[str]], None] = lambda *_: None,
        on_record: Callable[[Record], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
        tensorboard: bool = False,
        longer: Budget | None = None,
        rates: Mapping[str | None, float] = {},
        stop_on: Sequence[str] = (),
    ) -> Outcome:
        """Train to the end of the plan, from the newest sound checkpoint if there is one.

        What is changed meanwhile, by `make_longer` and `set_rate`, is written down
        before the next step, and done again by a training that goes on from before it.

        Args:
            data: What `dataset` gives.
            code: See `saved.load`.
            on_start: Told the training, its plan made, and what there is to know of the folder, in
                words: that newer checkpoints are broken, that it cannot be locked.
            on_record: Told every step.
            should_stop: Asked after every step; when true, the step is saved and this returns.
            tensorboard: Whether to write files for TensorBoard too.
            longer: How much longer than planned to train, of a run that may have ended.
            rates: Learning rates from here on: of a player, or of everyone.
            stop_on: Names of diagnoses (see `training.diagnosis`) on which a game ends, from here
                on; those that it was told before, unless any are named.

        Raises:
            DataError: If the data are not those of the run.
            CheckpointError: If another process is training it, or no checkpoint is sound.
            UsageError: If the training cannot be longer, or has no such player, or nobody diagnoses
                what it is to end on.
            DivergedError: See `Training`.
            ResourceError: If another process of the training was lost.
        """
        self._check(data)
        if tensorboard:
            check_tensorboard()
        options = self.options
        memory = PeakMemory(device_of(options))
        try:
            with seeded(options.seed, BUILD):
                model = registry.restored(said_of(self.record), code)
        except UsageError as error:
            # it was built once, when the run was made
            raise CheckpointError(
                f"{self.folder / RECORD} is not of the model that it names: {error}"
            ) from error
        if "start" in self.record:
            saved.fill(model, saved.load(self.folder / START, code=code).state_dict())
        # what is done between steps is small, and slow by all cores of a busy machine
        with together(), alone(self.folder, self.record) as notes, settled():
            training = Training(
                model, data.train, data.validation, self.options, prepared="start" in self.record,
                threads=self.record.get("threads"),
            )  # fmt: skip
            book = RecordedTraining(self.folder, self.record, training)
            broken = book.go_to_newest()
            book.stop_on(stop_on)
            book.change(longer, rates)
            on_start(training, [*notes, *(f"{line}; the one before it is used" for line in broken)])
            journal = (
                Journal(self.folder, training, tensorboard=tensorboard)
                if processes.first()
                else None
            )
            with journal or contextlib.nullcontext():
                for record in training:
                    stopped = training.any_process(should_stop())
                    if stopped:
                        training.settle()
                    if journal is not None:
                        # before the checkpoint: a row is never missing, at most done again
                        journal.add(record)
                    # before the checkpoint too, which nobody who does it again has
                    book.note()
                    if record.validated or stopped:
                        training.progress.note_peak(memory.growth())
                    if (record.validated or stopped) and finite(training.model):
                        book.save()
                    on_record(record)
                    # what somebody changed there
                    book.note()
                    if stopped:
                        # whoever ends before the first one has saved may end it too
                        training.fabric.barrier()
                        break
        assert book.outcome is not None  # a training begins with a checkpoint
        return book.outcome
