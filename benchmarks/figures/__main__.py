"""`python -m benchmarks.figures --family flow`: do the rows that are not done yet, then tell them.

A row that is done is not done again, one that was stopped is resumed; the shortest come first. To
measure one anew, remove its folder and its .json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.figures import page
from benchmarks.figures.doing import DONE, NO_MODEL, Place, RowError
from benchmarks.figures.rows import FAMILIES, Row, rows_of
from simulacra.ground.errors import UsageError, nearest


def picked(rows: list[Row], words: str) -> list[Row]:
    """Rows with one of some words in their names; all without a word.

    Args:
        rows: To pick from.
        words: Separated by commas.

    Raises:
        UsageError: If a word is in no name.
    """
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    for word in wanted:
        if not any(word in row.name for row in rows):
            names = [row.name for row in rows]
            raise UsageError(f"no row has {word!r} in its name: {nearest(word, names)}")
    return [row for row in rows if not wanted or any(word in row.name for word in wanted)]


def main(arguments: list[str] | None = None) -> int:
    """Do or list rows; 1 if one failed, 130 if it was stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.figures", description=__doc__.partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--family", default=",".join(FAMILIES), help="names, separated by commas")
    add("--rows", default="", help="words in the names of rows, separated by commas; all without")
    add("--list", action="store_true", help="show the rows and how far they are, and do nothing")
    add("--data-dir", type=Path, default=None, help="folder of named data sets")
    add("--out", type=Path, default=Path("figures"), help="folder of the runs")
    add("--results", type=Path, default=page.RESULTS, help="what is kept of them")
    given = parser.parse_args(arguments)
    try:
        families = given.family.split(",")
        for name in families:
            if name not in FAMILIES:
                raise UsageError(f"no family is called {name!r}: {nearest(name, FAMILIES)}")
        every = [(family, row) for family in families for row in rows_of(family)]
        chosen = picked([row for _, row in every], given.rows)
    except UsageError as error:
        print(f"benchmarks.figures: {error}", file=sys.stderr)
        return error.exit_code
    todo = sorted(
        ((family, row) for family, row in every if row in chosen), key=lambda each: each[1].seconds
    )
    places = {family: Place(given.out / family, given.data_dir) for family in families}
    if given.list:
        for family, row in todo:
            state = places[family].state(row)
            print(f"{state:<18} {family:<14} simulacra {' '.join(row.command)}  ({row.name})")
        return 0
    return _do(todo, places, given.results)


def _do(todo: list[tuple[str, Row]], places: dict[str, Place], results: Path) -> int:
    failed = []
    for number, (family, row) in enumerate(todo, start=1):
        place = places[family]
        state = place.state(row)
        print(f"{number}/{len(todo)} {row.name}: {state}", file=sys.stderr, flush=True)
        if state == NO_MODEL:
            continue
        try:
            note = place.note(row) if state == DONE else None
            found = note.found if note is not None else place.do(row)
        except RowError as error:
            # one row that fails ends no other
            failed.append(f"{row.name}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
            continue
        except KeyboardInterrupt:
            print(f"{row.name}: stopped; the same command goes on with it", file=sys.stderr)
            return 130
        assert found is not None
        page.add(family, row, found, results)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
