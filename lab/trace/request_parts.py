"""A request's time as slices that follow each other: the parts of TTFT interval by interval, then decode and stream.

The rule is that of serving/metrics/timeline.py: before the first token is on the host an instant belongs to prefill
if a step that includes the request executes, else to schedule if such a step is being scheduled and prepared, else to
queue. There it gives sums; here it gives the intervals, whose lengths add up to these sums as integers.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class StepTimes(NamedTuple):
    """A step that included the request. Instants in integer nanoseconds.

    number: of its plan. row: in steps.parquet, which tells the steps of all engines apart.
    """

    schedule: int
    launch: int
    host: int
    number: int
    row: int


class Span(NamedTuple):
    """[start, end) in integer nanoseconds. step: what it belongs to. tokens: that it brought."""

    name: str
    start: int
    end: int
    step: StepTimes | None = None
    tokens: int = 0


def before_first_token(arrival: int, until: int, steps: Iterable[StepTimes]) -> Iterator[Span]:
    """queue, schedule and prefill from arrival to `until`, without a gap; none is empty.

    until: when the first token was on the host, or the last instant that is known of a request that got none.
    """
    known = list(steps)
    executing = _clipped(((s.launch, s.host, s) for s in known), arrival, until)
    busy = _joined(_clipped(((s.schedule, s.host, s) for s in known), arrival, until))
    at, place = arrival, 0
    for start, end in busy:
        if start > at:
            yield Span("queue", at, start)
        at = start
        while place < len(executing) and executing[place][0] < end:
            launch, host, step = executing[place]
            if launch > at:
                yield Span("schedule", at, launch, step)
            yield Span("prefill", launch, host, step)
            at, place = host, place + 1
        if end > at:
            yield Span("schedule", at, end)
            at = end
    if until > at:
        yield Span("queue", at, until)


def decode_intervals(first: int, on_host: int, deliveries: Sequence[tuple[int, int]]) -> Iterator[Span]:
    """[first, on_host) cut at each delivery; the last interval ends when its token is on the host.

    first: when the client held the first token. deliveries: (instant, tokens) of each step that brought some, in
    order, that of the first token included.
    """
    at = first
    for n, (instant, tokens) in enumerate(deliveries[1:], start=2):
        last = n == len(deliveries)
        end = on_host if last else min(max(instant, at), on_host)
        if end > at:
            yield Span("token", at, end, tokens=tokens)
        at = max(at, end)


def _clipped(intervals: Iterable[tuple[int, int, StepTimes]], low: int, high: int) -> list[tuple[int, int, StepTimes]]:
    """In order of begins, in [low, high); where two overlap, the second begins at the end of the first."""
    clipped: list[tuple[int, int, StepTimes]] = []
    end = low
    for start, stop, step in sorted(intervals):
        start, stop = max(start, end), min(stop, high)
        if stop > start:
            clipped.append((start, stop, step))
            end = stop
    return clipped


def _joined(intervals: Iterable[tuple[int, int, StepTimes]]) -> list[tuple[int, int]]:
    """Those that touch become one."""
    joined: list[tuple[int, int]] = []
    for start, stop, _ in intervals:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
