"""Drawn workloads: the right distributions, and the same bytes for the same seed.

Seeds are fixed, so nothing here fails by chance; the tolerances are four standard errors.
"""

import math

import numpy as np
import pytest

from serving.errors import ConfigError
from workloads.distributions.base import whole
from workloads.distributions.families import Constant, Empirical, LogNormal
from workloads.distributions.registry import distribution
from workloads.published import PUBLISHED
from workloads.streams import stream
from workloads.synthesize import synthesize
from workloads.workload import Workload

N = 20_000


def make(**changes: object) -> Workload:
    return synthesize(**{"name": "w", "rate": 4.0, "num_requests": 50, "seed": 1, **changes})  # type: ignore[arg-type]


def columns(load: Workload) -> tuple[list[int], list[int], list[int]]:
    by_id = sorted(load.requests, key=lambda r: r.request_id)
    return (
        [r.arrival_time for r in by_id],
        [r.prompt_len for r in by_id],
        [r.output_len for r in by_id],
    )


def test_a_quantile_table_is_met() -> None:
    table = PUBLISHED["azure-conv"].prompt
    sample = np.array(whole(table, N, stream(4, "test")))
    for share, tokens in zip(table.shares[1:-1], table.tokens[1:-1], strict=True):
        assert (sample <= tokens).mean() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / N) + 1e-3)
    assert sample.mean() == pytest.approx(table.mean, rel=4 * 1100 / table.mean / math.sqrt(N))


def test_lognormal_has_its_mean() -> None:
    sample = np.array(whole(LogNormal(400, 0.8), N, stream(5, "test")))
    assert sample.mean() == pytest.approx(400, rel=4 * math.sqrt((math.exp(0.64) - 1) / N))
    assert np.log(sample).std() == pytest.approx(0.8, rel=4 / math.sqrt(2 * N) + 0.01)


def test_scale_rounds_and_leaves_at_least_one_token() -> None:
    rng = stream(1, "test")
    assert whole(Constant(100), 3, rng, scale=0.125) == [13, 13, 13]
    assert whole(Constant(100), 2, rng, scale=1e-6) == [1, 1]
    with pytest.raises(ConfigError, match="was drawn; lower"):
        whole(Constant(1e6), 2, rng, scale=100.0)


def test_tables_that_make_no_sense() -> None:
    for shares, tokens in (
        ((0.0, 1.0), (1.0,)),
        ((0.1, 1.0), (1.0, 2.0)),
        ((0.0, 0.0, 1.0), (1, 2, 3)),
        ((0, 1), (2, 1)),
    ):
        with pytest.raises(ConfigError):
            Empirical(shares, tokens)
    with pytest.raises(ConfigError, match="sigma is -1"):
        LogNormal(5, -1)
    with pytest.raises(ConfigError, match="value is nan"):
        Constant(math.nan)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert make().to_jsonl() == make().to_jsonl()
    assert make().to_jsonl() != make(seed=2).to_jsonl()


def test_a_change_of_one_stream_leaves_the_others() -> None:
    times, prompts, outputs = columns(make())
    assert columns(make(rate=8.0))[1:] == (prompts, outputs)
    assert columns(make(arrivals="gamma(cv=2)"))[1:] == (prompts, outputs)
    assert columns(make(lengths="azure-code"))[0] == times
    more = make(num_requests=60)
    assert [c[:50] for c in columns(more)] == [times, prompts, outputs]
    assert sorted({tuple(times), tuple(prompts), tuple(outputs)}) != [tuple(times)]


def test_max_tokens_is_the_output_length_and_ids_sort_by_arrival() -> None:
    load = make(num_requests=11)
    assert all(r.max_tokens == r.output_len for r in load.requests)
    assert [r.request_id for r in load.requests] == [f"1-{i:02}" for i in range(11)]


