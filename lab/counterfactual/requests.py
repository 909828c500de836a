"""The same requests, sent faster or slower, with longer or shorter prompts and outputs."""

from dataclasses import replace
from math import floor

from serving.errors import ConfigError
from workloads.rescale import rescale
from workloads.workload import Workload, WorkloadRequest


def faster(workload: Workload, factor: float) -> Workload:
    """So many times as many arrivals a second, counted from the start of the run. factor: above 0.

    Think times stay, and so does the time from an arrival to its deadline.
    """

    def sent(request: WorkloadRequest) -> WorkloadRequest:
        arrival = round(request.arrival_time / factor)
        deadline = None if request.deadline is None else arrival + request.deadline - request.arrival_time
        return replace(request, arrival_time=arrival, deadline=deadline)

    return Workload(workload.name, tuple(map(sent, workload.requests)))


def evenly_apart(workload: Workload) -> Workload:
    """Requests that wait for no other: as many in the same time, equally far apart. Think times stay, and so does the
    time from an arrival to its deadline.
    """
    free = [r for r in workload.requests if not r.parent]
    begin, end = free[0].arrival_time, free[-1].arrival_time
    at = {r.request_id: begin + (end - begin) * i // max(1, len(free) - 1) for i, r in enumerate(free)}

    def moved(request: WorkloadRequest) -> WorkloadRequest:
        arrival = at.get(request.request_id)
        if arrival is None:
            return request
        deadline = None if request.deadline is None else request.deadline + arrival - request.arrival_time
        return replace(request, arrival_time=arrival, deadline=deadline)

    return Workload(workload.name, tuple(map(moved, workload.requests)))


def resized(workload: Workload, prompt: float = 1.0, output: float = 1.0) -> Workload:
    """Prompts, and outputs with the most that the client accepts, so many times as long: to the nearest token, from 1.

    A later turn repeats what was said before it at its new length. Errors: WorkloadError for a prompt of token ids.
    """
    if prompt == output == 1:
        return workload
    sizes = _Sizes(workload, prompt, output)
    return Workload(workload.name, tuple(map(sizes.of, workload.requests)))


def most_tokens(workload: Workload) -> int:
    """Token slots that all requests would take at once, if each got the longest output that it accepts."""
    return sum(request.prompt_len + request.max_tokens for request in workload.requests)


def check_factor(name: str, factor: float) -> None:
    """Errors: ConfigError for a factor that is not a number above 0."""
    if not 0 < factor < float("inf"):
        raise ConfigError(f"{name} times {factor:g}: give a factor above 0")


class _Sizes:
    """Each request once, after the turn that it repeats."""

    def __init__(self, workload: Workload, prompt: float, output: float) -> None:
        self._given = {request.request_id: request for request in workload.requests}
        self._made: dict[str, WorkloadRequest] = {}
        self._prompt, self._output = prompt, output

    def of(self, request: WorkloadRequest) -> WorkloadRequest:
        turns = [request]
        while turns[-1].turn > 1 and turns[-1].parent[0] not in self._made:
            turns.append(self._given[turns[-1].parent[0]])
        for turn in reversed(turns):
            if turn.request_id not in self._made:
                self._made[turn.request_id] = self._sized(turn)
        return self._made[request.request_id]

    def _sized(self, request: WorkloadRequest) -> WorkloadRequest:
        output_len, max_tokens = (_times(n, self._output) for n in (request.output_len, request.max_tokens))
        if request.turn > 1:
            old, new = self._given[request.parent[0]], self._made[request.parent[0]]
            own = _times(request.prompt_len - old.prompt_len - old.output_len, self._prompt)
            length = new.prompt_len + new.output_len + own
            return replace(request, prompt_len=length, output_len=output_len, max_tokens=max_tokens)
        if self._prompt != 1:
            alone = replace(request, parent=(), think_time=0)
            scaled = rescale([alone], self._prompt, None)[0][0]
            request = replace(scaled, parent=request.parent, think_time=request.think_time)
        return replace(request, output_len=output_len, max_tokens=max_tokens)


def _times(length: int, factor: float) -> int:
    return length if factor == 1 else max(1, floor(length * factor + 0.5))
