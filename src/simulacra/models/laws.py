"""`check_model`: the laws that every model keeps, tried on anyone's own.

A model of this package and one of the user's are held to the same book. The laws stand in
`lawbook`, those of a family in its folder; each class says where its own are (`Model.laws`).
"""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from inspect import Parameter
from itertools import chain
from typing import Any

from simulacra.ground.errors import BrokenLaw, MissingCapability, UsageError, one_line
from simulacra.ground.spec import DataSpec
from simulacra.models.lawbook.law import Law
from simulacra.models.lawbook.trials import FORMS, trial
from simulacra.models.model import Model
from simulacra.models.registry import find
from simulacra.nn.context import MapContextKind

_MOST_STATES = 4096
"""Possible observations that a law looks at, at most."""

_MOST_VALUES = 128
"""Values that a law changes or draws one after another, at most: its time grows as their square."""

_MOST_AXES = 2
"""Values of a vector that a law integrates over, at most."""


@dataclass(frozen=True)
class Case:
    """One law, asked of one model on one form of data.

    Args:
        law: The law.
        kind: The model's class.
        keywords: What it is built with.
        form: What the form of the data is called.
        spec: The form.
    """

    law: Law
    kind: type[Model]
    keywords: Mapping[str, Any]
    form: str
    spec: DataSpec

    def check(self) -> bool:
        """Build the model and try the law on it.

        Returns:
            Whether the law had anything to ask of this model.

        Raises:
            BrokenLaw: If the model does not keep it, in a sentence that names the law.
        """
        model = self._built()
        try:
            if self.law.concerns is not None and not self.law.concerns(model):
                return False
            self.law.check(model)
        except BrokenLaw as error:
            raise self._broken(self.law.name, str(error)) from error
        except Exception as error:
            # a model of the user's own may raise anything: that is what is wrong with it
            raise self._broken(self.law.name, _raised(error)) from error
        return True

    def _built(self) -> Model:
        """The model, which keeps its keywords as they were given."""
        try:
            model = trial(self.kind, self.spec, dict(self.keywords), self.law.scale)
        except MissingCapability as error:
            what = f"`takes` includes {self.form}, which the constructor refuses: {error}"
            raise self._broken("takes", what) from error
        except Exception as error:
            what = f"it cannot be built: {_raised(error)} (data that it is not for: see `takes`)"
            raise self._broken("keywords", what) from error
        defaults = {key: each.default for key, each in self.kind.signature().items()}
        for key, value in {**defaults, **self.keywords}.items():
            if not hasattr(model, key):
                raise self._broken("keywords", f"the keyword {key} is not kept as an attribute")
            # under another name, where a method has its own
            kept = model.keywords[key]
            if value is not Parameter.empty and kept != value:
                raise self._broken("keywords", f"{key}={value!r} is kept as {kept!r}")
        return model

    def _broken(self, law: str, what: str) -> BrokenLaw:
        told = ", ".join(f"{key}={value!r}" for key, value in self.keywords.items())
        where = f"{self.kind.__name__}({told}), data {self.form} {self.spec.event_shape}"
        return BrokenLaw(f"{self.kind.__name__} breaks the law `{law}`: {what} [{where}]")


def laws_of(kind: type[Model]) -> list[Law]:
    """The laws of a class and of its bases, as far as they are about what it can do."""
    # those of its own family first, which say best what is wrong
    places = [place for base in kind.__mro__ for place in vars(base).get("laws", ())]
    found = [law for place in places for law in importlib.import_module(place).LAWS]
    return [law for law in found if issubclass(kind, law.of)]


def cases(
    kind: type[Model],
    *,
    keywords: Mapping[str, Any] | None = None,
    specs: Mapping[str, DataSpec] | None = None,
    every: bool = False,
) -> Iterator[Case]:
    """What a model is asked, known without building it.

    Each law is asked on its usual form of data with the first of the model's small keywords, and
    once more elsewhere: by turns, so that over all laws every small keyword and every form of
    data is met.

    Args:
        kind: The model's class.
        keywords: To be built with, in place of its small keywords.
        specs: Forms of data by their names, in place of those of each law.
        every: Every law with all small keywords on all of its forms instead.
    """
    small = _variants(kind, keywords)
    # a keyword may choose a subclass, which has laws of its own
    laws = {id(law): law for each, _ in small for law in laws_of(each)}
    possible = [_possible(law, small, specs) for law in laws.values()]
    if every:
        yield from chain.from_iterable(possible)
        return
    # how many cases show something: what few show is met first
    shown = Counter(mark for asked in possible for case in asked for mark in _marks(case))
    met: set[object] = set()

    def worth(case: Case) -> tuple[float, float, bytes]:
        *alone, together = (1 / shown[mark] * (mark not in met) for mark in _marks(case))
        return sum(alone), together, _lot(case)

    for asked in possible:
        usual, rare = asked[:1], asked[1:]
        for case in usual:
            met.update(_marks(case))
            yield case
        if rare:
            case = max(rare, key=worth)
            met.update(_marks(case))
            yield case


