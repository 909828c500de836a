"""Jobs through the simulator, as a queueing theorist sees them: who arrives when, starts when, leaves when.

Every oracle in this folder runs the simulator through `served`; what changes in sim/ changes here, and nowhere else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from serving.cost import StepFeatures
from serving.schedule.contract import StepReceipt
from serving.schedule.engine import build_scheduler
from sim.client_clock import Given
from sim.scripted import ScriptedCost
from sim.simulate import stream
from workloads.truth import Truth
from workloads.workload import Workload, WorkloadRequest, requests_of


class Job(NamedTuple):
    """arrival: integer nanoseconds. prompt, output: tokens; a prompt is computed in one step, which samples a token."""

    arrival: int
    output: int = 1
    prompt: int = 1


class Service(NamedTuple):
    """Of a job, in integer nanoseconds: the schedule() call that first admits it; its last token on the host."""

    start: int
    end: int


@dataclass(frozen=True)
class Station:
    """An engine whose memory and token budget are never short. step: a duration, or a function of the step's features.

    schedule, complete: before and after each step, in integer nanoseconds.
    """

    seats: int = 1
    step: int | Callable[[StepFeatures], int] = 1
    policy: str = "fcfs"
    preset: str = "vllm"
    schedule: int = 0
    complete: int = 0
    settings: Mapping[str, object] = field(default_factory=dict)


_LONGEST = 1 << 22  # tokens
_PATIENCE = 1_000_000_000  # nanoseconds
_ROOMY: Mapping[str, object] = {
    "max_model_len": _LONGEST,
    "block_size": _LONGEST,
    "num_blocks": 256,
    "enable_prefix_caching": False,
}


def served(jobs: Sequence[Job], station: Station, plain: bool = False) -> list[Service]:
    """Jobs in order of arrival; those of one instant are told apart by their place. plain: an event for everything.

    Policies are told the true output lengths, step times, and to bring the first token within a second.
    """
    load = Workload(
        "jobs",
        tuple(
            WorkloadRequest(
                f"{i:08}", job.arrival, job.prompt, job.output, max_tokens=job.output, deadline=job.arrival + _PATIENCE
            )
            for i, job in enumerate(jobs)
        ),
    )
    truth = Truth(load)
    cost = ScriptedCost(execute=station.step, schedule=station.schedule, complete=station.complete)
    budget = {"max_num_batched_tokens": 1 << 30} if station.preset == "vllm" else {}
    scheduler = build_scheduler(
        station.preset,
        station.policy,
        {"max_num_seqs": station.seats, **_ROOMY, **budget, **station.settings},
        cost=cost,
        tokens_of=None if plain else truth.placeholders,
    )
    starts: dict[str, int] = {}
    ends: dict[str, int] = {}

    def tell(receipt: StepReceipt) -> None:
        for admission in receipt.plan.admitted:
            starts.setdefault(admission.request_id, receipt.schedule_at)
        for request_id in receipt.outcome.finished:
            ends[request_id] = receipt.host_at

    requests = requests_of(load, [job.output for job in jobs])
    rejected = stream(Given(requests), truth, scheduler, cost, tell, plain=plain, tell_quiet=lambda quiet: None)
    assert not rejected
    return [Service(starts[r.request_id], ends[r.request_id]) for r in load.requests]
