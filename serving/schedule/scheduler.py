"""The scheduler every world drives: queues, KV pool and the life of a request around a batcher.

Read contract.py first, then batchers/mixed.py or batchers/prefill_first.py for how a step is filled.
"""

from collections.abc import Sequence

from serving.errors import InvariantError, RequestError
from serving.request import Request, RequestState, Status
from serving.schedule.batchers.base import Batcher
from serving.schedule.config import EngineConfig
from serving.schedule.contract import Idle, Outcome, Plan, Snapshot
from serving.schedule.draft import Draft
from serving.schedule.policies.base import Policy


class Scheduler:
    def __init__(self, config: EngineConfig, batcher: Batcher, policy: Policy) -> None:
        self.config = config
        self._batcher = batcher
        self._policy = policy
        self._pool = batcher.new_pool(config)
        self._waiting = policy.new_queue()
        self._running: list[RequestState] = []
        self._live: dict[str, RequestState] = {}
        self._released: list[str] = []
        self._in_flight: Plan | None = None
        self._num_steps = 0

    @property
    def has_work(self) -> bool:
        return bool(self._live)

    def add(self, request: Request, now: int) -> None:
        self.refuse_impossible(request)
        state = RequestState.of(request)
        self._live[request.request_id] = state
        self._waiting.push(state)

    def refuse_impossible(self, request: Request) -> None:
        """Errors: RequestError. A request that passes can run to its end alone, so a queue always drains."""
        rid, prompt, config = request.request_id, request.prompt_len, self.config
        if rid in self._live:
            raise RequestError(f"request {rid}: this id is still being served; ids must be unique")
        if prompt < 1 or request.max_tokens < 1:
            raise RequestError(
                f"request {rid}: {prompt} prompt tokens and max_tokens {request.max_tokens}; both must be at least 1"
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
        if state in self._running:
            self._running.remove(state)
        else:
            self._waiting.remove(state)
        self._leave(state, Status.ABORTED)

    def schedule(self, now: int) -> Plan | Idle:
        if self._in_flight is not None:
            raise InvariantError(f"schedule() called while step {self._in_flight.step_id} is not complete")
        if not self._live:
            return Idle()
        step = self._fill()
        preempted = step.preempted
        while not step.scheduled and step.preempted:
            # the only victim was the request itself: vLLM runs an empty step and tries again. Each round has
            # fewer running requests, so this ends.
            step = self._fill()
            preempted += step.preempted
        if not step.scheduled:
            raise InvariantError(
                f"step {self._num_steps} schedules nothing while work waits: {len(self._waiting)} waiting, "
                f"{len(self._running)} running, budget {step.budget}, free blocks {self._pool.num_free} of "
                f"{self._pool.num_blocks}, preempted {[s.request_id for s in preempted]}"
            )
        plan = step.plan(self._num_steps, preempted, tuple(self._released))
        for state, n in step.scheduled.values():
            state.num_computed += n
        self._released.clear()
        self._num_steps += 1
        self._in_flight = plan
        return plan

    def _fill(self) -> Draft:
        step = Draft(self.config, self._policy, self._pool, self._waiting, self._running)
        self._batcher.fill(step)
        return step

    def complete(self, step_id: int, tokens: Sequence[tuple[int, ...]], now: int) -> Outcome:
        plan = self._in_flight
        if plan is None or plan.step_id != step_id or len(tokens) != len(plan.request_ids):
            raise InvariantError(
                f"complete(step {step_id}, {len(tokens)} token tuples) does not answer the step in flight: "
                + (f"{plan.step_id} with {len(plan.request_ids)} requests" if plan else "there is none")
            )
        self._in_flight = None
        accepted: list[int] = []
        finished: list[RequestState] = []
        for request_id, samples, new in zip(plan.request_ids, plan.samples, tokens, strict=True):
            if len(new) != samples:
                raise InvariantError(
                    f"step {step_id}, request {request_id}: {len(new)} tokens came back, expected {int(samples)}"
                )
            state = self._live.get(request_id)
            if state is None:  # aborted while the step ran
                accepted.append(0)
                continue
            if not self._batcher.publishes_when_scheduled:
                self._pool.publish(state, state.num_computed)
            state.token_ids.extend(new)
            accepted.append(len(new))
            if new and self._ends(state):
                finished.append(state)
                self._leave(state, Status.FINISHED)
        if finished:
            self._running[:] = [s for s in self._running if s.status is Status.RUNNING]
        return Outcome(tuple(accepted), tuple(s.request_id for s in finished))

    def _ends(self, state: RequestState) -> bool:
        request = state.request
        return (
            state.num_output >= request.max_tokens
            or state.token_ids[-1] in request.stop_token_ids
            or state.num_tokens >= self.config.max_model_len
        )

    def _leave(self, state: RequestState, status: Status) -> None:
        state.status = status
        self._pool.release(state)
        del self._live[state.request_id]
        self._released.append(state.request_id)

    def snapshot(self) -> Snapshot:
        block_size, pool = self.config.block_size, self._pool
        tail_waste = reserved = 0
        for state in self._live.values():
            if state.block_ids:
                empty = len(state.block_ids) * block_size - state.num_computed
                tail = -state.num_computed % block_size
                tail_waste += tail
                reserved += empty - tail
        held = (pool.num_blocks - pool.num_free) * block_size
        idle = pool.num_cached_idle * block_size
        return Snapshot(
            num_waiting=len(self._waiting),
            num_running=len(self._running),
            kv_total=pool.num_blocks * block_size,
            kv_tokens_stored=held - tail_waste - reserved,
            kv_tail_waste=tail_waste,
            kv_reserved_unused=reserved,
            kv_cached_idle=idle,
            kv_free=pool.num_free * block_size - idle,
        )

    def check(self) -> None:
        """Recount queues and blocks. Errors: InvariantError. Costs as much as the pool is large: for tests."""
        self._pool.check([state.block_ids for state in self._live.values()])
        queued = sorted([s.request_id for s in self._waiting] + [s.request_id for s in self._running])
        if queued != sorted(self._live):
            raise InvariantError(f"{len(self._live)} live requests, but {len(queued)} in the queues")
        for state in self._live.values():
            if not state.num_computed <= min(state.num_tokens, len(state.block_ids) * self.config.block_size):
                raise InvariantError(
                    f"request {state.request_id}: {state.num_computed} tokens computed of {state.num_tokens} "
                    f"in {len(state.block_ids)} blocks"
                )
