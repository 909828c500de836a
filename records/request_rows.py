"""requests.parquet under construction: a request that finishes is written down at once, and little else is kept."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from records.schema import REQUESTS
from serving.errors import InvariantError
from serving.metrics.timeline import Timekeeper, Timeline
from serving.request import Request
from serving.schedule.contract import QuietSteps, StepReceipt


class RequestHead(NamedTuple):
    """What a row says of a request before anything happens to it. arrival_time: integer nanoseconds."""

    request_id: str
    arrival_time: int
    prompt_len: int


def arrival_order(requests: Iterable[Request]) -> list[RequestHead]:
    """The heads of a run's requests in the order of rows."""
    ordered = sorted(requests, key=lambda r: (r.arrival_time, r.request_id))
    return [RequestHead(r.request_id, r.arrival_time, r.prompt_len) for r in ordered]


_FINISHED, _REJECTED, _ABORTED, _UNFINISHED = range(4)
_STATUS = ("finished", "rejected", "aborted", "unfinished")
_NONE = -1
_TIMES = (
    "first_scheduled_s",
    "first_token_s",
    "last_token_s",
    "ttft_s",
    "queue_s",
    "schedule_s",
    "prefill_s",
    "return_s",
    "decode_s",
    "stream_s",
    "e2e_s",
)


class RequestRows:
    """heads: in the order of rows. row: request id -> its row. Errors: InvariantError for an id that comes twice."""

    def __init__(self, heads: Iterable[RequestHead]) -> None:
        self._ids: list[str] = []
        self._arrivals = array("q")
        self._prompt_lens = array("i")
        for request_id, arrival_time, prompt_len in heads:
            self._ids.append(request_id)
            self._arrivals.append(arrival_time)
            self._prompt_lens.append(prompt_len)
        self.row: dict[str, int] = {request_id: i for i, request_id in enumerate(self._ids)}
        if len(self.row) != len(self._ids):
            raise InvariantError("two requests of a run have the same id")
        self._keeper = Timekeeper()
        self._written = array("q")  # rows whose timelines have been told
        self._values = array("q")  # of those: num_preemptions, num_cached, output_len, then _TIMES

    def add(self, receipt: StepReceipt) -> None:
        """A step that ran; they come in order."""
        self._keeper.add(receipt)
        for request_id in receipt.outcome.finished:
            row = self.row[request_id]
            timeline = self._keeper.timeline(request_id, self._arrivals[row])
            assert timeline is not None
            self._write(row, _values(timeline))
        self._forget(receipt.plan.released)

    def add_quiet(self, steps: QuietSteps) -> None:
        self._keeper.add_quiet(steps)
        self._forget(steps.released)

    def _forget(self, released: Iterable[str]) -> None:
        """A step in flight cannot name them any more."""
        for request_id in released:
            self._keeper.forget_finished(request_id)

    def table(self, rejected: Mapping[str, str], aborted: Iterable[str]) -> pa.Table:
        """rejected: id -> reason. aborted: while they were being served."""
        status = np.full(len(self._ids), _UNFINISHED, dtype=np.int8)
        for code, ids in ((_ABORTED, aborted), (_REJECTED, rejected)):
            status[[self.row[request_id] for request_id in ids]] = code
        status[np.frombuffer(self._written, dtype=np.int64)] = _FINISHED
        for row in np.flatnonzero(status != _FINISHED).tolist():
            self._write(row, self._so_far(row))
        columns = dict(self._columns())
        reasons = {self.row[request_id]: reason for request_id, reason in rejected.items()}
        columns |= {
            "request_id": pa.array(self._ids),
            "status": pa.array(_STATUS).take(pa.array(status)),
            "reason": pa.array([reasons.get(row) for row in range(len(self._ids))], pa.string()),
            "prompt_len": pa.array(np.frombuffer(self._prompt_lens, dtype=np.intc), pa.int32()),
            "arrival_s": pa.array(np.frombuffer(self._arrivals, dtype=np.int64) / 1e9),
        }
        return pa.Table.from_arrays([columns[name] for name in REQUESTS.names], schema=REQUESTS)

    def _write(self, row: int, values: tuple[int, ...]) -> None:
        self._written.append(row)
        self._values.extend(values)

    def _so_far(self, row: int) -> tuple[int, ...]:
        """Of one that did not finish: it may have tokens, or have been admitted and preempted without."""
        request_id = self._ids[row]
        timeline = self._keeper.timeline(request_id, self._arrivals[row])
        if timeline is not None:
            return _values(timeline)
        track = self._keeper.track(request_id)
        nothing = (_NONE,) * (len(_TIMES) - 1)
        if track is None:
            return (0, 0, 0, _NONE, *nothing)
        return (track.num_preemptions, track.num_cached, 0, track.first_scheduled_at, *nothing)

    def _columns(self) -> Iterator[tuple[str, pa.Array]]:
        values = np.frombuffer(self._values, dtype=np.int64).reshape(len(self._written), 3 + len(_TIMES))
        values = values[np.argsort(np.frombuffer(self._written, dtype=np.int64))]
        for i, name in enumerate(("num_preemptions", "num_cached", "output_len")):
            yield name, pa.array(values[:, i], pa.int32())
        for i, name in enumerate(_TIMES, start=3):
            yield name, pa.array(values[:, i] / 1e9, mask=values[:, i] == _NONE)
        output_len, first, last = values[:, 2], values[:, 4], values[:, 5]
        gaps = np.maximum(output_len - 1, 1)
        yield "tpot_s", pa.array((last - first) / gaps / 1e9, mask=output_len < 2)


def _values(t: Timeline) -> tuple[int, ...]:
    first, last = t.token_times[0], t.token_times[-1]
    return (
        t.num_preemptions,
        t.num_cached,
        len(t.token_times),
        t.first_scheduled_at,
        first,
        last,
        first - t.arrival_at,
        t.queue,
        t.schedule,
        t.prefill,
        t.return_,
        t.decode,
        t.stream,
        last - t.arrival_at,
    )
