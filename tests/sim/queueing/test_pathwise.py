"""The simulator against textbook queues, job by job, exactly: no tolerance, on the fast path and on the plain one.

`make oracles` (ORACLES=full) runs 200 seeds a setting instead of 10.
"""

import os
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from tests.sim.queueing.references import (
    bulk,
    central_queue,
    continuous_batches,
    lindley,
    round_robin,
    shortest_first,
    shortest_remaining_first,
    static_batches,
)
from tests.sim.queueing.world import Job, Placement, Service, Station, served, served_by_fleet

SEEDS = 200 if os.environ.get("ORACLES") == "full" else 6
JOBS = 2000
STEP = 1000


class Setting(NamedTuple):
    """mean_output: of a job, tokens. capacity: jobs of one token that it serves in STEP. reference: what must come."""

    station: Station
    mean_output: int
    capacity: float
    reference: Callable[[Sequence[Job]], list[Service]]


def one_seat(cycle: int, complete: int = 0) -> Callable[[Sequence[Job]], list[Service]]:
    """cycle: from a step's beginning to the next one's; complete: of it, after the tokens are there."""

    def reference(jobs: Sequence[Job]) -> list[Service]:
        services = [job.output * cycle for job in jobs]
        starts = [
            job.arrival + wait for job, wait in zip(jobs, lindley([j.arrival for j in jobs], services), strict=True)
        ]
        return [Service(start, start + s - complete) for start, s in zip(starts, services, strict=True)]

    return reference


def sjf(jobs: Sequence[Job]) -> list[Service]:
    services = [Service(0, 0)] * len(jobs)
    for place, start in shortest_first([j.arrival for j in jobs], [j.output for j in jobs], STEP):
        services[place] = Service(start, start + jobs[place].output * STEP)
    return services


def srpt(jobs: Sequence[Job]) -> list[Service]:
    return shortest_remaining_first([j.arrival for j in jobs], [j.output for j in jobs], STEP)


def linear(a: int, c: int, seats: int, preset: str = "vllm") -> Station:
    """A step of n sequences takes a + c n."""
    return Station(seats, lambda step: a + c * step.num_seqs, preset=preset)


SETTINGS = {
    "one seat, one token": Setting(Station(step=STEP), 1, 1.0, one_seat(STEP)),
    "one seat, output lengths, work between steps": Setting(
        Station(step=STEP - 300, schedule=100, complete=200), 3, 1.0, one_seat(STEP, complete=200)
    ),
    "bulk of 3": Setting(linear(700, 100, 3), 1, 3.0, lambda jobs: bulk(jobs, 3, lambda n: 700 + 100 * n)),
    "bulk of 32": Setting(linear(360, 20, 32), 1, 32.0, lambda jobs: bulk(jobs, 32, lambda n: 360 + 20 * n)),
    "batches that end together": Setting(
        linear(600, 100, 4, "static"), 3, 2.5, lambda jobs: static_batches(jobs, 4, lambda n: 600 + 100 * n)
    ),
    "continuous batches": Setting(
        linear(500, 100, 5), 3, 5.0, lambda jobs: continuous_batches(jobs, 5, lambda n: 500 + 100 * n)
    ),
    "shortest job first": Setting(Station(step=STEP, policy='sjf(by="total")'), 3, 1.0, sjf),
    "shortest remaining time first": Setting(Station(step=STEP, policy="srpt"), 3, 1.0, srpt),
}


def drawn(seed: int, setting: Setting) -> list[Job]:
    """Half empty to overloaded; arrivals at any instant, or so that many meet the end of a step, or each other."""
    rng = random.Random(seed)
    gap = STEP * setting.mean_output / setting.capacity / rng.choice([0.5, 0.8, 0.95, 1.1])
    grid = rng.choice([1, 1, 10, STEP // 2])
    at, jobs = 0.0, []
    for _ in range(JOBS):
        at += rng.expovariate(1 / gap)
        output = 1 if setting.mean_output == 1 else rng.randint(1, 2 * setting.mean_output - 1)
        jobs.append(Job(round(at / grid) * grid, output))
    return jobs


def told(name: str, seeds: int) -> str:
    return f"\n{name}: {seeds} seeds x {JOBS} jobs on 2 paths, {2 * seeds * JOBS:,} waits, 0 mismatches"


@pytest.mark.parametrize("name", SETTINGS)
def test_every_job_starts_and_ends_when_the_reference_says(name: str) -> None:
    setting = SETTINGS[name]
    for seed in range(SEEDS):
        jobs = drawn(seed, setting)
        wanted = setting.reference(jobs)
        for plain in (False, True):
            got = served(jobs, setting.station, plain)
            wrong = [i for i in range(JOBS) if got[i] != wanted[i]]
            assert not wrong, (
                f"{name}, seed {seed}, plain {plain}: {len(wrong)} of {JOBS} jobs differ, first job {wrong[0]}: "
                f"{jobs[wrong[0]]} had {got[wrong[0]]}, the reference {wanted[wrong[0]]}"
            )
    print(told(name, SEEDS))


SERVERS = 4


def by_turns(jobs: Sequence[Job], placements: Sequence[Placement]) -> list[Placement]:
    waits = round_robin([job.arrival for job in jobs], [job.output * STEP for job in jobs], SERVERS)
    starts = [job.arrival + wait for job, wait in zip(jobs, waits, strict=True)]
    return [
        Placement(i % SERVERS, Service(start, start + job.output * STEP))
        for i, (job, start) in enumerate(zip(jobs, starts, strict=True))
    ]


def where_they_went(jobs: Sequence[Job], placements: Sequence[Placement]) -> list[Placement]:
    """A Lindley recursion for each server, over the jobs that the router sent there."""
    wanted = list(placements)
    for server in range(SERVERS):
        places = [i for i, placement in enumerate(placements) if placement.replica == server]
        for i, service in zip(places, one_seat(STEP)([jobs[i] for i in places]), strict=True):
            wanted[i] = Placement(server, service)
    return wanted


def whoever_is_free(jobs: Sequence[Job], placements: Sequence[Placement]) -> list[Placement]:
    """Which of the free servers takes a job makes no difference to any wait."""
    waits = central_queue([job.arrival for job in jobs], [job.output * STEP for job in jobs], SERVERS)
    return [
        Placement(placement.replica, Service(job.arrival + wait, job.arrival + wait + job.output * STEP))
        for job, wait, placement in zip(jobs, waits, placements, strict=True)
    ]


ROUTED = {"round-robin": by_turns, "random": where_they_went, "central-queue": whoever_is_free}


@pytest.mark.parametrize("router", ROUTED)
def test_every_job_of_a_fleet_starts_and_ends_when_the_reference_says(router: str) -> None:
    setting = Setting(Station(step=STEP), 3, SERVERS, lambda jobs: [])
    used = set()
    for seed in range(SEEDS // 2):
        jobs = drawn(seed, setting)
        for plain in (False, True):
            got = served_by_fleet(jobs, setting.station, SERVERS, router, plain)
            wanted = ROUTED[router](jobs, got)
            wrong = [i for i in range(JOBS) if got[i] != wanted[i]]
            assert not wrong, f"{router}, seed {seed}, plain {plain}: {len(wrong)} differ, first job {wrong[0]}"
            used |= {placement.replica for placement in got}
    assert used == set(range(SERVERS))
    print(told(f"{SERVERS} replicas, {router}", SEEDS // 2))
