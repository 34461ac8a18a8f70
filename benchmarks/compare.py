"""Training steps of peers beside ours, in the same rounds."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from typing import Any

from benchmarks.measure import measure, ratio
from benchmarks.peers import PEERS
from benchmarks.work import pictures, step
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import flops
from simulacra.models.model import Model
from simulacra.models.registry import build


def compare(
    names: Collection[str], side: int, batch: int, rounds: int, seed: int
) -> list[dict[str, Any]]:
    """A row for each peer of these models, with the readings of both or with what is missing.

    Args:
        names: Of ours, in the registry.
        side: Height and width of the pictures.
        batch: Observations in a batch.
        rounds: Readings of each model.
        seed: Of weights and pictures.

    Returns:
        `package`, `version` and `ours`; and `missing`, or `levels`, `seconds`, `our_seconds`,
        `ratio` (its readings ÷ ours), `flops` and `our_flops`.
    """
    rows: list[dict[str, Any]] = []
    ours: dict[str, Model] = {}
    theirs: dict[str, Model] = {}
    for peer in PEERS:
        if peer.ours not in names:
            continue
        row: dict[str, Any] = {"package": peer.package, "version": peer.version, "ours": peer.ours}
        with seeded(seed):
            like = build(peer.ours, DataSpec((1, side, side), levels=peer.levels))
            made = peer.make(like)
        if isinstance(made, str):
            rows.append(row | {"missing": made})
            continue
        rows.append(row | {"levels": peer.levels})
        ours.setdefault(peer.ours, like)
        theirs[peer.package] = made
    jobs = {
        (whose, name): (model, step(model, pictures(model.spec, batch, seed)))
        for whose, models in (("ours", ours), ("theirs", theirs))
        for name, model in models.items()
    }
    counts = {key: flops.count(model, job) for key, (model, job) in jobs.items()}
    readings = measure({key: job for key, (_, job) in jobs.items()}, rounds)
    for row in rows:
        if "missing" in row:
            continue
        their, our = ("theirs", row["package"]), ("ours", row["ours"])
        row |= {
            "seconds": statistics.median(readings[their]),
            "our_seconds": statistics.median(readings[our]),
            "ratio": ratio(readings[their], readings[our]),
            "flops": counts[their],
            "our_flops": counts[our],
        }
    return rows
