"""What real data get of the judge is measured once for all tests that judge on the same data.

It is half of most judgements, and of the digits always the same.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import pytest

from simulacra.judging.figures import sample_judge
from simulacra.judging.figures.records import References
from simulacra.judging.figures.sample_judge import SampleJudge

_OWN = dict(vars(sample_judge))
measure = SampleJudge.references.func
_found: dict[str, References] = {}


def keep(patch: pytest.MonkeyPatch) -> None:
    """Let judges find what was measured of the same data by the same views.

    Args:
        patch: Undoes it.
    """
    kept = cached_property(_references)
    kept.__set_name__(SampleJudge, "references")
    patch.setattr(SampleJudge, "references", kept)


def _references(judge: SampleJudge) -> References:
    if any(vars(sample_judge)[name] is not own for name, own in _OWN.items()):
        # a test that measures otherwise
        return measure(judge)
    asked = asked_of(judge)
    if asked not in _found:
        _found[asked] = measure(judge)
    return _found[asked]


def asked_of(judge: SampleJudge) -> str:
    """All that the figures depend on."""
    digest = hashlib.sha256(f"{judge.seed} {judge.count} {judge.data.spec}".encode())
    tensors = [judge.train[:], judge.validation[:], judge.reference, judge.real, judge.real_classes]
    for seen in judge.seen:
        digest.update(f"{seen.view.name} {seen.view.learned}".encode())
        tensors += [seen.train, seen.validation, seen.reference, seen.view.features(judge.real)]
        tensors += [seen.view.log_probabilities(judge.real)]
    for tensor in tensors:
        if tensor is not None:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
