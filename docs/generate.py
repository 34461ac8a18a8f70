"""Write those parts of the documentation that the code itself knows.

`python docs/generate.py` brings them in step; a test says when they are not. A page holds such a
part between two comments, `<!-- generated: KIND ARGUMENT -->` and `<!-- end -->`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import runpy
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from cyclopts import App, Group

from simulacra.cli.app import COMMANDS, app
from simulacra.data.catalogue import NAMES
from simulacra.data.form import KINDS, Form
from simulacra.ground.docstrings import meanings
from simulacra.judging.figures.measures import (
    CLASSES,
    FIDELITY,
    LABELS,
    LIKELIHOOD,
    NOVELTY,
    WHOLE,
)
from simulacra.models import description, registry
from simulacra.models.keywords import written
from simulacra.models.model import CAPABILITIES
from simulacra.models.refining import Denoising, Refining
from simulacra.models.swept import Swept

DOCS = Path(__file__).parent
if str(DOCS.parent) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(DOCS.parent))
_PART = re.compile(r"(<!-- generated: (\w+) ?(\S*) -->\n).*?(<!-- end -->)", re.S)
_GROUPS = {"Data": "data-options", "Training": "training-options"}
"""Groups of options that several commands share, and the anchors they are told at."""
_PLAIN = {
    "str": "text", "int": "whole number", "float": "number", "bool": "flag", "Path": "path",
    "tuple[float, float]": "two numbers", "list[str]": "texts",
}  # fmt: skip
"""Types in the words of people."""


def model(name: str) -> str:
    """What a model's class and docstring say of it."""
    about, found = description.describe(name), registry.find(name)
    preset = registry.preset(name)
    lines = [
        f"`{name}` is the class `{about.class_name}`, family *{about.family}*. {about.summary}",
        "",
        f"**Paper.** {linked(about.paper)}",
        "",
        f"**Departs from the paper.** {linked(_sentence(about.departs)) or 'In nothing.'}",
        "",
        f"**Can.** {_sentence(', '.join(about.capabilities))}.",
        "",
        f"**Takes.** {_sentence(str(registry.takes(name)))}.",
        "",
    ]
    rows = [
        [f"`{key}`", kind.replace(" | ", " or "), f"`{written(default)}`", meaning]
        for key, (kind, default, meaning) in about.keywords.items()
    ]
    lines += table(["keyword", "type", "default", "meaning"], rows)
    lines += ["", *table(["method of its own", "what it is, with shapes"], methods(found))]
    if preset:
        chosen = ", ".join(f"`{option}={value}`" for option, value in preset.items())
        lines += ["", f"Trained from the command line, it takes {chosen} unless told otherwise."]
    return "\n".join(lines)


def methods(found: type) -> list[list[str]]:
    """Public methods and properties of a class and of its family's base, with their first lines."""
    rows = []
    for name, member in _of_family(found).items():
        told = inspect.getdoc(member.fget if isinstance(member, property) else member) or ""
        if name.startswith("_") or not told or isinstance(member, str):
            continue
        if isinstance(member, property):
            rows.append([f"`{name}`", told.partition("\n\n")[0]])
        elif inspect.isfunction(member):
            arguments = [each for each in inspect.signature(member).parameters if each != "self"]
            rows.append([f"`{name}({', '.join(arguments)})`", told.partition("\n\n")[0]])
    return [[name, _joined(told)] for name, told in rows]


def _of_family(found: type) -> dict[str, Any]:
    """What a class defines itself, then what it has from the base of its family."""
    family, _, _ = found.__module__.rpartition(".")
    members: dict[str, Any] = {}
    for kind in found.__mro__:
        if kind.__module__.startswith(family):
            members = {**members, **{k: v for k, v in vars(kind).items() if k not in members}}
    return members


