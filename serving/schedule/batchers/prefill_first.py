"""All prefill or all decode: while a waiting prompt fits, decodes stop.

Only the first prompt of a step may be chunked, a prompt's blocks are taken whole, and blocks are published after the
step. Source: nano-vLLM bb823b3 engine/scheduler.py (Scheduler.schedule) and engine/block_manager.py.
"""

from serving.request import RequestState, Status
from serving.schedule.config import EngineConfig
from serving.schedule.draft import Draft
from serving.state.pool import BlockPool
from serving.state.prefix_index import NewestBlock


class PrefillFirst:
    publishes_when_scheduled = False

    def new_pool(self, config: EngineConfig) -> BlockPool:
        index = NewestBlock() if config.enable_prefix_caching else None
        return BlockPool(config.num_blocks, config.block_size, index, unhashed_first=False)

    def fill(self, step: Draft) -> None:
        self._prefill(step)
        if not step.scheduled:
            self._decode(step)

    def _prefill(self, step: Draft) -> None:
        pool = step.pool
        while step.waiting and len(step.scheduled) < step.config.max_num_seqs and step.budget > 0:
            state = step.waiting.peek()
            hits: list[int] = []
            if state.block_ids:  # the rest of a chunked prompt
                n = state.num_tokens - state.num_computed
            else:
                hits = pool.prefix_hits(state)
                if pool.blocks_for(state.num_tokens) - len(hits) + pool.num_idle(hits) > pool.num_free:
                    return
                n = state.num_tokens - len(hits) * pool.block_size
            if step.budget < n and step.scheduled:
                return
            if not state.block_ids:
                step.admit(state, hits, pool.blocks_for(state.num_tokens))
            chunk = min(n, step.budget)
            step.schedule(state, chunk)
            if chunk < n:
                return  # it stays first in the queue and holds its blocks
            step.waiting.pop()
            step.running.append(state)
            state.status = Status.RUNNING

    def _decode(self, step: Draft) -> None:
        unserved = step.running
        served: list[RequestState] = []
        while unserved and len(served) < step.config.max_num_seqs:
            state = unserved.pop(0)
            while (missing := step.blocks_missing(state, 1)) > step.pool.num_free:
                if not unserved:
                    step.preempt(state)
                    break
                step.preempt(unserved.pop(step.policy.victim(unserved)))
            else:
                step.grow(state, missing)
                step.schedule(state, 1)
                served.append(state)
        unserved[:0] = served
