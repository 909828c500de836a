"""One server, equal requests, Poisson arrivals: the capacity that queueing theory gives."""

from math import exp, factorial
from pathlib import Path

from scipy.optimize import brentq

from lab.capacity.point import at, measured
from lab.capacity.search import Rates, search
from lab.capacity.verdict import Effort, judge
from lab.scenario.load import Load, ServiceLevel
from lab.scenario.scenario import Scenario
from records.profile import write_profile
from tests.lab.capacity.test_capacity_command import ONE_AT_A_TIME

SERVICE_S, LIMIT_S, TARGET = 0.1, 0.6, 0.9


def within(rate: float) -> float:
    """P(wait + service <= limit) of M/D/1, first come, first served (Erlang 1909)."""
    waits = LIMIT_S - SERVICE_S
    terms = (
        (-rate * (waits - k * SERVICE_S)) ** k / factorial(k) * exp(rate * (waits - k * SERVICE_S))
        for k in range(round(waits / SERVICE_S) + 1)
    )
    return (1 - rate * SERVICE_S) * sum(terms)


def test_the_capacity_of_one_server_with_equal_requests(tmp_path: Path) -> None:
    """Runs begin with an empty queue, so a little more than in the long run keeps the level."""
    write_profile(tmp_path / "one.json", ONE_AT_A_TIME)
    scenario = Scenario(
        load=Load(
            requests=800, rate=1.0, lengths="constant(prompt=100, output=1)", slo=ServiceLevel(ttft_s=LIMIT_S + 1e-6)
        ),
        profile="one.json",
        preset="vllm",
        settings={"max_num_seqs": 1},
    )
    found = search(
        lambda rate: judge(
            rate, TARGET, Effort(4, 6), lambda seeds: [measured(at(scenario, rate, s), str(tmp_path)) for s in seeds]
        ),
        10.0,
        Rates(0.04),
    )
    theory = float(brentq(lambda rate: within(rate) - TARGET, 1.0, 9.9))
    estimate = found.estimate(TARGET)
    assert estimate is not None
    assert found.holds_to is not None
    assert found.holds_to < theory * 1.02
    assert found.fails_from > theory * 0.98
    assert abs(estimate / theory - 1) < 0.05
