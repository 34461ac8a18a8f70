"""The command that writes a model's decoder for programs without PyTorch."""

from __future__ import annotations

from pathlib import Path

from simulacra.cli import terminal
from simulacra.cli.flags import Code, Out, file_target, results_folder
from simulacra.cli.inputs import opened


def export(run: Path, /, *, out: Out = None, code: Code = None) -> None:
    """Write a model's decoder as an ONNX file, for programs without PyTorch.

    Its input is z, codes (n, latent) that are drawn from the prior, its output x, observations;
    where decoding is random, the expected levels. In Python, simulacra.export_onnx has a GAN's
    discriminator too.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        out: The ONNX file; RUN/decoder.onnx by default.
        code: file.py:Class of a model of your own.
    """
    from simulacra.tasks.onnx import export_onnx

    found = opened(run)
    target = file_target(out or results_folder(found) / "decoder.onnx", "--out", ".onnx")
    export_onnx(found.model(code=code), target)
    size = "×".join(map(str, found.spec.event_shape))
    terminal.note(f"{target}: from codes z (n, latent) to observations x (n, {size})")
