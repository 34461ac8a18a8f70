"""A report as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from simulacra.ground.errors import ResourceError

NONE = "—"
ROWS = (
    "model", "job", "time", "fastest – slowest", "FLOPs", "of matmul rate", "memory", "÷ forward",
)  # fmt: skip
PEERS = ("peer", "like our", "its step", "our step", "its ÷ ours", "its FLOPs", "our FLOPs")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right.

    Args:
        head: Names of the columns.
        rows: As many cells each; `|` in them is escaped.
    """
    lines = [list(head), ["---", *["---:"] * (len(head) - 1)], *map(list, rows)]
    lines[2:] = [[cell.replace("|", "\\|") for cell in line] for line in lines[2:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def seconds(value: float) -> str:
    """With three digits that count, in s, ms or µs."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{_digits(value / 1e-6)} µs"


def amount(value: float | None, unit: str) -> str:
    """A count with three digits that count and a prefix of thousands; a dash for none at all."""
    if not value:
        return NONE
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{_digits(value / size)} {prefix}{unit}"
    return f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def markdown(report: dict[str, Any]) -> str:
    """The report for people; see `bench.run` for what is in it."""
    settings, machine = report["settings"], report["machine"]
    parts = [
        "# What models cost",
        ", ".join(f"{key} {value}" for key, value in machine.items()),
        f"Grey pictures of side {settings['side']} with {settings['levels']} levels, batches of "
        f"{settings['batch']}; medians of {settings['rounds']} interleaved rounds. A float32 "
        f"matrix product runs at {amount(report['matmul'], 'FLOP/s')}.",
        table(ROWS, (_row(row) for row in report["rows"])),
        "*forward*: the loss of a batch without gradients (of a game, once for each turn). "
        "*step*: forward, backward and optimiser, or a sweep over the batch. *loop*: the same as "
        "`train` does it, with drawing, clipping, checking and averaging. FLOPs are of matrix "
        "products and convolutions, without what masks hide. Memory is the peak beyond model and "
        "batch, in a fresh process. *÷ forward* is the time divided by that of *forward* in the "
        "same round.",
        "## Growth with the side",
        _growth(report["growth"], settings["sides"]),
    ]
    if report["peers"]:
        parts += [
            "## Peers",
            f"A training step of a batch of {settings['batch']} at side {settings['side']}, in "
            "the same rounds, with one thread. Above 1, ours is faster.",
            table(PEERS, (_peer(row) for row in report["peers"])),
        ]
    parts += [f"{name} is left out: {why}" for name, why in report["left_out"].items()]
    return "\n\n".join(parts) + "\n"


def _row(row: dict[str, Any]) -> list[str]:
    return [
        row["model"],
        row["job"],
        seconds(row["seconds"]),
        f"{seconds(row['fastest'])} – {seconds(row['slowest'])}",
        amount(row["flops"], ""),
        f"{row['share']:.1%}" if row["share"] else NONE,
        amount(row["peak_bytes"], "B"),
        _digits(row["forwards"]),
    ]


def _growth(rows: list[dict[str, Any]], sides: Sequence[int]) -> str:
    head = ("model", "job", *(f"side {side}" for side in sides), "time ∝ pixels^p, p")
    return table(
        head,
        (
            [
                row["model"],
                row["job"],
                *map(seconds, row["seconds"]),
                NONE if row["exponent"] is None else f"{row['exponent']:.2f}",
            ]
            for row in rows
        ),
    )


def _peer(row: dict[str, Any]) -> list[str]:
    name = f"{row['package']} {row['version']}".strip()
    if "missing" in row:
        return [name, row["ours"], row["missing"], *[NONE] * 4]
    ours = f"{row['ours']}, {row['levels']} levels"
    return [
        name, ours, seconds(row["seconds"]), seconds(row["our_seconds"]), _digits(row["ratio"]),
        amount(row["flops"], ""), amount(row["our_flops"], ""),
    ]  # fmt: skip


def write(report: dict[str, Any], folder: Path) -> None:
    """Write `bench.md` and `bench.json`.

    Raises:
        ResourceError: If they cannot be written there.
    """
    try:
        (folder / "bench.md").write_text(markdown(report), "utf-8")
        text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "bench.json").write_text(text + "\n", "utf-8")
    except OSError as error:
        raise ResourceError(f"{folder} cannot be written to: {error.strerror}") from error
