"""Models by name: found, described, built, saved and loaded; imported only when chosen."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import math
import re
import sys
import tomllib
import types
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from simulacra.ground.errors import CheckpointError, UsageError, nearest

if TYPE_CHECKING:
    from simulacra.ground.spec import DataSpec
    from simulacra.models.model import Model

MODELS = {
    "gmm": "simulacra.models.mixture.gmm:GMM",
    "vae": "simulacra.models.latent.vae:VAE",
    "pixelcnn": "simulacra.models.autoregressive.pixelcnn:PixelCNN",
    "gated-pixelcnn": "simulacra.models.autoregressive.gated_pixelcnn:GatedPixelCNN",
    "row-lstm": "simulacra.models.autoregressive.row_lstm:RowLSTM",
    "diagonal-bilstm": "simulacra.models.autoregressive.diagonal_bilstm:DiagonalBiLSTM",
    "pixelcnnpp": "simulacra.models.autoregressive.pixelcnnpp:PixelCNNpp",
    "made": "simulacra.models.autoregressive.made:MADE",
    "pixel-rnn": "simulacra.models.autoregressive.pixel_rnn:PixelRNN",
    "pixel-transformer": "simulacra.models.autoregressive.pixel_transformer:PixelTransformer",
    "gan": "simulacra.models.adversarial.gan:GAN",
    "nice": "simulacra.models.flow.nice:NICE",
}
"""Name of a model → where it is."""

_WORDS: dict[Any, Any] = {bool: {"true": True, "false": False}, type(None): {"none": None}}
"""Kinds of values that are written in a word."""

_WRITTEN = {
    bool: "true or false",
    type(None): "None",
    tuple[int, ...]: "whole numbers with commas, as 512,256",
    tuple[float, ...]: "numbers with commas, as 0.5,0.25",
}
"""How values are written whose type does not say so."""


@dataclass(frozen=True)
class Description:
    """What a model's class and docstring say of it.

    Args:
        name: As asked for.
        class_name: Its class.
        family: Folder of the family it is in; `yours` for a model of the user's own.
        summary: First line of the docstring.
        paper: The paper it cites.
        departs: What it does otherwise than the paper.
        capabilities: What it can do.
        keywords: Each keyword's type, default and meaning.
    """

    name: str
    class_name: str
    family: str
    summary: str
    paper: str
    departs: str
    capabilities: tuple[str, ...]
    keywords: dict[str, tuple[str, Any, str]]


def find(name: str) -> type[Model]:
    """The class of a name, of `file.py:Class`, or of `package.module:Class`.

    Raises:
        UsageError: If there is no such model.
    """
    from simulacra.models.model import Model

    where, _, class_name = MODELS.get(name, name).rpartition(":")
    if not where:
        known = nearest(name.replace("++", "pp"), MODELS)
        raise UsageError(f"no model is called {name!r}: {known} (your own: my.py:MyModel)")
    module = importlib.import_module(where) if name in MODELS else _import_own(where)
    found = getattr(module, class_name, None)
    if found is None:
        raise UsageError(f"{where} has no class {class_name}")
    if not (isinstance(found, type) and issubclass(found, Model)):
        raise UsageError(f"{name} is no simulacra.Model")
    if found.__abstractmethods__:
        raise UsageError(f"{name} lacks {', '.join(sorted(found.__abstractmethods__))}")
    try:
        found.signature()
    except NameError as error:
        raise UsageError(f"{name}: a keyword's annotation cannot be read: {error}") from error
    return found


def _import_own(where: str) -> types.ModuleType:
    """A module of the user's, whose faults are not ours."""
    try:
        load = _import_file if where.endswith(".py") else importlib.import_module
        return load(where)
    except Exception as error:
        raise UsageError(
            f"{where} cannot be imported: {type(error).__name__}: {_one_line(error)}"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _import_file(where: str) -> types.ModuleType:
    path = Path(where)
    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    # run once, so that its class is the same whenever it is asked for
    name = f"simulacra_user:{path.resolve()}:{path.stat().st_mtime_ns}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # noqa: PT018 (for mypy alone)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def describe(name: str) -> Description:
    """What a model says of itself, from its class and docstring."""
    from simulacra.models.model import capabilities

    found = find(name)
    doc = inspect.getdoc(found) or ""
    meanings = {
        key: " ".join(text.split())
        for key, text in re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", _section(doc, "Args"), re.M)
    }
    keywords = {
        key: (_type_name(p.annotation), p.default, meanings.get(key, ""))
        for key, p in found.signature().items()
    }
    family = re.match(r"simulacra\.models\.(\w+)\.", found.__module__)
    return Description(
        name=name,
        class_name=found.__name__,
        family=family[1] if family else "yours",
        summary=doc.partition("\n")[0],
        paper=" ".join(_section(doc, "Paper").split()),
        departs=" ".join(_section(doc, "Departs from the paper").split()),
        capabilities=tuple(capabilities(found)),
        keywords=keywords,
    )


def _section(doc: str, title: str) -> str:
    """The text below a docstring's `title:`, up to the next line that is not indented."""
    match = re.search(rf"^{title}:(.*(?:\n(?:[ \t].*)?)*)", doc, re.M)
    return match[1] if match else ""


def build(name: str, spec: DataSpec, keywords: dict[str, Any] | None = None) -> Model:
    """A new model; seed torch before, for the same weights again.

    Args:
        name: See `find`.
        spec: The form of the data.
        keywords: Constructor keywords, as values or as the text of a command line.

    Raises:
        UsageError: If a keyword is unknown or missing, or its value is not of its type.
    """
    found = find(name)
    parameters = found.signature()
    given = keywords or {}
    for key in given:
        if key not in parameters:
            raise UsageError(f"{name} has no keyword {key!r}: {nearest(key, parameters)}")
    values = {}
    # a default is held to its type too: it comes back as a saved value when the model is loaded
    for key, parameter in parameters.items():
        value = given.get(key, parameter.default)
        if value is parameter.empty:
            raise UsageError(f"{name} needs a value for its keyword {key}")
        if parameter.annotation is parameter.empty:
            raise UsageError(f"{name}'s {key} needs a type annotation")
        values[key] = _convert(value, parameter.annotation, f"{name}'s {key}")
    return found(spec, **values)


def parse_assignments(assignments: list[str]) -> dict[str, str]:
    """The keywords in `--set key=value` options, still as text."""
    keywords: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise UsageError(f"--set takes key=value, got {assignment!r}")
        if key in keywords:
            raise UsageError(f"--set {key} is given twice")
        keywords[key] = value.strip()
    return keywords


def preset(name: str) -> dict[str, Any]:
    """The training options that suit a model, where they are not the usual ones."""
    text = resources.files("simulacra.models").joinpath("presets.toml").read_text("utf-8")
    options = tomllib.loads(text).get(name, {})
    return {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}


def saved_form(model: Model, name: str) -> dict[str, Any]:
    """A model as values for `checkpoint.write_folder`: what it is, and its weights."""
    what = {"model": name, "keywords": model.keywords, "spec": model.spec.to_json()}
    return {"model": what, "weights": dict(model.state_dict())}


def save(model: Model, folder: Path, name: str) -> None:
    """Write a model alone into a new folder, to be loaded by `load`."""
    from simulacra.ground.storage import write_folder

    write_folder(folder, saved_form(model, name))


def load(folder: Path, *, code: str | None = None) -> Model:
    """The model in a folder written by `save`, or in a checkpoint of a run; in eval mode.

    Args:
        folder: Where it is.
        code: For a model that is not in the registry, where its class is: a checkpoint never
            chooses which code is run.

    Raises:
        CheckpointError: If the folder is broken or does not fit the class.
    """
    from simulacra.ground.spec import DataSpec
    from simulacra.ground.storage import read_folder

    state = read_folder(folder, "model", "weights")
    what = state["model"]
    if not isinstance(what, dict) or not isinstance(what.get("model"), str):
        raise CheckpointError(f"{folder} does not say of which model it is")
    name = allowed_name(what["model"], code)
    try:
        model = build(name, DataSpec.from_json(what["spec"]), what["keywords"])
        _fill(model, state["weights"])
    except (RuntimeError, UsageError, ValueError, TypeError, KeyError, AttributeError) as error:
        if "allocate memory" in str(error):
            raise
        raise CheckpointError(f"{folder} does not fit {name}: {_one_line(error)}") from error
    return model.eval()


def _fill(model: Model, weights: dict[str, Any]) -> None:
    """Put weights that were read into a model.

    Raises:
        ValueError: If one is of another kind of number than the model's, or is none.
        RuntimeError: If they are not those of the model.
    """
    for name, own in model.state_dict().items():
        weight = weights.get(name)
        if weight is None:
            continue  # which torch says better
        if weight.dtype != own.dtype:
            raise ValueError(f"its weight {name} is of {weight.dtype}, expected {own.dtype}")
        if weight.is_floating_point() and not weight.isfinite().all():
            raise ValueError(f"its weight {name} has NaN or infinite values")
    model.load_state_dict(weights)


def allowed_name(recorded: str, code: str | None) -> str:
    """The model's name to build, which is recorded only for models of ours.

    Raises:
        CheckpointError: If the model is the user's own and `code` does not say where it is.
    """
    if recorded in MODELS:
        return recorded
    if code is None:
        raise CheckpointError(
            f"this model is code of somebody's own, {recorded!r}: pass --code file.py:Class "
            "to say which code may run"
        )
    return code


def _type_name(annotation: Any) -> str:  # noqa: ANN401 (any annotation)
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, types.UnionType):
        return " | ".join(map(_type_name, get_args(annotation)))
    plain = isinstance(annotation, type) and not get_args(annotation)
    name: str = annotation.__name__ if plain else str(annotation).replace("typing.", "")
    return _WRITTEN.get(annotation, name)


