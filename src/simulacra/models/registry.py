"""Models by name: found and built; imported only when chosen."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from simulacra.ground.errors import CheckpointError, MissingCapability, UsageError, nearest
from simulacra.models.keywords import Nested, convert, type_name, written
from simulacra.models.own_code import imported, of_one_file

if TYPE_CHECKING:
    from simulacra.ground.spec import DataSpec
    from simulacra.models.model import Model
    from simulacra.models.takes import Takes

MODELS = {
    "gmm": "simulacra.models.mixture.gmm:GMM",
    "mfa": "simulacra.models.mixture.mfa:MFA",
    "kde": "simulacra.models.mixture.kde:KDE",
    "bernoulli-mixture": "simulacra.models.mixture.bernoulli_mixture:BernoulliMixture",
    "vae": "simulacra.models.latent.vae:VAE",
    "iwae": "simulacra.models.latent.iwae:IWAE",
    "beta-vae": "simulacra.models.latent.beta_vae:BetaVAE",
    "infovae": "simulacra.models.latent.infovae:InfoVAE",
    "hvae": "simulacra.models.latent.hvae:HVAE",
    "sequential-vae": "simulacra.models.latent.sequential_vae:SequentialVAE",
    "pixelvae": "simulacra.models.latent.pixelvae:PixelVAE",
    "m2": "simulacra.models.latent.m2:M2",
    "vqvae": "simulacra.models.latent.vqvae:VQVAE",
    "autoencoder": "simulacra.models.latent.autoencoder:Autoencoder",
    "sparse-autoencoder": "simulacra.models.latent.sparse_autoencoder:SparseAutoencoder",
    "pca": "simulacra.models.latent.pca:PCA",
    "triplet": "simulacra.models.embedding.triplet:Triplet",
    "pixelcnn": "simulacra.models.autoregressive.pixelcnn:PixelCNN",
    "gated-pixelcnn": "simulacra.models.autoregressive.gated_pixelcnn:GatedPixelCNN",
    "row-lstm": "simulacra.models.autoregressive.row_lstm:RowLSTM",
    "diagonal-bilstm": "simulacra.models.autoregressive.diagonal_bilstm:DiagonalBiLSTM",
    "pixelcnnpp": "simulacra.models.autoregressive.pixelcnnpp:PixelCNNpp",
    "made": "simulacra.models.autoregressive.made:MADE",
    "pixel-rnn": "simulacra.models.autoregressive.pixel_rnn:PixelRNN",
    "pixel-transformer": "simulacra.models.autoregressive.pixel_transformer:PixelTransformer",
    "wavenet": "simulacra.models.autoregressive.wavenet:WaveNet",
    "gan": "simulacra.models.adversarial.gan:GAN",
    "dcgan": "simulacra.models.adversarial.dcgan:DCGAN",
    "lsgan": "simulacra.models.adversarial.lsgan:LSGAN",
    "wgan-gp": "simulacra.models.adversarial.wgan_gp:WGANGP",
    "sngan": "simulacra.models.adversarial.sngan:SNGAN",
    "r3gan": "simulacra.models.adversarial.r3gan:R3GAN",
    "nice": "simulacra.models.flow.nice:NICE",
    "realnvp": "simulacra.models.flow.realnvp:RealNVP",
    "glow": "simulacra.models.flow.glow:Glow",
    "spline-flow": "simulacra.models.flow.spline_flow:SplineFlow",
    "maf": "simulacra.models.flow.maf:MAF",
    "iaf": "simulacra.models.flow.iaf:IAF",
    "ddpm": "simulacra.models.diffusion.ddpm:DDPM",
    "vdm": "simulacra.models.diffusion.vdm:VDM",
    "flow-matching": "simulacra.models.diffusion.flow_matching:FlowMatching",
    "d3pm": "simulacra.models.diffusion.d3pm:D3PM",
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
    module = importlib.import_module(where) if name in MODELS else imported(where)
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


def build(
    name: str, spec: DataSpec, keywords: Mapping[str, Any] | None = None, *, copies: int = 1
) -> Model:
    """A new model; seed torch before, for the same weights again.

    Args:
        name: See `find`.
        spec: The form of the data.
        keywords: Constructor keywords, as values or as the text of a command line; those of a
            nested model below it, as `{"name": "made", "keywords": {"hidden": (8,)}}`, or each
            after a dot, as `{"decoder": "made", "decoder.hidden": "8"}`.
        copies: Of its weights, for which there has to be room; `sizes.TRAINED` of one that learns.

    Raises:
        MissingCapability: If it does not take such data; says which models do.
        ResourceError: If memory has no room for it; says what would fit.
        UsageError: If a keyword is unknown or missing, or its value is not of its type.

    Example:
        >>> import simulacra as sim
        >>> spec = sim.DataSpec((1, 8, 8), levels=16)
        >>> sim.build("vae", spec, {"latent": 2}).keywords["latent"]
        2
    """
    return _built(name, configured(find(name), keywords or {}, name), spec, copies)


def restored(said: Mapping[str, Any], code: str | None) -> Model:
    """The model that a checkpoint or a run's record tells of, without its weights.

    Args:
        said: Its `model`, `keywords` and `spec`, as recorded.
        code: See `of_record`.

    Raises:
        CheckpointError: See `of_record`.
        UsageError: See `build`.
    """
    from simulacra.ground.spec import DataSpec

    name, values = of_record(said["model"], said["keywords"], code)
    return _built(name, values, DataSpec.from_json(said["spec"]))


def _built(name: str, values: dict[str, Any], spec: DataSpec, copies: int = 1) -> Model:
    from simulacra.models.sizes import built

    kind = find(name).class_for(**values)
    if (why := kind.takes_with(**values).refusal(spec)) is None:
        return built(kind, spec, values, name=name, copies=copies)
    usual = {key: each.default for key, each in kind.signature().items()}
    for key, value in values.items():
        if kind.takes_with(**{**values, key: usual[key]}).includes(spec):
            told = f"{key}={written(value)}"
            raise MissingCapability(f"{name} with {told} {why}: leave {told} out")
    *others, last = takers(spec, name) or ["a model of your own"]
    raise MissingCapability(f"{name} {why}: use {', '.join(others)}{' or ' * bool(others)}{last}")


def takes(name: str) -> Takes:
    """Which data a model takes, with the usual keywords."""
    return find(name).takes_with()


def takers(spec: DataSpec, instead: str, most: int = 3) -> list[str]:
    """Names of models that draw data of a form, the first of each family, as they are listed.

    Args:
        spec: The form of the data.
        instead: A model that does not take them, whose family comes first.
        most: Names at most.
    """
    from simulacra.models.model import Sampling

    found: dict[str, str] = {}
    for name, place in MODELS.items():
        family = place.rpartition(".")[0]
        if family not in found and takes(name).includes(spec) and issubclass(find(name), Sampling):
            found[family] = name
    own = MODELS.get(instead, "").rpartition(".")[0]
    return [found[family] for family in sorted(found, key=lambda each: each != own)][:most]


# ---- keywords -----------------------------------------------------------------------------------


def configured(
    kind: type[Model],
    given: Mapping[str, Any],
    name: str | None = None,
    allow: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The value of every keyword of a class, each of its type; of nested models as well.

    Args:
        kind: The class.
        given: Some keywords, as values, as what came out of JSON, or as the text of a command line.
        name: What the model is called, if not by its class.
        allow: Is told the name of each nested model before it is found, and gives it back.

    Raises:
        UsageError: If a keyword is unknown or missing, or its value is not of its type.
    """
    name = name or kind.__name__
    return _configured(kind, given, _Place(name, "", allow))


