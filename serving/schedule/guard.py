"""Every question to a policy goes through here: what it answers is checked before the engine acts on it."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.component import NOTICES, Component
from serving.errors import InvariantError, PolicyError
from serving.request import RequestState, Status
from serving.schedule.admission.base import AdmissionControl
from serving.schedule.contract import Outcome, Plan
from serving.schedule.policies.base import Policy, Verdict, WaitingQueue
from serving.state.reservation.base import Reservation
from serving.view import EngineView, RequestView, Running

_WAITING = (Status.WAITING, Status.PREEMPTED)


class Guard:
    """Errors: PolicyError naming policy, step and request, wherever a policy raises or answers nonsense.

    step: number of the step being decided, kept by the scheduler. last_gives_way: the victim is always the last one.
    """

    def __init__(
        self,
        policy: Policy,
        admission: AdmissionControl,
        reservation: Reservation,
        queue: WaitingQueue,
        views: Mapping[RequestState, RequestView],
        engine: EngineView,
    ) -> None:
        self.step = 0
        self.may_displace = type(policy).outranks is not Policy.outranks
        self.last_gives_way = type(policy).victim is Policy.victim
        self._policy = policy
        self._admission = admission
        self._reservation = reservation
        self._queue = queue
        self._views = views
        self._engine = engine
        self._waiting: dict[RequestState, bool] = {}  # who waits, and whether the queue has him
        self._chunks = type(policy).chunk is not Policy.chunk
        self._holds_back = type(policy).admit is not Policy.admit
        self._refuses = type(admission).refuse is not AdmissionControl.refuse
        self._listeners = {
            notice: [c for c in (policy, admission, reservation) if getattr(type(c), notice) is not method]
            for notice, method in vars(Component).items()
            if notice in NOTICES
        }

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def refuse(self, state: RequestState) -> str | None:
        if not self._refuses:
            return None
        reason = self._ask(self._admission, "refuse", state, self._views[state])
        if reason is not None and not isinstance(reason, str):
            raise self._wrong(self._admission, "refuse", state, f"answered {reason!r}; it is words, or None")
        return reason

    def push(self, state: RequestState) -> None:
        """It arrived. If the queue does not take it, it does not wait."""
        self._ask(self._policy, "push", state, self._views[state], of=self._queue)
        self._waiting[state] = True

    def push_preempted(self, state: RequestState) -> None:
        """It gave way. If the queue does not take it, it waits all the same: it can be aborted."""
        self._waiting[state] = False
        self._ask(self._policy, "push_preempted", state, self._views[state], of=self._queue)
        self._waiting[state] = True

    def remove(self, state: RequestState) -> None:
        if self._waiting[state]:
            self._waiting[state] = False
            self._ask(self._policy, "remove", state, self._views[state], of=self._queue)
        del self._waiting[state]

    def head(self) -> RequestState:
        return self._known(self._ask(self._policy, "peek", None, of=self._queue), "peek", _WAITING)

    def admit(self, state: RequestState) -> Verdict:
        if not self._holds_back:
            return Verdict.TAKE
        verdict = self._ask(self._policy, "admit", state, self._views[state])
        if not isinstance(verdict, Verdict):
            raise self._wrong(self._policy, "admit", state, f"answered {verdict!r}; it is a Verdict")
        return verdict

    def chunk(self, state: RequestState, num_tokens: int) -> int:
        if not self._chunks:
            return num_tokens
        chunk: int = self._ask(self._policy, "chunk", state, self._views[state], num_tokens)
        if not _whole(chunk) or not 0 <= chunk <= num_tokens:
            raise self._wrong(self._policy, "chunk", state, f"answered {chunk!r} of {num_tokens} tokens")
        return chunk

    def victim(self, needy: RequestState, candidates: Sequence[RequestState]) -> RequestState:
        """Who gives way for `needy`. candidates: running requests, in admission order; not empty."""
        answer = self._ask(self._policy, "victim", needy, Running(candidates, self._views))
        state = self._known(answer, "victim", (Status.RUNNING,))
        if state not in candidates:
            raise self._wrong(self._policy, "victim", needy, f"answered {answer!r}, which was not among those offered")
        return state

    def outranks(self, waiting: RequestState, running: RequestState) -> bool:
        return bool(self._ask(self._policy, "outranks", waiting, self._views[waiting], self._views[running]))

    def wake_at(self) -> int | None:
        when: int | None = self._ask(self._policy, "wake_at", None)
        if when is not None and (not _whole(when) or when <= self._engine.now):
            raise self._wrong(self._policy, "wake_at", None, f"answered {when!r}; it is a time to come, or None")
        return when

    def hold(self, state: RequestState, end: int) -> int:
        held: int = self._ask(self._reservation, "hold", state, self._views[state], end)
        if not _whole(held) or held < end:
            raise self._wrong(self._reservation, "hold", state, f"answered {held!r}; it needs {end} tokens at least")
        return min(held, max(end, state.end_at - 1))  # the last token is never stored

    def admits(self, state: RequestState, held: int, taken: int, free: int) -> bool:
        return bool(self._ask(self._reservation, "admits", state, self._views[state], held, taken, free))

    def admits_nobody(self, situation: str) -> PolicyError:
        """Work waits, nothing runs, and nobody comes in though the engine's own limits allow it."""
        return self._wrong(self._reservation, "admits", self.head(), f"lets nobody in though nothing runs: {situation}")

    def tell(self, notice: str, state: RequestState) -> None:
        """Notify whoever overrides this notice."""
        for component in self._listeners[notice]:
            self._ask(component, notice, state, self._views[state])

    def tell_step(self, component: Component, plan: Plan, outcome: Outcome) -> None:
        self._ask(component, "observe", None, plan, outcome)

    def waiting(self) -> Sequence[RequestState]:
        """In no particular order."""
        return list(self._waiting)

    def waiting_ids(self) -> list[str]:
        """In the order of the queue; last whom it did not take."""
        left = [state.request_id for state, queued in self._waiting.items() if not queued]
        return [*(request.request_id for request in self._queue), *left]

    def _ask(self, whom: Any, method: str, state: RequestState | None, *arguments: Any, of: Any = None) -> Any:
        try:
            return getattr(whom if of is None else of, method)(*arguments)
        except InvariantError:
            raise
        except Exception as error:
            raise self._wrong(whom, method, state, f"raised {type(error).__name__}: {error}") from error

    def _wrong(self, whom: Any, method: str, state: RequestState | None, what: str) -> PolicyError:
        about = f", request {state.request_id}" if state is not None else ""
        return PolicyError(f"{type(whom).__name__}, step {self.step}{about}: {method}() {what}")

    def _known(self, answer: Any, method: str, statuses: tuple[Status, ...]) -> RequestState:
        state = answer._state if isinstance(answer, RequestView) else None
        if state is None or state.status not in statuses or state not in self._views:
            raise self._wrong(
                self._policy, method, None, f"answered {answer!r}; it must be a {statuses[0].value} request"
            )
        if state.counted is not None:
            state.counted.settle()
        return state


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
