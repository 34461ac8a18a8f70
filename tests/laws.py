"""The laws that models keep; each takes a model and raises AssertionError where it is broken.

`test_contract.py` holds them over the registry, `test_planted_faults.py` over broken models.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import MethodType

import torch
from scipy import stats
from torch import Tensor

from simulacra.ground.randomness import seeded
from simulacra.models.autoregressive.base import Autoregressive, level_logits
from simulacra.models.flow.base import Flow
from simulacra.models.model import Completion, Likelihood, Model, Sampling


def randomise(model: Model, scale: float = 0.3, seed: int = 0) -> Model:
    """Weights of no special value, so that nothing holds because it starts at zero."""
    with seeded(seed), torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape))
    return model.eval()


def states(model: Model) -> Tensor:
    """Every observation of a tiny discrete space."""
    assert model.spec.levels is not None
    every = itertools.product(range(model.spec.levels), repeat=model.spec.dims)
    return torch.tensor(list(every)).view(-1, *model.spec.event_shape)


def observations(model: Model, n: int, seed: int = 1) -> Tensor:
    with seeded(seed):
        if model.spec.levels is None:
            return torch.randn(n, *model.spec.event_shape)
        return torch.randint(model.spec.levels, (n, *model.spec.event_shape))


def contexts(model: Model, n: int) -> Tensor | None:
    if model.context == "none":
        return None
    if model.context == "label":
        return torch.arange(n) % model.spec.classes
    with seeded(2):
        return torch.randn(n, model.spec.context_width)


def one_context(model: Model, n: int) -> Tensor | None:
    told = contexts(model, 2)
    return None if told is None else told[1:].expand(n, *told.shape[1:])


@torch.no_grad()
def sums_to_one(model: Likelihood) -> None:
    """Exact: Σ p(x) = 1. A bound: its expected sum is at most 1."""
    x = states(model)
    told = one_context(model, len(x))
    if model.exact:
        double = next(iter(model.state_dict().values())).dtype == torch.float64
        total = float(model.log_likelihood(x, told).double().exp().sum())
        assert abs(total - 1) < (1e-10 if double else 1e-5), f"sums to {total}"
        return
    totals = torch.stack(
        [model.log_likelihood(x, told, seed=seed).double().exp().sum() for seed in range(64)]
    )
    error = 4 * float(totals.std()) / 8
    assert float(totals.mean()) <= 1 + error + 1e-9, f"sums to {totals.mean():.4f} ± {error:.4f}"
    assert float(totals.mean()) > 0.01, "a bound this loose says nothing"


@torch.no_grad()
def is_causal(model: Autoregressive) -> None:
    """A value changes no conditional up to its own; it reaches all later ones but the blind."""
    x = observations(model, 16)
    told = contexts(model, 16)
    before = level_logits(model.conditionals(x, told), x, model.spec.levels).flatten(1, -2)
    rank = torch.empty(model.spec.dims, dtype=torch.long)
    rank[model.order] = torch.arange(model.spec.dims)
    blind = model.blind_spot()
    for i in range(model.spec.dims):
        changed = x.flatten(1).clone()
        changed[:, i] = (changed[:, i] + 1) % model.spec.levels
        conditionals = model.conditionals(changed.view_as(x), told)
        after = level_logits(conditionals, x, model.spec.levels).flatten(1, -2)
        moved = (after != before).any(-1).any(0)
        later = rank > rank[i]
        assert not bool((moved & ~later).any()), f"value {i} is seen too early"
        assert torch.equal(moved, later & ~blind[i]), f"value {i} does not reach what it should"


@torch.no_grad()
def samples_incrementally(model: Autoregressive) -> None:
    """The model's own sampler and the plain one draw the same pictures from the same numbers."""
    model.double()
    for seed in range(2):
        told = contexts(model, 32)
        with seeded(seed):
            *_, own = model.sample_steps(32, told)
        # for a while the model has no cached form
        model.in_turn = MethodType(Autoregressive.in_turn, model)  # type: ignore[method-assign]
        with seeded(seed):
            *_, plain = model.sample_steps(32, told)
        del model.in_turn
        assert torch.equal(own, plain), "the two samplers differ"
    model.float()


@torch.no_grad()
def predicts_in_turn(model: Autoregressive) -> None:
    """The cached predictions are the parallel ones: 1e-12 in float64, 1e-5 in float32.

    Or, where that is more, what rounding does to the parallel pass itself.
    """
    x, told = observations(model, 5), contexts(model, 5)

    def parallel() -> Tensor:
        logits = level_logits(model.conditionals(x, told), x, model.spec.levels)
        return logits.flatten(1, -2).softmax(-1)

    model.double()
    exact = parallel()
    for double in (True, False):
        model.double() if double else model.float()
        expected = parallel()
        rounding = 4 * float((expected - exact).abs().max())
        canvas = torch.zeros_like(x)
        flat = canvas.view(len(x), -1)
        for position, logits in zip(model.order.tolist(), model.in_turn(canvas, told), strict=True):
            gap = float((logits.softmax(-1) - expected[:, position]).abs().max())
            allowed = 1e-12 if double else max(1e-5, rounding)
            assert gap < allowed, f"value {position} is off by {gap:.1e}"
            # known only now
            flat[:, position] = x.flatten(1)[:, position]
    model.float()


