"""The command that writes a model's decoder for programs without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from simulacra.cli import terminal
from simulacra.cli.flags import Code, Out, file_target, results_folder
from simulacra.cli.inputs import opened


def export(
    run: Path,
    /,
    *,
    part: Literal["decoder", "encoder", "discriminator"] = "decoder",
    out: Out = None,
    code: Code = None,
) -> None:
    """Write a model's decoder or encoder as an ONNX file, for programs without PyTorch.

    A decoder's input is z, codes (n, latent) that are drawn from the prior, its output x,
    observations; where decoding is random, the expected levels. An encoder's input is x, float
    levels, its output z; of a vae the mean code. A GAN's discriminator gives x a score.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        part: Which network.
        out: The ONNX file; RUN/PART.onnx by default.
        code: file.py:Class of a model of your own.
    """
    from simulacra.tasks.onnx import export_onnx

    found = opened(run)
    target = file_target(out or results_folder(found) / f"{part}.onnx", "--out", ".onnx")
    export_onnx(found.model(code=code), target, part)
    x = f"observations x (n, {'×'.join(map(str, found.spec.event_shape))})"
    told = {
        "decoder": f"from codes z (n, latent) to {x}",
        "encoder": f"from {x} to codes z",
        "discriminator": f"from {x} to scores, the higher the more real (n)",
    }
    terminal.note(f"{target}: {told[part]}")
