"""Laws of each request: its row in requests.parquet, against itself and against the steps that name it."""

from collections.abc import Callable

import numpy as np

from records.law import Check, Law, Where, law_of
from records.run_arrays import NONE, Ints, RunArrays, summed


def request_laws(arrays: RunArrays) -> list[Law]:
    served = _Served(arrays)
    return [_endings(arrays), _ttft(arrays), _e2e(arrays), _tokens(arrays, served), _instants(arrays, served)]


class _Served:
    """What the steps of all engines say of each request; NONE: nothing.

    accepted: its tokens. first_token, last_token: when the client held them. first_host: when the first was on the
    host. executing, preparing: nanoseconds in which steps that include it executed, or were scheduled and prepared, up
    to first_host.
    """

    def __init__(self, arrays: RunArrays) -> None:
        num = len(arrays.ids)
        entries = [
            (e.lists["batch_request"].values, e.lists["batch_accepted"].values, e.lists["batch_request"].step, e)
            for e in arrays.engines
        ]
        row = _together([row for row, _, _, _ in entries])
        accepted = _together([accepted for _, accepted, _, _ in entries])
        schedule, launch, host, delivered = (
            _together([e[name][step] for _, _, step, e in entries])
            for name in ("schedule_s", "launch_s", "host_s", "delivered_s")
        )
        if not arrays.has_one_engine:
            order = np.argsort(host, kind="stable")
            row, accepted, schedule, launch, host, delivered = (
                values[order] for values in (row, accepted, schedule, launch, host, delivered)
            )
        gets = accepted > 0
        self.accepted = summed(row, accepted, num)
        self.first_token = _first(row[gets], delivered[gets], num)
        self.last_token = _first(row[gets][::-1], delivered[gets][::-1], num)
        self.first_host = _first(row[gets], host[gets], num)
        early = host <= self.first_host[row]
        self.executing = summed(row[early], (host - launch)[early], num)
        self.preparing = summed(row[early], (launch - schedule)[early], num)
        self.first_scheduled = np.full(num, NONE)
        self.first_cached = np.full(num, 0)
        self.num_preemptions = np.zeros(num, dtype=np.int64)
        for e in sorted(arrays.engines, key=lambda e: int(e["schedule_s"][0]), reverse=True):
            admitted = e.lists["admitted"]
            at = _first(admitted.values, e["schedule_s"][admitted.step], num)
            cached = _first(admitted.values, e.lists["admitted_cached"].values, num)
            sooner = (at != NONE) & ((self.first_scheduled == NONE) | (at <= self.first_scheduled))
            self.first_scheduled = np.where(sooner, at, self.first_scheduled)
            self.first_cached = np.where(sooner, cached, self.first_cached)
            ends_in = np.full(num, len(e))
            ends_in[e.lists["finished"].values] = e.lists["finished"].step
            preempted = e.lists["preempted"]
            early = preempted.step <= ends_in[preempted.values]  # not while its last token was in flight
            self.num_preemptions += np.bincount(preempted.values[early], minlength=num)


