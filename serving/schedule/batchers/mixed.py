"""Prefill and decode tokens in one batch under one token budget, running requests first.

Source: vLLM 0.32.0 v1/core/sched/scheduler.py (Scheduler.schedule) and async_scheduler.py, without speculation, LoRA
and connectors.
"""

from typing import NamedTuple

from serving.request import RequestState
from serving.schedule.batchers.displace import displace
from serving.schedule.draft import Draft
from serving.schedule.policies.base import Verdict
from serving.state.pool import Hits


class Offer(NamedTuple):
    """What a waiting request would get if it came in: num_tokens computed, blocks for `held` tokens."""

    hits: Hits
    num_tokens: int
    held: int


class Mixed:
    publishes_when_scheduled = True

    def fill(self, step: Draft) -> None:
        alone = len(step.running) + step.guard.num_waiting <= 1
        threshold = 0 if alone else step.config.long_prefill_token_threshold
        if step.guard.may_displace:
            seats = step.config.max_num_seqs
            displace(step, lambda head: len(step.running) < seats and self._offer(step, head, threshold) is not None)
        gave_way = len(step.preempted)
        self._continue_running(step, threshold)
        if len(step.preempted) == gave_way:
            self._admit_waiting(step, threshold)

    def _continue_running(self, step: Draft, threshold: int) -> None:
        running, pool = step.running, step.pool
        in_flight = step.config.async_scheduling
        i = 0
        while i < len(running) and step.budget > 0:
            i = step.decode(i, step.budget, publishes=True)
            if i == len(running) or step.budget == 0:
                return
            state = running[i]
            i += 1
            n = state.num_tokens - state.num_computed
            if n > 1:
                n = self._chunk(step, state, n, threshold)
            if in_flight and state.has_last_token_in_flight:
                n = 0
            if n == 0:
                continue
            end = state.num_computed + n
            if end > state.capacity:
                i = self._make_room(step, state, end, i)
                if state.capacity < end:
                    return  # it gave way itself: those behind it are not served either
            if end >= state.publish_at:
                pool.publish(state, end)
            step.schedule(state, n)

    def _chunk(self, step: Draft, state: RequestState, n: int, threshold: int) -> int:
        if 0 < threshold < n:
            n = threshold
        chunk = step.guard.chunk(state, min(n, step.budget))
        step.held_back |= chunk == 0
        return chunk

    def _make_room(self, step: Draft, state: RequestState, end: int, i: int) -> int:
        """Grow a table, at the cost of others if need be. Returns where the request behind it is in running now."""
        running, pool = step.running, step.pool
        missing = pool.blocks_for(end) - len(state.block_ids)
        while missing > pool.num_free:
            victim = step.guard.victim(state, running)
            at = running.index(victim)
            del running[at]
            i -= at < i
            step.preempt(victim)
            if victim is state:
                return i
        step.grow(state, missing)
        return i

    def _admit_waiting(self, step: Draft, threshold: int) -> None:
        guard, running = step.guard, step.running
        passed: list[RequestState] = []
        try:
            while step.budget > 0 and guard.num_waiting and len(running) < step.config.max_num_seqs:
                state = guard.head()
                verdict = Verdict.PASS if state.num_stale else guard.admit(state)
                if verdict is Verdict.PASS:
                    guard.remove(state)
                    passed.append(state)
                    continue
                offer = self._offer(step, state, threshold) if verdict is Verdict.TAKE else None
                if offer is None:
                    step.held_back |= verdict is Verdict.WAIT
                    break
                step.run(state)
                step.admit(state, offer.hits, offer.num_tokens, offer.held)
                step.pool.publish(state, state.num_computed)
        finally:
            for state in reversed(passed):
                guard.push_preempted(state)
        step.held_back |= any(not state.num_stale for state in passed)

    def _offer(self, step: Draft, state: RequestState, threshold: int) -> Offer | None:
        """None: it does not fit. Whoever waits behind the first that does not fit waits too."""
        pool, guard = step.pool, step.guard
        hits = pool.hits(state)
        n = len(state.token_ids) - hits.num_tokens
        if 0 < threshold < n:
            n = threshold
        if not step.config.enable_chunked_prefill and n > step.budget:
            return None
        n = self._chunk(step, state, min(n, step.budget), 0)
        if n == 0:
            return None
        held = guard.hold(state, hits.num_tokens + n)
        taken = pool.blocks_for(held) - hits.num_blocks + hits.idle
        if taken > pool.num_free or not guard.admits(state, held, taken, pool.num_free):
            return None
        return Offer(hits, n, held)
