"""Who waits for whom in a workload: parents exist, a turn fits the turn before, and nobody waits for itself."""

from collections.abc import Iterable, Mapping

from serving.errors import WorkloadError
from workloads.request import WorkloadRequest


class LineageError(WorkloadError):
    """request_id: whose line is to be changed."""

    def __init__(self, request_id: str, text: str) -> None:
        super().__init__(f"request {request_id}: {text}")
        self.request_id = request_id


def check_lineage(requests: Mapping[str, WorkloadRequest]) -> None:
    """requests: all of a workload, by id. Errors: LineageError for the first one that does not fit its parents."""
    for request in requests.values():
        for parent in request.parent:
            if parent not in requests:
                raise LineageError(request.request_id, f"parent {parent} is no request of this workload")
        if request.turn > 1:
            _check_turn(request, requests[request.parent[0]])
    _check_no_cycle(requests)


def _check_turn(request: WorkloadRequest, before: WorkloadRequest) -> None:
    rid, parent = request.request_id, before.request_id
    if request.turn != before.turn + 1:
        raise LineageError(rid, f"turn is {request.turn}, but its first parent {parent} is turn {before.turn}")
    if request.session_id != before.session_id:
        raise LineageError(
            rid,
            f"session_id is {request.session_id!r}, but that of its first parent {parent} is {before.session_id!r}",
        )
    history = before.prompt_len + before.output_len
    if request.prompt_len <= history:
        raise LineageError(
            rid,
            f"prompt_len is {request.prompt_len}; it begins with {before.prompt_len} prompt and {before.output_len} "
            f"output tokens of {parent}, so it must be above {history}",
        )


def _check_no_cycle(requests: Mapping[str, WorkloadRequest]) -> None:
    """Take away, again and again, who waits for nobody; who is left waits for a cycle, and its parents lead there."""
    waits_for = {r.request_id: len(r.parent) for r in requests.values()}
    children = children_of(requests.values())
    free = [request_id for request_id, parents in waits_for.items() if not parents]
    while free:
        request_id = free.pop()
        del waits_for[request_id]
        for child in children.get(request_id, ()):
            waits_for[child] -= 1
            if not waits_for[child]:
                free.append(child)
    if not waits_for:
        return
    path: dict[str, None] = {}
    request_id = next(iter(waits_for))
    while request_id not in path:
        path[request_id] = None
        request_id = next(p for p in requests[request_id].parent if p in waits_for)
    raise LineageError(request_id, "it waits, through its parents, for itself; remove one parent of that circle")


def children_of(requests: Iterable[WorkloadRequest]) -> dict[str, list[str]]:
    """Parent -> who waits for it, in the order of requests."""
    children: dict[str, list[str]] = {}
    for request in requests:
        for parent in request.parent:
            children.setdefault(parent, []).append(request.request_id)
    return children
