"""Which trainings the results are made of: rows, in groups, of each family."""

from __future__ import annotations

from dataclasses import dataclass

from simulacra.models.description import describe
from simulacra.models.registry import MODELS
from simulacra.training.options import Budget

FAMILIES = {
    "flow": "Flows",
    "latent": "Latent variables",
    "adversarial": "Games",
    "diffusion": "Diffusion and flow matching",
    "mixture": "Mixtures",
    "autoregressive": "Autoregressive models",
    "embedding": "Embeddings",
}
"""By the names of their folders, in the order of the page."""
BEST = "glow"
"""The flow whose figures on larger data are measured."""
FLOWS = ("nice", "realnvp", "glow", "spline-flow", "maf", "iaf")


@dataclass(frozen=True)
class Row:
    """A training, and its evaluation.

    Args:
        name: Of its folder, and by which it is asked for.
        model: In the registry; of one that is not there yet, the row is told and left out.
        data: A data set's name.
        budget: As `--budget` takes it.
        seed: Of the training.
        looked: What `simulacra evaluate` is told beside: of large data a bound has fewer draws, or
            it would take longer than the training.
        settings: Keywords of the model that are not the usual ones, as `--set` takes them.
        options: What `simulacra train` is told beside.
    """

    name: str
    model: str
    data: str
    budget: str
    seed: int = 0
    looked: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """What `simulacra` is told, but for the folders of the run and of the data."""
        return [
            "train", self.model, self.data, "--budget", self.budget, "--seed", str(self.seed),
            *(word for setting in self.settings for word in ("--set", setting)), *self.options,
        ]  # fmt: skip

    @property
    def text(self) -> str:
        """Both commands, by which a row is known again."""
        told = [["train", *self.command[1:], "--out", "RUN"], ["evaluate", "RUN", *self.looked]]
        return "; ".join(" ".join(["simulacra", *words]) for words in told)

    @property
    def seconds(self) -> float:
        """How long the training is, at least in seconds."""
        budget = Budget.parse(self.budget)
        return budget.amount if budget.unit == "s" else 0.0


@dataclass(frozen=True)
class Group:
    """Rows that stand in one table.

    Args:
        title: Above it.
        rows: In its order.
        gap: Whether the true density is known, so that what a model lacks is shown too.
        fidelity: Whether samples are told by more than one distance: how many of them lie among
            real ones, how much of real ones they reach, and how near they are to training data.
    """

    title: str
    rows: tuple[Row, ...]
    gap: bool = False
    fidelity: bool = False


def _rows(
    data: str, budget: str, models: tuple[str, ...], seeds: tuple[int, ...] = (0,),
    short: str = "", looked: tuple[str, ...] = (), settings: tuple[str, ...] = (),
    options: tuple[str, ...] = (), named: str = "",
) -> tuple[Row, ...]:  # fmt: skip
    named = named or "-".join([short or data, *(each.replace("=", "-") for each in settings)])
    return tuple(
        Row(
            f"{named}-{model}-{budget}-{seed}", model, data, budget, seed, looked, settings, options
        )
        for model in models
        for seed in seeds
    )


