"""Public traces as workloads, plain or gzip, told apart by their content (formats.py)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from serving.errors import ConfigError, WorkloadError
from serving.names import hint
from workloads.arrivals.poisson import Poisson
from workloads.entry import Entry, Reading, Session
from workloads.formats import ReadOptions, is_workload, open_trace
from workloads.jsonl import read_jsonl
from workloads.rescale import rescale
from workloads.streams import stream
from workloads.workload import Workload, WorkloadRequest


def read_any(
    path: Path,
    scale: float = 1.0,
    max_len: int | None = None,
) -> tuple[Workload, list[str]]:
    """A public trace or a workload file, and notes; see read_trace. A workload file keeps its arrival times and ids."""
    if not is_workload(path):
        return read_trace(path, scale=scale, max_len=max_len)
    workload = read_jsonl(path)
    requests, notes = rescale(workload.requests, scale, max_len)
    return Workload(workload.name, requests), notes


def read_trace(
    path: Path,
    *,
    limit: int | None = None,
    speedup: float = 1.0,
    scale: float = 1.0,
    max_len: int | None = None,
    drop_invalid: bool = False,
    where: Mapping[str, str] | None = None,
    turns: int | None = None,
    rate: float | None = None,
    seed: int | None = None,
    read: ReadOptions | None = None,
) -> tuple[Workload, list[str]]:
    """A workload named after the file, and notes of what was left out or changed, for a person.

    The first request arrives at 0 and max_tokens is the output length. limit: take the first so many requests, by
    time; the last session is taken whole. speedup: divides arrival times, not think times. scale: multiplies lengths
    (rescale.py). max_len: cuts prompts, in tokens after scale. drop_invalid: leave out requests of zero tokens, and
    what follows them in their session. where: take the requests with these values in these columns. turns: the first so
    many requests of each session. rate, seed: sessions per second, Poisson, for a trace that does not say when.
    read: what its format needs to know (formats.py).
    Errors: WorkloadError naming file and line; ConfigError for an option that makes no sense, or has no effect here.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; it must be at least 1 request")
    if turns is not None and turns < 1:
        raise ConfigError(f"turns is {turns}; it must be at least 1 request of each session")
    if not (math.isfinite(speedup) and speedup > 0):
        raise ConfigError(f"speedup is {speedup:g}; it must be a number above 0")
    reading = open_trace(path, read or ReadOptions())
    _check_times(path, reading, rate, seed, speedup)
    if turns is not None and not reading.sessions_wait:
        raise ConfigError(f"turns has no effect on {path}: in its format no request waits for another")
    pick = _Pick(drop_invalid, where or {}, turns)
    chosen = _first(list(_in_order(pick.of(reading.sessions), reading.timed, limit)), limit)
    pick.check()
    if not chosen:
        what = "has the values of --where" if pick.elsewhere else "has prompt and output tokens"
        raise WorkloadError(f"{path}: no request in this trace {what}")
    members = _requests(chosen, _begins(reading, chosen, rate, seed, speedup))
    requests, notes = rescale(members, scale, max_len)
    left_out = [f"{count} {what} left out" for what, count in sorted(reading.left_out.items())]
    return Workload(path.name.split(".")[0], requests), [*left_out, *pick.notes(), *_longer(members, limit), *notes]


