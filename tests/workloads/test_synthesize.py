"""Drawn workloads: the right distributions, and the same bytes for the same seed.

Seeds are fixed, so nothing here fails by chance; the tolerances are four standard errors.
"""

import math

import numpy as np
import pytest

from serving.errors import ConfigError
from workloads.arrivals import gamma, poisson
from workloads.lengths import Constant, Empirical, LogNormal, draw
from workloads.published import PUBLISHED
from workloads.streams import stream
from workloads.synthesize import synthesize
from workloads.workload import Workload

N = 20_000


def gaps(times: list[int]) -> np.ndarray:
    return np.diff([0, *times]) / 1e9


def make(**changes: object) -> Workload:
    return synthesize(**{"name": "w", "rate": 4.0, "num_requests": 50, "seed": 1, **changes})  # type: ignore[arg-type]


def columns(load: Workload) -> tuple[list[int], list[int], list[int]]:
    by_id = sorted(load.requests, key=lambda r: r.request_id)
    return (
        [r.arrival_time for r in by_id],
        [r.prompt_len for r in by_id],
        [r.output_len for r in by_id],
    )


def test_poisson_gaps_have_the_rate_and_a_cv_of_one() -> None:
    sample = gaps(poisson(4.0, N, stream(1, "test")))
    assert sample.mean() == pytest.approx(0.25, rel=4 / math.sqrt(N))
    assert sample.std() / sample.mean() == pytest.approx(1, rel=4 / math.sqrt(N))
    for t in (0.1, 0.5, 1.0):  # the tail is exponential
        share = math.exp(-4 * t)
        assert (sample > t).mean() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / N))


@pytest.mark.parametrize("cv", [0.1, 0.5, 1.0, 3.0])
def test_gamma_gaps_have_the_rate_and_the_cv(cv: float) -> None:
    sample = gaps(gamma(10.0, cv, N, stream(2, "test")))
    assert sample.mean() == pytest.approx(0.1, rel=4 * cv / math.sqrt(N))
    # the variance of a gamma sample's variance: excess kurtosis is 6 cv^2
    assert sample.std() / sample.mean() == pytest.approx(
        cv, rel=2 * math.sqrt((2 + 6 * cv**2) / N) + 4 * cv / math.sqrt(N)
    )


def test_arrivals_ascend_and_are_integers() -> None:
    times = gamma(100.0, 5.0, 1000, stream(3, "test"))
    assert times == sorted(times)
    assert all(type(t) is int for t in times)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_rates_and_cvs_that_make_no_sense(value: float) -> None:
    rng = stream(1, "test")
    with pytest.raises(ConfigError, match=r"rate is .* above 0"):
        poisson(value, 5, rng)
    with pytest.raises(ConfigError, match=r"rate is .* above 0"):
        gamma(value, 1.0, 5, rng)
    with pytest.raises(ConfigError, match=r"cv is .* above 0"):
        gamma(1.0, value, 5, rng)


def test_a_run_of_months_is_refused() -> None:
    with pytest.raises(ConfigError, match="26 days"):
        poisson(1e-9, 5, stream(1, "test"))
    with pytest.raises(ConfigError, match="cv is 10000"):
        gamma(1.0, 10000, 5, stream(1, "test"))


def test_a_quantile_table_is_met() -> None:
    table = PUBLISHED["azure-conv"].prompt
    sample = np.array(draw(table, N, 1.0, stream(4, "test")))
    for share, tokens in zip(table.shares[1:-1], table.tokens[1:-1], strict=True):
        assert (sample <= tokens).mean() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / N) + 1e-3)
    assert sample.mean() == pytest.approx(table.mean, rel=4 * 1100 / table.mean / math.sqrt(N))


def test_lognormal_has_its_mean() -> None:
    sample = np.array(draw(LogNormal(400, 0.8), N, 1.0, stream(5, "test")))
    assert sample.mean() == pytest.approx(400, rel=4 * math.sqrt((math.exp(0.64) - 1) / N))
    assert np.log(sample).std() == pytest.approx(0.8, rel=4 / math.sqrt(2 * N) + 0.01)


def test_scale_rounds_and_leaves_at_least_one_token() -> None:
    rng = stream(1, "test")
    assert draw(Constant(100), 3, 0.125, rng) == [13, 13, 13]
    assert draw(Constant(100), 2, 1e-6, rng) == [1, 1]
    with pytest.raises(ConfigError, match="was drawn; lower"):
        draw(Constant(1e6), 2, 100.0, rng)


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
    with pytest.raises(ConfigError, match="mean length is nan"):
        Constant(math.nan)


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert make().to_jsonl() == make().to_jsonl()
    assert make().to_jsonl() != make(seed=2).to_jsonl()


def test_a_change_of_one_stream_leaves_the_others() -> None:
    times, prompts, outputs = columns(make())
    assert columns(make(rate=8.0))[1:] == (prompts, outputs)
    assert columns(make(arrivals="gamma", cv=2.0))[1:] == (prompts, outputs)
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
        ({"arrivals": "gamma"}, "arrivals gamma needs cv"),
        ({"cv": 2.0}, "cv has no effect with arrivals poisson"),
        ({"lengths": "azure"}, "unknown length distribution 'azure'; did you mean azure-co"),
        ({"sigma": 1.0}, "sigma has no effect with lengths azure-conv"),
        ({"lengths": "constant", "prompt_mean": 5.0}, "lengths constant needs output-mean"),
        ({"lengths": "constant", "prompt_mean": 5.0, "output_mean": 5.0, "sigma": 1.0}, "sigma has no effect"),
        ({"lengths": "lognormal", "prompt_mean": 5.0, "output_mean": 5.0}, "lengths lognormal needs sigma"),
    ],
)
def test_options_that_make_no_sense(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_families() -> None:
    load = make(lengths="constant", prompt_mean=64.0, output_mean=8.0)
    assert {(r.prompt_len, r.output_len) for r in load.requests} == {(64, 8)}
    assert (
        len({r.prompt_len for r in make(lengths="lognormal", prompt_mean=64.0, output_mean=8.0, sigma=1.0).requests})
        > 9
    )
