"""All prefill or all decode: while a waiting prompt fits, decodes stop.

Only the first prompt of a step may be chunked, a prompt's blocks are taken whole, and blocks are published after the
step. Source: nano-vLLM bb823b3 engine/scheduler.py (Scheduler.schedule) and engine/block_manager.py.
"""

from serving.request import RequestState
from serving.schedule.batchers.displace import displace
from serving.schedule.draft import Draft
from serving.schedule.policies.base import Verdict
from serving.state.pool import Hits


class PrefillFirst:
    publishes_when_scheduled = False

    def __init__(self) -> None:
        self._partial: RequestState | None = None  # has its blocks and some of its prompt; waits for the next step

    def fill(self, step: Draft) -> None:
        if self._partial is not None and not self._partial.block_ids:
            self._partial = None  # it was aborted
        if step.guard.may_displace and self._partial is None:
            displace(step, lambda head: self._room(step, head) is not None)
        self._prefill(step)
        if not step.num_seqs:
            self._decode(step)

    def _prefill(self, step: Draft) -> None:
        guard = step.guard
        while guard.num_waiting and len(step.batch) < step.config.max_num_seqs and step.budget > 0:
            state = self._partial or guard.head()
            if self._partial is None and guard.admit(state) is not Verdict.TAKE:
                step.held_back = True
                return
            room = None if self._partial is state else self._room(step, state)
            if room is None and self._partial is None:
                return
            stored = state.num_computed if room is None else room[0].num_tokens
            n = len(state.token_ids) - stored
            if step.budget < n and step.batch:
                return
            chunk = guard.chunk(state, min(n, step.budget))
            if chunk == 0:
                step.held_back = True
                return
            if room is None:
                step.schedule(state, chunk)
            else:
                step.admit(state, room[0], chunk, room[1])
            if chunk < n:
                self._partial = state  # it stays in the queue
                return
            self._partial = None
            step.run(state)

    def _room(self, step: Draft, state: RequestState) -> tuple[Hits, int] | None:
        """Its prefix hits, and the tokens that it gets blocks for; None: they are not free."""
        pool, guard = step.pool, step.guard
        hits = pool.hits(state)
        held = guard.hold(state, len(state.token_ids))
        taken = pool.blocks_for(held) - hits.num_blocks + hits.idle
        if taken > pool.num_free or not guard.admits(state, held, taken, pool.num_free):
            return None
        return hits, held

    def _decode(self, step: Draft) -> None:
        """The token budget is the prompts'; decodes have seats only."""
        running, seats = step.running, step.config.max_num_seqs
        i = step.decode(0, seats, publishes=False)
        while i < len(running) and step.num_seqs < seats:
            state = running[i]
            i += 1
            if state.num_computed == state.capacity and not self._make_room(step, state, i):
                return  # it gave way itself, so nobody is behind it
            step.schedule(state, 1)
            i = step.decode(i, seats - step.num_seqs, publishes=False)

    def _make_room(self, step: Draft, state: RequestState, i: int) -> bool:
        """One more block, at the cost of those from place i on, who are not served yet, or else of itself."""
        running = step.running
        while not step.pool.num_free:
            behind = running[i:]
            victim = step.guard.victim(state, behind) if behind else state
            running.remove(victim)
            step.preempt(victim)
            if victim is state:
                return False
        step.grow(state, 1)
        return True