_FEW = ("--draws", "4")
"""Of large data, and of bounds whose draws are averaged: more make them no tighter, only surer."""
_OF_FLOWS = (
    Group("Digits, 17 levels, one minute", _rows("digits", "60s", FLOWS, (0, 1, 2))),
    Group("MNIST, 256 levels", (
        *_rows("mnist", "15m", (BEST,), looked=_FEW), *_rows("mnist", "1h", (BEST,), looked=_FEW),
    )),
    Group("Fashion-MNIST, 256 levels", _rows(
        "fashion-mnist", "15m", (BEST,), short="fashion", looked=_FEW
    )),
    Group("CIFAR-10, 256 levels", _rows(
        "cifar10", "15m", (BEST,), looked=(*_FEW, "--test-limit", "2000")
    )),
    Group("Olivetti faces, 64×64, 256 levels", _rows(
        "olivetti-faces", "5m", (BEST,), short="faces"
    )),
    Group("The true gap: `mixture-8x8`", _rows("mixture-8x8", "60s", FLOWS), gap=True),
    Group("The true gap: `table-8x8`", _rows("table-8x8", "60s", FLOWS), gap=True),
)  # fmt: skip
_ONE_DRAW = ("--draws", "1")
"""A bound that one draw makes tight enough."""
_GROWN = ("grow=true",)
"""Mixtures whose number of components is chosen on the validation split."""
_OF_MIXTURES = (
    Group("Digits, 17 levels, one minute", (
        *_rows("digits", "60s", ("gmm", "mfa"), (0, 1, 2)),
        *_rows("digits", "60s", ("gmm", "mfa"), settings=_GROWN),
        *_rows("digits", "60s", ("kde",)),
    )),
    Group("Statically binarised MNIST", (
        *_rows("binarized-mnist", "5m", ("bernoulli-mixture",), short="static"),
        *_rows("binarized-mnist", "5m", ("bernoulli-mixture",), short="static", settings=_GROWN),
        *_rows("binarized-mnist", "5m", ("kde",), short="static"),
    )),
    Group("Statically binarised MNIST, bounds", _rows(
        "binarized-mnist", "5m", ("mfa",), short="static", looked=_ONE_DRAW
    )),
    Group("MNIST, 256 levels", (
        *_rows("mnist", "5m", ("gmm", "kde")),
    )),
    Group("MNIST, 256 levels, bounds", (
        *_rows("mnist", "5m", ("mfa",), looked=_ONE_DRAW),
        *_rows("mnist", "5m", ("mfa",), looked=_ONE_DRAW, settings=_GROWN),
    )),
    Group("Olivetti faces, 64×64, 256 levels", _rows(
        "olivetti-faces", "5m", ("mfa", "gmm", "kde"), short="faces"
    )),
    Group("The true gap: `mixture-8x8`", _rows(
        "mixture-8x8", "60s", ("gmm", "mfa", "kde")
    ), gap=True),
    Group("The true gap: `table-8x8`", _rows(
        "table-8x8", "60s", ("bernoulli-mixture", "gmm", "mfa", "kde")
    ), gap=True),
)  # fmt: skip