def check_model(
    model: type[Model] | str,
    *,
    keywords: Mapping[str, Any] | None = None,
    specs: Mapping[str, DataSpec] | None = None,
    every: bool = False,
) -> list[str]:
    """Try every law on a model: that no value sees a later one, that samples follow the likelihood.

    The model is built on tiny data of the forms that it takes, with weights of no special value.
    A model of the usual capabilities takes a few seconds.

    Example:
        >>> import simulacra as sim
        >>> bits = sim.DataSpec((1, 2, 2), levels=2)
        >>> "normalisation" in sim.check_model("made", specs={"bits": bits})
        True

    Args:
        model: A class, or a name: `made`, or `my.py:MyModel` for one of your own.
        keywords: To build it with; otherwise its `small` ones, and where it has none, its defaults.
        specs: Forms of data by names of yours, in place of the usual ones. Laws that look at all
            possible observations are asked where there are at most 4096, those that integrate over
            vectors where these have one or two values, and those that change every value in turn
            where there are at most 128: of larger data, ask them of a small form beside it.
        every: Every law with all small keywords on all forms, which takes minutes.

    Returns:
        The laws that it was held to, and keeps.

    Raises:
        BrokenLaw: At the first law that it does not keep, with the law's name.
        UsageError: If it is no model, or takes none of the data.
    """
    _refuse_what_is_no_form(specs)
    kind = find(model) if isinstance(model, str) else model
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        raise UsageError(f"check_model takes a class of models or its name, got {model!r}")
    if kind.__abstractmethods__:
        raise UsageError(f"{kind.__name__} lacks {', '.join(sorted(kind.__abstractmethods__))}")
    kept: dict[str, None] = {}
    for case in cases(kind, keywords=keywords, specs=specs, every=every):
        if case.check():
            kept[case.law.name] = None
    if not kept:
        raise UsageError(f"{kind.__name__} takes none of these data: pass specs that it takes")
    return list(kept)


def _refuse_what_is_no_form(specs: Any) -> None:  # noqa: ANN401 (whatever a user passes)
    told = "specs are forms of data by name, as {'x': DataSpec((1, 2, 2), levels=3)}; got"
    if specs is not None and not isinstance(specs, Mapping):
        raise UsageError(f"{told} {specs!r}")
    for name, spec in (specs or {}).items():
        if not isinstance(spec, DataSpec):
            raise UsageError(f"{told} {name!r}: {spec!r}")


def _raised(error: Exception) -> str:
    return f"it raises {type(error).__name__}: {one_line(error)}"


def _possible(
    law: Law,
    small: list[tuple[type[Model], dict[str, Any]]],
    specs: Mapping[str, DataSpec] | None,
) -> list[Case]:
    """All that a law could be asked on, the usual case first."""
    asked = {form: FORMS[form] for form in law.forms} if specs is None else specs
    return [
        Case(law, kind, given, form, spec)
        for kind, given in ((each, {**own, **law.keywords}) for each, own in small)
        if any(law is one for one in laws_of(kind))
        for form, spec in asked.items()
        if kind.takes_with(**given).includes(spec)
        if _fits(law, spec)
        if _can_be_told(given.get("context", "none"), spec)
        if not law.told or given.get("context", "none") != "none"
    ]


def _variants(
    kind: type[Model], keywords: Mapping[str, Any] | None
) -> list[tuple[type[Model], dict[str, Any]]]:
    """Keywords to build with, and the class that they choose; some tell it of its context."""
    small = [dict(own) for own in (kind.small if keywords is None else (keywords,))]
    parameters = kind.signature()
    if "context" in parameters and not any("context" in each for each in small):
        small += [{**small[0], "context": told} for told in ("label", "vector")]
    return [(kind.class_for(**each), each) for each in small]


def _fits(law: Law, spec: DataSpec) -> bool:
    """Whether a law can be asked on data of a form that its user chose."""
    if all((FORMS[form].levels is None) != (spec.levels is None) for form in law.forms):
        return False
    if law.value_by_value and spec.dims > _MOST_VALUES:
        return False
    if not law.states:
        return True
    if spec.levels is None:
        return spec.dims <= _MOST_AXES
    # the logarithm of a number that may have thousands of digits
    return spec.dims * math.log(spec.levels) <= math.log(_MOST_STATES) + 1e-9


def _can_be_told(context: MapContextKind, spec: DataSpec) -> bool:
    """Whether data of a form have what a model is to be told."""
    needed = {"none": 1, "label": spec.classes, "vector": spec.context_width, "map": spec.map_width}
    return needed[context] > 0


def _marks(case: Case) -> tuple[object, object, object]:
    """What a case may be the first to meet: its keywords, its form, and both together."""
    given = tuple(sorted((key, repr(value)) for key, value in case.keywords.items()))
    return given, case.form, (given, case.form)


def _lot(case: Case) -> bytes:
    """Chooses among cases that are worth the same; `hash` differs from process to process."""
    told = f"{case.law.name} {case.kind.__name__} {sorted(case.keywords.items())} {case.form}"
    return blake2b(told.encode(), digest_size=8).digest()
