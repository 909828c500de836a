"""Laws of flow: who is where when a plan is made, Little's law, and time in which an engine rests while somebody waits.

Source: Little, Operations Research 9, 1961; over a finite window the law is an identity (Stidham 1974), so it is held
against two independent counts: what the snapshots of the plans say, and what became of each request.
"""

from collections.abc import Sequence

import numpy as np

from records.law import Check, Law, law_of
from records.run_arrays import NONE, Ints, RunArrays, Steps
from records.stays import FOREVER, Places, Stays, places_of

Engines = Sequence[tuple[Steps, Places]]
_ROUTED = "behind a router the record does not say when a request came to its engine"
_LATE = "on hardware a request can reach the engine after the instant that its workload states"
_CHANGES = ("admitted", "preempted", "released", "batch_request")


def flow_laws(arrays: RunArrays) -> list[Law]:
    engines = [(engine, places_of(arrays, engine)) for engine in arrays.engines]
    return [
        law_of(
            "places",
            "admitted, perhaps preempted and admitted again, then released; in a batch only between",
            [_places(arrays, engine, places) for engine, places in engines],
        ),
        law_of("running", "a plan sees as many running as came in and have not left", [_running(*e) for e in engines]),
        _waiting(arrays, engines),
        _little_clients(arrays),
        law_of(
            "Little: batch",
            "integral of the number running = sum of the times for which requests ran",
            [_little(engine, places.running, engine["num_running"]) for engine, places in engines],
        ),
        *_little_engine(arrays, engines),
        _resting(arrays, engines),
    ]


def _places(arrays: RunArrays, engine: Steps, places: Places) -> Check:
    wrong = places.misplaced
    num_changes = sum(len(engine.lists[name].values) for name in _CHANGES)
    return Check(
        np.arange(num_changes) < len(wrong),
        lambda i: f"{engine.named(wrong[i].plan)}, request {arrays.ids[wrong[i].request]}: {wrong[i].words}",
        {
            "admissions": float(len(engine.lists["admitted"].values)),
            "preemptions": float(len(engine.lists["preempted"].values)),
        },
    )


def _running(engine: Steps, places: Places) -> Check:
    told, seen = engine["num_running"], places.running.seen(len(engine))
    return Check(told != seen, lambda k: f"{engine.named(k)}: {told[k]} running, {seen[k]} came in and have not left")


def _waiting(arrays: RunArrays, engines: Engines) -> Law:
    is_late = arrays.record.manifest.world == "real"
    says = f"a plan sees {'at most ' if is_late else ''}as many waiting as arrived, or gave way, and were not taken"
    checks = [
        _waiting_check(engine, places.waiting, is_late) for engine, places in engines if places.waiting is not None
    ]
    return law_of("waiting", says, checks) if len(checks) == len(engines) else Law("waiting", says, 0, remark=_ROUTED)


def _waiting_check(engine: Steps, waiting: Stays, is_late: bool) -> Check:
    told, seen = engine["num_waiting"], waiting.seen(len(engine))
    return Check(
        told > seen if is_late else told != seen,
        lambda k: f"{engine.named(k)}: {told[k]} waiting, {seen[k]} arrived or gave way and were not taken",
    )


def _little_clients(arrays: RunArrays) -> Law:
    """Departures are those of the steps, times in the system those of requests.parquet."""
    departure = np.full(len(arrays.ids), NONE)
    for engine in arrays.engines:
        finished = engine.lists["finished"]
        np.maximum.at(departure, finished.values, engine["delivered_s"][finished.step])
    rows = np.flatnonzero((arrays.status == "finished") & (departure != NONE))
    arrival, departure, inside = (
        values[rows] for values in (arrays.requests["arrival_s"], departure, arrays.requests["e2e_s"])
    )
    times = np.concatenate((arrival, departure))
    order = np.argsort(times, kind="stable")
    number = np.repeat([1, -1], len(rows))[order].cumsum()
    area = _area(number[:-1], np.diff(times[order]))
    span = int(times.max() - times.min()) if len(rows) else 0
    return law_of(
        "Little: clients",
        "integral of the number of requests under way = sum of their times from arrival to last token",
        [_equal(area, _sum(inside), len(rows), span)],
    )


