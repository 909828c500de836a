"""One simulation by servetwin, timed in this process; called by simulators.py.

Prints a JSON object: seconds from the workload in memory to every row of requests.parquet and steps.parquet in memory,
and of the same run written to disk as a whole run record; steps; simulated seconds; seconds until the first line here
ran (imports, reading the workload).
"""

import json
import resource
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter, process_time

from lab.fleet_runs import simulate_fleet
from lab.fleet_spec import equal_replicas, members
from lab.runs import heads, simulate_run
from records.cost_terms import CostTerms, Term
from records.engine_files import STEPS_A_ROW_GROUP
from records.profile import KVCapacity, Profile
from records.profile_cost import ProfileCost
from records.request_rows import RequestRows
from records.step_rows import StepRows
from serving.request import Request
from serving.route.front import Front
from serving.route.registry import ROUTERS
from serving.route.view import ReplicaSpec
from serving.schedule.contract import QuietSteps, StepReceipt
from serving.schedule.engine import EngineSpec, build
from serving.schedule.spec import make
from sim.client_clock import Given
from sim.fleet.fleet import Fleet
from sim.fleet.plan import Engine, FleetPlan
from sim.simulate import stream
from workloads.traces import read_trace
from workloads.truth import Truth
from workloads.workload import Workload, requests_of


def term(feature: str, milliseconds: float, low: float = 0.0, high: float | None = None) -> Term:
    return Term(name=feature, feature=feature, low=low, high=high, coefficient_ms=milliseconds, meaning="DynoSim's")


def dynosim_profile(capacity: int) -> Profile:
    """DynoSim's default step times, so that both do the same work: 16.5 ms for prompts and 0.0152 ms a token of them,
    5.74 ms for decodes and 54.01 x - 25.74 x^2 ms at a share x of the pool in use, here in four straight pieces.
    """
    pieces = [i / 4 for i in range(5)]
    slopes = [54.01 - 25.74 * (a + b) for a, b in pairwise(pieces)]
    decode = [
        term("decode_context", slope / capacity, low * capacity, high * capacity)
        for slope, low, high in zip(slopes, pieces, pieces[1:], strict=False)
    ]
    prefill = [term("num_prefill_seqs", 16.5, 0, 1), term("prefill_tokens", 0.01518)]
    nothing = CostTerms(terms=())
    return Profile(
        name="dynosim",
        model={},
        hardware={},
        software={},
        conditions={},
        execute=CostTerms(terms=(term("one", 5.74), *prefill, *decode)),
        schedule=nothing,
        complete=nothing,
        return_=nothing,
        residual={},
        hull={},
        kv=KVCapacity(num_blocks=capacity // 16, block_size=16, bytes_per_token=1),
    )


class InMemory:
    """Every row of requests.parquet and steps.parquet, made and dropped; what a record is written from."""

    def __init__(self, workload: Workload) -> None:
        self.rows = RequestRows(heads(workload))
        self.num_steps = self.last = 0
        self._steps: list[StepRows] = []

    def new_engine(self, replica: int, life: int) -> int:
        self._steps.append(StepRows(self.rows.row, replica, life))
        return len(self._steps) - 1

    def sent(self, request: Request) -> None:
        self.rows.sent(request.request_id, request.arrival_time)

    def placed(self, request_id: str, replica: int) -> None:
        self.rows.placed(request_id, replica)

    def lost(self, request_id: str) -> None:
        self.rows.lost(request_id)

    def step(self, receipt: StepReceipt, engine: int = 0, moved: Sequence[str] = ()) -> None:
        self.rows.add(receipt, engine, moved)
        self._steps[engine].add(receipt)
        self._count(engine, receipt.host_at)

    def quiet_steps(self, quiet: QuietSteps, engine: int = 0) -> None:
        self.rows.add_quiet(quiet, engine)
        self._steps[engine].add_quiet(quiet)
        self._count(engine, quiet.host_ats[-1])

    def _count(self, engine: int, host_at: int) -> None:
        if host_at > self.last:
            self.last = host_at
        steps = self._steps[engine]
        if len(steps) >= STEPS_A_ROW_GROUP:
            self.num_steps += steps.take().num_rows

    def finish(self, rejected: Mapping[str, str]) -> int:
        """Requests that have a row."""
        self.num_steps += sum(steps.take().num_rows for steps in self._steps)
        return self.rows.table(rejected, [], {}).num_rows


def in_memory(
    workload: Workload, profile: Profile, spec: EngineSpec, replicas: int, router: str
) -> tuple[float, int, float]:
    """Seconds, steps, simulated seconds."""
    begin = perf_counter()
    truth, cost, sender, told = Truth(workload), ProfileCost(profile), Given(requests_of(workload)), InMemory(workload)
    if replicas == 1:
        told.new_engine(0, 0)
        scheduler = build(spec, tokens_of=truth.placeholders)
        rejected = stream(sender, truth, scheduler, cost, told.step, sent=told.sent, tell_quiet=told.quiet_steps)
    else:
        config = build(spec).config
        engine = Engine(lambda: build(spec, tokens_of=truth.placeholders), cost, profile.kv.bytes_per_token)
        front = Front(make("router", router, ROUTERS), [ReplicaSpec(i, "", config, cost=cost) for i in range(replicas)])
        fleet = Fleet(FleetPlan(dict.fromkeys(range(replicas), engine), front), sender, truth, told)
        fleet.run()
        rejected = fleet.rejected
    assert told.finish(rejected) == len(workload.requests)
    return perf_counter() - begin, told.num_steps, told.last / 1e9


def on_disk(folder: Path, workload: Workload, profile: Profile, spec: EngineSpec, replicas: int, router: str) -> float:
    """Seconds for a whole run record."""
    begin = perf_counter()
    if replicas == 1:
        simulate_run(folder, workload, profile, spec)
    else:
        fleet = equal_replicas(replicas, router)
        simulate_fleet(folder, workload, fleet, members(fleet, folder, profile, spec))
    return perf_counter() - begin


def main(trace: str, settings: str, replicas: str, router: str, writes: str) -> None:
    workload, _ = read_trace(Path(trace))
    given = json.loads(settings)
    profile = dynosim_profile(given["num_blocks"] * given["block_size"])
    spec = EngineSpec("vllm", settings=given)
    start_up = process_time()
    seconds, steps, simulated = in_memory(workload, profile, spec, int(replicas), router)
    result = {"start_up_s": start_up, "seconds": seconds, "steps": steps, "simulated_s": simulated}
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if writes == "True":
        with tempfile.TemporaryDirectory() as folder:
            result["record_s"] = on_disk(Path(folder) / "run", workload, profile, spec, int(replicas), router)
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