_CLOSE = ("--draws", "500", "--test-limit", "2000")
"""A bound as tight as published ones are; of all 10,000 it would take longer than the training."""
_HALF = ("--precision", "bf16")
"""Convolutions take half the time by it, on processors that have such products."""
_PAPER = ("encoder=mlp", "hidden=200,200", "latent=50")
"""Networks of the paper on importance weighting, 784-200-200-50."""
_TOLD = ("--draws", "64", "--test-limit", "1000")
"""Of a bound whose every draw is a pass of a nested model over all pixels."""
_CODED = ("vae", "iwae", "beta-vae", "infovae", "sequential-vae", "hvae", "pixelvae")
_OF_LATENT = (
    Group("Digits, 17 levels, one minute", (
        *_rows("digits", "60s", ("vae",), (0, 1, 2)), *_rows("digits", "60s", _CODED[1:]),
    )),
    Group("Digits, 17 levels, one minute, without a likelihood", (
        *_rows("digits", "60s", ("autoencoder",), settings=("density=gmm",)),
        *_rows("digits", "60s", ("sparse-autoencoder", "pca")),
    )),
    Group("Statically binarised MNIST", (
        *_rows("binarized-mnist", "15m", ("vae", "hvae"), short="static", looked=_CLOSE,
               options=_HALF),
        *_rows("binarized-mnist", "1h", ("vae", "hvae"), short="static", looked=_CLOSE,
               options=_HALF),
        *_rows("binarized-mnist", "1h", ("hvae",), short="static", looked=_CLOSE,
               settings=("dropout=0.1",), options=_HALF),
    )),
    Group("Dynamically binarised MNIST", (
        *_rows("binarized-mnist-dynamic", "1h", ("vae", "iwae"), looked=_CLOSE, settings=_PAPER,
               named="dynamic"),
    )),
    Group("MNIST, 256 levels", _rows("mnist", "5m", ("vae",), looked=_FEW)),
    Group("Fashion-MNIST, 256 levels", _rows(
        "fashion-mnist", "5m", ("vae",), short="fashion", looked=_FEW
    )),
    Group("CIFAR-10, 256 levels", _rows(
        "cifar10", "5m", ("vae",), looked=(*_FEW, "--test-limit", "2000")
    )),
    Group("Olivetti faces, 64×64, 256 levels", _rows(
        "olivetti-faces", "5m", ("vae",), short="faces"
    )),
    Group("The true gap: `mixture-8x8`", _rows("mixture-8x8", "60s", ("vae", "iwae")), gap=True),
    Group("The true gap: `table-8x8`", _rows("table-8x8", "60s", ("vae", "iwae")), gap=True),
    Group("A nested decoder, statically binarised MNIST", _rows(
        "binarized-mnist", "15m", ("pixelvae",), short="static", looked=_TOLD, options=_HALF
    )),
    Group("Its other parent, statically binarised MNIST", _rows(
        "binarized-mnist", "15m", ("gated-pixelcnn",), short="static", options=_HALF
    )),
    Group("Few labels: digits, 50 told", _rows(
        "digits", "60s", ("m2",), (0, 1, 2), options=("--labelled", "50")
    )),
    Group("Few labels: MNIST, 256 levels, 100 told", _rows(
        "mnist", "15m", ("m2",), looked=_FEW, options=("--labelled", "100")
    )),
    Group("A codebook and a prior, without a likelihood: digits", _rows(
        "digits", "60s", ("vqvae",)
    )),
    Group("A codebook and a prior, without a likelihood: MNIST, 256 levels", (
        *_rows("mnist", "5m", ("vqvae",)),
        *_rows("mnist", "5m", ("vqvae",), settings=("quantiser=fsq",)),
    )),
    Group("A codebook and a prior, without a likelihood: CIFAR-10, 256 levels", _rows(
        "cifar10", "5m", ("vqvae",)
    )),
    Group("Spoken digits, μ-law, half a second", _rows(
        "fsdd", "15m", ("vae",), settings=("encoder=rnn", "hidden=128"), looked=_FEW,
        options=("--window", "4000"),
    )),
)  # fmt: skip
GAMES = ("gan", "dcgan", "lsgan", "wgan-gp", "sngan", "r3gan")
_TOLD_CLASSES = ("context=label",)
"""Players that are told classes, which are so drawn on demand."""
_OF_GAMES = (
    Group("Digits, 17 levels, one minute", (
        *_rows("digits", "60s", GAMES), *_rows("digits", "60s", ("sngan",), (1, 2)),
    )),
    Group("MNIST, 256 levels", _rows("mnist", "5m", GAMES)),
    Group("MNIST, 256 levels, by class", _rows(
        "mnist", "5m", ("sngan", "r3gan"), settings=_TOLD_CLASSES
    )),
    Group("Fashion-MNIST, 256 levels", _rows(
        "fashion-mnist", "5m", ("dcgan", "sngan", "r3gan"), short="fashion"
    )),
    Group("CIFAR-10, 256 levels", _rows("cifar10", "15m", ("sngan", "r3gan"))),
    Group("Olivetti faces, 64×64, 256 levels", (
        *_rows("olivetti-faces", "5m", ("sngan", "r3gan"), short="faces"),
        *_rows("olivetti-faces", "5m", ("sngan",), short="faces", settings=("augment=never",)),
    )),
    Group("Spoken digits, μ-law", _rows("fsdd", "5m", ("sngan",))),
    Group("Stacked MNIST, 1,000 modes", _rows("stacked-mnist", "15m", ("sngan", "r3gan"))),
)  # fmt: skip