def test_scale_of_a_workload() -> None:
    whole, eighth = columns(make()), columns(make(scale=0.125))
    assert eighth[0] == whole[0]
    assert all(abs(a / 8 - b) <= 0.6 or b == 1 for a, b in zip(whole[1], eighth[1], strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_requests": 0}, "0 requests asked for"),
        ({"seed": -1}, "seed is -1"),
        ({"scale": 0.0}, "scale is 0"),
        ({"scale": math.nan}, "scale is nan"),
        ({"arrivals": "poison"}, "unknown arrival process 'poison'; did you mean poisson?"),
        ({"arrivals": "gamma"}, "gamma needs cv"),
        ({"lengths": "azure"}, "unknown length distribution 'azure'; did you mean azure-co"),
        ({"lengths": "azure-conv(sigma=1.0)"}, "azure-conv has no option 'sigma'; it has none"),
        ({"lengths": "constant(prompt=5)"}, "constant needs output"),
        ({"lengths": "constant(prompt=5, output=5, sigma=1)"}, "constant has no option 'sigma'"),
        ({"lengths": "constant(prompt=0, output=5)"}, "prompt is 0; it must be a number above 0"),
        ({"lengths": "lognormal(prompt=5, output=5)"}, "lognormal needs sigma"),
        ({"lengths": "lognormal(prompt=5, output=-5, sigma=1)"}, "output is -5"),
        ({"lengths": "lognormal(prompt=5, output=5, sigma='1')"}, "sigma is '1'; it must be a number"),
    ],
)
def test_options_that_make_no_sense(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_families() -> None:
    load = make(lengths="constant(prompt=64, output=8)")
    assert {(r.prompt_len, r.output_len) for r in load.requests} == {(64, 8)}
    assert len({r.prompt_len for r in make(lengths="lognormal(prompt=64, output=8, sigma=1)").requests}) > 9


@pytest.mark.parametrize(
    ("options", "sha256"),
    [
        ({}, "d1d508838519e44e6e208a8cb9f01c2817ffd814b950c3c07c30fe6862f54d4b"),
        ({"arrivals": "gamma(cv=2)"}, "53a742dbd2f7e2c944b6edce8c9cfe9cf174dbf2b8acd3f6a2d222610889e38f"),
        (
            {"lengths": "lognormal(prompt=200, output=50, sigma=1)", "scale": 0.5},
            "681e4d8613bfe20519f02acf32e69c4cdda2ed6fb7805492f79c9a6b23df5fa7",
        ),
        (
            {"lengths": "constant(prompt=64, output=8)"},
            "f34794f4dd946277a861dbb59e744081ba32bb3d0d35a960733b7b808cb33d04",
        ),
        ({"lengths": "azure-code"}, "97c35b193b056e5b79a56a623efda5d57e1af19c36d2f3e7bbae9c1021b04d4e"),
    ],
)
def test_what_a_seed_draws_stays(options: dict, sha256: str) -> None:
    """Written down once: a change here changes every workload that was made with --seed."""
    assert make(**options).sha256 == sha256


@pytest.mark.parametrize(
    "text",
    [
        "constant(value=7)",
        "lognormal(mean=7, sigma=0.5)",
        "exponential(mean=7)",
        "geometric(mean=7)",
        "uniform(low=4, high=10)",
        "choice(values=(1, 9), weights=(1, 3))",
        "choice(values=(4, 10))",
        "empirical(shares=(0, 0.5, 1), tokens=(0, 8, 12))",
        'azure-conv(of="prompt", scale=0.125)',
        'azure-code(of="output")',
    ],
)
def test_distributions_have_their_mean(text: str) -> None:
    drawn = distribution(text)
    sample = drawn.sample(N, stream(6, "test"))
    assert sample.shape == (N,)
    assert sample.min() >= 0
    assert sample.mean() == pytest.approx(drawn.mean, abs=4 * sample.std() / math.sqrt(N) + 1e-9)


def test_geometric_and_choice_have_their_shares() -> None:
    turns = np.array(whole(distribution("geometric(mean=4)"), N, stream(7, "test")))
    for k in (1, 2, 5):
        share = 0.25 * 0.75 ** (k - 1)
        assert (turns == k).mean() == pytest.approx(share, abs=4 * math.sqrt(share / N))
    drawn = np.array(whole(distribution("choice(values=(0, 3), weights=(1, 3))"), N, stream(8, "test"), least=0))
    assert set(drawn.tolist()) == {0, 3}
    assert (drawn == 3).mean() == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / N))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("normal(mean=5)", "unknown distribution 'normal'; did you mean lognormal?"),
        ("geometric(mean=0.5)", "mean is 0.5; it must be from 1"),
        ("exponential(mean=0)", "mean is 0; it must be a number above 0"),
        ("uniform(low=5, high=4)", "high is 4; it must be from 5"),
        ("choice(values=())", "values is "),
        ("choice(values=(1, 2), weights=(1,))", "2 values and weights"),
        ("choice(values=(1, 2), weights=(0, 0))", "one of them above 0"),
        ("azure-conv", "azure-conv needs of"),
        ("azure-conv(of='input')", "of is 'input'; it must be 'prompt' or 'output'"),
    ],
)
def test_distributions_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        distribution(text)