def is_close_in_bfloat16(model: Autoregressive) -> None:
    """Under autocast every prediction moves by little of what the network has to say of it.

    That is how far predictions of a value are from one another, which differ by what came before:
    a network that is deaf under autocast is as far off as they are.
    """
    x = observations(model, 32)

    def predicted() -> Tensor:
        return level_logits(model.conditionals(x), x, model.spec.levels).flatten(1, -2)

    with torch.no_grad():
        exact = predicted()
        with torch.autocast("cpu", torch.bfloat16):
            low = predicted()
    assert low.dtype == torch.float32
    # the first value has nothing before it
    later = model.order[1:]
    moved = (low - exact)[:, later].square().mean(0)
    says = exact[:, later].var(0)
    share = float((moved.sum() / says.sum()).sqrt())
    assert share < 0.25, f"bfloat16 moves predictions by {share:.3f} of what they vary"
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(x)["loss"]
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@torch.no_grad()
def samples_as_it_says(model: Likelihood, p: Tensor | None = None) -> None:
    """χ² of 100,000 draws against the likelihood, over a tiny space."""
    assert isinstance(model, Sampling)
    x = states(model)
    told = one_context(model, len(x))
    p = model.log_likelihood(x, told).double().exp() if p is None else p
    n = 100_000
    with seeded(7):
        drawn = model.sample(n, one_context(model, n)).flatten(1)
    place = model.spec.levels ** torch.arange(model.spec.dims - 1, -1, -1)
    counts = torch.bincount((drawn * place).sum(1), minlength=len(x)).double()
    # cells with few expected draws are put together
    many = p * n >= 10
    observed = torch.cat([counts[many], counts[~many].sum()[None]])
    expected = torch.cat([p[many] * n, (p[~many].sum() * n)[None]])
    keep = expected > 0
    statistic = float(((observed - expected)[keep] ** 2 / expected[keep]).sum())
    value = stats.chi2.sf(statistic, int(keep.sum()) - 1)
    assert value >= 1e-6, f"p = {value:.1e}: samples disagree with the likelihood"


def inverts(model: Flow) -> None:
    """invert ∘ transform is the identity, and the log-determinant is autograd's."""
    double = model.shift.dtype == torch.float64
    with seeded(3):
        y = torch.randn(8, *model.spec.event_shape, dtype=model.shift.dtype)
    told = contexts(model, 8)
    with torch.no_grad():
        z, ladj = model.transform(y, told)
        error = float((model.invert(z, told) - y).abs().max())
        assert error < (1e-9 if double else 1e-4), f"inverse error {error:.1e}"
    for i in range(len(y)):
        row = None if told is None else told[i : i + 1]
        matrix = torch.autograd.functional.jacobian(
            lambda flat, row=row: model.transform(flat.view(1, *model.spec.event_shape), row)[
                0
            ].flatten(),
            y[i].flatten(),
        )
        true = torch.linalg.slogdet(matrix.double())[1]
        gap = abs(float(true - ladj[i]))
        assert gap < (1e-8 if double else 1e-3), f"log-determinant is off by {gap:.1e}"


def moves_one_player(model: Model) -> None:
    """Each turn's loss gives gradients to its own player, all of it, and to no one else."""
    x, told = observations(model, 8), contexts(model, 8)
    model.train()
    for turn in model.turns:
        model.zero_grad(set_to_none=True)
        model.loss(x, told, turn=turn)["loss"].backward()
        own = {id(p) for p in model.player(turn).parameters()}
        for name, parameter in model.named_parameters():
            moved = parameter.grad is not None and bool((parameter.grad != 0).any())
            assert moved == (id(parameter) in own), f"{name} in the turn of the {turn}"
        assert all(p.requires_grad for p in model.parameters()), "a parameter stays frozen"
    model.eval()


@torch.no_grad()
def completes(model: Completion) -> None:
    """Observed values stay, hidden ones are drawn, whatever the hidden input was."""
    x, told = observations(model, 64), contexts(model, 64)
    with seeded(5):
        observed = torch.rand(model.spec.event_shape) < 0.5
        observed.view(-1)[:2] = torch.tensor([True, False])
        each = torch.rand(x.shape) < 0.5
    for mask in (observed, each, torch.ones_like(observed), torch.zeros_like(observed)):
        with seeded(6):
            drawn = model.complete(x, mask, told)
        model.spec.check(drawn)
        kept = mask.expand_as(x)
        assert torch.equal(drawn[kept], x[kept]), "an observed value changed"
        other = torch.where(kept, x, torch.zeros_like(x))
        with seeded(6):
            assert torch.equal(model.complete(other, mask, told), drawn), "hidden values are seen"


