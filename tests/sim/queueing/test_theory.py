"""The simulator against queueing theory: within 4 standard errors, and the standard error within 2 %.

Here the recursions of references.py carry the runs; test_pathwise.py holds them against the simulator job by job. With
ORACLES=full (`make oracles`) the simulator itself also runs as many jobs as each comparison needs.
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest

from tests.sim.queueing import theory
from tests.sim.queueing.estimate import Control, Estimate, batch_means
from tests.sim.queueing.references import (
    bulk,
    central_queue,
    lindley,
    round_robin,
    shortest_first,
    shortest_remaining_first,
)
from tests.sim.queueing.world import Job, Service, Station, served, served_by_fleet
from workloads.streams import stream

FULL = os.environ.get("ORACLES") == "full"
NS = 1_000_000  # of a unit of theory's time: so many that rounding to whole nanoseconds does not matter
FINE = 1000  # units of an exponential size: geometric with this mean differs from it by 0.05 %


class Oracle(NamedTuple):
    """theory: a mean in units of `unit` sizes; of waits, or of times from arrival to end (`whole`).

    by: what a size is of a job; "" where all are one token. recursion: services of jobs. num: jobs that bring the
    standard error under 2 %.
    """

    theory: float
    rate: float
    sizes: theory.Sizes
    station: Station
    recursion: Callable[[Sequence[Job]], list[Service]]
    num: int
    by: str = ""
    unit: float = 1.0
    whole: bool = False


def jobs_of(name: str, oracle: Oracle) -> list[Job]:
    rng = stream(1, name)
    arrivals = np.rint(np.cumsum(rng.exponential(NS / oracle.rate, oracle.num))).astype(np.int64).tolist()
    if not oracle.by:
        return [Job(at) for at in arrivals]
    drawn = np.minimum(np.searchsorted(np.cumsum(oracle.sizes), rng.random(oracle.num), "right"), len(oracle.sizes) - 1)
    return [Job(at, **{oracle.by: size}) for at, size in zip(arrivals, drawn.tolist(), strict=True)]


def estimate(jobs: Sequence[Job], services: Sequence[Service], oracle: Oracle) -> Estimate:
    times = np.array([(s.end if oracle.whole else s.start) - j.arrival for j, s in zip(jobs, services, strict=True)])
    gaps = np.diff(np.array([job.arrival for job in jobs]), prepend=0) / NS
    controls = [Control(gaps, 1 / oracle.rate)]
    if oracle.by:
        sizes = np.array([float(size_of(job)) for job in jobs])
        controls += [Control(sizes, theory.mean(oracle.sizes)), Control(sizes**2, theory.second_moment(oracle.sizes))]
    return batch_means(times / (NS * oracle.unit), controls)


def size_of(job: Job) -> int:
    return job.output * job.prompt  # one of them is 1


def fcfs(jobs: Sequence[Job]) -> list[Service]:
    services = [size_of(job) * NS for job in jobs]
    waits = lindley([job.arrival for job in jobs], services)
    return [Service(job.arrival + w, job.arrival + w + s) for job, w, s in zip(jobs, waits, services, strict=True)]


def sjf(jobs: Sequence[Job]) -> list[Service]:
    services = [Service(0, 0)] * len(jobs)
    for place, start in shortest_first([j.arrival for j in jobs], [size_of(j) for j in jobs], NS):
        services[place] = Service(start, start + size_of(jobs[place]) * NS)
    return services


def srpt(jobs: Sequence[Job]) -> list[Service]:
    return shortest_remaining_first([job.arrival for job in jobs], [size_of(job) for job in jobs], NS)


def bulk_oracle(seats: int, a: int, c: int, load: float, num: int) -> Oracle:
    rate = load * seats / (a + c * seats)
    return Oracle(
        theory=theory.bulk(rate, seats, lambda n: a + c * n, longest=600),
        rate=rate,
        sizes=np.array([0.0, 1.0]),
        station=Station(seats, lambda step: NS * (a + c * step.num_seqs)),
        recursion=lambda jobs: bulk(jobs, seats, lambda n: NS * (a + c * n)),
        num=num,
        whole=True,
    )


ONE = np.array([0.0, 1.0])
EXPONENTIAL = theory.geometric(FINE, 40 * FINE)
GEOMETRIC = theory.geometric(4, 200)
LOGNORMAL = theory.lognormal(5, 4.0, 5000)
A_STEP = Station(step=NS)
A_TOKEN = Station(step=lambda step: NS * step.num_tokens)
HEAVY = 0.5 / theory.mean(LOGNORMAL)

ORACLES = {
    "M/M/1": Oracle(0.8 / (1 - 0.8), 0.8 / FINE, EXPONENTIAL, A_TOKEN, fcfs, 300_000, by="prompt", unit=FINE),
    "M/D/1": Oracle(0.8 / (1 - 0.8) / 2, 0.8, ONE, A_STEP, fcfs, 150_000),
    "M/G/1, geometric outputs": Oracle(
        theory.pollaczek_khinchine(0.2, GEOMETRIC), 0.2, GEOMETRIC, A_STEP, fcfs, 250_000, by="output"
    ),
    "M/G/1, lognormal outputs, cv^2 4": Oracle(
        theory.pollaczek_khinchine(HEAVY, LOGNORMAL), HEAVY, LOGNORMAL, A_STEP, fcfs, 250_000, by="output"
    ),
    "M/D(n)^[1,8]/1, load 0.6": bulk_oracle(8, 20, 1, 0.6, 100_000),
    "M/D(n)^[1,8]/1, load 0.9": bulk_oracle(8, 20, 1, 0.9, 100_000),
    "M/D(n)^[1,32]/1, load 0.8": bulk_oracle(32, 10, 4, 0.8, 100_000),
    "SJF": Oracle(
        theory.sjf(0.8 / FINE, EXPONENTIAL) / FINE,
        0.8 / FINE,
        EXPONENTIAL,
        Station(step=A_TOKEN.step, policy="sjf"),
        sjf,
        150_000,
        by="prompt",
        unit=FINE,
    ),
    "SRPT": Oracle(
        theory.srpt(0.2, GEOMETRIC),
        0.2,
        GEOMETRIC,
        Station(step=NS, policy="srpt"),
        srpt,
        150_000,
        by="output",
        whole=True,
    ),
}


def told(name: str, found: Estimate, wanted: float, num: int) -> str:
    off = (found.mean - wanted) / found.standard_error
    share = found.standard_error / wanted
    return f"{name}: theory {wanted:.4f}, found {found.mean:.4f}, s.e. {share:.2%}, {off:+.1f} s.e., {num:,} jobs"


@pytest.mark.parametrize("name", ORACLES)
def test_the_recursions_wait_as_theory_says(name: str) -> None:
    oracle = ORACLES[name]
    jobs = jobs_of(name, oracle)
    found = estimate(jobs, oracle.recursion(jobs), oracle)
    words = told(name, found, oracle.theory, oracle.num)
    print(f"\nrecursion, {words}")
    assert found.agrees(oracle.theory), words


@pytest.mark.skipif(not FULL, reason="minutes of simulation: ORACLES=full, or make oracles")
@pytest.mark.parametrize("name", ORACLES)
def test_the_simulator_waits_as_theory_says(name: str) -> None:
    oracle = ORACLES[name]
    jobs = jobs_of(name, oracle)
    services = served(jobs, oracle.station)
    found = estimate(jobs, services, oracle)
    words = told(name, found, oracle.theory, oracle.num)
    print(f"\nsimulator, {words}")
    assert services == oracle.recursion(jobs)
    assert found.agrees(oracle.theory), words


def test_srpt_with_a_thousand_steps_a_job_is_schrage_and_millers() -> None:
    fine = theory.srpt(0.8 / FINE, EXPONENTIAL) / FINE
    assert fine == pytest.approx(theory.schrage_miller_exponential(0.8), rel=2 / FINE)
    oracle = ORACLES["SJF"]._replace(theory=fine, recursion=srpt, whole=True)
    jobs = jobs_of("SRPT, fine", oracle)
    found = estimate(jobs, oracle.recursion(jobs), oracle)
    assert found.agrees(fine), told("SRPT, 1000 steps a job", found, fine, oracle.num)


Waits = Callable[[Sequence[int], Sequence[int], int], list[int]]


@pytest.mark.parametrize(
    ("name", "waits", "wanted", "load", "servers", "num"),
    [
        ("M/M/4", central_queue, theory.erlang_c, 0.8, 4, 400_000),
        ("M/M/8", central_queue, theory.erlang_c, 0.9, 8, 2_000_000),
        ("round robin over 4", round_robin, theory.round_robin_exponential, 0.8, 4, 400_000),
    ],
)
def test_several_servers_wait_as_theory_says(
    name: str, waits: Waits, wanted: Callable[[float, int], float], load: float, servers: int, num: int
) -> None:
    rng, rate = stream(1, name), load * servers
    gaps, sizes = rng.exponential(1 / rate, num), rng.exponential(1, num)
    arrivals = np.rint(np.cumsum(gaps) * NS).astype(np.int64).tolist()
    services = np.rint(sizes * NS).astype(np.int64).tolist()
    controls = [Control(gaps, 1 / rate), Control(sizes, 1), Control(sizes**2, 2)]
    found = batch_means(np.array(waits(arrivals, services, servers)) / NS, controls)
    words = told(name, found, wanted(rate, servers), num)
    print(f"\nrecursion, {words}")
    assert found.agrees(wanted(rate, servers)), words


@pytest.mark.skipif(not FULL, reason="minutes of simulation: ORACLES=full, or make oracles")
@pytest.mark.parametrize(
    ("router", "wanted", "load", "servers", "num"),
    [
        ("central-queue", theory.erlang_c, 0.8, 4, 400_000),
        ("central-queue", theory.erlang_c, 0.7, 8, 700_000),
        ("round-robin", theory.round_robin_exponential, 0.8, 4, 400_000),
    ],
)
def test_simulated_fleets_wait_as_theory_says(
    router: str, wanted: Callable[[float, int], float], load: float, servers: int, num: int
) -> None:
    rate = load * servers
    oracle = ORACLES["M/M/1"]._replace(theory=wanted(rate, servers), rate=rate / FINE, num=num)
    jobs = jobs_of(f"{router} {servers}", oracle)
    services = [placement.service for placement in served_by_fleet(jobs, oracle.station, servers, router)]
    found = estimate(jobs, services, oracle)
    words = told(f"{servers} replicas, {router}, load {load}", found, oracle.theory, oracle.num)
    print(f"\nsimulator, {words}")
    assert found.agrees(oracle.theory), words


def test_the_formulas_give_the_figures_worked_out_before() -> None:
    """Mean waits and times that were computed apart from this repository, from the same textbook results."""
    geometric = theory.geometric(64, 64 * 60)
    assert theory.pollaczek_khinchine(0.8 / 64, geometric) / 64 == pytest.approx(3.969, abs=5e-4)
    lognormal = theory.lognormal(2000, 4.0, 4_000_000)
    rate = 0.8 / theory.mean(lognormal)
    assert theory.pollaczek_khinchine(rate, lognormal) / 2000 == pytest.approx(10.0, rel=2e-3)
    assert ORACLES["M/D(n)^[1,8]/1, load 0.6"].theory == pytest.approx(37.553, abs=5e-4)
    assert ORACLES["M/D(n)^[1,8]/1, load 0.9"].theory == pytest.approx(51.977, abs=5e-4)
    assert ORACLES["M/D(n)^[1,32]/1, load 0.8"].theory == pytest.approx(70.320, abs=5e-4)
    assert ORACLES["SJF"].theory == pytest.approx(1.882, abs=5e-4)
    assert theory.schrage_miller_exponential(0.8) == pytest.approx(2.353, abs=5e-4)
    assert theory.erlang_c(3.2, 4) == pytest.approx(0.7455, abs=5e-5)
    assert theory.erlang_c(7.2, 8) == pytest.approx(0.8769, abs=5e-5)
    assert theory.round_robin_exponential(3.2, 4) == pytest.approx(2.267, abs=5e-4)
