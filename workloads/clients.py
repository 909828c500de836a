"""Which requests are sent when: the clients' side as a state machine without a clock, driven by both worlds.

A world asks next_at(), comes back with due() when that instant is there, and tells who ended and who was turned away:

    open loop     a request without parents is sent at its arrival time, whatever the engine does
    closed loop   a request with parents is sent when the last of them has ended and its think time is over, and not
                  before its arrival time; a later turn repeats what was said so far
    in-flight cap with max_in_flight, requests that are due queue at the client for a seat, first due first, ties by id;
                  such a request arrives when it is sent (as with --max-concurrency of vLLM's bench serve)

Within one instant endings come before sendings, and the order in which a world tells endings makes no difference.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from records.prompts import JoinedPrompt, NamedPrompt
from serving.errors import ConfigError, InvariantError
from serving.request import Request
from workloads.lineage import children_of
from workloads.request import WorkloadRequest
from workloads.workload import Workload, own_prompt, sending

_Due = tuple[int, str, int]  # when, request id, place in the workload


@dataclass(slots=True)
class _Waiting:
    """Of a request with parents: how many have not ended, and the end of the last one that has."""

    place: int
    num_parents: int
    last_end: int = 0


class Clients:
    """Which requests are sent when, given when earlier ones ended. All times: integer nanoseconds of the run.

    output_of: all output tokens of a request that has ended; asked only where a later turn repeats them.
    predicted: output lengths that a predictor attaches, in the order of workload.requests.
    max_in_flight: the most requests that are sent and have not ended; None: as many as are due.
    Errors: ConfigError for a cap below 1; InvariantError where a world tells what cannot be.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        output_of: Callable[[str], Sequence[int]],
        predicted: Sequence[int] | None = None,
        max_in_flight: int | None = None,
    ) -> None:
        if max_in_flight is not None and max_in_flight < 1:
            raise ConfigError(f"max_in_flight is {max_in_flight}; it must be at least 1 request")
        self._requests = requests = workload.requests
        self._output_of = output_of
        self._predicted = predicted
        self._now = 0
        self._num_sent = 0
        self._in_flight: set[str] = set()
        # A seat is known by the instant from which it is free; a heap.
        self._seats = None if max_in_flight is None else [0] * min(max_in_flight, len(requests))
        self._roots: Iterator[_Due] = (
            (r.arrival_time, r.request_id, i) for i, r in enumerate(requests) if not r.parent
        )
        self._root = next(self._roots, None)
        self._ready: list[_Due] = []  # a heap of those whose parents have ended
        self._waiting: dict[str, _Waiting] = {}
        self._children: dict[str, list[str]] = {}
        self._turns_to_come: dict[str, int] = {}  # how many requests that are not sent yet repeat this one
        self._prompts: dict[str, Sequence[int]] = {}  # of those sent
        self._turned_away: set[str] = set()
        self._never: set[str] = set()
        if workload.has_parents:
            self._children = children_of(requests)
            for i, r in enumerate(requests):
                if r.parent:
                    self._waiting[r.request_id] = _Waiting(i, len(r.parent))
                if r.turn > 1:
                    self._turns_to_come[r.parent[0]] = self._turns_to_come.get(r.parent[0], 0) + 1

    def next_at(self) -> int | None:
        """When the next request is sent, as far as is told yet. None: before another one ends, nothing is."""
        first = self._first_due()
        if first is None:
            return None
        if self._seats is None:
            return first[0]
        return max(first[0], self._seats[0]) if self._seats else None

    def due(self, now: int) -> list[Request]:
        """What is sent up to now and was not yet, in order of arrival time and id.

        A request's arrival time is the instant that next_at() stated, so a world that asks late can tell by how much.
        """
        if now < self._now:
            raise InvariantError(f"clients: asked for {now} ns after {self._now} ns")
        self._now = now
        sent: list[Request] = []
        while (at := self.next_at()) is not None and at <= now:
            sent.append(self._send(at))
        if len(sent) > 1:
            sent.sort(key=lambda request: (request.arrival_time, request.request_id))
        return sent

    def ended(self, request_id: str, at: int) -> None:
        """The client holds its last token at `at`: not before the last due(), but perhaps later than now."""
        self._leave(request_id, at)
        for child in self._children.get(request_id, ()):
            waiting = self._waiting.get(child)
            if waiting is None:
                continue  # another parent was turned away
            waiting.num_parents -= 1
            waiting.last_end = max(waiting.last_end, at)
            if not waiting.num_parents:
                del self._waiting[child]
                request = self._requests[waiting.place]
                due_at = max(request.arrival_time, waiting.last_end + request.think_time)
                heappush(self._ready, (due_at, child, waiting.place))

    def refused(self, request_id: str, at: int) -> None:
        """It was turned away at `at`: whoever depends on it, directly or not, is never sent."""
        self._leave(request_id, at)
        self._turned_away.add(request_id)
        gone = [request_id]
        while gone:
            for child in self._children.get(gone.pop(), ()):
                waiting = self._waiting.pop(child, None)
                if waiting is not None:
                    self._never.add(child)
                    self._drop_history(self._requests[waiting.place])
                    gone.append(child)

    def unsent(self) -> dict[str, str]:
        """Who is never sent, in the order of the workload, and why, for a person."""
        return {r.request_id: self._reason(r) for r in self._requests if r.request_id in self._never}

    @property
    def done(self) -> bool:
        """Nothing will be sent any more, whatever happens."""
        return self._num_sent + len(self._never) == len(self._requests)

    def _reason(self, request: WorkloadRequest) -> str:
        for parent in request.parent:
            if parent in self._turned_away:
                return f"its parent {parent} was turned away"
            if parent in self._never:
                return f"its parent {parent} was never sent"
        raise InvariantError(f"clients: request {request.request_id} is given up, but none of its parents is")

    def _first_due(self) -> _Due | None:
        if self._ready and (self._root is None or self._ready[0] < self._root):
            return self._ready[0]
        return self._root

    def _send(self, at: int) -> Request:
        """The first that is due."""
        if self._first_due() is self._root:
            assert self._root is not None
            _, request_id, place = self._root
            self._root = next(self._roots, None)
        else:
            _, request_id, place = heappop(self._ready)
        if self._seats is not None:
            heappop(self._seats)
        self._num_sent += 1
        self._in_flight.add(request_id)
        request = self._requests[place]
        prompt = own_prompt(request, request.prompt_len) if request.turn == 1 else self._next_turn(request)
        if request_id in self._turns_to_come:
            self._prompts[request_id] = prompt
        return sending(request, at, prompt, None if self._predicted is None else self._predicted[place])

    def _next_turn(self, request: WorkloadRequest) -> Sequence[int]:
        before = request.parent[0]
        said = JoinedPrompt((self._prompts[before], self._output_of(before)))
        own = request.prompt_len - len(said)
        if own < 1:
            raise InvariantError(
                f"clients: request {request.request_id} has a prompt of {request.prompt_len} tokens and repeats "
                f"{len(said)} of {before}; {before} got more output than the workload says"
            )
        self._drop_history(request)
        return JoinedPrompt((said, own_prompt(request, own)))

    def _drop_history(self, request: WorkloadRequest) -> None:
        """Once all turns that repeat a request are sent or given up, nobody asks for its prompt."""
        if request.turn == 1:
            return
        before = request.parent[0]
        self._turns_to_come[before] -= 1
        if not self._turns_to_come[before]:
            del self._turns_to_come[before]
            self._prompts.pop(before, None)

    def _leave(self, request_id: str, at: int) -> None:
        if request_id not in self._in_flight:
            raise InvariantError(f"clients: told of the end of {request_id}, which is not in flight")
        if at < self._now:
            raise InvariantError(f"clients: told at {self._now} ns that {request_id} ended before, at {at} ns")
        self._in_flight.remove(request_id)
        if self._seats is not None:
            heappush(self._seats, at)


def stand_ins(workload: Workload) -> Iterator[Request]:
    """Requests as long as those that will be sent, with other prompts: enough to ask what an engine could serve."""
    for request in workload.requests:
        length = request.prompt_len
        yield sending(request, request.arrival_time, NamedPrompt(("stand-in",), length, length))
