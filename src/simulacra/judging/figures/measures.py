"""What each figure is: its name, unit and direction, what it says and what it cannot see.

The report, the documentation and the terminal all read them here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "one", "zero", "above", "floor"]
"""Which way is better: towards 1, to 0, above 0, or towards what real data of their own get."""

ARROWS: dict[Better, str] = {
    "higher": "↑",
    "lower": "↓",
    "one": "→ 1",
    "zero": "→ 0",
    "above": "> 0",
    "floor": "→ real",
}


@dataclass(frozen=True)
class Measure:
    """The definition of a figure.

    Args:
        name: In words.
        unit: Of the figure and its interval; empty for a plain number.
        better: Which way is better.
        says: What it measures, in a sentence or two.
        blind: What it cannot see.
        paper: Where it comes from.
    """

    name: str
    unit: str
    better: Better
    says: str
    blind: str
    paper: str = ""


FIDELITY: dict[str, Measure] = {
    "frechet": Measure(
        "Fréchet distance",
        "squared feature units",
        "lower",
        "Distance between two Gaussians with the mean and covariance of the features of real "
        "observations and of samples.",
        "All that is beyond mean and covariance; copies of the training data, which it rewards. It "
        "grows as the count falls, so it is read between the floor and the ceiling beside it.",
        "Heusel et al. 2017, arXiv 1706.08500",
    ),
    "kernel": Measure(
        "kernel distance",
        "kernel units",
        "lower",
        "Squared maximum mean discrepancy of the features with a cubic kernel, without bias: its "
        "mean is 0 between equal distributions, so that it may come out negative.",
        "What moments up to the third do not tell; copies of the training data.",
        "Bińkowski et al. 2018, arXiv 1801.01401",
    ),
    "precision": Measure(
        "precision",
        "share",
        "floor",
        "Share of samples within the reach of some real observation, which goes as far as to its "
        "fifth nearest real neighbour. Are samples realistic?",
        "Modes that are missing. One real outlier with a wide reach makes room for bad samples: "
        "with few observations noise can have more precision than real data.",
        "Kynkäänniemi et al. 2019, arXiv 1904.06991",
    ),
    "recall": Measure(
        "recall",
        "share",
        "floor",
        "Share of real observations that lie within the reach of some sample. Are all kinds there?",
        "Quality; wild samples have a wide reach and cover much by it. How often a kind comes.",
        "Kynkäänniemi et al. 2019, arXiv 1904.06991",
    ),
    "density": Measure(
        "density",
        "neighbourhoods",
        "floor",
        "How many of the five-neighbour reaches of real observations a sample lies in, divided by "
        "five: about 1 for real data, more where samples crowd where the data are dense.",
        "Modes that are missing; more than 1 is no praise.",
        "Naeem et al. 2020, arXiv 2002.09797",
    ),
    "coverage": Measure(
        "coverage",
        "share",
        "floor",
        "Share of real observations that have at least one sample within their reach.",
        "How often a kind comes, as long as it comes; bad samples besides the covering ones.",
        "Naeem et al. 2020, arXiv 2002.09797",
    ),
}
"""Of features of samples, held against as many real ones."""

NOVELTY: dict[str, Measure] = {
    "c_t": Measure(
        "C_T",
        "Z score",
        "zero",
        "Are samples nearer to the training data than held-out data are? A Mann–Whitney Z score, "
        "combined over cells of the space and divided by its deviation between equal sets, unlike "
        "the paper's. Below −3: copies, or draws that are sharper than the data. Far above 0: "
        "samples lie further off than real data, which is underfitting.",
        "Whether nearness is memory (see membership); a few copies among many new samples (see "
        "suspects); copies in a form that the features do not know again, such as moved ones.",
        "Meehan, Chaudhuri and Dasgupta 2020, arXiv 2004.05675",
    ),
    "membership": Measure(
        "membership",
        "Z score",
        "zero",
        "Do samples know which real observations were trained on? Training observations and others "
        "like them are put together; the Z score is of how many samples have a training one as "
        "their nearest. Above 4: the training data are remembered. Below −4: the others were seen. "
        "Draws that are merely sharp or blurred have about 0. Not measured in features that were "
        "learned from the training data, to which these look special.",
        "A few copies among many new samples; copies in a form that the features do not know.",
        "after Schilling 1986, J. Am. Stat. Assoc. 81, 799",
    ),
    "authentic": Measure(
        "authenticity",
        "share",
        "floor",
        "Share of samples that are not nearer to a training observation than its own nearest "
        "neighbour in the training data is.",
        "Real held-out data do not get 1, but from a third to nearly 1, by their dimensions. Bad "
        "samples are authentic too.",
        "Alaa et al. 2022, arXiv 2102.08921",
    ),
    "nearer": Measure(
        "nearer than held-out",
        "share",
        "floor",
        "How often a sample is nearer to the training data than a held-out observation is: a half "
        "for real data, 1 for copies.",
        "A few copies among many; whether nearness is memory; a model that copies here and fails "
        "there can come to a half.",
    ),
    "suspects": Measure(
        "suspects",
        "share",
        "floor",
        "Share of samples nearer to a training observation, for how densely the training data lie "
        "there, than 99 % of held-out ones are: 1 % for real data. It sees a model that copies now "
        "and then.",
        "Whether nearness is memory: draws sharper than the data are suspects too. Copies that are "
        "no nearer than real data come to one another anyway, as in small spaces.",
    ),
}
"""Of features of samples, held against the training data."""

WHOLE: dict[str, Measure] = {
    "duplicates": Measure(
        "duplicates",
        "share",
        "lower",
        "Share of samples that equal a training observation, value for value.",
        "Copies with any change at all.",
    ),
    "leaked": Measure(
        "leaked",
        "share",
        "lower",
        "Share of samples that equal an observation held out from training, value for value. More "
        "than real data have: the samples were made from what they are judged by.",
        "Held-out observations with any change at all.",
    ),
    "repeats": Measure(
        "repeats",
        "share",
        "lower",
        "Share of samples that equal an earlier sample, value for value.",
        "A model that draws nearly the same again and again.",
    ),
    "saturation": Measure(
        "saturation",
        "ratio to data",
        "one",
        "Mean chroma of pixels, largest less smallest of R, G and B, divided by that of the data: "
        "below 1 the samples are greyer.",
        "Wrong colours of the right strength.",
    ),
    "sharpness": Measure(
        "sharpness",
        "ratio to data",
        "one",
        "Energy at high spatial frequencies divided by that of the data: below 1 the samples are "
        "blurred, above 1 noisy.",
        "Whether fine detail is in its place: noise of the right strength passes.",
    ),
    "modes": Measure(
        "modes covered",
        "modes",
        "floor",
        "How many modes of the density that data were drawn from have at least 1 % of the samples "
        "within three of their standard deviations.",
        "How often a mode comes beyond that; all that lies in none. Needs a density that is known, "
        "a mixture of round Gaussians.",
    ),
    "good": Measure(
        "good samples",
        "share",
        "floor",
        "Share of samples within three standard deviations of some mode of the density that data "
        "were drawn from.",
        "Modes that are missing; draws that are too near to the middle of theirs, of which more "
        "are good than of real data.",
    ),
    "class_accuracy": Measure(
        "class accuracy",
        "share",
        "floor",
        "Share of samples drawn for a class that the classifier takes for that class.",
        "The classifier's own mistakes; whether the samples of a class differ from one another.",
    ),
    "class_distance": Measure(
        "class distance",
        "total variation",
        "lower",
        "Half the sum of differences between the shares of the classes among samples and among "
        "real observations, both as the classifier sees them: 0 equal, 1 disjoint.",
        "Quality within a class. With few samples chance alone makes it larger than 0: it is read "
        "beside what real data get.",
    ),
}
"""Of samples themselves."""

CLASSES: dict[str, Measure] = {
    "classes_found": Measure(
        "classes found",
        "",
        "floor",
        "How many classes of the training data some sample is taken for; where each class is a "
        "mode, as in stacked MNIST, the modes found. Beside it stands among how many samples: of "
        "fewer, real data find fewer too.",
        "How often a class comes, as long as it comes; quality. A sample taken for the wrong class "
        "may find one that is missing.",
        "Metz et al. 2016, arXiv 1611.02163",
    ),
    "class_ratio": Measure(
        "times its share",
        "ratio to data",
        "one",
        "How often a class comes among samples, divided by how often it comes in the training "
        "data, of the class that comes least for that and of the one that comes most.",
        "Which classes lie between the two. Of few samples chance alone draws the two apart: read "
        "them beside those of real data.",
    ),
    "reverse_kl": Measure(
        "reverse KL",
        "nats",
        "lower",
        "Kullback–Leibler divergence of the classes of samples from those of the training data: "
        "large where some classes come far too often.",
        "Quality; a rare class that is missing hardly counts. Chance makes it larger than 0, by "
        "about half the classes over the samples: read it beside that of real data.",
        "Srivastava et al. 2017, arXiv 1705.07761; Lin et al. 2018, arXiv 1712.04086",
    ),
}
"""Of the classes that a classifier takes samples for, beside their labels' shares in training."""

