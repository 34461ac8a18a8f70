"""docs/results.json, which holds what was measured, and the part of a page that is made of it."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures.doing import ROOT
from benchmarks.figures.rows import Group, Row, groups_of
from benchmarks.table import NONE, table
from simulacra.ground.storage import write_bytes, write_json

RESULTS = ROOT / "docs" / "results.json"
"""What was measured of each row, by family and name; kept with the project."""
Found = Mapping[str, Any]


def read(path: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """What was measured: of each family the rows that were, by their names."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def add(family: str, row: Row, found: Found, path: Path = RESULTS) -> None:
    """Write down what was measured of a row, and bring the page in step."""
    rows = read(path)
    rows.setdefault(family, {})[row.name] = found
    write_json(path, {name: dict(sorted(each.items())) for name, each in sorted(rows.items())})
    page = path.with_suffix(".md")
    if page.is_file():
        made = runpy.run_path(str(ROOT / "docs" / "generate.py"))
        write_bytes(page, made["in_step"](page.read_text("utf-8")).encode())


def markdown(family: str, rows: Mapping[str, Found]) -> str:
    """The tables of a family; rows that were not measured, or by another command, stand below.

    Args:
        family: One of `FAMILIES`.
        rows: What was measured of it.
    """
    parts = []
    for group in groups_of(family):
        (first, *_) = group.rows
        # settings stand beside their models, in the cells
        same = [
            word if all(row.command[i] == word for row in group.rows) else heading
            for i, (word, heading) in enumerate(
                zip(first.command[: len(_HEADS)], _HEADS, strict=True)
            )
        ]
        parts += [
            f"### {group.title}",
            f"`simulacra {' '.join(same)} --out RUN`, then "
            f"`simulacra {' '.join(('evaluate', 'RUN', *first.looked))}`:",
            *_told(group, rows),
        ]
    return "\n\n".join(parts)


def _measured(row: Row, rows: Mapping[str, Found]) -> bool:
    return rows.get(row.name, {}).get("command") == row.text


def _told(group: Group, rows: Mapping[str, Found]) -> list[str]:
    """What was measured of a group as a table with its notes, and what was not."""
    done = [row for row in group.rows if _measured(row, rows)]
    missing: dict[str, list[str]] = {}
    for row in group.rows:
        if row not in done:
            of = f"{_named(row)} {f'{row.data} ' * _several(group)}{row.budget}"
            missing.setdefault(of, []).append(str(row.seed))
    parts = [_table(group, rows), *_notes(rows[row.name] for row in done)] if done else []
    if missing:
        told = (
            f"{name}, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"
            for name, seeds in missing.items()
        )
        parts.append(f"Not run: {'; '.join(told)}.")
    return parts


def _table(group: Group, rows: Mapping[str, Found]) -> str:
    measured = [rows[row.name]["figures"] for row in group.rows if _measured(row, rows)]
    coded = any("codebook" in figures for figures in measured)
    verified = any("verification" in figures for figures in measured)
    several = _several(group)
    head = ["model", *["data"] * several, "budget", "seed", "likelihood",
            *["KL to the truth, nats"] * group.gap,
            *["rate + distortion, nats", "entries used"] * coded, *["ROC area"] * verified,
            "Fréchet", "of real data", *list(_FIDELITY.values()) * group.fidelity,
            "steps", "seconds", "parameters", "measured"]  # fmt: skip
    lines = []
    for row in group.rows:
        line = [_named(row), *[row.data] * several, row.budget, str(row.seed)]
        if not _measured(row, rows):
            continue
        found = rows[row.name]
        figures = found["figures"]
        frechet, seconds = figures.get("frechet"), figures["seconds"]
        lines.append([
            *line, _score(figures.get("score")), *[_gap(figures.get("gap"))] * group.gap,
            *_codebook(figures.get("codebook")) * coded,
            *[_interval(figures.get("verification"))] * verified, _interval(frechet),
            _interval(frechet and frechet["real"]),
            *_fidelity(figures.get("fidelity", {})) * group.fidelity,
            f"{figures['steps']:,}", NONE if seconds is None else f"{seconds:.0f}",
            f"{figures['parameters']:,}", _when(found),
        ])  # fmt: skip
    return table(head, lines)


def _several(group: Group) -> bool:
    return len({row.data for row in group.rows}) > 1


def _named(row: Row) -> str:
    """The model, with what its keywords are told beside."""
    words = (row.model, " ".join(row.command[len(_HEADS) :]))
    return " ".join(f"`{each}`" for each in words if each)


def _score(score: Found | None) -> str:
    if not score or score["value"] is None:
        return NONE
    error = "" if score["error"] is None else f" ± {score['error']:.3f}"
    # of log-likelihoods, which are nats, a bound is below
    relation = {"≤": "≥"}.get(score["relation"], "=") if score["unit"] == "nats" else None
    return f"{relation or score['relation']} {score['value']:.3f}{error} {score['unit']}"


def _gap(gap: Found | None) -> str:
    return NONE if not gap else f"{'=' if gap['exact'] else '≤'} {_interval(gap)}"


def _codebook(codes: Found | None) -> list[str]:
    if not codes:
        return [NONE, NONE]
    both = codes["rate"] + codes["distortion"]
    return [
        f"{codes['rate']:.1f} + {codes['distortion']:.1f} = {both:.1f}",
        f"{codes['used']} of {codes['entries']}",
    ]


def _fidelity(figures: Found) -> list[str]:
    """Of each figure that of the samples, and that of real data."""
    told = []
    for name in _FIDELITY:
        both = figures.get(name)
        real = both and both["real"]
        told.append(
            f"{both['samples']['value']:.3g} ({real['value']:.3g})" if both and real else NONE
        )
    return told


def _interval(figure: Found | None) -> str:
    if not figure:
        return NONE
    ends = "" if figure["low"] is None else f" [{figure['low']:.3g}, {figure['high']:.3g}]"
    return f"{figure['value']:.3g}{ends}"


def _when(found: Found) -> str:
    others = found["beside"]
    beside = "" if others is None else ", alone" if others < _ALONE else f", beside {others:.1f}"
    return f"{found['date'][:10]}, {found['commit']}{beside}"


def _notes(measured: Iterable[Found]) -> list[str]:
    """What the cells do not say: the machine, what samples were seen by, and warnings."""
    machines, seen, warned = dict[str, None](), dict[str, None](), dict[str, None]()
    for found in measured:
        figures, m = found["figures"], found["machine"]
        cores = f"{m['cores']} core{'s' if m['cores'] != 1 else ''}"
        machines[f"{m['processor']}, {cores}, {m['device']}, Python {m['python']}, "
                 f"torch {m['torch']}"] = None  # fmt: skip
        if frechet := figures.get("frechet"):
            seen[f"{frechet['count']:,} samples seen by {frechet['extractor']}"] = None
        model = found["command"].split()[2]
        warned |= dict.fromkeys(f"`{model}`: {each}" for each in figures["warnings"])
    if not machines:
        return []
    return [f"{'; '.join([*machines, *seen])}.", *(f"{each}." for each in warned)]


_HEADS = ("", "MODEL", "DATA", "", "BUDGET", "", "SEED")
"""Of a command's first words, what stands for those that differ within a group."""
_FIDELITY = {
    "precision": "precision (real)", "recall": "recall (real)", "coverage": "coverage (real)",
    "suspects": "suspects (real)",
}  # fmt: skip
"""Figures of samples beside the distance, and what stands above them."""
_ALONE = 0.05
"""Processors that others took on average: below, it was alone."""