@dataclass
class _Pick:
    """Which sessions, and how much of each."""

    drop_invalid: bool
    where: Mapping[str, str]
    turns: int | None
    elsewhere: int = 0
    empty: int = 0
    after_empty: int = 0
    first_empty: Entry | None = None

    def of(self, sessions: Iterator[Session]) -> Iterator[Session]:
        for session in sessions:
            if self.where and not self._is_there(session[0]):
                self.elsewhere += len(session)
                continue
            kept = session if self.turns is None else session[: self.turns]
            valid = next((i for i, e in enumerate(kept) if e.prompt_len < 1 or e.output_len < 1), len(kept))
            if valid < len(kept):
                self.first_empty = self.first_empty or kept[valid]
                self.empty += 1
                self.after_empty += len(kept) - valid - 1
            if valid:
                yield kept[:valid]

    def _is_there(self, entry: Entry) -> bool:
        labels = dict(entry.labels)
        for column, value in self.where.items():
            if column not in labels:
                known = hint(column, labels) if labels else "this format has none to choose by"
                raise ConfigError(f"{entry.where}: --where {column}: no such column; {known}")
            if labels[column] != value:
                return False
        return True

    def check(self) -> None:
        entry = self.first_empty
        if entry is not None and not self.drop_invalid:
            raise WorkloadError(
                f"{entry.where}: {entry.prompt_len} prompt and {entry.output_len} output tokens; both must be at "
                f"least 1 ({self.empty} such lines; --drop-invalid leaves them out)"
            )

    def notes(self) -> list[str]:
        notes = []
        if self.elsewhere:
            notes.append(f"{self.elsewhere} requests with other values in the columns of --where left out")
        if self.empty:
            notes.append(f"{self.empty} requests of zero tokens left out")
        if self.after_empty:
            notes.append(f"{self.after_empty} requests left out that followed one of zero tokens in its session")
        return notes


def _check_times(path: Path, reading: Reading, rate: float | None, seed: int | None, speedup: float) -> None:
    if reading.timed:
        for name, value in (("rate", rate), ("seed", seed)):
            if value is not None:
                raise ConfigError(
                    f"{name} has no effect on {path}: it says when its requests are sent; --speedup changes that"
                )
    elif rate is None:
        raise ConfigError(f"{path} does not say when its requests are sent; give --rate, in sessions per second")
    elif speedup != 1:
        raise ConfigError(f"speedup has no effect on {path}: its requests are sent at --rate")


def _in_order(sessions: Iterator[Session], timed: bool, limit: int | None) -> Iterator[Session]:
    """By time. Without times the file's order is kept, and no more is read than is needed."""
    if timed:
        yield from sorted(sessions, key=lambda session: session[0].time)
    else:
        yield from islice(sessions, limit)


def _first(sessions: list[Session], limit: int | None) -> list[Session]:
    taken = 0
    for i, session in enumerate(sessions):
        if limit is not None and taken >= limit:
            return sessions[:i]
        taken += len(session)
    return sessions


def _begins(
    reading: Reading, sessions: list[Session], rate: float | None, seed: int | None, speedup: float
) -> list[int]:
    """When each session begins, in nanoseconds from the first."""
    if rate is not None:
        times = Poisson().times(rate, len(sessions), stream(seed or 0, "arrivals"))
        return [time - times[0] for time in times]
    start = sessions[0][0].time
    since = [session[0].time - start for session in sessions]
    return since if speedup == 1 else [round(time / speedup) for time in since]


def _requests(sessions: list[Session], begins: list[int]) -> list[WorkloadRequest]:
    digits = len(str(sum(map(len, sessions)) - 1))
    requests: list[WorkloadRequest] = []
    for session, begin in zip(sessions, begins, strict=True):
        before: WorkloadRequest | None = None
        for entry in session:
            before = _request(f"{len(requests):0{digits}}", entry, begin, before)
            requests.append(before)
    return requests


def _request(request_id: str, entry: Entry, begin: int, before: WorkloadRequest | None) -> WorkloadRequest:
    try:
        return WorkloadRequest(
            request_id=request_id,
            arrival_time=begin,
            prompt_len=entry.prompt_len,
            output_len=entry.output_len,
            max_tokens=entry.output_len,
            hash_ids=entry.hash_ids,
            hash_block=entry.hash_block,
            session_id=entry.session_id,
            turn=1 if before is None or not entry.repeats else before.turn + 1,
            parent=() if before is None else (before.request_id,),
            think_time=0 if before is None else entry.think_time,
        )
    except WorkloadError as error:
        raise WorkloadError(f"{entry.where}: {error}") from error


def _longer(members: list[WorkloadRequest], limit: int | None) -> list[str]:
    if limit is None or len(members) <= limit:
        return []
    return [f"{len(members)} requests instead of {limit}: the last session is whole"]