DIFFUSIONS = ("ddpm", "vdm", "flow-matching", "d3pm")
PICTURED = "ddpm"
"""The diffusion whose samples of larger pictures are measured."""
_PLANES = ("ring-8", "grid-25", "spirals", "moons", "circles", "checkerboard", "pinwheel")
"""Toys in the plane."""
_OF_DIFFUSIONS = (
    Group("Digits, 17 levels, one minute", _rows(
        "digits", "60s", DIFFUSIONS, (0, 1, 2)
    ), fidelity=True),
    Group("Statically binarised MNIST", _rows(
        "binarized-mnist", "1h", ("vdm", "d3pm"), short="static"
    )),
    Group("MNIST, 256 levels", (
        *_rows("mnist", "15m", (PICTURED,)),
        *_rows("mnist", "1h", (PICTURED,)),
    ), fidelity=True),
    Group("Fashion-MNIST, 256 levels", (
        *_rows("fashion-mnist", "15m", (PICTURED,), short="fashion"),
        *_rows("fashion-mnist", "1h", (PICTURED,), short="fashion"),
    ), fidelity=True),
    Group("CIFAR-10, 256 levels", _rows(
        "cifar10", "15m", (PICTURED,), looked=("--test-limit", "2000")
    ), fidelity=True),
    Group("Olivetti faces, 64×64, 256 levels", _rows(
        "olivetti-faces", "5m", (PICTURED,), short="faces"
    ), fidelity=True),
    Group("Sprites of a palette, 167 colours", _rows(
        "pokemon-sprites", "5m", ("d3pm",), short="sprites"
    ), fidelity=True),
    Group("The true gap in the plane", tuple(
        row for toy in _PLANES for row in _rows(toy, "60s", ("flow-matching",))
    ), gap=True),
    Group("The true gap: `mixture-8x8`", _rows(
        "mixture-8x8", "60s", DIFFUSIONS, looked=("--test-limit", "500")
    ), gap=True),
    Group("The true gap: `table-8x8`", _rows(
        "table-8x8", "60s", DIFFUSIONS, looked=("--test-limit", "500")
    ), gap=True),
)  # fmt: skip

_OF_SOUNDS = ("wavenet",)
"""Models that take no pictures."""
_SPOKEN = ("--labels", "{digit}_{speaker}_*")
"""Labels of two parts, so that a digit is said in a voice."""
_OF_SIXTY = ("--test-limit", "60")
"""p(x) sums over sixty classes, each a pass over every sound."""
_SPOKEN_GROUPS = (
    Group("Spoken digits, windows of a second, μ-law, told digit and speaker", (
        *_rows("fsdd", "5m", ("wavenet",), (0, 1, 2), settings=_TOLD_CLASSES, looked=_OF_SIXTY,
               options=_SPOKEN),
        *_rows("fsdd", "1h", ("wavenet",), settings=_TOLD_CLASSES, looked=_OF_SIXTY,
               options=_SPOKEN),
    )),
    Group("Spoken digits, windows of a second, μ-law", _rows("fsdd", "5m", ("wavenet",))),
)  # fmt: skip


def groups_of(family: str) -> tuple[Group, ...]:
    """The tables of a family: its own, or one of all its models on the digits."""
    if family == "flow":
        return _OF_FLOWS
    if family == "mixture":
        return _OF_MIXTURES
    if family == "latent":
        return _OF_LATENT
    if family == "adversarial":
        return _OF_GAMES
    if family == "diffusion":
        return _OF_DIFFUSIONS
    names = tuple(
        name for name in MODELS if describe(name).family == family and name not in _OF_SOUNDS
    )
    digits = Group("Digits, 17 levels, one minute", _rows("digits", "60s", names))
    return (digits, *_SPOKEN_GROUPS) if family == "autoregressive" else (digits,)


def rows_of(family: str) -> list[Row]:
    """All rows of a family, the shortest first."""
    return sorted((row for group in groups_of(family) for row in group.rows),
                  key=lambda row: row.seconds)  # fmt: skip
