"""The step under construction: the only hands with which a batcher changes the engine's state."""

from collections.abc import Sequence

from serving.request import RequestState, Status
from serving.schedule.config import EngineConfig
from serving.schedule.contract import Admission, Decodes, Plan
from serving.schedule.guard import Guard
from serving.state.pool import BlockPool, Hits
from serving.tokens import frozen


class Draft:
    """running: the engine's own list, in admission order. guard: the policy, its queue, and the reservation.

    budget: tokens the step may still compute. batch, starts, counts, samples: columns of the plan so far.
    admitted, preempted, new_blocks: in order. held_back: whether the policy kept somebody out who might have come in.
    """

    def __init__(self, config: EngineConfig, guard: Guard, pool: BlockPool, running: list[RequestState]) -> None:
        self.config = config
        self.guard = guard
        self.pool = pool
        self.running = running
        self.budget = config.max_num_batched_tokens
        self.batch: list[RequestState] = []
        self.starts: list[int] = []
        self.counts: list[int] = []
        self.samples: list[bool] = []
        self.preempted: list[RequestState] = []
        self.held_back = False
        self.admitted: list[RequestState] = []
        self.new_blocks: dict[RequestState, tuple[int, ...]] = {}

    @property
    def num_seqs(self) -> int:
        return len(self.batch)

    def schedule(self, state: RequestState, num_tokens: int) -> None:
        """Put a request into the batch. Its blocks must be there."""
        start = state.num_computed
        state.num_computed = end = start + num_tokens
        samples = end == state.num_tokens
        state.num_tokens += samples
        self.batch.append(state)
        self.starts.append(start)
        self.counts.append(num_tokens)
        self.samples.append(samples)
        self.budget -= num_tokens

    def decode(self, i: int, most: int, publishes: bool) -> int:
        """Schedule running requests from place i on, as long as each is a decode whose block is there or free.

        Most requests of most steps, so the hot loop. most: requests. publishes: whether full blocks can be hit from now
        on. Returns the place of the first request that is something else.
        """
        starts, running, pool = self.starts, self.running, self.pool
        for state in running[i : i + most]:
            start = state.num_computed
            end = start + 1
            if end != state.num_tokens or (end >= state.end_at and state.has_last_token_in_flight):
                break
            if end > state.capacity:
                if not pool.num_free:
                    break
                self.new_blocks[state] = pool.grow(state, 1)
            if publishes and end >= state.publish_at:
                pool.publish(state, end)
            state.num_computed = end
            state.num_tokens = end + 1
            starts.append(start)
        count = len(starts) - len(self.batch)
        self.batch += running[i : i + count]
        self.counts += [1] * count
        self.samples += [True] * count
        self.budget -= count
        return i + count

    def grow(self, state: RequestState, num_blocks: int) -> None:
        """Append blocks to the table of a running request, at most once in a step."""
        self.new_blocks[state] = self.pool.grow(state, num_blocks)

    def admit(self, state: RequestState, hits: Hits, num_tokens: int, held: int) -> None:
        """A waiting request gets its hits and blocks for `held` tokens, and computes num_tokens in this step."""
        repaired = self.pool.first_unwritten(hits)
        self.pool.admit(state, hits, self.pool.blocks_for(held))
        state.num_computed = state.num_cached = hits.num_tokens
        state.num_received = 0
        state.admitted_at_output = state.num_output
        self.new_blocks[state] = tuple(state.block_ids)
        self.admitted.append(state)
        self.schedule(state, num_tokens)
        if repaired is not None:  # published, never computed: see docs/architecture.md, The publish hazard
            self.pool.mark_written(hits)
            self.starts[-1] = repaired
            self.counts[-1] += hits.num_tokens - repaired
        self.guard.tell("admitted", state)

    def run(self, state: RequestState) -> None:
        """A waiting request whose prompt is in the batch becomes a running one."""
        self.guard.remove(state)
        self.running.append(state)
        state.status = Status.RUNNING

    def preempt(self, state: RequestState) -> None:
        """It gives way and waits again, its output kept. If this step had scheduled it, that is undone.

        The caller has taken it out of running.
        """
        stored = self._undo(state) if state in self.batch else state.num_computed
        self.new_blocks.pop(state, None)
        state.num_stale = state.num_tokens - len(state.token_ids)
        state.num_tokens = len(state.token_ids)
        swapped = self.config.preemption == "swap" and self.pool.swap_out(state, stored)
        self.pool.release(state)
        state.num_computed = 0
        state.num_cached = stored if swapped else 0
        state.num_preemptions += 1
        state.status = Status.PREEMPTED
        self.guard.push_preempted(state)
        self.preempted.append(state)
        self.guard.tell("preempted", state)

    def _undo(self, state: RequestState) -> int:
        """Take a request out of the batch. Returns its tokens stored before the step."""
        i = self.batch.index(state)
        del self.batch[i]
        start, count = self.starts.pop(i), self.counts.pop(i)
        state.num_tokens -= self.samples.pop(i)
        state.num_computed = start
        self.budget += count
        self.pool.mark_unwritten(state, start)
        return start

    def roll_back(self) -> None:
        """The step will not run: what it scheduled is not computed. Tables stay as they are."""
        for state in list(self.batch):
            self._undo(state)

    def plan(self, step_id: int, preempted: Sequence[RequestState], released: tuple[str, ...]) -> Plan:
        batch = self.batch
        copies = tuple(self.pool.copies)
        self.pool.copies.clear()
        return Plan(
            step_id,
            tuple([state.request_id for state in batch]),
            tuple(self.starts),
            tuple(self.counts),
            tuple(self.samples),
            tuple([state.prompt_len for state in batch]),
            tuple([Admission(state.request_id, frozen(state.token_ids), state.num_cached) for state in self.admitted]),
            tuple([(state.request_id, blocks) for state, blocks in self.new_blocks.items()]),
            tuple([state.request_id for state in preempted]),
            released,
            copies,
            self._decodes(),
        )

    def _decodes(self) -> Decodes | None:
        return None
