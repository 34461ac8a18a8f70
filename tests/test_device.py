"""The law of the device, without another one: what is left on the CPU is seen, and named."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from simulacra.ground.errors import BrokenLaw
from simulacra.models.flow.nice import NICE
from simulacra.models.lawbook import device
from simulacra.models.lawbook.device import ELSEWHERE, Elsewhere
from simulacra.models.lawbook.trials import FORMS
from simulacra.models.laws import Case
from simulacra.models.mixture.gmm import GMM
from simulacra.models.model import Model
from toys import Codebook, SampledAutoencoder, WarmVAE
from wrong_models import Table

(LAW,) = device.LAWS


def check(kind: type[Model], form: str = "grey") -> None:
    assert Case(LAW, kind, kind.small[0], form, FORMS[form]).check()


@pytest.mark.parametrize("kind", [Table, Codebook, SampledAutoencoder, WarmVAE])
def test_models_of_every_way_to_learn_keep_it(kind: type[Model]) -> None:
    check(kind)


PLANTED = [
    (NICE, "prepare"), (NICE, "loss"), (NICE, "validation_loss"), (NICE, "log_likelihood"),
    (NICE, "encode"), (Codebook, "decode"), (NICE, "sample"), (NICE, "prior"),
    (Table, "sample_steps"), (Table, "complete"), (Codebook, "moved"),
    (GMM, "statistics"), (GMM, "maximise"),
    (SampledAutoencoder, "_begin_mixture"), (SampledAutoencoder, "_surprise"),
]  # fmt: skip
CALLED_BY = {
    "log_likelihood": "validation_loss", "prior": "sample", "statistics": "update",
    "maximise": "update", "_begin_mixture": "prepare", "_surprise": "validation_loss",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "method"), PLANTED)
def test_a_tensor_made_on_the_cpu_is_seen_in_each_method(kind: type[Model], method: str) -> None:
    whole = getattr(kind, method)

    def wrong(self: Model, *args: Any, **options: Any) -> Any:
        own = next(x for x in itertools.chain(self.parameters(), self.buffers()) if x.ndim)
        own.detach() + torch.zeros(own.shape)
        return whole(self, *args, **options)

    planted = type("Planted", (kind,), {method: wrong})
    met = rf"the law `device`: `{CALLED_BY.get(method, method)}` calls `\w*add\w*` with \("
    with pytest.raises(BrokenLaw, match=met):
        check(planted)


def test_what_is_no_buffer_stays_behind() -> None:
    class Forgets(NICE):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            self.offset = torch.zeros(self.spec.event_shape)

        def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return super().encode(x, context) + self.offset

    with pytest.raises(
        BrokenLaw, match=re.escape("`encode` calls `add` with (1, 2, 2) of the CPU")
    ):
        check(Forgets)


def test_an_answer_on_the_cpu_is_seen() -> None:
    class Answers(NICE):
        def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return super().encode(x, context).cpu()

    with pytest.raises(BrokenLaw, match="`encode` gives a tensor of the CPU"):
        check(Answers)


@pytest.fixture
def there():
    with Elsewhere() as mode:
        yield mode


@pytest.fixture
def x(there):
    return there.bring(torch.rand(3, 2))


def test_what_is_made_from_a_tensor_is_where_it_is(there, x):
    assert x.device == ELSEWHERE
    assert torch.zeros(2).device != ELSEWHERE
    made = [
        x + 1, x[0], x.T, x.new_zeros(2), torch.zeros_like(x), torch.arange(2, device=x.device),
        torch.as_tensor(x), torch.tensor([1.0], device=ELSEWHERE), torch.zeros(2).to(x.device),
        torch.zeros(2).to(x), torch.zeros(2, dtype=int).type_as(x), nn.Parameter(x), x.double(),
        *torch.max(x, 0), *x.split(1), torch.eye(2).to("cpu:1", torch.float64),
        x * torch.tensor(2.0), torch.where(x > 0, x, torch.tensor(0.0)),
        torch.zeros(2).to(device=ELSEWHERE),
    ]  # fmt: skip
    assert all(map(there.has, made))
    left = [
        x.cpu(), x.to("cpu"), torch.full((2,), x[0, 0]), torch.tensor([float(x[0, 0])]),
        torch.arange(x.sum()), x.to(torch.zeros(1)), torch.zeros(2).copy_(x[0]),
    ]  # fmt: skip
    assert not any(map(there.has, left))
    # which did not take it along
    assert there.has(x)


def test_what_a_gpu_refuses_is_refused(there, x):
    here, number = torch.ones(2), torch.tensor(1.0)
    for wrong in (
        lambda: x + here, lambda: x @ here, lambda: here.mul_(x[0, 0]),
        lambda: torch.cat([x[0], here]), lambda: torch.stack([x[0, 0], number]),
        lambda: here[x[0].long()],
        lambda: x + torch.from_numpy(np.ones(2)), lambda: x + number.expand(2),
        lambda: nn.functional.linear(x, torch.ones(1, 2)),
        lambda: torch.where(x > 0, x, here), lambda: x.numpy(), lambda: np.asarray(x),
    ):  # fmt: skip
        with pytest.raises(BrokenLaw, match="it calls `"):
            wrong()


def test_numbers_copies_and_indices_may_come_from_the_cpu(there, x):
    assert there.has(x[torch.tensor([0]), torch.arange(2, device=x.device)])
    assert not there.has(torch.ones(2)[x[0, 0].long()])
    x[:, 0] = torch.ones(3)
    x[1].copy_(torch.zeros(2))
    assert not there.has(torch.zeros(2).copy_(x[0]))
    layer = nn.Linear(2, 2).to(x.device)
    assert there.has(layer(x))
    assert x[:, 0].tolist() == [1.0, 0.0, 1.0]
    assert float(x.sum()) == float(x.cpu().sum())


def test_gradients_are_where_their_weights_are(there, x):
    weights = nn.Parameter(x)
    (weights**2).sum().backward()
    assert weights.grad is not None
    assert there.has(weights.grad)
    (again,) = torch.autograd.grad((weights**2).sum(), weights, create_graph=True)
    assert there.has(again * x)


def test_within_functional_transforms_nothing_is_refused(there, x):
    squares = torch.func.vmap(lambda row: (row * row).sum())(x)
    assert (squares + x[:, 0]).shape == (3,)


def test_nothing_is_left_behind():
    with Elsewhere() as there:
        x = there.bring(torch.ones(2))
    with Elsewhere() as again:
        assert not again.has(x)
