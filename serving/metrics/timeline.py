"""Where a request's time went: a pure function of its arrival and the receipts of the steps that ran.

    TTFT = queue + schedule + prefill + return
    E2E  = TTFT + decode + stream

All integer nanoseconds, each instant in exactly one part, so the sums hold with ==. Before the first token is on
the host an instant belongs to prefill if a step that includes the request is executing, else to schedule if
such a step is being scheduled and prepared, else to queue. `return` is from there until the client holds
the token. After that an instant belongs to decode until the last token is on the host, then to stream.
"""

from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from serving.schedule.contract import Joined, QuietSteps, StepReceipt


class Timeline(NamedTuple):
    """One request. Instants and durations in integer nanoseconds.

    first_scheduled_at: its first step's schedule() call. token_times: an array, when the client held each token.
    num_cached: prompt tokens the prefix cache saved at its first admission.
    """

    arrival_at: int
    first_scheduled_at: int
    token_times: "array[int]"
    queue: int
    schedule: int
    prefill: int
    return_: int
    decode: int
    stream: int
    num_preemptions: int
    num_cached: int
    finished: bool

    @property
    def ttft(self) -> int:
        return self.token_times[0] - self.arrival_at

    @property
    def e2e(self) -> int:
        return self.token_times[-1] - self.arrival_at

    @property
    def tpot(self) -> float | None:
        """Mean time per output token after the first; None for a single token."""
        n = len(self.token_times)
        return (self.token_times[-1] - self.token_times[0]) / (n - 1) if n > 1 else None


@dataclass(slots=True)
class _Counted:
    """The steps of an engine that counted decodes (serving/schedule/counting.py): integer nanoseconds."""

    hosts: "array[int]" = field(default_factory=lambda: array("q"))
    delivered: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class Track:
    """What the steps so far told of a request. Instants in integer nanoseconds, -1: not yet.

    first_scheduled_at: schedule() call of the step that admitted it. finished_on: the engine.
    """

    first_scheduled_at: int = -1
    num_preemptions: int = 0
    num_cached: int = 0
    finished_on: int = -1
    steps: list[tuple[int, int, int]] = field(default_factory=list)  # (schedule, launch, host) up to the first token
    token_times: "array[int]" = field(default_factory=lambda: array("q"))
    first_host: int = -1
    last_host: int = -1
    counted: _Counted | None = None  # while its decodes are counted: by whom, and from which step on
    counted_from: int = -1


