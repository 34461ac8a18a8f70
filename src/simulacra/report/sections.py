"""The parts of a report below its main table: each a sentence, tables, remarks and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from simulacra.judging.figures.codebook import mostly_dead
from simulacra.judging.figures.codes import collapse, idle
from simulacra.judging.figures.measures import CLASSES, LABELS, MEASURES, Measure
from simulacra.judging.figures.records import ViewSummary
from simulacra.judging.results import Results
from simulacra.report import sample_tables, tables, warned
from simulacra.report.cells import Rows
from simulacra.report.code_tables import code_table, coded, level_table, unit_table
from simulacra.report.codebook_tables import codebook_table, with_codebooks
from simulacra.report.copying import copies, further
from simulacra.report.ranking import bound, foreign, judged, ranked, sign_of, unit_of
from simulacra.report.sample_tables import CHANCE
from simulacra.report.sound_tables import CAPTION, not_better, predictor_note, predictor_table
from simulacra.report.step_tables import step_said, step_table
from simulacra.report.text import listed
from simulacra.report.verification_tables import (
    not_verified,
    verification_said,
    verification_table,
)


@dataclass(frozen=True)
class Table:
    """Rows under a caption.

    Args:
        rows: Heading → cell, all with the same headings, of which the first names the row.
        caption: What the rows are; empty if the section says it.
        note: What else to know of them, quiet.
        words: Headings of columns of words.
        folded: Whether the page shows it only when asked.
    """

    rows: Rows
    caption: str = ""
    note: str = ""
    words: Sequence[str] = ()
    folded: bool = False


@dataclass(frozen=True)
class Remark:
    """A sentence about a model; loud if it must not be overlooked."""

    text: str
    model: str = ""
    loud: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        key: Names it in the page, and is no picture's.
        heading: In words.
        intro: What it answers, in one sentence.
        tables: Those that have rows.
        remarks: Above the tables.
        pictures: The kind that belongs to it, `<model>/<kind>`.
        pictured: What these pictures show.
    """

    key: str
    heading: str
    intro: str
    tables: Sequence[Table] = ()
    remarks: Sequence[Remark] = field(default=())
    pictures: str = ""
    pictured: str = ""


def sample_sections(results: Results) -> list[Section]:
    """What samples show, first what is asked first; some may be empty."""
    return [_fidelity(results), _steps(results), _novelty(results), _appearance(results)]


def detail_sections(results: Results) -> list[Section]:
    """Likelihood, codes, whom they tell apart, pairs and labels; some may be empty."""
    return [
        _likelihood(results), _codes(results), _codebooks(results), _verification(results),
        _pairs(results), _labels(results),
    ]  # fmt: skip


def last_sections(results: Results) -> list[Section]:
    """Cost and nature; some may be empty."""
    costs, natures = tables.costs(results), tables.natures(results)
    return [
        Section(
            "cost",
            "Cost",
            "What each model costs to train, to score an observation with, and to draw from, on "
            "the machine below.",
            [Table(costs)] if costs and len(costs[0]) > 1 else [],
        ),
        Section(
            "nature",
            "Nature",
            "What kind of model each is: read from its class, and its reconstruction measured on "
            "validation observations.",
            [Table(natures, words=_NATURE)] if natures else [],
        ),
    ]


_NATURE = ("likelihood", "samples", "invertible", "completes")


_MANY = 12
"""Classes in a table that is shown without being asked for."""
_MOST = 100
"""Classes of which each has a row to say how often it comes."""


def measures_shown(results: Results) -> dict[str, Measure]:
    """The definitions of the figures that the page has, in the order of `MEASURES`."""
    shown: set[str] = set()
    for m in judged(results):
        if m.samples:
            for figures in (m.samples.whole, *m.samples.views.values()):
                shown |= set(figures)
            shown |= set(CLASSES) if m.samples.classes else set()
        for f in m.likelihoods:
            shown |= {"gap"} if f.gap else set()
            shown |= {"shuffled"} if f.shuffled else set()
        shown |= {"kl"} if m.kl else set()
        shown |= set(LABELS) if m.classifier or m.own_classifier else set()
    return {key: measure for key, measure in MEASURES.items() if key in shown}


