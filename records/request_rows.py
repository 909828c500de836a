"""requests.parquet under construction: a request that finishes is written down at once, and little else is kept."""

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from records.profile_cost import Ints
from records.schema import REQUESTS, STATUSES
from serving.errors import InvariantError
from serving.metrics.timeline import Timekeeper, Timeline
from serving.request import Request
from serving.schedule.contract import QuietSteps, StepReceipt


class RequestHead(NamedTuple):
    """What a row says of a request before anything happens to it.

    ttft_slo, tpot_slo: the service level it should meet, in integer nanoseconds; None: none was agreed.
    """

    request_id: str
    prompt_len: int
    tenant: str = ""
    session_id: str = ""
    ttft_slo: int | None = None
    tpot_slo: int | None = None


def arrival_order(requests: Iterable[Request]) -> list[Request]:
    """The requests of a run in the order of rows, where the order of a workload does not say it."""
    return sorted(requests, key=lambda r: (r.arrival_time, r.request_id))


_FINISHED, _REJECTED, _ABORTED, _UNFINISHED, _UNSENT = range(5)
assert STATUSES == ("finished", "rejected", "aborted", "unfinished", "unsent")
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
    """heads: in the order of rows. row: request id -> its row. Errors: InvariantError for an id that comes twice.

    engine, everywhere: the number of the engine that a step ran on.
    """

    def __init__(self, heads: Iterable[RequestHead]) -> None:
        self._ids: list[str] = []
        self._prompt_lens = array("i")
        self._tenants: list[str] = []
        self._sessions: list[str] = []
        self._slos = array("q")  # of each: TTFT, TPOT
        for request_id, prompt_len, tenant, session_id, ttft_slo, tpot_slo in heads:
            self._ids.append(request_id)
            self._prompt_lens.append(prompt_len)
            self._tenants.append(tenant)
            self._sessions.append(session_id)
            self._slos.append(_NONE if ttft_slo is None else ttft_slo)
            self._slos.append(_NONE if tpot_slo is None else tpot_slo)
        self.row: dict[str, int] = {request_id: i for i, request_id in enumerate(self._ids)}
        if len(self.row) != len(self._ids):
            raise InvariantError("two requests of a run have the same id")
        self._arrivals = array("q", [_NONE]) * len(self._ids)
        self._replicas = array("i", [0]) * len(self._ids)
        self._moves = array("i", [_NONE]) * len(self._ids)  # placements after the first; -1: never placed
        self._keeper = Timekeeper()
        self._written = array("q")  # rows whose timelines have been told
        self._values = array("q")  # of those: num_preemptions, num_cached, output_len, then _TIMES

    def sent(self, request_id: str, at: int) -> None:
        """Its client sent it. at: integer nanoseconds since the start of the run."""
        self._arrivals[self.row[request_id]] = at

    def placed(self, request_id: str, replica: int) -> None:
        """A router gave it to a replica, not for the first time perhaps."""
        row = self.row[request_id]
        self._replicas[row] = replica
        self._moves[row] += 1

    def add(self, receipt: StepReceipt, engine: int = 0, moved: Collection[str] = ()) -> None:
        """A step that ran; those of an engine come in order. moved: who ended there, but goes on elsewhere."""
        self._keeper.add(receipt, engine, moved)
        for request_id in receipt.outcome.finished:
            if request_id not in moved:
                self._finish(request_id)
        self._forget(receipt.plan.released, engine)

    def add_quiet(self, steps: QuietSteps, engine: int = 0) -> None:
        self._keeper.add_quiet(steps, engine)
        for request_id in steps.finished:
            self._finish(request_id)
        self._forget(steps.released, engine)

    def _finish(self, request_id: str) -> None:
        row = self.row[request_id]
        timeline = self._keeper.timeline(request_id, self._arrivals[row])
        assert timeline is not None
        self._write(row, _values(timeline))

    def lost(self, request_id: str) -> None:
        """Its engine failed with it; it may go on elsewhere."""
        self._keeper.lost(request_id)

    def _forget(self, released: Iterable[str], engine: int) -> None:
        """A step in flight cannot name them any more."""
        for request_id in released:
            self._keeper.forget_finished(request_id, engine)

    def table(self, rejected: Mapping[str, str], aborted: Iterable[str], unsent: Mapping[str, str]) -> pa.Table:
        """rejected, unsent: id -> reason. aborted: while they were being served."""
        arrivals = np.frombuffer(self._arrivals, dtype=np.int64)
        status = np.where(arrivals == _NONE, _UNSENT, _UNFINISHED).astype(np.int8)
        for code, ids in ((_ABORTED, aborted), (_REJECTED, rejected)):
            status[[self.row[request_id] for request_id in ids]] = code
        status[np.frombuffer(self._written, dtype=np.int64)] = _FINISHED
        for row in np.flatnonzero(status != _FINISHED).tolist():
            self._write(row, self._so_far(row))
        columns = dict(self._columns())
        reasons = {self.row[request_id]: reason for request_id, reason in {**rejected, **unsent}.items()}
        moves = np.frombuffer(self._moves, dtype=np.intc)
        columns |= {
            "request_id": pa.array(self._ids),
            "status": pa.array(STATUSES).take(pa.array(status)),
            "reason": pa.array([reasons.get(row) for row in range(len(self._ids))], pa.string()),
            "tenant": pa.array(self._tenants),
            "session_id": pa.array(self._sessions),
            "replica": pa.array(np.frombuffer(self._replicas, dtype=np.intc), pa.int32(), mask=status == _UNSENT),
            "num_moves": pa.array(np.maximum(moves, 0), pa.int32()),
            "prompt_len": pa.array(np.frombuffer(self._prompt_lens, dtype=np.intc), pa.int32()),
            "arrival_s": pa.array(arrivals / 1e9, mask=arrivals == _NONE),
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
        yield from self._service_levels(values[:, 6], last - first, output_len)

    def _service_levels(self, ttft: Ints, decode: Ints, output_len: Ints) -> Iterator[tuple[str, pa.Array]]:
        ttft_slo, tpot_slo = np.frombuffer(self._slos, dtype=np.int64).reshape(-1, 2).T
        none = (ttft_slo == _NONE) & (tpot_slo == _NONE)
        # serving.metrics.goodput.met() for a million rows; tests/records/test_service_levels.py holds it to that.
        met = (ttft != _NONE) & ((ttft_slo == _NONE) | (ttft <= ttft_slo))
        met &= (tpot_slo == _NONE) | (output_len < 2) | (decode <= tpot_slo * (output_len - 1))
        yield "ttft_slo_s", pa.array(ttft_slo / 1e9, mask=ttft_slo == _NONE)
        yield "tpot_slo_s", pa.array(tpot_slo / 1e9, mask=tpot_slo == _NONE)
        yield "slo_met", pa.array(met, mask=none)


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
