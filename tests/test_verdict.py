"""The verdict says no more than the figures bear: who is ahead, who ties, what is a copy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reported import copies, fig, five, full, model, pair, render, share, table, verdict, words
from simulacra.report.copying import suspects_by_chance


def test_the_verdict_names_the_best_and_those_without_a_likelihood() -> None:
    assert verdict(five()) == (
        "On digits, with 40s of training each, pixelcnn gives the fewest bits per dimension among "
        "the 4 models with a likelihood (pixelcnn = 1.853 ± 0.012 bits/dim; next: gmm = 2.43 ± "
        "0.02 bits/dim). For vae and nice the figure is only an upper limit (≤): the true one "
        "may be lower. Without a likelihood, to be judged by the samples: gan."
    )


@pytest.mark.parametrize(("apart", "tied"), [(1.9, True), (2.1, False)])
def test_a_tie_is_below_two_combined_standard_errors(apart: float, tied: bool) -> None:
    results = five()
    best, other = (m["likelihood"] for m in (results["models"][2], results["models"][0]))
    combined = math.hypot(best["standard_error"], other["standard_error"])
    other["bits_per_dim"] = best["bits_per_dim"] + apart * combined
    assert ("pixelcnn and gmm tie for the fewest bits" in verdict(results)) is tied
    assert ("pixelcnn gives the fewest bits" in verdict(results)) is not tied
    assert ("by less than two combined standard errors" in verdict(results)) is tied
    assert render(results, {}).count('<tr class="best">') == (2 if tied else 1)


def test_a_winner_by_a_bound_needs_no_caution_and_a_missing_error_is_a_tie() -> None:
    results = five()
    results["models"] = [m for m in results["models"] if m["model"] in ("vae", "nice")]
    assert "For nice the figure is only an upper limit (≤)" in verdict(results)
    results["models"][0]["likelihood"]["standard_error"] = None
    assert "vae and nice tie" in verdict(results)
    assert "without standard errors nothing tells them apart" in verdict(results)
    assert "For vae and nice the figure is only an upper" in verdict(results)


def test_nothing_is_ranked_where_nothing_can_be() -> None:
    results = five()
    results["models"] = [results["models"][3]]
    assert "nothing is ranked" in verdict(results)
    assert '<tr class="best">' not in render(results, {})
    results["models"] = five()["models"][2:4]
    assert "only one model has a likelihood that can be compared: pixelcnn" in verdict(results)
    assert '<tr class="best">' not in render(results, {})


def near(results, apart):
    """gmm's figure put so many bits behind pixelcnn's, by whose errors alone they would differ."""
    best, other = results["models"][2]["likelihood"], results["models"][0]["likelihood"]
    for each in (best, other):
        each["standard_error"] = 0.02
    other["bits_per_dim"] = best["bits_per_dim"] + apart
    return results


@pytest.mark.parametrize("turned", [False, True])
def test_a_pair_decides_what_two_standard_errors_cannot(turned):
    names = ("gmm", "pixelcnn") if turned else ("pixelcnn", "gmm")
    results = near(five(), 0.03)
    assert "pixelcnn and gmm tie" in verdict(results)
    results["pairs"] = [pair(results, *names, half=0.01)]
    assert "pixelcnn gives the fewest bits" in verdict(results)
    assert "paired difference 0.030 [0.020, 0.040])" in verdict(results)
    assert render(results, {}).count('<tr class="best">') == 1


def test_a_pair_that_ties_is_called_a_tie_whatever_the_errors_say():
    results = near(five(), 0.5)
    results["pairs"] = [pair(results, "pixelcnn", "gmm", half=0.6)]
    assert "pixelcnn and gmm tie for the fewest bits" in verdict(results)
    assert "the 95 % interval of their paired difference holds 0." in verdict(results)
    assert "standard errors" not in verdict(results)
    assert render(results, {}).count('<tr class="best">') == 2


def test_without_an_interval_there_is_no_pair():
    results = near(five(), 0.5)
    results["pairs"] = [pair(results, "pixelcnn", "gmm") | {"low": None, "high": None, "tie": None}]
    assert "pixelcnn gives the fewest bits" in verdict(results)
    assert "paired" not in verdict(results)


def test_the_difference_of_log_likelihoods_is_better_where_it_is_more():
    results = five()
    results["data"] |= {"levels": None, "event_shape": [2]}
    for m, nats in zip(results["models"], (-1.9, -1.2, -2.5, None, -1.3), strict=True):
        if m["likelihood"]:
            m["likelihood"] |= {"bits_per_dim": None, "log_likelihood": nats}
    for difference in (0.1, -0.1):  # vae's −1.2 less nice's −1.3, or the reverse
        ends = {"low": difference - 0.01, "high": difference + 0.01, "tie": False}
        results["pairs"] = [{"models": ["vae", "nice"], "difference": difference, **ends}]
        assert "paired difference 0.100 [0.090, 0.110]" in verdict(results)


def test_copies_are_named_whatever_else_is_good():
    results = full()
    assert (
        "gan copies training data: 62.0 % equal a training observation; C_T = −7.4 in features, "
        "−7.4 in pixels; suspects 62.3 % in features, 62.3 % in pixels; membership = 9.1 in "
        "features, 9.1 in pixels." in verdict(results)
    )
    assert verdict(results).count("copies") == 1


@pytest.mark.parametrize(
    ("c_t", "suspects", "duplicates", "member", "says"),
    [
        (-2.9, 0.012, 0.0, 0.0, ""),
        # of 179 more than 6.1 % are rarely suspects by chance
        (0.0, 0.05, 0.0, 0.0, ""),
        # sharp draws are near too, but remember nothing
        (-3.1, 0.012, 0.0, 3.9, "lies nearer"),
        (0.0, 0.08, 0.0, 0.0, "lies nearer"),
        (-3.1, 0.012, 0.0, 4.1, "copies training data"),
        (0.0, 0.08, 0.0, 4.1, "copies training data"),
        (0.0, 0.012, 0.08, 0.0, "copies training data"),
        (0.0, 0.012, 0.0, -4.1, "repeats observations that were held out"),
    ],
)
def test_nearness_is_called_copying_only_with_memory(c_t, suspects, duplicates, member, says):
    results = full()
    pixelcnn = results["models"][2]["samples"]
    for view in pixelcnn["views"].values():
        view |= {"c_t": fig(c_t), "suspects": share(suspects), "membership": fig(member)}
    pixelcnn["whole"]["duplicates"] = share(duplicates)
    found = copies(results, results["models"][2])
    assert found.startswith(says)
    assert bool(found) is bool(says)
    assert (f"pixelcnn {found}." in verdict(results)) is bool(says)


def test_samples_made_from_the_test_split_are_void():
    results = full()
    results["models"][2]["samples"]["whole"]["leaked"] = share(1.0)
    assert (
        "pixelcnn repeats observations that were held out (100.0 % equal one): its figures are void"
    ) in verdict(results)


def test_likely_pictures_of_a_small_space_are_no_copies():
    """A sharp model draws them again and again, those trained on and those held out."""
    results = full()
    whole = results["models"][2]["samples"]["whole"]
    whole |= {"duplicates": share(0.3), "leaked": share(0.15)}
    found = copies(results, results["models"][2])
    assert found.startswith("lies nearer")
    assert "30.0 % equal a training observation" in found
    whole["leaked"] = share(0.0)
    assert copies(results, results["models"][2]).startswith("copies training data")


def test_the_limit_of_suspects_is_passed_once_in_a_thousand():
    """By drawing distances, which may be of any distribution."""
    limit, generator = suspects_by_chance(180), np.random.default_rng(0)
    held, fresh = np.sort(generator.random((20_000, 180))), generator.random((20_000, 180))
    # nearer than the second smallest of 180: about 99 % are further off
    passed = ((fresh < held[:, 1:2]).mean(1) > limit).mean()
    assert 0.0002 < passed <= 0.0016


def test_what_real_data_show_too_is_no_sign():
    results = full()
    pixelcnn, real = results["models"][2]["samples"], results["references"]["real"]
    for each in (pixelcnn, real):
        each["whole"]["duplicates"] = share(0.3)
        each["views"]["features"]["suspects"] = each["views"]["pixels"]["suspects"] = share(0.2)
    assert copies(results, results["models"][2]) == ""
    results["references"] = {}
    assert "pixelcnn copies training data" in verdict(results)


def test_the_truth_and_the_gap_to_it_are_in_words():
    results = five()
    results["data"]["truth"] = -1.7 * 64 * math.log(2)
    results["models"][2]["kl"], results["models"][1]["kl"] = fig(6.8, 0.3), fig(44.7, 1.1)
    says = verdict(results)
    assert "The density that the data were drawn from gives 1.700 bits/dim." in says
    assert "in nats: pixelcnn = 6.8 [6.5, 7.1]; vae ≤ 44.7 [43.6, 45.8]." in says
    rows = {row["model"]: row for row in table(results)}
    assert rows["vae"]["KL to the truth, nats"] == "≤ 44.7 [43.6, 45.8]"
    assert rows["gan"]["KL to the truth, nats"] == "–"


def test_what_cannot_take_the_data_is_left_out_and_did_not_fail():
    results = full()
    results["models"].insert(0, results["models"].pop())
    assert "Left out: realnvp (needs vectors or pictures of even sides)." in verdict(results)
    assert "failed" not in verdict(results)
    assert table(results)[-1]["bits/dim, test"].startswith("left out: needs vectors")
    page = render(results, {})
    assert '<td class="out"' in page
    assert 'class="failed"' not in page
    results["models"][1]["failed"] = "memory ran out"
    assert [row["model"] for row in table(results)][-2:] == ["gmm", "realnvp"]


def test_samples_of_any_program_are_judged_without_a_training():
    results = full()
    mine = model("my/samples", "", None, capabilities=[], curves={}, steps=None, observations=None)
    mine |= dict.fromkeys(("class", "family", "summary", "paper")) | {"cost": {}}
    results |= {"models": [mine | {"samples": full()["models"][0]["samples"]}], "pairs": []}
    results["budget"] = None
    assert verdict(results) == (
        "my/samples: Fréchet distance 10.76 [9.66, 11.86] (real data 0.90, independent values "
        "60.90); it covers 66 % of real data (real data 95 %)."
    )
    assert list(table(results)[0]) == ["model", "Fréchet distance ↓"]
    page = render(results, {})
    for word in ("bits/dim", "bits per dim", "likelihood is", "nothing is ranked", "GAN"):
        assert word not in words(page), word
    assert "These samples are taken as given: whether they were chosen cannot be seen." in page
    assert "taken as given" not in render(full(), {})
    assert "None" not in page
    assert "Departs from" not in page
    for heading in ("Cost", "Nature", "Pair by pair", "Likelihood in detail"):
        assert f">{heading}</h2>" not in page


def given(**samples):
    """Results of nothing but samples."""
    results = full()
    results["models"] = [{"model": "mine", "samples": results["models"][0]["samples"] | samples}]
    return results | {"budget": None, "pairs": []}


def test_samples_alone_are_put_in_words():
    results = given()
    results["models"][0]["samples"]["whole"]["class_accuracy"] = share(0.79)
    results["references"]["real"]["whole"]["class_accuracy"] = share(0.99)
    assert verdict(results).endswith(
        "; 79 % of its samples are taken for the class asked for (real data 99 %)."
    )
    results["models"][0]["samples"]["whole"]["duplicates"] = share(1.0)
    assert verdict(results).endswith("mine copies training data: 100.0 % equal a training "
                                     "observation.")  # fmt: skip
    results["references"] = {}
    assert verdict(results).startswith("mine: Fréchet distance 10.8 [9.7, 11.9]; it covers 66 % of")
    why = "50 samples: 179 are needed, half of the test split"
    refused = given(refused=why, views={}, whole={})
    assert verdict(refused) == f"mine: no figures of samples: {why}."
    assert "<table>" not in render(refused, {}).split('id="fidelity"')[0]
    refused["models"][0]["samples"] = None
    assert verdict(refused) == "Nothing was measured of these samples."


def test_models_without_any_likelihood_are_put_in_words_too():
    results = full()
    results["models"] = [results["models"][3]]
    said = verdict(results)
    assert "nothing is ranked here. Without a likelihood, to be judged by the samples: gan." in said
    assert "gan: Fréchet distance 6.27 [5.47, 7.07] (real data 0.90, independent values 60" in said
    assert "Fréchet" not in verdict(full())


def test_what_draws_nothing_is_not_sent_to_its_samples():
    results = full()
    results["models"] = [results["models"][3]]
    results["models"][0] |= {"capabilities": ["encodes", "decodes"], "samples": None}
    assert "samples: gan" not in verdict(results)
    assert "With neither a likelihood nor samples, not judged here: gan." in verdict(results)


@pytest.mark.parametrize(("behind", "named"), [(57.8, True), (57.0, False)])
def test_samples_no_better_than_independent_values_are_named(behind, named):
    # from 60.9 − 3.2, where the interval of independent values begins
    results = full()
    results["models"][0]["samples"]["views"]["features"]["frechet"] = fig(behind, 30.0)
    assert ("By its samples no better than independent values: gmm." in verdict(results)) is named
    results["models"][3]["samples"]["views"]["features"]["frechet"] = fig(100.0, 3.0)
    both = "By their samples no better than independent values: gmm and gan."
    assert (both in verdict(results)) is named
    # where they are as near as real data, nothing is said by it
    results["references"]["real"]["views"]["features"]["frechet"] = fig(50.0, 10.0)
    assert "no better than independent" not in verdict(results)


@pytest.mark.parametrize(
    ("models", "budget", "says"),
    [(2, "40s", "On digits, with 40s of training each, "),
     (1, "40s", "On digits, with 40s of training, "),
     (2, "20s and 5s", "On digits, with 20s and 5s of training, "),
     (2, None, "On digits, pixelcnn")],
)  # fmt: skip
def test_only_what_each_model_had_is_said_of_each(models, budget, says):
    results = full()
    out = results["models"].pop()
    # what was left out was not trained
    results["models"] = [*results["models"][2 : 1 + 2 * models], out] if models > 1 else [
        results["models"][2], out]  # fmt: skip
    results["budget"] = budget
    assert verdict(results).startswith(says)
