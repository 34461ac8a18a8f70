"""Which generative model should I use for my data, and how good is it really?

The public names are imported when they are first used, so that `simulacra --help` does not wait
for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulacra.comparing.compare import compare
    from simulacra.data.catalogue import load as load_data
    from simulacra.data.dataset import Dataset
    from simulacra.ground.errors import BrokenLaw, MissingCapability, UsageError
    from simulacra.ground.spec import DataSpec
    from simulacra.judging.figures.codebook import codebook_terms
    from simulacra.judging.figures.codes import bound_terms
    from simulacra.judging.figures.likelihood import likelihood
    from simulacra.judging.judge import Judge, judge_model
    from simulacra.models.autoregressive.base import Autoregressive
    from simulacra.models.bounded import Bounded, Terms
    from simulacra.models.classifying import Classifying
    from simulacra.models.flow.base import Flow
    from simulacra.models.game import Game
    from simulacra.models.laws import check_model
    from simulacra.models.model import (
        Completion,
        Decoding,
        Encoding,
        Invertible,
        Latent,
        Likelihood,
        Model,
        Sampling,
        Stepwise,
    )
    from simulacra.models.quantised import CodebookTerms, Quantised
    from simulacra.models.refining import Carrying, Denoising, Refining
    from simulacra.models.registry import build, find, list_models
    from simulacra.models.stages import Player, Stage
    from simulacra.models.swept import Swept
    from simulacra.models.takes import Takes
    from simulacra.report.folder import write_report
    from simulacra.runs.hub import from_pretrained, push_to_hub
    from simulacra.runs.run import Run
    from simulacra.runs.zoo import from_zoo
    from simulacra.tasks.codes import encode
    from simulacra.tasks.complete import complete
    from simulacra.tasks.denoise import denoise
    from simulacra.tasks.directions import direction
    from simulacra.tasks.interpolate import interpolate
    from simulacra.tasks.invert import invert
    from simulacra.tasks.onnx import export_onnx
    from simulacra.tasks.probe import probe
    from simulacra.tasks.reconstruct import reconstruct
    from simulacra.tasks.sample import sample
    from simulacra.tasks.styles import styles
    from simulacra.training.fit import fit
    from simulacra.training.loop import Training
    from simulacra.training.options import Budget, Options

__all__ = [
    "Autoregressive", "Bounded", "BrokenLaw", "Budget", "Carrying", "Classifying", "CodebookTerms",
    "Completion", "DataSpec", "Dataset", "Decoding", "Denoising", "Encoding", "Flow", "Game",
    "Invertible", "Judge", "Latent", "Likelihood", "MissingCapability", "Model", "Options",
    "Player", "Quantised", "Refining", "Run", "Sampling", "Stage", "Stepwise", "Swept", "Takes",
    "Terms", "Training", "UsageError", "bound_terms", "build", "check_model", "codebook_terms",
    "compare", "complete", "denoise", "direction", "encode", "export_onnx", "find", "fit",
    "from_pretrained", "from_zoo", "interpolate", "invert", "judge_model", "likelihood",
    "list_models", "load_data", "probe", "push_to_hub", "reconstruct", "sample", "styles",
    "write_report",
]  # fmt: skip

_PLACES = {
    "comparing.compare": ("compare",),
    "data.catalogue": ("load as load_data",),
    "data.dataset": ("Dataset",),
    "ground.errors": ("BrokenLaw", "MissingCapability", "UsageError"),
    "ground.spec": ("DataSpec",),
    "judging.figures.codebook": ("codebook_terms",),
    "judging.figures.codes": ("bound_terms",),
    "judging.figures.likelihood": ("likelihood",),
    "judging.judge": ("Judge", "judge_model"),
    "models.autoregressive.base": ("Autoregressive",),
    "models.bounded": ("Bounded", "Terms"),
    "models.classifying": ("Classifying",),
    "models.flow.base": ("Flow",),
    "models.game": ("Game",),
    "models.laws": ("check_model",),
    "models.model": (
        "Completion", "Decoding", "Encoding", "Invertible", "Latent", "Likelihood", "Model",
        "Sampling", "Stepwise",
    ),
    "models.quantised": ("CodebookTerms", "Quantised"),
    "models.refining": ("Carrying", "Denoising", "Refining"),
    "models.stages": ("Player", "Stage"),
    "models.swept": ("Swept",),
    "models.takes": ("Takes",),
    "models.registry": ("build", "find", "list_models"),
    "report.folder": ("write_report",),
    "runs.hub": ("from_pretrained", "push_to_hub"),
    "runs.run": ("Run",),
    "runs.zoo": ("from_zoo",),
    "tasks.codes": ("encode",),
    "tasks.complete": ("complete",),
    "tasks.denoise": ("denoise",),
    "tasks.directions": ("direction",),
    "tasks.interpolate": ("interpolate",),
    "tasks.invert": ("invert",),
    "tasks.onnx": ("export_onnx",),
    "tasks.probe": ("probe",),
    "tasks.reconstruct": ("reconstruct",),
    "tasks.sample": ("sample",),
    "tasks.styles": ("styles",),
    "training.fit": ("fit",),
    "training.loop": ("Training",),
    "training.options": ("Budget", "Options"),
}  # fmt: skip
"""Where the public names are, as the imports above have it."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 (any public name)
    for module, names in _PLACES.items():
        for each in names:
            own, _, public = each.partition(" as ")
            if name == (public or own):
                return getattr(importlib.import_module(f"simulacra.{module}"), own)
    raise AttributeError(f"simulacra has no {name}")


def __dir__() -> list[str]:
    return sorted(__all__)
