"""Models by name: found and built; imported only when chosen."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
import types
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.ground.errors import CheckpointError, UsageError, nearest, one_line
from simulacra.models.keywords import convert

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


def list_models() -> list[str]:
    """The names of all models of this package; one of your own is `my.py:MyModel`.

    Example:
        >>> import simulacra as sim
        >>> "pixelcnn" in sim.list_models()
        True
    """
    return list(MODELS)


def find(name: str) -> type[Model]:
    """The class of a name, of `file.py:Class`, or of `package.module:Class`.

    Raises:
        UsageError: If there is no such model.

    Example:
        >>> import simulacra as sim
        >>> sim.find("vae").__name__
        'VAE'
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
            f"{where} cannot be imported: {type(error).__name__}: {one_line(error)}"
        ) from error


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


def build(name: str, spec: DataSpec, keywords: dict[str, Any] | None = None) -> Model:
    """A new model; seed torch before, for the same weights again.

    Args:
        name: See `find`.
        spec: The form of the data.
        keywords: Constructor keywords, as values or as the text of a command line.

    Raises:
        UsageError: If a keyword is unknown or missing, or its value is not of its type.

    Example:
        >>> import simulacra as sim
        >>> spec = sim.DataSpec((1, 8, 8), levels=16)
        >>> sim.build("vae", spec, {"latent": 2}).keywords["latent"]
        2
    """
    found = find(name)
    return found(spec, **configured(found, keywords or {}, name))


def configured(
    kind: type[Model], given: Mapping[str, Any], name: str | None = None
) -> dict[str, Any]:
    """The value of every keyword of a class, each of its type.

    Args:
        kind: The class.
        given: Some keywords, as values, as what came out of JSON, or as the text of a command line.
        name: What the model is called, if not by its class.

    Raises:
        UsageError: If a keyword is unknown or missing, or its value is not of its type.
    """
    name, parameters, values = name or kind.__name__, kind.signature(), {}
    for key in given:
        if key not in parameters:
            raise UsageError(f"{name} has no keyword {key!r}: {nearest(key, parameters)}")
    # a default is held to its type too: it comes back as a saved value when the model is loaded
    for key, parameter in parameters.items():
        value = given.get(key, parameter.default)
        if value is parameter.empty:
            raise UsageError(f"{name} needs a value for its keyword {key}")
        if parameter.annotation is parameter.empty:
            raise UsageError(f"{name}'s {key} needs a type annotation")
        values[key] = convert(value, parameter.annotation, f"{name}'s {key}")
    return values


def preset(name: str) -> dict[str, Any]:
    """The training options that suit a model, where they are not the usual ones."""
    text = resources.files("simulacra.models").joinpath("presets.toml").read_text("utf-8")
    options = tomllib.loads(text).get(name, {})
    return {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}


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