@torch.no_grad()
def completes_by_its_conditional(model: Completion) -> None:
    """Where a completion claims to be exact: χ² against p(x) / Σ_hidden p(x)."""
    assert isinstance(model, Likelihood)
    x = states(model)
    observed = torch.zeros(model.spec.dims, dtype=torch.bool)
    observed[model.order[: model.spec.dims // 2] if isinstance(model, Autoregressive) else 1] = True
    observed = observed.view(model.spec.event_shape)
    assert model.completes_exactly(observed)
    given = x[len(x) // 3]
    matches = (x == given)[:, observed].all(1)
    p = model.log_likelihood(x, one_context(model, len(x))).double().exp() * matches
    n = 50_000
    with seeded(8):
        drawn = model.complete(
            given.expand(n, *given.shape), observed, one_context(model, n)
        ).flatten(1)
    place = model.spec.levels ** torch.arange(model.spec.dims - 1, -1, -1)
    counts = torch.bincount((drawn * place).sum(1), minlength=len(x)).double()
    expected = p / p.sum() * n
    assert counts[~matches].sum() == 0
    many = expected >= 10
    statistic = float(((counts - expected)[many] ** 2 / expected[many]).sum())
    value = stats.chi2.sf(statistic, int(many.sum()) - 1)
    assert value >= 1e-6, f"p = {value:.1e}: completions disagree with the conditional"


@torch.no_grad()
def resamples_towards_its_conditional(model: Autoregressive) -> None:
    """Of more candidates the completions come nearer to p(hidden | observed), until they are it.

    Total variation over a tiny space, of which the values that come last are observed.
    """
    x = states(model)
    observed = torch.zeros(model.spec.dims, dtype=torch.bool)
    observed[model.order[model.spec.dims // 2 :]] = True
    observed = observed.view(model.spec.event_shape)
    assert not model.completes_exactly(observed)
    log_p = model.log_likelihood(x, one_context(model, len(x))).double()
    n = 6_000
    place = model.spec.levels ** torch.arange(model.spec.dims - 1, -1, -1)

    def gap(given: Tensor, candidates: int) -> float:
        p = log_p.exp() * (x == given)[:, observed].all(1)
        with seeded(candidates):
            drawn = model.complete(
                given.expand(n, *given.shape), observed, one_context(model, n),
                candidates=candidates,
            )  # fmt: skip
        counts = torch.bincount((drawn.flatten(1) * place).sum(1), minlength=len(x)).double()
        assert counts[(x != given)[:, observed].any(1)].sum() == 0, "an observed value changed"
        return float((counts / n - p / p.sum()).abs().sum()) / 2

    # of all observations the one whose completion from what lies before is worst
    worst = max(x[:: max(1, len(x) // 16)], key=lambda given: gap(given, 1))
    one, four, many = (gap(worst, candidates) for candidates in (1, 4, 32))
    assert one > 0.05, "a mask that is hardly approximate shows nothing"
    assert four < 0.8 * one, f"four candidates are as far off as one: {four:.3f} and {one:.3f}"
    # the bias of 32 candidates, and the noise of so many draws
    assert many < 0.05, f"32 candidates are still off by {many:.3f}"


@torch.no_grad()
def scores_alone(model: Likelihood) -> None:
    """An observation's score is the same in every batch."""
    x, told = observations(model, 7), contexts(model, 7)
    together = model.log_likelihood(x, told, draws=3)
    alone = torch.cat(
        [
            model.log_likelihood(x[i : i + 1], None if told is None else told[i : i + 1], draws=3)
            for i in range(7)
        ]
    )
    # float32 has seven digits: a score of many nats a dimension is held to as many
    scale = (together.abs() / model.spec.dims).clamp_min(1)
    gap = float(((together - alone).abs() / scale).max()) / model.spec.dims
    assert gap < 1e-5, f"differs by {gap:.1e} nat a dimension"


@torch.no_grad()
def keeps_contexts_apart(model: Model) -> None:
    """Another context in row j leaves row i alone, and changes row j."""
    told = contexts(model, 4)
    assert told is not None
    other = told.clone()
    other[2] = told[3]
    x = observations(model, 4)
    asked: list[Callable[[Tensor], Tensor]] = []
    if isinstance(model, Likelihood):
        asked.append(lambda c: model.log_likelihood(x, c))
    if isinstance(model, Flow):
        asked.append(lambda c: model.encode(x, c))
    if isinstance(model, Sampling):
        asked.append(lambda c: model.sample(4, c))
    for ask in asked:
        with seeded(4):
            before = ask(told)
        with seeded(4):
            after = ask(other)
        rest = [0, 1, 3]
        assert torch.equal(before[rest], after[rest]), "a row heard another row's context"
    if isinstance(model, Likelihood):
        scores = [model.log_likelihood(x, c) for c in (told, other)]
        assert scores[0][2] != scores[1][2], "the context changes nothing"
