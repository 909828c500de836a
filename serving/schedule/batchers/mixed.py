"""Prefill and decode tokens in one batch under one token budget, running requests first.

Source: vLLM 0.32.0 v1/core/sched/scheduler.py (Scheduler.schedule), without speculation, LoRA and connectors.
"""

from serving.request import Status
from serving.schedule.config import EngineConfig
from serving.schedule.draft import Draft
from serving.state.pool import BlockPool
from serving.state.prefix_index import OldestBlock


class Mixed:
    publishes_when_scheduled = True

    def new_pool(self, config: EngineConfig) -> BlockPool:
        index = OldestBlock() if config.enable_prefix_caching else None
        return BlockPool(config.num_blocks, config.block_size, index, unhashed_first=True)

    def fill(self, step: Draft) -> None:
        alone = len(step.running) + len(step.waiting) <= 1
        threshold = 0 if alone else step.config.long_prefill_token_threshold
        self._continue_running(step, threshold)
        if not step.preempted:
            self._admit_waiting(step, threshold)

    def _continue_running(self, step: Draft, threshold: int) -> None:
        running, pool = step.running, step.pool
        i = 0
        while i < len(running) and step.budget > 0:
            state = running[i]
            n = state.num_tokens - state.num_computed
            if 0 < threshold < n:
                n = threshold
            n = min(n, step.budget, step.config.max_model_len - 1 - state.num_computed)
            if n <= 0:
                i += 1
                continue
            while (missing := step.blocks_missing(state, n)) > pool.num_free:
                v = step.policy.victim(running)
                victim = running.pop(v)
                if v < i:
                    i -= 1
                step.preempt(victim)
                if victim is state:
                    return  # nothing else to take: those behind it are not served either
            step.grow(state, missing)
            pool.publish(state, min(state.num_computed + n, state.num_tokens))
            step.schedule(state, n)
            i += 1

    def _admit_waiting(self, step: Draft, threshold: int) -> None:
        config, pool, running = step.config, step.pool, step.running
        while step.budget > 0 and step.waiting and len(running) < config.max_num_seqs:
            state = step.waiting.peek()
            hits = pool.prefix_hits(state)
            cached = len(hits) * pool.block_size
            n = state.num_tokens - cached
            if 0 < threshold < n:
                n = threshold
            if not config.enable_chunked_prefill and n > step.budget:
                return
            n = min(n, step.budget)
            reserve = int(config.watermark * (config.num_blocks + 1)) if running else 0
            room = pool.num_free - pool.num_idle(hits) - reserve + len(hits)
            if config.scheduler_reserve_full_isl and pool.blocks_for(state.num_tokens) > room:
                return
            if pool.blocks_for(cached + n) > room:
                return
            step.waiting.pop()
            running.append(state)
            state.status = Status.RUNNING
            step.admit(state, hits, pool.blocks_for(cached + n))
            pool.publish(state, cached + n)
            step.schedule(state, n)