def _joined(text: str) -> str:
    return " ".join(text.split())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def capabilities(_: str) -> str:
    """Which model has which capability, from the classes."""
    words: dict[type, str] = {
        **CAPABILITIES, Refining: "in any number of steps", Denoising: "denoises",
        Swept: "by sweeps",
    }  # fmt: skip
    rows = []
    for name in registry.MODELS:
        found = registry.find(name)
        can = ["yes" if issubclass(found, kind) else "–" for kind in words]
        context = found.signature().get("context")
        turns = ", ".join(found.turns) or "none"
        told = "yes" if context is not None else "–"
        data = str(registry.takes(name))
        rows.append([f"[`{name}`](models/{name}.md)", *can, told, turns, data])
    heads = ["model", *words.values(), "takes a context", "turns of a step", "takes"]
    return "\n".join(table(heads, rows))


def commands(_: str) -> str:
    """Every command with its arguments and options, as its help has them."""
    lines: list[str] = []
    shared: dict[str, list[list[str]]] = {}
    for name, function in sorted(COMMANDS.items()):
        groups = options(app[name])
        doc = inspect.getdoc(function) or ""
        words = [
            row[0].strip("`") if row[2] == "required" else f"[{row[0].strip('`')}]"
            for row in groups.get("Arguments", [])
        ]
        lines += [f"## {name}", "", _joined(doc.partition("\n\n")[0]), ""]
        lines += ["```text", " ".join(["simulacra", name, *words, "[OPTIONS]"]), "```", ""]
        own = [*groups.get("Arguments", []), *groups.get("Parameters", [])]
        lines += [*table(["", "type", "usually", "meaning"], own), ""]
        told = [group for group in _GROUPS if group in groups]
        shared |= {group: groups[group] for group in told}
        if told:
            links = " and ".join(f"[{g.lower()} options](#{_GROUPS[g]})" for g in told)
            lines += [f"It takes the {links} too.", ""]
    for group, rows in shared.items():
        lines += [f"## {group} options", "", *table(["", "type", "usually", "meaning"], rows), ""]
    return "\n".join(lines).rstrip()


def form(_: str) -> str:
    """The options of data, with the kinds that they are for."""
    told = meanings(Form)
    rows = []
    for field in fields(Form):
        kinds = [kind for kind, names in KINDS.items() if field.name in names]
        rows.append([f"`{field.name}`", ", ".join(kinds) or "the hub", told[field.name]])
    return "\n".join(table(["option", "for", "meaning"], rows))


def sets(_: str) -> str:
    """The data sets known by name."""
    rows = []
    for each in NAMES.values():
        shape = "×".join(map(str, each.event_shape))
        counts = " / ".join(f"{count:,}" for count in each.counts)
        levels = "none" if each.levels is None else str(each.levels)
        rows.append([f"`{each.name}`", shape, levels, counts, each.description])
    return "\n".join(
        table(["name", "shape", "levels", "train / validation / test", "origin"], rows)
    )


_CALIBRATION = DOCS / "calibration.json"
_MEASURES = {
    "likelihood": LIKELIHOOD, "fidelity": FIDELITY, "novelty": NOVELTY, "whole": WHOLE,
    "classes": CLASSES, "labels": LABELS,
}  # fmt: skip


def measures(group: str) -> str:
    """The definitions of a group of figures, with what the calibration found of each."""
    lines: list[str] = []
    for key, each in _MEASURES[group].items():
        better = {
            "higher": "Higher is better.", "lower": "Lower is better.", "one": "1 is best.",
            "zero": "0 is best.", "above": "Above 0.", "floor": "Best is what real data get.",
        }[each.better]  # fmt: skip
        unit = f" In {each.unit}." if each.unit else ""
        lines += [f"### {_sentence(each.name)}", "", each.says, ""]
        lines += [f"**Direction.** {better}{unit}", "", f"**Cannot see.** {each.blind}", ""]
        if each.paper:
            lines += [f"**Paper.** {linked(each.paper)}", ""]
        found = _calibrated(key)
        if found:
            lines += [f"**On known data.** {found}", ""]
    return "\n".join(lines).rstrip()