def _little_engine(arrays: RunArrays, engines: Engines) -> list[Law]:
    """The queue, and queue and batch together; of one engine that sees arrivals when they happen."""
    queue = ("Little: queue", "integral of the number waiting = sum of the times for which requests waited")
    engine = ("Little: engine", "integral of the number waiting or running = sum of the times in the engine")
    remark = _LATE if arrays.record.manifest.world == "real" else "" if arrays.tells_arrivals else _ROUTED
    if remark:
        return [Law(*told, 0, remark=remark) for told in (queue, engine)]
    queues, wholes = [], []
    for steps, places in engines:
        assert places.waiting is not None
        queues.append(_little(steps, places.waiting, steps["num_waiting"]))
        both = places.waiting.joined(places.running)
        wholes.append(_little(steps, both, steps["num_waiting"] + steps["num_running"]))
    return [law_of(*queue, queues), law_of(*engine, wholes)]


def _little(steps: Steps, stays: Stays, told: Ints) -> Check:
    """From the first plan to the last. told: the number there, by each plan's snapshot; between two plans it changes
    at the instants at which stays begin and end.
    """
    at, num = steps["schedule_s"], len(steps)
    end_of_window = int(at[-1])
    area = _area(told[:-1], np.diff(at))
    seen = stays.first < num
    area += _sum(at[stays.first[seen]] - np.maximum(stays.start[seen], at[0]))
    left = seen & (stays.last < num)
    area -= _sum(at[stays.last[left]] - np.minimum(stays.end[left], at[stays.last[left]]))
    inside = np.minimum(stays.end, end_of_window) - np.maximum(stays.start, at[0])
    return _equal(area, _sum(np.maximum(inside, 0)), len(stays.start), end_of_window - int(at[0]))


def _equal(area: int, total: int, num: int, span: int) -> Check:
    return Check(
        np.array([area != total]),
        lambda _: f"the integral is {area} ns, the sum {total} ns, over {num} stays",
        {"mean_number": area / span if span else 0.0, "sum_s": total / 1e9},
    )


def _area(numbers: Ints, gaps: Ints) -> int:
    """Exact: no partial sum comes near 2**63."""
    low = (1 << 20) - 1
    return (int(numbers @ (gaps >> 20)) << 20) + int(numbers @ (gaps & low))


def _sum(values: Ints) -> int:
    return _area(np.ones_like(values), values)


def _resting(arrays: RunArrays, engines: Engines) -> Law:
    """A policy may hold requests back, and completing a step takes time: a figure, which nothing breaks."""
    says = "a figure, no law: time in which nothing ran though a request waited"
    if any(places.waiting is None for _, places in engines):
        return Law("resting", says, 0, remark=_ROUTED)
    rest, overhead, longest = 0, 0, (0, "")
    for steps, places in engines:
        assert places.waiting is not None
        begin, end = np.maximum.accumulate(steps["host_s"])[:-1], steps["schedule_s"][1:]
        began = np.searchsorted(np.sort(places.running.start), steps["schedule_s"][:-1], "right")
        running = began - np.searchsorted(np.sort(places.running.end), begin, "right")
        pauses = np.maximum(end - begin, 0)
        overhead += _sum(pauses[running > 0])
        gaps = np.flatnonzero((pauses > 0) & (running <= 0))
        waited = _overlap(begin[gaps], end[gaps], places.waiting)
        rest += _sum(waited)
        if len(waited) and int(waited.max()) > longest[0]:
            gap = gaps[int(np.argmax(waited))]
            there = (places.waiting.start < end[gap]) & (places.waiting.end >= end[gap])
            who = int(places.waiting.request[np.flatnonzero(there)[0]])
            longest = (int(waited.max()), f"before {steps.named(int(gap) + 1)}, while {arrays.ids[who]} waited")
    return Law(
        "resting",
        says,
        0,
        figures={"resting_s": rest / 1e9, "longest_s": longest[0] / 1e9, "between_steps_s": overhead / 1e9},
        remark=f"longest {longest[1]}" if longest[1] else "",
    )


def _overlap(begin: Ints, end: Ints, stays: Stays) -> Ints:
    """Of each interval, for how long at least one stay goes on."""
    order = np.argsort(stays.start, kind="stable")
    start, until = stays.start[order], np.minimum(np.maximum.accumulate(stays.end[order]), FOREVER)
    opens = np.append(True, start[1:] > until[:-1]) if len(start) else np.zeros(0, dtype=bool)
    start, until = (
        start[opens],
        until[np.append(np.flatnonzero(opens)[1:] - 1, len(until) - 1)] if len(start) else until,
    )
    if not len(start):
        return np.zeros_like(begin)
    before = np.append(0, np.minimum(until, int(end.max(initial=0))) - start).clip(min=0).cumsum()

    def covered(at: Ints) -> Ints:
        place = np.searchsorted(start, at, "right") - 1
        inside = np.clip(np.minimum(at, until[place]) - start[place], 0, None)
        return np.where(place >= 0, before[np.maximum(place, 0)] + inside, 0)

    return covered(end) - covered(begin)