@dataclass(frozen=True)
class _Place:
    """Where keywords stand: of which model, and below which of its keywords (`decoder.`)."""

    who: str
    above: str
    allow: Callable[[str], str]


def _configured(kind: type[Model], given: Mapping[str, Any], at: _Place) -> dict[str, Any]:
    parameters, values = kind.signature(), dict[str, Any]()
    below: dict[str, dict[str, Any]] = {}
    for key, value in given.items():
        head, dot, rest = key.partition(".")
        if head not in parameters or (dot and not _is_nested(parameters[head].annotation)):
            known = [at.above + each for each in parameters]
            raise UsageError(
                f"{at.who} has no keyword {at.above + key!r}: {nearest(at.above + key, known)}"
            )
        if dot:
            below.setdefault(head, {})[rest] = value
    # a default is held to its type too: it comes back as a saved value when the model is loaded
    for key, parameter in parameters.items():
        value = given.get(key, parameter.default)
        if value is parameter.empty:
            raise UsageError(f"{at.who} needs a value for its keyword {at.above}{key}")
        if parameter.annotation is parameter.empty:
            raise UsageError(f"{at.who}'s {at.above}{key} needs a type annotation")
        if _is_nested(parameter.annotation):
            there = _Place(at.who, f"{at.above}{key}.", at.allow)
            values[key] = _nested(value, parameter.annotation, below.get(key, {}), there)
        else:
            values[key] = convert(value, parameter.annotation, f"{at.who}'s {at.above}{key}")
    return values


