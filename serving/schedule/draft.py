"""The step under construction: the only hands with which a batcher changes the engine's state."""

from collections.abc import Sequence

from serving.request import RequestState, Status
from serving.schedule.config import EngineConfig
from serving.schedule.contract import Admission, Plan
from serving.schedule.policies.base import Policy, WaitingQueue
from serving.state.pool import BlockPool


class Draft:
    """waiting and running are the engine's own queues; budget is the number of tokens the step may still compute."""

    def __init__(
        self,
        config: EngineConfig,
        policy: Policy,
        pool: BlockPool,
        waiting: WaitingQueue,
        running: list[RequestState],
    ) -> None:
        self.config = config
        self.policy = policy
        self.pool = pool
        self.waiting = waiting
        self.running = running
        self.budget = config.max_num_batched_tokens
        self.scheduled: dict[str, tuple[RequestState, int]] = {}
        self.preempted: list[RequestState] = []
        self._admitted: dict[str, RequestState] = {}
        self._new_blocks: dict[str, tuple[int, ...]] = {}

    def blocks_missing(self, state: RequestState, num_tokens: int) -> int:
        """Blocks to add before a running request can store num_tokens more tokens."""
        return self.pool.blocks_for(state.num_computed + num_tokens) - len(state.block_ids)

    def grow(self, state: RequestState, num_blocks: int) -> None:
        if num_blocks > 0:
            new = self.pool.grow(state, num_blocks)
            self._new_blocks[state.request_id] = self._new_blocks.get(state.request_id, ()) + new

    def schedule(self, state: RequestState, num_tokens: int) -> None:
        self.scheduled[state.request_id] = (state, num_tokens)
        self.budget -= num_tokens

    def admit(self, state: RequestState, hits: Sequence[int], num_blocks: int) -> None:
        """Give a waiting request its prefix hits and enough new blocks for num_blocks in all."""
        self.pool.adopt(state, hits)
        state.num_computed = state.num_cached = len(hits) * self.pool.block_size
        new = self.pool.grow(state, num_blocks - len(hits))
        self._new_blocks[state.request_id] = (*hits, *new)
        self._admitted[state.request_id] = state

    def preempt(self, state: RequestState) -> None:
        """Recompute later: KV is given up, output is kept. If this step had scheduled it, that is undone."""
        _, undone = self.scheduled.pop(state.request_id, (state, 0))
        self.budget += undone
        self._new_blocks.pop(state.request_id, None)
        self.pool.release(state)
        state.num_computed = state.num_cached = 0
        state.num_preemptions += 1
        state.status = Status.PREEMPTED
        self.waiting.push_preempted(state)
        self.preempted.append(state)

    def plan(self, step_id: int, preempted: Sequence[RequestState], released: tuple[str, ...]) -> Plan:
        batch = list(self.scheduled.values())
        return Plan(
            step_id=step_id,
            request_ids=tuple(self.scheduled),
            starts=tuple(state.num_computed for state, _ in batch),
            num_tokens=tuple(n for _, n in batch),
            samples=tuple(state.num_computed + n == len(state.token_ids) for state, n in batch),
            prompt_lens=tuple(state.request.prompt_len for state, _ in batch),
            admitted=tuple(
                Admission(request_id, tuple(state.token_ids), state.num_cached)
                for request_id, state in self._admitted.items()
            ),
            new_blocks=tuple(self._new_blocks.items()),
            preempted=tuple(state.request_id for state in preempted),
            released=released,
        )