class Timekeeper:
    """Told of each step that ran, in order, it knows the timeline of each request that was not forgotten.

    engine: number of the engine that a step ran on. A request that goes on elsewhere keeps its timeline.
    """

    def __init__(self) -> None:
        self._tracks: dict[str, Track] = {}
        self._counted: dict[int, _Counted] = {}

    def add(self, receipt: StepReceipt, engine: int = 0, moved: Collection[str] = ()) -> None:
        """moved: who ended here, but goes on on another engine."""
        tracks, plan, outcome = self._tracks, receipt.plan, receipt.outcome
        if plan.decodes is not None:
            counted = self._change(engine, plan.decodes.left, plan.decodes.joined)
            if plan.decodes.num_seqs:
                counted.hosts.append(receipt.host_at)
                counted.delivered.append(receipt.delivered_at)
        for request_id in plan.preempted:
            tracks[request_id].num_preemptions += 1
        for request_id, _, num_cached in plan.admitted:
            if request_id not in tracks:
                tracks[request_id] = Track(receipt.schedule_at, num_cached=num_cached)
        for request_id, accepted in zip(plan.request_ids, outcome.num_accepted, strict=True):
            track = tracks[request_id]
            if track.first_host < 0:
                track.steps.append((receipt.schedule_at, receipt.launch_at, receipt.host_at))
            if accepted:
                if track.first_host < 0:
                    track.first_host = receipt.host_at
                track.last_host = receipt.host_at
                if accepted == 1:
                    track.token_times.append(receipt.delivered_at)
                else:
                    track.token_times.extend([receipt.delivered_at] * accepted)
        for request_id in outcome.finished:
            _catch_up(tracks[request_id])
            if request_id not in moved:
                tracks[request_id].finished_on = engine

    def add_quiet(self, steps: QuietSteps, engine: int = 0) -> None:
        counted = self._change(engine, steps.left, steps.joined)
        counted.hosts += steps.host_ats
        counted.delivered += steps.delivered_ats
        for request_id in steps.finished:
            _catch_up(self._tracks[request_id])
            self._tracks[request_id].finished_on = engine

    def lost(self, request_id: str) -> None:
        """Its engine has failed: it has the tokens that it has."""
        track = self._tracks.get(request_id)
        if track is not None:
            _catch_up(track)

    def track(self, request_id: str) -> Track | None:
        """None: it was never admitted."""
        track = self._tracks.get(request_id)
        if track is not None and track.counted is not None:
            counted = track.counted
            _catch_up(track)
            track.counted, track.counted_from = counted, len(counted.hosts)
        return track

    def timeline(self, request_id: str, arrival_at: int) -> Timeline | None:
        """None: it has received no token."""
        track = self.track(request_id)
        return _timeline(arrival_at, track) if track is not None and track.token_times else None

    def forget_finished(self, request_id: str, engine: int = 0) -> None:
        """Once no step in flight of the engine it finished on can name it. Nothing happens to one that did not."""
        track = self._tracks.get(request_id)
        if track is not None and track.finished_on == engine:
            del self._tracks[request_id]

    def _change(self, engine: int, left: Iterable[str], joined: Iterable[Joined]) -> _Counted:
        counted = self._counted.get(engine)
        if counted is None:
            counted = self._counted[engine] = _Counted()
        for request_id in left:
            _catch_up(self._tracks[request_id])
        for request_id, _, _ in joined:
            track = self._tracks[request_id]
            track.counted, track.counted_from = counted, len(counted.hosts)
        return counted


def _catch_up(track: Track) -> None:
    counted = track.counted
    if counted is not None and track.counted_from < len(counted.hosts):
        track.token_times += counted.delivered[track.counted_from :]
        track.last_host = counted.hosts[-1]
    track.counted = None


def timelines(arrivals: Mapping[str, int], receipts: Iterable[StepReceipt]) -> dict[str, Timeline]:
    """Timelines of the requests that received at least one token; the others have none to tell."""
    keeper = Timekeeper()
    for receipt in receipts:
        keeper.add(receipt)
    told = {request_id: keeper.timeline(request_id, arrival_at) for request_id, arrival_at in arrivals.items()}
    return {request_id: timeline for request_id, timeline in told.items() if timeline is not None}


def _timeline(arrival: int, track: Track) -> Timeline:
    first_delivered, last_delivered = track.token_times[0], track.token_times[-1]
    executing = _union([(launch, host) for _, launch, host in track.steps], arrival, track.first_host)
    busy = _union([(schedule, host) for schedule, _, host in track.steps], arrival, track.first_host)
    on_host = max(track.last_host, first_delivered)
    return Timeline(
        arrival_at=arrival,
        first_scheduled_at=track.steps[0][0],
        token_times=track.token_times[:],
        queue=track.first_host - arrival - busy,
        schedule=busy - executing,
        prefill=executing,
        return_=first_delivered - track.first_host,
        decode=on_host - first_delivered,
        stream=last_delivered - on_host,
        num_preemptions=track.num_preemptions,
        num_cached=track.num_cached,
        finished=track.finished_on >= 0,
    )


def _union(intervals: list[tuple[int, int]], low: int, high: int) -> int:
    """Length of the union of intervals ordered by start, clipped to [low, high)."""
    if len(intervals) == 1:
        a, b = intervals[0]
        return max(0, min(b, high) - max(a, low))
    total, end = 0, low
    for a, b in intervals:
        a, b = max(a, end), min(b, high)
        if b > a:
            total += b - a
            end = b
    return total
