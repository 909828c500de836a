"""What only the requests of a measured run show."""

from calibration.measuring.session import Served
from realexec.load import ExecutedRun
from serving.schedule.engine import build_scheduler
from sim.scripted import ScriptedCost
from sim.simulate import simulate
from workloads.request import WorkloadRequest
from workloads.truth import Truth
from workloads.workload import Workload, requests_of

ARRIVE, WAKE = 300_000, 200_000


def test_waking_up_begins_where_the_engine_has_a_request() -> None:
    """Requests a second apart find the engine idle, but for the third, which comes while the second runs."""
    arrivals = (0, 1_000_000_000, 1_000_500_000, 2_000_000_000)
    workload = Workload("apart", tuple(WorkloadRequest(f"r{i}", at, 4, 2, 2) for i, at in enumerate(arrivals)))
    cost = ScriptedCost(execute=1_000_000, return_=10_000, wake=WAKE, arrive=ARRIVE)
    requests = list(requests_of(workload))
    receipts = simulate(requests, Truth(workload), build_scheduler("vllm"), cost).receipts
    served = Served(ExecutedRun(receipts, requests, {}, {}, [ARRIVE] * len(requests), []), workload)
    assert served.wake_ups() == [WAKE, WAKE, WAKE]
    late = Served(ExecutedRun(receipts, requests, {}, {}, [ARRIVE + WAKE + 7] * len(requests), []), workload)
    assert late.wake_ups() == [0, 0, 0], "its clock was read after the engine had begun"