def _together(parts: list[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _first(rows: Ints, values: Ints, num: int) -> Ints:
    """Of each row, the first of its values."""
    first = np.full(num, NONE)
    first[rows[::-1]] = values[::-1]  # of several that are assigned, the last one stays
    return first


def _named(arrays: RunArrays, rows: Ints, words: Callable[[int], str]) -> Callable[[int], str]:
    return lambda case: f"request {arrays.ids[rows[case]]}: {words(int(rows[case]))}"


def _endings(arrays: RunArrays) -> Law:
    num = len(arrays.ids)
    ends, named = np.zeros(num, dtype=np.int64), np.zeros(num, dtype=np.int64)
    for engine in arrays.engines:
        ends += np.bincount(engine.lists["finished"].values, minlength=num)
        for name in ("batch_request", "admitted", "preempted", "released"):
            named += np.bincount(engine.lists[name].values, minlength=num)
    finished, output = arrays.status == "finished", arrays.requests["output_len"]
    never = arrays.status == "unsent"
    broken = finished & ((ends < 1) | (output < 1))
    if arrays.record.manifest.fleet is None:  # in a fleet one can end on several engines, and be lost after all
        never |= arrays.status == "rejected"
        broken |= ends != finished
    broken |= never & ((named > 0) | (output > 0))
    words = _named(
        arrays,
        np.arange(num),
        lambda r: (
            f"it is {arrays.status[r]}, with {output[r]} tokens; steps name it {named[r]} times, its end {ends[r]}"
        ),
    )
    counts = {str(status): float(np.count_nonzero(arrays.status == status)) for status in np.unique(arrays.status)}
    return law_of(
        "endings", "each request ends once, in one state, and steps say the same", [Check(broken, words, counts)]
    )


def _sum_law(arrays: RunArrays, name: str, parts: tuple[str, ...], whole: str, between: tuple[str, str]) -> Law:
    rows = np.flatnonzero(arrays.requests[whole] != NONE)
    columns = {column: arrays.requests[column][rows] for column in (*parts, whole, *between)}
    total, spent = sum(columns[part] for part in parts), columns[between[1]] - columns[between[0]]
    negative: Where = np.min([columns[part] for part in parts], axis=0) < 0
    broken: Where = (total != columns[whole]) | (spent != columns[whole]) | negative

    def words(r: int) -> str:
        told = " + ".join(f"{part.removesuffix('_s')} {arrays.requests[part][r]}" for part in parts)
        span = arrays.requests[between[1]][r] - arrays.requests[between[0]][r]
        return f"{told}, {name} {arrays.requests[whole][r]}, from {between[0]} to {between[1]} {span} ns"

    says = f"{' + '.join(part.removesuffix('_s') for part in parts)} = {name}, exactly, none negative"
    return law_of(name, says, [Check(broken, _named(arrays, rows, words))])


def _ttft(arrays: RunArrays) -> Law:
    parts = ("queue_s", "schedule_s", "prefill_s", "return_s")
    return _sum_law(arrays, "ttft", parts, "ttft_s", ("arrival_s", "first_token_s"))


def _e2e(arrays: RunArrays) -> Law:
    return _sum_law(arrays, "e2e", ("ttft_s", "decode_s", "stream_s"), "e2e_s", ("arrival_s", "last_token_s"))


def _tokens(arrays: RunArrays, served: _Served) -> Law:
    output = arrays.requests["output_len"]
    words = _named(
        arrays,
        np.arange(len(output)),
        lambda r: f"its client received {output[r]} tokens, steps accepted {served.accepted[r]}",
    )
    return law_of(
        "tokens",
        "tokens a client received = tokens that steps accepted",
        [Check(output != served.accepted, words, {"tokens": float(output.sum())})],
    )


def _instants(arrays: RunArrays, served: _Served) -> Law:
    """The row's instants and counts are those of the steps; so are prefill, schedule and the time per token."""
    requests, all_rows = arrays.requests, np.arange(len(arrays.ids))
    first, last, output = requests["first_token_s"], requests["last_token_s"], requests["output_len"]
    checks = []

    def expect(name: str, found: Ints, rows: Ints) -> None:
        told = requests[name]
        words = _named(arrays, rows, lambda r: f"{name.removesuffix('_s')} is {told[r]}, of the steps {found[r]}")
        checks.append(Check((told != found)[rows], words))

    expect("first_scheduled_s", served.first_scheduled, all_rows)
    expect("first_token_s", served.first_token, all_rows)
    expect("last_token_s", served.last_token, all_rows)
    expect("num_preemptions", served.num_preemptions, all_rows)
    expect("num_cached", served.first_cached, all_rows)
    stayed = np.flatnonzero((first != NONE) & (requests["num_moves"] == 0))
    expect("prefill_s", served.executing, stayed)
    if all(np.all(e["schedule_s"][1:] >= e["host_s"][:-1]) for e in arrays.engines):
        expect("schedule_s", served.preparing, stayed)
    several = np.flatnonzero(output > 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = (last - first) / (output - 1) / 1e9
    words = _named(arrays, several, lambda r: f"tpot is {arrays.tpot_s[r]} s, of its instants {tpot[r]} s")
    checks.append(Check((arrays.tpot_s != tpot)[several], words))
    return law_of("instants", "a row's instants, parts, counts and time per token are those of its steps", checks)
