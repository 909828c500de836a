"""The same requests, arriving faster or slower."""

from collections.abc import Sequence
from dataclasses import replace

from serving.errors import WorkloadError
from workloads.workload import Workload, WorkloadRequest


def at_rate(workload: Workload, rate: float) -> Workload:
    """Arrivals stretched evenly to a mean rate [requests/s], the first at 0; think times stay.

    The rate is that of the requests without parents: when the others are sent shows in a run only.
    Errors: WorkloadError where all of those arrive at once, or for a rate that is not above 0.
    """
    first, last, count = _span([request for request in workload.requests if not request.parent])
    if not rate > 0:
        raise WorkloadError(f"workload {workload.name}: its rate is {rate:g}; it must be above 0 requests/s")
    if last == first:
        raise WorkloadError(f"workload {workload.name}: its requests arrive all at once, so no rate can be set")
    stretch = (count - 1) * 1e9 / rate / (last - first)

    def retimed(request: WorkloadRequest) -> WorkloadRequest:
        arrival = round(max(0, request.arrival_time - first) * stretch)
        late = None if request.deadline is None else arrival + request.deadline - request.arrival_time
        return replace(request, arrival_time=arrival, deadline=late)

    return Workload(workload.name, tuple(retimed(request) for request in workload.requests))


def _span(requests: Sequence[WorkloadRequest]) -> tuple[int, int, int]:
    """First and last arrival, and how many there are."""
    return requests[0].arrival_time, requests[-1].arrival_time, len(requests)
