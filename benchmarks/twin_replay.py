"""One simulation by servetwin, timed in this process; called by simulators.py.

Prints a JSON object: seconds from the workload in memory to every row of requests.parquet and steps.parquet in memory,
and of the same run written to disk as a whole run record; steps; simulated seconds; seconds until the first line here
ran (imports, reading the workload).
"""

import json
import resource
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from time import perf_counter, process_time

from lab.runs import simulate_run
from records.profile import CostTerms, KVCapacity, Profile, Term
from records.profile_cost import ProfileCost
from records.request_rows import RequestHead, RequestRows
from records.run import STEPS_A_ROW_GROUP
from records.step_rows import StepRows
from serving.schedule.contract import QuietSteps, StepReceipt
from serving.schedule.engine import EngineSpec, build
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


def in_memory(workload: Workload, profile: Profile, spec: EngineSpec) -> tuple[float, int, float]:
    """Seconds, steps, simulated seconds."""
    begin = perf_counter()
    rows = RequestRows(RequestHead(r.request_id, r.arrival_time, r.prompt_len) for r in workload.requests)
    steps, num_steps, last = StepRows(rows.row), 0, 0

    def tell(receipt: StepReceipt) -> None:
        nonlocal last, num_steps
        rows.add(receipt)
        steps.add(receipt)
        last = receipt.host_at
        if len(steps) >= STEPS_A_ROW_GROUP:
            num_steps += steps.take().num_rows

    def tell_quiet(quiet: QuietSteps) -> None:
        nonlocal last
        rows.add_quiet(quiet)
        steps.add_quiet(quiet)
        last = quiet.host_ats[-1]

    truth = Truth(workload)
    scheduler = build(spec, tokens_of=truth.placeholders)
    rejected = stream(requests_of(workload), truth, scheduler, ProfileCost(profile), tell, tell_quiet=tell_quiet)
    num_steps += steps.take().num_rows
    requests = rows.table(rejected, [])
    assert requests.num_rows == len(workload.requests)
    return perf_counter() - begin, num_steps, last / 1e9


def main(trace: str, settings: str, writes: str) -> None:
    workload, _ = read_trace(Path(trace))
    given = json.loads(settings)
    profile = dynosim_profile(given["num_blocks"] * given["block_size"])
    spec = EngineSpec("vllm", settings=given)
    start_up = process_time()
    seconds, steps, simulated = in_memory(workload, profile, spec)
    result = {"start_up_s": start_up, "seconds": seconds, "steps": steps, "simulated_s": simulated}
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if writes == "record":
        with tempfile.TemporaryDirectory() as folder:
            begin = perf_counter()
            simulate_run(Path(folder) / "run", workload, profile, spec)
            result["record_s"] = perf_counter() - begin
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