def _is_nested(annotation: Any) -> bool:  # noqa: ANN401 (any annotation)
    return Nested in (annotation, *get_args(annotation))


def _nested(
    value: Any,  # noqa: ANN401 (any keyword's value)
    annotation: Any,  # noqa: ANN401 (any annotation)
    more: Mapping[str, Any],
    at: _Place,
) -> Nested | None:
    """A nested model with the value of every keyword, from its name, a mapping, or nothing."""
    what = f"{at.who}'s {at.above.removesuffix('.')}"
    if str(value).lower() == "none" and type(None) in get_args(annotation):
        if more:
            raise UsageError(f"{what} is none and has no keywords: name a model too, got {more}")
        return None
    whole = {"name": value, "keywords": {}} if isinstance(value, str) else value
    match whole:
        case {"name": str(name), "keywords": Mapping() as keywords, **rest} if not rest:
            name = at.allow(name)
        case _:
            raise UsageError(f"{what} is {type_name(annotation)}, got {value!r}")
    try:
        kind = find(name)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error
    return {"name": name, "keywords": _configured(kind, {**keywords, **more}, at)}


def preset(name: str) -> dict[str, Any]:
    """The training options that suit a model, where they are not the usual ones."""
    return dict(find(name).preset)


# ---- which code may run -------------------------------------------------------------------------


def of_record(
    recorded: str, keywords: Mapping[str, Any], code: str | None
) -> tuple[str, dict[str, Any]]:
    """The name and all keywords of the model that a record tells of.

    A record never chooses which code is run, neither by the model's name nor by those of models
    nested in its keywords, however deep: nothing is imported before it is allowed.

    Args:
        recorded: The model's name there.
        keywords: Its keywords there.
        code: Where code of the user's own is, as `file.py:Class`: the model itself, unless it is
            one of ours, and the only file that nested ones may come from.

    Raises:
        CheckpointError: If it needs code that `code` does not name.
        UsageError: If the keywords are not the model's.
    """
    name = allowed_name(recorded, code)

    def allow(nested: str) -> str:
        if nested not in MODELS and not of_one_file(nested, code):
            raise CheckpointError(
                f"this model is made of code of somebody's own, {nested!r}: pass --code "
                "file.py:Class to say which code may run, all of one file"
            )
        return nested

    return name, configured(find(name), keywords, name, allow)


def check_own(name: str, keywords: Mapping[str, Any]) -> None:
    """Refuse a model that no record could be trusted with: one of code from several files.

    Raises:
        UsageError: If it is made of models of the user's own that do not stand in one file.
    """
    try:
        of_record(name, keywords, own_code(name, keywords))
    except CheckpointError as error:
        raise UsageError(
            f"{name} is made of models of your own from several files: put them into one, for a "
            "record allows the code of one file alone"
        ) from error


def own_code(name: str, keywords: Mapping[str, Any]) -> str:
    """The code of the user's own that a model is made of, itself or nested; else its name.

    Args:
        name: See `find`.
        keywords: As the user gave them; see `build`.
    """
    names = [name]

    def note(nested: str) -> str:
        names.append(nested)
        return nested

    configured(find(name), keywords, name, note)
    return next((each for each in names if each not in MODELS), name)


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
