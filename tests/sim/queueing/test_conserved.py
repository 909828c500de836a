"""What no order of service can change, path by path: the work that waits, and the tokens of a closed loop."""

import random
from itertools import accumulate

import pytest

from serving.schedule.policies.base import Policy
from serving.schedule.policies.registry import POLICIES
from tests.serving.drive import plain
from tests.sim.queueing.world import Job, Service, Station, served, served_in_a_loop

STEP = 1000
NEVER_DISPLACE = [name for name in plain(POLICIES) if POLICIES[name].outranks is Policy.outranks]


def work_that_waited(jobs: list[Job], services: list[Service]) -> int:
    return sum(job.output * (s.start - job.arrival) for job, s in zip(jobs, services, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_one_seat_without_preemption_every_policy_makes_the_same_work_wait(seed: int) -> None:
    """Kleinrock's conservation law (1965), exactly: the work in the system at any instant is the same under every
    order, and its integral is the sum over jobs of S W + S^2 / 2.
    """
    rng = random.Random(seed)
    at, jobs = 0, []
    for _ in range(500):
        at += rng.choice([0, STEP, rng.randint(0, 4 * STEP)])
        jobs.append(Job(at, rng.randint(1, 3), rng.randint(1, 5)))
    waited = {}
    for name in NEVER_DISPLACE:
        services = served(jobs, Station(step=STEP, policy=name))
        assert all(s.end - s.start == job.output * STEP for job, s in zip(jobs, services, strict=True)), name
        waited[name] = work_that_waited(jobs, services)
    assert len(NEVER_DISPLACE) > 5
    assert set(waited.values()) == {waited["fcfs"]}, waited


@pytest.mark.parametrize("users", [1, 3, 16])
@pytest.mark.parametrize("is_plain", [False, True])
def test_a_closed_loop_of_n_users_gets_n_tokens_a_step(users: int, is_plain: bool) -> None:
    """Throughput = N / (a + c N), exactly: all are in every step, as each sends again when its last answer ends."""
    a, c, steps = 700, 50, 400
    rng = random.Random(users)
    outputs: list[list[int]] = []
    for _ in range(users):
        lengths: list[int] = []
        while sum(lengths) < steps:
            lengths.append(min(rng.randint(1, 30), steps - sum(lengths)))
        outputs.append(lengths)
    ends = served_in_a_loop(outputs, Station(users, lambda shape: a + c * shape.num_seqs), is_plain)
    step = a + c * users
    assert ends == [[step * done for done in accumulate(lengths)] for lengths in outputs]
    tokens, duration = sum(map(sum, outputs)), max(times[-1] for times in ends)
    assert tokens * step == users * duration