LIKELIHOOD: dict[str, Measure] = {
    "likelihood": Measure(
        "likelihood",
        "bits/dim; of vectors, nats",
        "lower",
        "Bits that a perfect coder with this model needs for each value of a test observation. Of "
        "vectors it is the mean log-density in nats, and there higher is better.",
        "How samples look, in either direction.",
        "Theis, van den Oord and Bethge 2016, arXiv 1511.01844",
    ),
    "gap": Measure(
        "gap",
        "bits/dim; of vectors, nats",
        "zero",
        "How much worse test observations fare than training observations: overfitting.",
        "Whether the model is any good: one that fits neither has no gap.",
    ),
    "shuffled": Measure(
        "shuffled contexts",
        "bits/dim; of vectors, nats",
        "above",
        "How much worse the likelihood becomes when observations get another one's context. Where "
        "the interval reaches 0, the model ignores what it is told. Of vectors of observations in "
        "groups, such as pictures of persons, it is that of another group; within groups, that of "
        "another one of the same, and the last column is the difference: what tells the groups.",
        "More is not better: an overconfident model loses more. Whether samples follow their "
        "context: see the class accuracy.",
    ),
    "kl": Measure(
        "KL to the truth",
        "nats",
        "lower",
        "Kullback–Leibler divergence from the density that the data were drawn from to the model, "
        "over the test observations: what the model really lacks. For a bound, an upper limit.",
        "Needs a density that is known. It hardly punishes samples where no data are.",
    ),
}
"""Of what models say of observations."""

LABELS: dict[str, Measure] = {
    "accuracy": Measure(
        "accuracy",
        "share",
        "higher",
        "Share of test observations whose class Bayes' rule finds: argmax over y of "
        "log p(x | y) + log p(y).",
        "How sure it was.",
    ),
    "ece": Measure(
        "calibration error",
        "share",
        "lower",
        "Expected calibration error: how far the confidence in the class found is from the share "
        "found rightly, over 15 bins of confidence. With few observations chance alone makes it "
        "larger than 0; the floor is what a perfectly calibrated one would get.",
        "Errors of opposite sign within a bin; the probabilities of the other classes.",
        "Guo et al. 2017, arXiv 1706.04599",
    ),
}
"""Of a conditional model as a classifier."""

MEASURES: dict[str, Measure] = {
    **LIKELIHOOD, **FIDELITY, **NOVELTY, **WHOLE, **CLASSES, **LABELS,
}  # fmt: skip
"""All of them by the keys that `results.json` has them under."""