def _convert(value: Any, annotation: Any, what: str) -> Any:  # noqa: ANN401 (any keyword's value)
    """A keyword's value of its type, from a value, JSON, or text."""
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else None
    for kind in options or (annotation,):
        try:
            return _as_kind(value, kind)
        except (TypeError, ValueError, LookupError, OverflowError, RecursionError):
            continue
    if get_origin(annotation) is Literal:
        choices = ", ".join(map(str, get_args(annotation)))
        raise UsageError(f"{what} is one of {choices}, got {value!r}")
    of_type = "" if annotation in _WRITTEN else "of type "
    raise UsageError(f"{what} is {of_type}{_type_name(annotation)}, got {value!r}")


def _as_kind(value: Any, kind: Any) -> Any:  # noqa: ANN401 (one return a type)
    text = isinstance(value, str)
    if kind in _WORDS:
        return _WORDS[kind][str(value).lower()]
    if get_origin(kind) is Literal:
        return {str(choice): choice for choice in get_args(kind)}[str(value)]
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if text:
            value = value.strip()
            bare = value[1:-1] if value[:1] + value[-1:] in ("()", "[]") else value
            value = json.loads(f"[{bare.strip().removesuffix(',')}]")
        elif isinstance(value, (int, float)):
            value = [value]
        return tuple(_as_kind(part, item) for part in value)
    if kind in (int, float):
        if isinstance(value, bool) or (isinstance(value, float) and value != kind(value)):
            raise ValueError
        number = kind(value)
        # beyond, torch has no integers, and JSON no floats
        if not (abs(number) < 2**63 if kind is int else math.isfinite(number)):
            raise ValueError
        return number
    if kind is str and text:
        return value
    raise TypeError
