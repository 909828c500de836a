"""Noise of step times: distributed as the profile says, and the same for whatever policy or router is tried."""

import random
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest

from records.profile import RESIDUAL_SHARES, ResidualNoise
from serving.cost import StepFeatures
from serving.errors import ConfigError
from sim.noise import StepNoise
from sim.scripted import ScriptedCost
from tests.sim.fleet.world import Machine, Told, both_paths, play, requests
from workloads.workload import Workload

# A skew like that of measured steps: most a little faster than predicted, a few much slower.
SKEWED = (-0.2, -0.15, -0.1, -0.08, -0.06, -0.04, -0.02, 0.0, 0.02, 0.05, 0.08, 0.12, 0.2, 0.5, 2.0)
DECODE = StepFeatures(4, 4, 4, 0, 0, 0, 0, 100)
PREFILL = StepFeatures(2, 60, 2, 2, 60, 0, 900, 0)
MIXED = StepFeatures(3, 32, 3, 1, 30, 0, 450, 80)
STEPS = 100_000


def residual(*quantiles: float) -> ResidualNoise:
    return ResidualNoise(steps=1000, relative_std=0.1, relative_p50_abs=0.1, relative_p90_abs=0.2, quantiles=quantiles)


def flat(value: float) -> ResidualNoise:
    """Each step takes 1 + value times its mean."""
    return residual(*[value] * len(RESIDUAL_SHARES))


def draws(seed: int, name: str = "step noise 0 0", count: int = STEPS) -> list[float]:
    noise = StepNoise({"decode": residual(*SKEWED)}, seed, name)
    return [noise.factor(n, DECODE) for n in range(count)]


def test_factors_are_distributed_as_the_quantiles_say() -> None:
    """Of n independent draws, those up to the quantile of share p are binomial: 4 standard deviations are allowed."""
    factors = draws(seed=1)
    for share, quantile in zip(RESIDUAL_SHARES, SKEWED, strict=True):
        below = sum(factor <= 1 + quantile for factor in factors)
        assert abs(below - share * STEPS) <= 4 * sqrt(share * (1 - share) * STEPS), share
    assert 1 + SKEWED[0] <= min(factors)
    assert max(factors) <= 1 + SKEWED[-1]


def test_the_mean_is_that_of_the_lines_between_the_quantiles() -> None:
    """Mean and variance of a mixture of uniform pieces; 4 standard errors are allowed."""
    pieces = [
        (high - low, a, b) for (low, high), (a, b) in zip(pairwise(RESIDUAL_SHARES), pairwise(SKEWED), strict=True)
    ]
    mean = sum(share * (a + b) / 2 for share, a, b in pieces)
    variance = sum(share * (a * a + a * b + b * b) / 3 for share, a, b in pieces) - mean**2
    factors = draws(seed=2)
    assert abs(sum(factors) / STEPS - 1 - mean) <= 4 * sqrt(variance / STEPS)


def test_the_same_seed_draws_the_same_noise_another_seed_or_replica_another() -> None:
    first = draws(3, count=5000)
    assert draws(3, count=5000) == first
    assert draws(4, count=5000) != first
    assert draws(3, "step noise 1 0", count=5000) != first
    assert draws(3, "step noise 0 1", count=5000) != first


def test_a_step_has_its_factor_however_often_and_in_whatever_order_it_is_asked_for() -> None:
    noise, told = StepNoise({"decode": residual(*SKEWED)}, 5, "s"), draws(5, "s", count=10_000)
    asked = random.Random(0).choices(range(10_000), k=500)
    assert [noise.factor(n, DECODE) for n in asked] == [told[n] for n in asked]
    assert noise.factors(4000, DECODE, 200).tolist() == told[4000:4200]


def test_each_kind_of_step_scatters_as_it_was_measured() -> None:
    noise = StepNoise({"prefill": flat(0.1), "decode": flat(0.2), "mixed": flat(0.3)}, 0, "s")
    assert [noise.factor(0, step) for step in (PREFILL, DECODE, MIXED)] == [1.1, 1.2, 1.3]


def test_a_kind_that_was_not_measured_scatters_like_mixed_steps_or_any_other() -> None:
    noise = StepNoise({"decode": flat(0.2), "mixed": flat(0.3)}, 0, "s")
    assert noise.factor(0, PREFILL) == 1.3
    noise = StepNoise({"prefill": flat(0.1)}, 0, "s")
    assert [noise.factor(0, step) for step in (DECODE, MIXED)] == [1.1, 1.1]


@pytest.mark.parametrize("without", [{}, {"decode": residual()}])
def test_a_profile_without_quantiles_is_refused(without: dict[str, ResidualNoise]) -> None:
    with pytest.raises(ConfigError, match=r"no quantiles of its residuals \(prefill steps\): calibrate again"):
        StepNoise(without, 0, "s")


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed is -1"):
        StepNoise({"decode": flat(0.0)}, -1, "s")


def noisy(replica: int, policy: str = "fcfs") -> Machine:
    """Each step takes a million nanoseconds in the mean."""
    scatter = {"mixed": residual(*SKEWED)}
    return Machine(
        ScriptedCost(execute=1_000_000),
        policy=policy,
        settings={"max_num_seqs": 2},
        noise=lambda life: StepNoise(scatter, 7, f"step noise {replica} {life}"),
    )


def load() -> Workload:
    rng = random.Random(1)
    return requests(*((rng.randrange(10**8), rng.randint(1, 30), rng.randint(1, 20)) for _ in range(60)))


def durations(told: Told, replica: int) -> list[int]:
    return [end - begin for begin, end, _ in told.replica_steps(replica)]


@both_paths
def test_policies_and_routers_meet_the_same_noise_at_the_same_step_of_a_replica(plain: bool) -> None:
    """Common random numbers, to the nanosecond: step n of replica r takes what its draw says, whoever is in it."""
    scatter = {"mixed": residual(*SKEWED)}
    truth = [StepNoise(scatter, 7, f"step noise {r} 0") for r in range(2)]
    stories = set()
    for policy in ("fcfs", "sjf"):
        for router in ("round-robin", "join-shortest-queue"):
            machines = [noisy(r, policy) for r in range(2)]
            predicted = [r.output_len for r in load().requests]
            told = play(load(), machines, router, plain=plain, predicted=predicted)
            stories.add(str(told.steps))
            for r in range(2):
                taken = durations(told, r)
                assert len(taken) > 50
                assert taken == [round(1_000_000 * truth[r].factor(n, DECODE)) for n in range(len(taken))]
    assert len(stories) == 4


def test_what_persists_keeps_its_distribution_and_correlates_neighbours() -> None:
    noise = StepNoise({"decode": residual(*SKEWED)}, 4, "s", persistence=0.6)
    factors = np.array([noise.factor(n, DECODE) for n in range(STEPS)])
    assert np.corrcoef(factors[1:], factors[:-1])[0, 1] == pytest.approx(0.6, abs=0.03)
    assert np.corrcoef(factors[3:], factors[:-3])[0, 1] == pytest.approx(0.6**3, abs=0.03)
    assert np.quantile(factors, RESIDUAL_SHARES[1:-1]) == pytest.approx(np.array(SKEWED[1:-1]) + 1, abs=0.02)
