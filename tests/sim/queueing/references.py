"""What textbook queues do with the same jobs, path by path: a loop each, in integers, with nothing of the engine in it.

Jobs come in order of arrival; where two are equal, the earlier one comes first. All times are integer nanoseconds.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence

from tests.sim.queueing.world import Job, Service


def lindley(arrivals: Sequence[int], services: Sequence[int]) -> list[int]:
    """Waits at one server, first come, first served: W[n+1] = max(0, W[n] + S[n] - A[n])  (Lindley 1952)."""
    waits, wait, before = [], 0, arrivals[0] if arrivals else 0
    served = 0
    for arrival, service in zip(arrivals, services, strict=True):
        wait = max(0, wait + served - (arrival - before))
        waits.append(wait)
        before, served = arrival, service
    return waits


def round_robin(arrivals: Sequence[int], services: Sequence[int], servers: int) -> list[int]:
    """Waits where each server in turn gets the next job: a Lindley recursion each."""
    waits = [0] * len(arrivals)
    for k in range(servers):
        waits[k::servers] = lindley(arrivals[k::servers], services[k::servers])
    return waits


def central_queue(arrivals: Sequence[int], services: Sequence[int], servers: int) -> list[int]:
    """Waits where the first of one queue goes to whichever server is free first (Kiefer and Wolfowitz 1955)."""
    free_at, waits = [0] * servers, []
    for arrival, service in zip(arrivals, services, strict=True):
        start = max(arrival, free_at[0])
        waits.append(start - arrival)
        heapq.heapreplace(free_at, start + service)
    return waits


def bulk(jobs: Sequence[Job], seats: int, step: Callable[[int], int]) -> list[Service]:
    """Single-step jobs: a step of n takes step(n), and takes in all who are there, `seats` at most."""
    services: list[Service] = []
    now = 0
    while len(services) < len(jobs):
        first = len(services)
        now = max(now, jobs[first].arrival)
        last = first
        while last < len(jobs) and last - first < seats and jobs[last].arrival <= now:
            last += 1
        end = now + step(last - first)
        services += [Service(now, end)] * (last - first)
        now = end
    return services


def static_batches(jobs: Sequence[Job], seats: int, step: Callable[[int], int]) -> list[Service]:
    """As bulk(), but a batch takes as many steps as its longest output, smaller ones as members end."""
    services: list[Service] = []
    now = 0
    while len(services) < len(jobs):
        now = max(now, jobs[len(services)].arrival)
        batch: list[Job] = []
        for job in jobs[len(services) : len(services) + seats]:
            if job.arrival > now:
                break
            batch.append(job)
        ends, end = [], now
        for k in range(max(job.output for job in batch)):
            end += step(sum(job.output > k for job in batch))
            ends.append(end)
        services += [Service(now, ends[job.output - 1]) for job in batch]
        now = end
    return services


def continuous_batches(jobs: Sequence[Job], seats: int, step: Callable[[int], int]) -> list[Service]:
    """Whoever ends leaves at once, and whoever waits comes in at the next step; each gets a token a step."""
    starts, ends = [0] * len(jobs), [0] * len(jobs)
    inside: list[list[int]] = []  # [place, tokens to come]
    now = arrived = 0
    while arrived < len(jobs) or inside:
        if not inside:
            now = max(now, jobs[arrived].arrival)
        while arrived < len(jobs) and len(inside) < seats and jobs[arrived].arrival <= now:
            starts[arrived] = now
            inside.append([arrived, jobs[arrived].output])
            arrived += 1
        now += step(len(inside))
        for member in inside:
            member[1] -= 1
            if not member[1]:
                ends[member[0]] = now
        inside = [member for member in inside if member[1]]
    return [Service(start, end) for start, end in zip(starts, ends, strict=True)]


def shortest_first(arrivals: Sequence[int], sizes: Sequence[int], unit: int) -> Iterator[tuple[int, int]]:
    """Jobs as they are served, (place, start): the smallest of those that are there. A size of 1 takes `unit`."""
    heap: list[tuple[int, int]] = []
    now = arrived = 0
    while arrived < len(arrivals) or heap:
        if not heap:
            now = max(now, arrivals[arrived])
        while arrived < len(arrivals) and arrivals[arrived] <= now:
            heapq.heappush(heap, (sizes[arrived], arrived))
            arrived += 1
        size, place = heapq.heappop(heap)
        yield place, now
        now += size * unit


def shortest_remaining_first(arrivals: Sequence[int], sizes: Sequence[int], step: int) -> list[Service]:
    """At each step's end the job with the fewest steps to go is next; the one that runs stays where it is equal."""
    starts, ends = [-1] * len(sizes), [0] * len(sizes)
    heap: list[tuple[int, int]] = []  # (steps to go, place) of those that wait
    now = arrived = 0
    running, to_go = -1, 0
    while arrived < len(sizes) or heap or to_go:
        if not heap and not to_go:
            now = max(now, arrivals[arrived])
        while arrived < len(sizes) and arrivals[arrived] <= now:
            heapq.heappush(heap, (sizes[arrived], arrived))
            arrived += 1
        if not to_go:
            to_go, running = heapq.heappop(heap)
        elif heap and heap[0][0] < to_go:
            to_go, running = heapq.heapreplace(heap, (to_go, running))
        if starts[running] < 0:
            starts[running] = now
        steps = to_go
        if arrived < len(sizes):  # nothing changes before the first step that ends after the next arrival
            steps = min(to_go, max(1, -((now - arrivals[arrived]) // step)))
        now += steps * step
        to_go -= steps
        if not to_go:
            ends[running] = now
    return [Service(start, end) for start, end in zip(starts, ends, strict=True)]
