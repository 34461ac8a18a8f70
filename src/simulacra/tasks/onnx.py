"""Networks as ONNX files, for programs without PyTorch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.storage import write_bytes
from simulacra.models.game import Game
from simulacra.models.model import Latent, Model
from simulacra.tasks.codes import encodes
from simulacra.tasks.expected import draws_alone, mean_of, random_decoder
from simulacra.tasks.sample import device_of

Part = Literal["decoder", "encoder", "discriminator"]


def export_onnx(model: Model, path: Path | str, part: Part = "decoder") -> None:
    """Write a decoder, an encoder or a GAN's discriminator, for any number of rows and no context.

    A decoder's input is `z` `(n, latent)`, its output `x` `(n, *event_shape)`; where decoding is
    random, that is the expected level. An encoder's input is `x`, float levels (or numbers of
    vectors) `(n, *event_shape)`, its output `z`, what `encode` gives: of a variational model the
    posterior's mean. A discriminator's input is `x` too, its output `score` `(n,)`: of
    a GAN of 2014 the logit of D.

    Args:
        model: In eval mode.
        path: The file, which is replaced.
        part: Which network.

    Raises:
        MissingCapability: If the model has no such part, takes context, is a random decoder of
            anything but ordered levels, or does what ONNX cannot say.
        UsageError: If onnx and onnxscript are not installed, or the path has no `.onnx`.

    Example:
        >>> import simulacra as sim, tempfile
        >>> from pathlib import Path
        >>> model = sim.build("gan", sim.DataSpec((1, 4, 4), levels=2), {"hidden": (8,)})
        >>> with tempfile.TemporaryDirectory() as place:
        ...     sim.export_onnx(model.eval(), Path(place) / "generator.onnx")
        ...     [path.name for path in Path(place).iterdir()]
        ['generator.onnx']
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise UsageError(f"an ONNX file is called *.onnx, got {path}")
    if model.context != "none":
        raise MissingCapability(f"{type(model).__name__} takes context, which is not exported")
    if part == "discriminator":
        if not isinstance(model, Game):
            raise MissingCapability(f"{type(model).__name__} has no discriminator")
        _write(model, model.scores, path, "x", "score", torch.zeros(2, *model.spec.event_shape))
        return
    if part == "encoder":
        encoder = _encoder(model)
        _write(model, encoder, path, "x", "z", torch.zeros(2, *model.spec.event_shape))
        return
    if not isinstance(model, Latent):
        raise MissingCapability(f"{type(model).__name__} has no decoder of codes: use vae or gan")
    if draws_alone(model):
        raise MissingCapability(
            f"{type(model).__name__} draws one value after another, which ONNX has no words for: "
            "sample or decode in Python"
        )
    likelihood = random_decoder(model)
    if likelihood is not None and (model.spec.levels is None or not model.spec.ordered):
        raise MissingCapability(
            "of random decoders, those of ordered levels are exported: others expect no level"
        )
    decode = model.decode if likelihood is None else lambda z: mean_of(likelihood(z, None))
    _write(model, decode, path, "z", "x", model.prior(2))


def _encoder(model: Model) -> Callable[[Tensor], Tensor]:
    """Codes of floats: other programs give levels as such."""
    encoding = encodes(model)

    def codes(x: Tensor) -> Tensor:
        return encoding.encode(x if model.spec.levels is None else x.round().long())

    return codes


class _Function(nn.Module):
    def __init__(self, model: Model, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        # held, so that the exporter finds the weights
        self.model, self.function = model, function

    def forward(self, given: Tensor) -> Tensor:
        return self.function(given)


def _write(
    model: Model,
    function: Callable[[Tensor], Tensor],
    path: Path,
    given: str,
    result: str,
    example: Tensor,
) -> None:
    try:
        import onnxscript  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError as error:
        raise UsageError("ONNX is not installed: pip install 'simulacra[onnx]'") from error
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    quiet = io.StringIO()  # the exporter prints its progress, and of a failure whole programs
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                _Function(model, function), (example.to(device_of(model)),), dynamo=True,
                verbose=False, input_names=[given], output_names=[result],
                dynamic_shapes=({0: "n"},),
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            raise MissingCapability(
                f"ONNX has no words for what this {type(model).__name__} does, such as searching "
                "for an inverse or solving for it: sample or decode in Python"
            ) from error
    assert program is not None
    write_bytes(path, program.model_proto.SerializeToString())
