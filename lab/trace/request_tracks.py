"""A track per request: its parts as nested slices, admissions and preemptions as instants."""

from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np

from lab.trace.events import Events
from lab.trace.request_parts import Span, StepTimes, before_first_token, decode_intervals
from lab.trace.request_table import PARTS, RequestTable
from lab.trace.step_rows import StepBatch
from records.run_arrays import NONE
from serving.errors import RecordError


class _Open:
    """What the steps so far told of a request: nothing of it is kept once it is written."""

    __slots__ = ("deliveries", "instants", "steps")

    def __init__(self) -> None:
        self.steps: list[StepTimes] = []
        self.instants: list[tuple[int, str, dict[str, int]]] = []
        self.deliveries = array("q")  # instant, tokens, instant, tokens, ...


class RequestTracks:
    """Told of all steps in the order of the file, it writes the track of each request that is shown.

    A request is written when it has ended; one that moved between engines, and one that did not finish, in finish(). So
    what is kept is what runs, not what has run.
    """

    def __init__(self, events: Events, process: int, table: RequestTable, tokens: bool) -> None:
        self._events = events
        self._process = process
        self._table = table
        self._tokens = tokens
        self._first_host = table.first_host
        self._on_host = table.on_host
        self._open: dict[int, _Open] = {}
        self._to_write = table.shown.copy()
        # Of one that got no token, every step is one before the first token.
        self._early_until = np.where(self._first_host == NONE, np.iinfo(np.int64).max, self._first_host)
        self._ends_at_once = (table.counts["num_moves"] == 0) & table.shown
        self.num_written = 0

    def add(self, steps: StepBatch) -> None:
        """A piece of steps.parquet."""
        to_write, times = self._to_write, steps.ns
        for name, beside in (("admitted", "cached"), ("preempted", "")):
            rows, at = steps.lists[name].values, steps.lists[name].step
            values = steps.lists["admitted_cached"].values if beside else rows
            for i in np.flatnonzero(to_write[rows]).tolist():
                step = int(at[i])
                args = {"step": int(steps.numbers["step_id"][step])}
                if beside:
                    args["cached tokens"] = int(values[i])
                self._of(int(rows[i])).instants.append((int(times["schedule"][step]), name, args))
        rows, at = steps.lists["batch_request"].values, steps.lists["batch_request"].step
        early = to_write[rows] & (times["host"][at] <= self._early_until[rows])
        for i in np.flatnonzero(early).tolist():
            n = int(at[i])
            times_of = StepTimes(
                schedule=int(times["schedule"][n]),
                launch=int(times["launch"][n]),
                host=int(times["host"][n]),
                number=int(steps.numbers["step_id"][n]),
                row=steps.first + n,
            )
            self._of(int(rows[i])).steps.append(times_of)
        if self._tokens:
            accepted = steps.lists["batch_accepted"].values
            brought = np.flatnonzero(to_write[rows] & (accepted > 0))
            delivered = times["delivered"][at[brought]].tolist()
            for row, instant, count in zip(rows[brought].tolist(), delivered, accepted[brought].tolist(), strict=True):
                self._of(row).deliveries.extend((instant, count))
        for row in steps.lists["finished"].values.tolist():
            if self._ends_at_once[row] and to_write[row]:
                self._write(row)

    def finish(self) -> None:
        """All steps were told."""
        for row in np.flatnonzero(self._to_write).tolist():
            self._write(row)

    def _of(self, row: int) -> _Open:
        found = self._open.get(row)
        if found is None:
            found = self._open[row] = _Open()
        return found

    def _write(self, row: int) -> None:
        self._to_write[row] = False
        self.num_written += 1
        told, table, events = self._open.pop(row, None) or _Open(), self._table, self._events
        ns = {name: int(values[row]) for name, values in table.ns.items()}
        arrival, name = ns["arrival"], table.ids[row]
        end = max(ns["last_token"], int(table.left_at[row]), arrival)
        spans = list(self._spans(row, ns, told, end))
        self._check(row, ns, spans)
        track = events.new_track()
        events.begin_async(self._process, track, arrival, name, self._args(row, ns))
        instants = sorted((i for i in told.instants if arrival <= i[0] <= end), key=lambda i: i[0])
        instants = instants[::-1]  # the next one is at the end
        closes: list[Span] = []

        def close(until: int) -> None:
            while closes and closes[-1].end <= until:
                mark(closes[-1].end)
                ended = closes.pop()
                events.end_async(self._process, track, ended.end, ended.name)

        def mark(until: int) -> None:
            while instants and instants[-1][0] <= until:
                at, kind, args = instants.pop()
                events.instant_async(self._process, track, at, kind, args)

        for span in spans:
            close(span.start)
            mark(span.start)
            args = {"step": span.step.number} if span.step else {}
            if span.tokens > 1:
                args["tokens"] = span.tokens
            events.begin_async(self._process, track, span.start, span.name, args, self._flow(span))
            closes.append(span)
        close(end)
        mark(end)
        if table.status[row] != "finished":
            why = {"why": table.reason[row]} if table.reason[row] else {}
            events.instant_async(self._process, track, end, table.status[row], why)
        events.end_async(self._process, track, end, name)

    def _spans(self, row: int, ns: dict[str, int], told: _Open, end: int) -> Iterator[Span]:
        """In order of begins, an outer one before those in it."""
        first_host, on_host = int(self._first_host[row]), int(self._on_host[row])
        yield from before_first_token(ns["arrival"], end if first_host == NONE else first_host, told.steps)
        if first_host == NONE:
            return
        first, last = ns["first_token"], ns["last_token"]
        if first > first_host:
            yield Span("return", first_host, first)
        if on_host > first:
            yield Span("decode", first, on_host)
            pairs = list(zip(told.deliveries[::2], told.deliveries[1::2], strict=True))
            yield from decode_intervals(first, on_host, sorted(pairs))
        if last > on_host:
            yield Span("stream", on_host, last)

    def _flow(self, span: Span) -> int:
        """From the step that computes a prompt to the slice of the prompt, where that step is shown; -1: no arrow."""
        step = span.step
        if span.name != "prefill" or step is None:
            return -1
        return step.row if step.schedule <= self._table.end and step.host >= self._table.begin else -1

    def _check(self, row: int, ns: dict[str, int], spans: list[Span]) -> None:
        """The slices are the parts that requests.parquet states, to the nanosecond."""
        if int(self._first_host[row]) == NONE:
            return
        sums = dict.fromkeys(PARTS, 0)
        for span in spans:
            if span.name in sums:
                sums[span.name] += span.end - span.start
        for part in PARTS:
            if sums[part] != ns[part]:
                raise RecordError(
                    f"request {self._table.ids[row]}: {part} is {ns[part]} ns in requests.parquet, {sums[part]} ns by "
                    f"steps.parquet; the record contradicts itself: make the run again"
                )

    def _args(self, row: int, ns: dict[str, int]) -> dict[str, Any]:
        table = self._table
        counts = {name: int(values[row]) for name, values in table.counts.items()}
        args: dict[str, Any] = {
            "status": table.status[row],
            "prompt tokens": counts["prompt_len"],
            "output tokens": counts["output_len"],
        }
        if ns["ttft"] != NONE:
            args |= {f"{name} ms": ns[name] / 1e6 for name in ("ttft", *PARTS, "e2e")}
        for name, label in (
            ("num_cached", "cached tokens"),
            ("num_preemptions", "preemptions"),
            ("num_moves", "moves"),
        ):
            if counts[name] > 0:
                args[label] = counts[name]
        if table.is_fleet and counts["replica"] != NONE:
            args["replica"] = counts["replica"]
        for label, texts in (("tenant", table.tenant), ("session", table.session)):
            if texts[row]:
                args[label] = texts[row]
        return args