def _fidelity(results: Results) -> Section:
    remarks = [Remark(f"{doubt}.", loud=True) for doubt in results.doubts]
    remarks += [
        Remark(f"{text}." if text.startswith("no figures") else text, name, loud=True)
        for name, text in warned.of_samples(results)
    ]
    shown = []
    for view in results.views:
        rows = sample_tables.fidelity_table(results, view.name)
        if rows:
            shown.append(Table(rows, f"Seen as {view.name}", _about(view)))
    if modes := sample_tables.mode_table(results):
        shown.append(Table(modes, "Modes of the density that the data were drawn from"))
    return Section(
        "fidelity",
        "Fidelity and coverage",
        "Do samples look like real data, and are all kinds of data among them?" + _counts(results),
        shown,
        remarks,
    )


def _steps(results: Results) -> Section:
    rows = step_table(results)
    return Section(
        "steps",
        "Fewer steps",
        "Some models refine noise in as many steps as one likes, each a call of the network: how "
        f"much worse are samples in fewer of them? {step_said(results)}".rstrip(),
        [Table(rows)] if rows else [],
    )


def _counts(results: Results) -> str:
    """How many were held against how many."""
    entries = [results.references.real, *(m.samples for m in judged(results))]
    found = {entry.count for entry in entries if entry and entry.views and entry.count}
    if not found:
        return ""
    many = listed([f"{n:,}" for n in sorted(found)])
    whose = "" if foreign(results) else " of each model"
    return (
        f" {many} samples{whose} are held against as many real test observations. “real” is the "
        "other half of the real data judged as if a model had drawn it; “independent” draws every "
        "value by itself."
    )


def _about(view: ViewSummary) -> str:
    """What sees, and by which exact weights."""
    says = [view.extractor] if view.extractor else []
    if view.width:
        says.append(f"{view.width} wide")
    if view.accuracy is not None and "classifier" in view.extractor:
        says.append(f"accuracy on the validation split {100 * view.accuracy:.1f} %")
    if view.note:
        says.append(view.note)
    if view.hash:
        says.append(f"sha256 {view.hash[:16]}")
    return "; ".join(says)


def _novelty(results: Results) -> Section:
    remarks, clean = [], []
    for m in judged(results):
        sign = copies(results.references, m.samples)
        if sign:
            remarks.append(Remark(f"{sign}.", m.model, loud=True))
        elif sign is not None:
            clean.append(m.model)
    if clean:
        remarks.append(Remark(f"No sign of copying in these views: {listed(clean)}."))
    if far := further(results, judged(results)):
        text = f"Further from the training data than real data: {listed(far)}."
        remarks.append(Remark(text))
    found = [
        Table(sample_tables.novelty_table(results, view.name), f"Seen as {view.name}")
        for view in results.views
    ]
    found.append(Table(sample_tables.equal_table(results), "As they are, value for value"))
    shown = [each for each in found if each.rows]
    return Section(
        "novelty",
        "Novelty",
        "Are samples new, or stored pieces of the training data? Read each figure beside that of "
        "real data the models never saw.",
        shown,
        remarks,
        "suspects",
        "The most suspicious samples. In each pair the sample is on the left, the training "
        "observation nearest to it on the right.",
    )


def _appearance(results: Results) -> Section:
    rows = sample_tables.appearance_table(results)
    return Section(
        "appearance",
        "Greyness and blur",
        "Do samples have the colour and the fine detail of the data? 1 is alike; below it they "
        "are greyer or blurred.",
        [Table(rows)] if rows else [],
    )


def _likelihood(results: Results) -> Section:
    rows, classes = tables.likelihoods(results), tables.per_class(results)
    unit = unit_of(results)
    shown = [Table(rows)] if rows and len(rows[0]) > 2 else []
    if classes:
        note = "The same figure over the observations of one class at a time."
        shown.append(Table(classes, "Each class by itself", note, folded=len(classes) > _MANY))
    if simple := predictor_table(results):
        shown.insert(1, Table(simple, CAPTION, predictor_note(results), words=("by",)))
    remarks = [
        Remark("ignores its context: shuffled ones serve it as well.", m.model, loud=True)
        for m in judged(results)
        if any(f.ignores_context for f in m.likelihoods)
    ]
    remarks += [Remark(text, name, loud) for name, text, loud in not_better(results)]
    return Section(
        "likelihood",
        "Likelihood in detail",
        f"What each model thinks of observations, in {'nats' if unit == 'nats' else unit}: "
        "of the test split, and of the data it learned from. The gap between them is overfitting.",
        shown,
        remarks,
    )