def _calibrated(key: str) -> str:
    """How often a figure ranked worse models rightly, and where it did not."""
    if not _CALIBRATION.is_file():
        return ""
    right, others = 0, []
    for each in json.loads(_CALIBRATION.read_text("utf-8"))["data"]:
        for ladder in each["ladders"]:
            for name, figure in ladder["figures"].items():
                if name.partition(" ")[0] != key:
                    continue
                view = name.partition(" ")[2]
                if figure["verdict"] == "right":
                    right += 1
                    continue
                rank = f"{figure['rank']:.2f}".replace("-", "−")
                seen = f", {view}" if view else ""
                verdict = f"**{figure['verdict']}**"
                others.append(f"{verdict} on {ladder['name']} ({each['data']}{seen}: {rank})")
    if not right + len(others):
        return ""
    told = f"Right on {right} of {right + len(others)} ladders"
    return told + (f"; {'; '.join(others)}." if others else ".")


def calibration(_: str) -> str:
    """What the calibration measured, as a table."""
    if not _CALIBRATION.is_file():
        return "Not measured yet."
    from benchmarks.calibration import markdown

    return markdown(json.loads(_CALIBRATION.read_text("utf-8")))


def results(family: str) -> str:
    """What was measured of a family, and what was not."""
    from benchmarks.figures import page

    return page.markdown(family, page.read().get(family, {}))


def measured(what: str) -> str:
    """The tables of a benchmark: of benchmarks/WHAT.py, whose figures are in WHAT.json here."""
    path = DOCS / f"{what}.json"
    if not path.is_file():
        return "Not measured yet."
    markdown = importlib.import_module(f"benchmarks.{what}").markdown
    return str(markdown(json.loads(path.read_text("utf-8"))))


def options(command: App) -> dict[str, list[list[str]]]:
    """Rows of a command's help by group: name, type, default, meaning."""
    groups: dict[str, list[list[str]]] = {}
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if not argument.show:
            continue
        # a list or a flag brings a negative form, which the help hides
        names = [n for n in argument.names if not n.startswith(("--no-", "--empty-"))]
        text = argument.parameter.help or ""
        usual = re.search(r" \[usually: (.*?)\]$", text)
        default = usual[1] if usual else _default(argument.field_info.default)
        meaning = text[: usual.start()] if usual else text
        kind = argument.parameter.metavar or _kind(argument.hint, argument.get_choices())
        (group,) = cast("tuple[Group, ...]", argument.parameter.group)
        row = [
            f"`{', '.join(names)}`",
            kind,
            "required" if argument.required else default,
            meaning,
        ]
        groups.setdefault(group.name, []).append(row)
    return groups


def _default(value: Any) -> str:  # noqa: ANN401 (any option's value)
    """What is taken when an option is not given, in words; nothing where that is nothing."""
    if value is inspect.Parameter.empty or value is None or value is False or value in ([], ()):
        return ""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _kind(hint: Any, choices: Sequence[str] | None) -> str:  # noqa: ANN401 (any annotation)
    if choices:
        return " or ".join(choices)
    text = hint.__name__ if isinstance(hint, type) else str(hint)
    text = re.sub(r"\| None|typing\.|pathlib\.", "", text).strip()
    return _PLAIN.get(text, text)


def linked(text: str) -> str:
    """The text with its papers' arXiv numbers as links."""
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    told = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [headings, ["---"] * len(headings), *told]
    return [f"| {' | '.join(line)} |" for line in lines]


def rooms(_: str) -> str:
    """Who may import whom, from the list that the tests keep."""
    drawn = cast(Callable[[], str], runpy.run_path(str(DOCS.parent / "tests/rooms.py"))["drawn"])
    return f"```\n{drawn()}\n```"


PARTS: dict[str, Callable[[str], str]] = {
    "model": model, "capabilities": capabilities, "commands": commands, "form": form, "sets": sets,
    "measures": measures, "calibration": calibration, "rooms": rooms,
    "results": results, "measured": measured,
}  # fmt: skip


def in_step(page: str) -> str:
    """A page with its generated parts written anew."""

    def renewed(part: re.Match[str]) -> str:
        return f"{part[1]}\n{PARTS[part[2]](part[3])}\n\n{part[4]}"

    return _PART.sub(renewed, page)


def main() -> None:
    """Bring every page in step."""
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text("utf-8")
        if (new := in_step(text)) != text:
            path.write_text(new, "utf-8")
            print(f"{path.relative_to(DOCS)} is new")


if __name__ == "__main__":
    main()
