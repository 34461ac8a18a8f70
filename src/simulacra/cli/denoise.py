"""The command that takes noise from observations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simulacra.cli import terminal
from simulacra.cli.flags import (
    Code,
    Device,
    Label,
    Out,
    check_device,
    file_target,
    results_folder,
)
from simulacra.cli.inputs import observations, opened
from simulacra.cli.output import write_pairs, write_values
from simulacra.ground.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def denoise(
    run: Path,
    /,
    *files: Path,
    noise: float | None = None,
    label: Label = None,
    out: Out = None,
    device: Device = "auto",
    code: Code = None,
) -> None:
    """Take normal noise from pictures or vectors: pairs of before | after, and the levels as .npy.

    Models of diffusion and flow matching can: ddpm, vdm, flow-matching. What they expect behind the
    noise is a mean, found by one call of the network: the more noise, the fewer details.

    Noise is as strong everywhere, and of a picture estimated where it is not told. An image file of
    8 bits cuts off what noise adds beyond black and white, so that the noise of a dark picture
    seems less than it was: tell --noise, or pass an .npy of floats from before that.

    Args:
        run: A run's name below runs/, its folder, or the name of a model of the zoo.
        files: Noisy image files; or .npy files of levels, of float intensities, or of vectors, of
            one observation or several.
        noise: Standard deviation of the noise: of pictures in intensities, from black as 0 to white
            as 1; of vectors in deviations of the training data.
        label: Their class, for a model trained with --set context=label, by its name or number, or
            by its parts, as in digit=7,speaker=theo.
        out: The PNG file, beside which goes the .npy; RUN/denoised.png by default. Of vectors the
            .npy file.
        device: Where it is computed.
        code: file.py:Class of a model of your own.
    """
    from simulacra.data.foreign.observations import read_noisy
    from simulacra.tasks.denoise import denoise as denoised
    from simulacra.tasks.denoise import denoiser

    if noise is not None and not 0 <= noise < float("inf"):
        raise UsageError(f"--noise is a standard deviation of at least 0, got {noise:g}")
    if not files:
        raise UsageError("denoise needs the files that noise is taken from")
    place = check_device(device)
    found = opened(run)
    spec = found.spec
    model = found.model(code=code).to(place)
    denoiser(model)
    if noise is None and not spec.is_image:
        raise UsageError(
            f"the noise of vectors {spec.event_shape} cannot be seen in one of them: tell its size "
            "by --noise, in deviations of the training data"
        )
    kind = ".png" if spec.is_image else ".npy"
    target = file_target(out or results_folder(found) / f"denoised{kind}", "--out", kind)
    x, context, names = observations(model, found.form, files, label, None, read=read_noisy)
    clean = denoised(model, x, noise, context=context)
    raw = target.with_suffix(".npy")
    write_values(spec, raw, clean.x)
    many = f"{len(x)} observation{'' if len(x) == 1 else 's'}"
    if spec.is_image:
        write_pairs(target, x.clamp(0, 1), spec.to_float(clean.x))
        terminal.note(f"{target}: pairs of before | after; {raw}: {many}")
    else:
        terminal.note(f"{raw}: {many}")
    if noise is None:
        _note(names, x, clean.noise)


_CUT = 0.1
"""Share of black and white values from which on an estimate of noise may well be too small."""


def _note(names: list[str], x: Tensor, noise: Tensor) -> None:
    """The noise that was found in pictures, and where it may have been more."""
    low, high = float(noise.min()), float(noise.max())
    size = f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} … {high:.3f}"
    where = names[0] if len(names) == 1 else f"{len(names)} pictures"
    terminal.note(f"the noise found in {where} has a standard deviation of {size} (white is 1)")
    cut = float(((x == 0) | (x == 1)).double().mean())
    if cut > _CUT:
        terminal.note(
            f"{cut:.0%} of the values are black or white, where noise is cut off: it may be more "
            "than that, and --noise tells how much"
        )