def _codes(results: Results) -> Section:
    remarks = []
    for m, codes in coded(results):
        if said := collapse(codes, m.keywords or {}):
            remarks.append(Remark(f"{said}.", m.model, loud=True))
        elif said := idle(codes, m.keywords or {}):
            remarks.append(Remark(f"{said}.", m.model))
    each = unit_table(results)
    units = Table(each, "Each unit by itself", folded=len(each) > _MANY, words=("that",))
    levels = Table(level_table(results), "Each level, the highest first", words=("that",))
    return Section(
        "codes",
        "What codes cost",
        "A bound in its parts: the rate is what a code tells of an observation, the distortion "
        "what is left once it is known; together they bound −log p by the ELBO. IWAE is the bound "
        "by k codes for each observation. A unit is active if its posterior mean differs between "
        "observations, by a variance above 0.01.",
        [shown for shown in (Table(code_table(results)), levels, units) if shown.rows],
        remarks,
        "rates",
        "What each unit of a code costs, the costliest first; a grey one costs under 0.01 nats.",
    )


def _codebooks(results: Results) -> Section:
    found = [
        (m.model, mostly_dead(codebook, m.keywords or {}))
        for m, codebook in with_codebooks(results)
    ]
    rows = codebook_table(results)
    return Section(
        "codebook",
        "What codebooks cost",
        "The rate is what it takes to write down an observation's code under the prior, the "
        "distortion what the observation takes once its code is known. Their sum is no "
        "likelihood, and stands in no ranking: it counts one code alone of all that could have led "
        "to the observation. The perplexity says how many entries, used alike, would tell as much.",
        [Table(rows)] if rows else [],
        [Remark(f"{said}.", name, loud=True) for name, said in found if said],
    )


def _verification(results: Results) -> Section:
    rows = verification_table(results)
    asks = "Do distances between codes say which observations are of one and the same?"
    return Section(
        "verification",
        "Verification",
        f"{asks} {verification_said(results)}".rstrip(),
        [Table(rows)] if rows else [],
        [Remark(f"{said}.", name, loud=True) for name, said in not_verified(results)],
    )


def _pairs(results: Results) -> Section:
    rows, unit = tables.pairs(results), unit_of(results)
    loose = [m.model for m, f in ranked(results) if sign_of(f, unit) == bound(unit)]
    remarks = [
        Remark(f"No pair of {listed(each.models)}: {each.reason}.")
        for each in results.pairs
        if each.low is None and each.reason
    ]
    note = ""
    if loose and rows:
        note = (
            f"Bounds ({bound(unit)}): {listed(loose)}. One that wins over an exact figure has "
            "won; one that loses or ties may hide the better model."
        )
    what = "more nats of log-likelihood" if unit == "nats" else f"fewer {unit}"
    return Section(
        "pairs",
        "Pair by pair",
        f"How many {what} the model of a row gives than that of a column, on the same test "
        "observations one by one, with a 95 % interval; where that holds 0, they tie.",
        [Table(rows, note=note)] if rows else [],
        remarks,
    )


def _labels(results: Results) -> Section:
    samples, classifiers = (
        sample_tables.label_table(results),
        sample_tables.classifier_table(results),
    )
    sure = [view.accuracy for view in results.views if view.accuracy is not None]
    note = ""
    if sure:
        note = (
            f"The classifier finds the class of {100 * sure[0]:.1f} % of validation observations."
        )
        if samples and any(row["model"].head == CHANCE for row in samples):
            note += " “chance” is the commonest class of the training data, whatever was asked for."
        if not foreign(results):
            note += " All samples that were drawn are counted."
    shown = [Table(samples, "Samples, as the classifier takes them", note)] if samples else []
    if found := sample_tables.found_table(results):
        note = "A share is divided by that of the class among the labels of the training data."
        shown.append(Table(found, "Classes among the samples, as the classifier takes them", note))
    classes = sample_tables.class_table(results)
    if 0 < len(classes) <= _MOST:
        caption = "How often each class comes"
        shown.append(Table(classes, caption, folded=len(classes) > _MANY))
    if classifiers:
        caption = "Models as classifiers: argmax over y of log p(x | y) + log p(y), or of their own"
        shown.append(Table(classifiers, caption, words=("by",)))
    return Section(
        "labels",
        "Labels",
        "Do samples follow the class asked for, do the classes come as often as in the data, and "
        "how well does a conditional model tell the classes apart?",
        shown,
        pictures="reliability",
        pictured="How often the class found was right, against how sure the model was.",
    )
