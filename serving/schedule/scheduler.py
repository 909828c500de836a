"""The scheduler every world drives: queues, KV pool and the life of a request around a batcher.

Read contract.py first, then batchers/mixed.py or batchers/prefill_first.py for how a step is filled.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.component import Component
from serving.cost import CostModel
from serving.errors import ConfigError, InvariantError, PolicyError, RequestError, ServetwinError
from serving.request import Request, RequestState, Status
from serving.schedule.admission.base import AdmissionControl
from serving.schedule.batchers.base import Batcher
from serving.schedule.config import EngineConfig
from serving.schedule.contract import Idle, Outcome, Plan, QuietSteps, Snapshot
from serving.schedule.draft import Draft
from serving.schedule.guard import Guard
from serving.schedule.policies.base import Policy
from serving.state.pool import BlockPool, Usage
from serving.state.reservation.base import Reservation
from serving.view import EngineView, RequestView, Running


@dataclass
class Parts:
    """What a scheduler is made of; presets.py puts them together."""

    batcher: Batcher
    pool: BlockPool
    policy: Policy
    reservation: Reservation = field(default_factory=Reservation)
    admission: AdmissionControl = field(default_factory=AdmissionControl)
    cost: CostModel | None = None


@dataclass(slots=True)
class Tally:
    """What the end of a step brings: tokens accepted, per request of the batch; who ends; who is told of what."""

    accepted: list[int]
    finished: list[RequestState] = field(default_factory=list)
    notices: list[tuple[str, RequestState]] = field(default_factory=list)


class Scheduler:
    """refuses_impossible: turn away on arrival what could not run to its end alone, so that a queue always drains.

    Without it such a request is found out when nothing else can run: schedule() raises RequestError then, and goes
    on once it is aborted.

    After a PolicyError the books are in order, but the step it came from was told to nobody: requests can be aborted,
    and schedule() raises it again.
    """

    def __init__(self, config: EngineConfig, parts: Parts, refuses_impossible: bool) -> None:
        self.config = config
        self.max_in_flight = 2 if config.async_scheduling else 1
        self._batcher = parts.batcher
        self._pool = parts.pool
        self._refuses_impossible = refuses_impossible
        self._publishes_when_complete = config.async_scheduling or not parts.batcher.publishes_when_scheduled
        self._live: dict[str, RequestState] = {}
        self._views: dict[RequestState, RequestView] = {}
        self._running: list[RequestState] = []
        self._released: list[str] = []
        self._preempted: list[RequestState] = []
        self._in_flight: deque[tuple[Plan, list[RequestState]]] = deque()
        self._failed: PolicyError | None = None
        self._num_steps = 0
        components: tuple[Component, ...] = (parts.policy, parts.admission, parts.reservation)
        queue = parts.policy.new_queue()
        engine = EngineView(config, self._pool, Running(self._running, self._views), queue, parts.cost)
        for component in components:
            component.bind(engine)
        self._observers = [c for c in components if type(c).observe is not Component.observe]
        self._needs = sorted({need for component in components for need in component.needs} - {"cost"})
        self._guard = Guard(parts.policy, parts.admission, parts.reservation, queue, self._views, engine)
        if not engine.knows_cost:
            for component in components:
                if "cost" in component.needs:
                    raise ConfigError(f"{type(component).__name__} predicts step times: give a profile to predict with")

    @property
    def has_work(self) -> bool:
        return bool(self._live)

    def add(self, request: Request, now: int) -> None:
        self._pool.now = now
        for name in self._needs:
            if getattr(request, name) is None:
                raise RequestError(f"request {request.request_id}: it states no {name}, which the policy needs")
        if self._refuses_impossible or request.request_id in self._live:
            self.refuse_impossible(request)
        state = RequestState.of(request, self.config.max_model_len)
        self._views[state] = RequestView(state)
        try:
            reason = self._guard.refuse(state)
            if reason is not None:
                raise RequestError(f"request {request.request_id}: {reason}")
            self._guard.push(state)
        except ServetwinError:
            del self._views[state]
            raise
        self._live[request.request_id] = state
        self._guard.tell("arrived", state)

    def refuse_impossible(self, request: Request) -> None:
        """Errors: RequestError. A request that passes can run to its end alone, so a queue always drains."""
        rid, prompt, config = request.request_id, request.prompt_len, self.config
        if rid in self._live:
            raise RequestError(f"request {rid}: this id is still being served; ids must be unique")
        if prompt < 1 or request.max_tokens < 1:
            raise RequestError(
                f"request {rid}: {prompt} prompt tokens and max_tokens {request.max_tokens}; both must be at least 1"
            )
        generated = len(request.output_token_ids)
        if generated >= request.max_tokens or not 0 <= request.num_received < prompt + generated:
            raise RequestError(
                f"request {rid}: it brings {generated} of at most {request.max_tokens} output tokens and the KV of "
                f"{request.num_received} of its {prompt + generated} tokens; one of each must be left to compute"
            )
        if prompt >= config.max_model_len:
            raise RequestError(
                f"request {rid}: the prompt has {prompt} tokens, but max_model_len is {config.max_model_len} "
                f"with the output; shorten the prompt or raise max_model_len"
            )
        longest = min(prompt + request.max_tokens, config.max_model_len) - 1  # the last token is never stored
        if self._pool.blocks_for(longest) > config.num_blocks:
            raise RequestError(
                f"request {rid}: prompt {prompt} + output up to {request.max_tokens} tokens need "
                f"{self._pool.blocks_for(longest)} KV blocks of {config.block_size}, the pool has {config.num_blocks}; "
                f"raise num_blocks or lower max_tokens"
            )

    def abort(self, request_id: str, now: int) -> None:
        state = self._live.get(request_id)
        if state is None:
            return
        self._pool.now = now
        if state.status is Status.RUNNING:
            self._running.remove(state)
        else:
            self._guard.remove(state)
        self._drop(state, Status.ABORTED)
        self._tell([("aborted", state)], [state])

    def schedule(self, now: int) -> Plan | Idle:
        if len(self._in_flight) == self.max_in_flight:
            raise InvariantError(f"schedule() called while step {self._in_flight[0][0].step_id} is not complete")
        if self._failed is not None:
            raise self._failed
        if not self._live:
            return Idle()
        self._pool.now = now
        self._guard.step = self._num_steps
        step = self._draft()
        try:
            self._batcher.fill(step)
            self._preempted += step.preempted
            if not step.num_seqs:
                return self._nothing_to_run(step, now)
        except PolicyError as error:
            step.roll_back()
            self._failed = error
            raise
        plan = step.plan(self._num_steps, self._preempted, tuple(self._released))
        self._preempted.clear()
        self._released.clear()
        self._num_steps += 1
        self._in_flight.append((plan, step.batch))
        return plan

    def _draft(self) -> Draft:
        return Draft(self.config, self._guard, self._pool, self._running)

    def _nothing_to_run(self, step: Draft, now: int) -> Idle:
        gave_way = tuple(state.request_id for state in step.preempted)
        if not gave_way and self._in_flight:
            return Idle()
        if not gave_way and step.held_back:
            return Idle(self._guard.wake_at())
        for state in step.preempted or self._live.values():
            self._check_it_fits(state)
        if gave_way:  # the last victim was the request in need itself: vLLM runs an empty step and tries again
            return Idle(now, gave_way)
        raise self._guard.admits_nobody(
            f"{self._guard.num_waiting} waiting, {len(self._running)} running, budget {step.budget}, free blocks "
            f"{self._pool.num_free} of {self._pool.num_blocks}"
        )

    def _check_it_fits(self, state: RequestState) -> None:
        needed = self._pool.blocks_for(len(state.token_ids))
        if needed > self._pool.num_blocks:
            raise RequestError(
                f"request {state.request_id}: its {len(state.token_ids)} tokens need {needed} KV blocks of "
                f"{self.config.block_size}, the pool has {self._pool.num_blocks}; it cannot go on",
                state.request_id,
            )

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int, ended: Sequence[str] = ()) -> Outcome:
        plan, batch = self._in_flight[0] if self._in_flight else (None, [])
        if plan is None or plan.step_id != step_id or len(tokens) != len(batch):
            raise InvariantError(
                f"complete(step {step_id}, {len(tokens)} token tuples) does not answer the step in flight: "
                + (f"{plan.step_id} with {len(batch)} requests" if plan else "there is none")
            )
        accepted = list(map(len, tokens))
        if accepted != list(plan.samples):
            raise self._wrong_tokens(plan, tokens)
        for request_id in ended:
            if plan.decodes is None or not self._is_counted(request_id):
                raise InvariantError(f"complete(step {step_id}) says that {request_id} ended, but it was not counted")
        self._in_flight.popleft()
        self._pool.now = now
        tally = Tally(accepted)
        self._take_counted(plan, ended, tally)
        self._take(batch, tokens, tally)
        outcome = Outcome(tuple(accepted), tuple([state.request_id for state in tally.finished]))
        try:
            self._tell(tally.notices, tally.finished)
            for component in self._observers:
                self._guard.tell_step(component, plan, outcome)
        except PolicyError as error:
            self._failed = error
            raise
        return outcome

    def quiet_steps(self, most: int, unseen: bool) -> QuietSteps | None:
        return None

    def advance(self, steps: QuietSteps, ended: Sequence[str] = ()) -> list[QuietSteps]:
        raise InvariantError(f"advance() from step {steps.step_id}: there were no quiet steps ahead")

    def num_output(self, request_id: str) -> int:
        state = self._live.get(request_id)
        if state is None:
            return 0
        if state.counted is not None:
            state.counted.settle()
        return state.num_output

    def _is_counted(self, request_id: str) -> bool:
        state = self._live.get(request_id)
        return state is not None and state.counted is not None

    def _take_counted(self, plan: Plan, ended: Sequence[str], tally: Tally) -> None:
        """The tokens of the requests that the plan counts; here it lists everybody."""

    def _take(self, batch: Sequence[RequestState], tokens: Sequence[tuple[int, ...]], tally: Tally) -> None:
        """The tokens of the requests that the plan lists."""
        running = Status.RUNNING
        publishes = self._publishes_when_complete
        for state, new in zip(batch, tokens, strict=True):
            if state.status is not running and not self._counts(state, new):
                tally.accepted[batch.index(state)] = 0
                continue
            token_ids = state.token_ids
            token_ids.extend(new)
            if publishes and state.num_computed >= state.publish_at:
                self._pool.publish(state, state.num_computed - (state.num_tokens - len(token_ids)))
            if new and (
                (state.num_tokens >= state.milestone and len(token_ids) >= state.milestone) or new[0] in state.stop_ids
            ):
                self._reached(state, tally)

    def _wrong_tokens(self, plan: Plan, tokens: Sequence[tuple[int, ...]]) -> InvariantError:
        wrong = next(i for i, new in enumerate(tokens) if len(new) != plan.samples[i])
        return InvariantError(
            f"step {plan.step_id}, request {plan.request_ids[wrong]}: {len(tokens[wrong])} tokens came back, "
            f"expected {int(plan.samples[wrong])}"
        )

    def _counts(self, state: RequestState, new: tuple[int, ...]) -> bool:
        """Whether the step counts for a request that is not running: one that waits for the next chunk, or whose token
        was in flight when it was preempted; not one that has ended.
        """
        if state.status is Status.PREEMPTED and new:
            state.num_stale -= 1
            state.num_tokens += 1
            return True
        return bool(state.block_ids)

    def _reached(self, state: RequestState, tally: Tally) -> None:
        """Its first token is there, or its last, or both."""
        if state.num_output == 1:
            state.milestone = state.end_at
            tally.notices.append(("first_token", state))
        if len(state.token_ids) >= state.end_at or state.token_ids[-1] in state.stop_ids:
            if state.status is Status.PREEMPTED:
                self._guard.remove(state)
            else:
                self._running.remove(state)
            tally.finished.append(state)
            self._drop(state, Status.FINISHED)
            tally.notices.append(("finished", state))

    def _tell(self, notices: Sequence[tuple[str, RequestState]], gone: Sequence[RequestState]) -> None:
        """Once the books are in order, whatever the one who is told makes of it."""
        try:
            for notice, state in notices:
                self._guard.tell(notice, state)
        finally:
            for state in gone:
                del self._views[state]

    def _drop(self, state: RequestState, status: Status) -> None:
        state.status = status
        self._pool.release(state)
        self._pool.discard_swapped(state)
        del self._live[state.request_id]
        self._released.append(state.request_id)

    def snapshot(self) -> Snapshot:
        return self._snapshot(self._pool.usage())

    def _snapshot(self, usage: Usage) -> Snapshot:
        return Snapshot(self._guard.num_waiting, len(self._running), *usage)

    def check(self) -> None:
        """Recount queues and blocks. Errors: InvariantError. Costs as much as the pool is large: for tests."""
        self._pool.check(list(self._live.values()))
        queued = sorted(state.request_id for state in (*self._guard.waiting(), *self._running))
        if queued != sorted(self._live):
            raise InvariantError(f"{len(self._live)} live requests, but {len(queued)} in the queues")
        for state in self._running:
            if state.host_block_ids:
                raise InvariantError(f"request {state.request_id} runs, but still has blocks on the host")
        for state in self._live.values():
            if not state.num_computed <= min(state.num_tokens, state.capacity):
                raise InvariantError(
                    f"request {state.request_id}: {state.num_computed} tokens computed of {state.num_tokens} "
                    f"in {len(state.block_ids)} blocks"
                )

    def waiting_ids(self) -> list[str]:
        """In the order they would be tried now."""
        return self._guard.waiting_ids()

    def running_ids(self) -> list[str]:
        """In admission order."""
        return [state.request_id for state in self._running]
