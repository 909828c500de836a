"""Requests a second that an engine finishes while more wait than fit.

A measured run that shows it would have to fill every seat several times over: minutes on a slow machine. So a long run
is simulated with what is known of step times so far, and a short one that was measured says by how much that is wrong.
"""

from dataclasses import asdict

from calibration.measuring.session import Served
from calibration.measuring.traffic import Traffic
from records.profile import Profile
from records.profile_cost import ProfileCost
from serving.schedule.config import EngineConfig
from serving.schedule.contract import StepReceipt
from serving.schedule.engine import build_scheduler
from workloads.truth import Truth
from workloads.workload import Workload, requests_of

TIMES_THE_SEATS = 6
"""Requests, all there at once: some still wait when the 80th percent of them has finished."""


def capacity_of(profile: Profile, config: EngineConfig, traffic: Traffic, burst: Served, seed: int) -> float:
    """Requests/s under preset vllm. burst: measured, all its requests there at once, under that preset."""
    steady = traffic.draw(None, TIMES_THE_SEATS * config.max_num_seqs, seed)
    return (
        _middle_rate(_simulated(profile, config, steady))
        * _makespan(_simulated(profile, config, burst.workload))
        / _makespan(burst.receipts)
    )


def _simulated(profile: Profile, config: EngineConfig, workload: Workload) -> list[StepReceipt]:
    from sim.simulate import simulate

    scheduler = build_scheduler("vllm", settings=asdict(config))
    return simulate(list(requests_of(workload)), Truth(workload), scheduler, ProfileCost(profile)).receipts


def _middle_rate(receipts: list[StepReceipt]) -> float:
    """Of finishing, from the 20th to the 80th percent of the requests; per second."""
    finished = sorted(r.host_at for r in receipts for _ in r.outcome.finished)
    low, high = len(finished) // 5, len(finished) * 4 // 5
    return (high - low) / ((finished[high] - finished[low]) / 1e9)


def _makespan(receipts: list[StepReceipt]) -> int:
    """Nanoseconds from the first step's schedule() to the last token on the host."""
    return receipts[-1].host_at - receipts[0].schedule_at
