"""The same scheduler for a simulation in a hurry: running decodes are counted (steady.py), all else is as it was.

It decides what Scheduler decides, step by step; that one stays the oracle. Its plans list only the requests that do
something other than decode; the world says who ended. As soon as a decode is more than a count (a block is missing,
somebody gives way) the step is listed in full.
"""

from array import array
from collections.abc import Sequence

from serving.component import Component
from serving.errors import InvariantError, PolicyError
from serving.request import RequestState
from serving.schedule.config import EngineConfig
from serving.schedule.contract import Decodes, Idle, Joined, Plan, QuietSteps, Snapshot
from serving.schedule.draft import Draft
from serving.schedule.guard import Guard
from serving.schedule.scheduler import Parts, Scheduler, Tally
from serving.schedule.steady import Steady, TokensOf
from serving.state.pool import BlockPool


class CountingScheduler(Scheduler):
    """tokens_of: what the steps have sampled, asked when somebody needs to know."""

    def __init__(self, config: EngineConfig, parts: Parts, refuses_impossible: bool, tokens_of: TokensOf) -> None:
        super().__init__(config, parts, refuses_impossible)
        self._steady = Steady(parts.pool, parts.batcher.publishes_when_scheduled, tokens_of)

    @staticmethod
    def suits(config: EngineConfig, parts: Parts) -> bool:
        """Two steps in flight, and parts that observe each step, need plans that list everybody."""
        components = (parts.policy, parts.admission, parts.reservation)
        observed = any(type(c).observe is not Component.observe for c in components)
        return not config.async_scheduling and not observed

    def schedule(self, now: int) -> Plan | Idle:
        if not self._in_flight:
            self._steady.extend(self._running)
        return super().schedule(now)

    def quiet_steps(self, most: int, unseen: bool) -> QuietSteps | None:
        if self._in_flight or self._failed is not None or self._preempted or self._guard.num_waiting:
            return None
        steady, config = self._steady, self.config
        steady.extend(self._running)
        num = len(steady)
        if not num or num != len(self._running) or num > min(config.max_num_seqs, config.max_num_batched_tokens):
            return None
        most = steady.quiet_steps(most, may_grow=unseen and self._pool.host is None, may_end=unseen)
        if most < 1:
            return None
        released, before, none = tuple(self._released), self.snapshot(), array("q")
        return QuietSteps(
            self._num_steps,
            num,
            steady.context + num,
            *steady.changes(),
            released,
            (),
            (),
            before,
            most,
            schedule_ats=none,
            launch_ats=none,
            host_ats=none,
            delivered_ats=none,
            tail_wastes=none,
        )

    def advance(self, steps: QuietSteps, ended: Sequence[str] = ()) -> list[QuietSteps]:
        steady, num, count = self._steady, steps.num_seqs, len(steps.host_ats)
        steady.forget_changes()
        self._released.clear()
        self._num_steps += count
        changes: tuple[tuple[str, ...], tuple[Joined, ...], tuple[str, ...]] = (
            steps.left,
            steps.joined,
            steps.released,
        )
        before, first, parts = steps.before, 0, []
        while first < count:
            self._pool.now = steps.schedule_ats[first]
            grown = steady.begin_step()
            if grown:
                before = self.snapshot()
            end = min(count, first + steady.steps_to_growth)
            tail_wastes = steady.advance(end - first)
            parts.append(
                QuietSteps(
                    steps.step_id + first,
                    num,
                    steps.context + first * num,
                    *changes,
                    tuple([(state.request_id, blocks) for state, blocks in grown.items()]),
                    () if end < count else self._end(ended, steps.host_ats[-1]),
                    before,
                    end - first,
                    steps.schedule_ats[first:end],
                    steps.launch_ats[first:end],
                    steps.host_ats[first:end],
                    steps.delivered_ats[first:end],
                    tail_wastes,
                )
            )
            changes, first = ((), (), ()), end
        return parts

    def _end(self, ended: Sequence[str], now: int) -> tuple[str, ...]:
        """At the end of quiet steps. Returns who finished."""
        self._pool.now = now
        tally = Tally([])
        self._take_ends(ended, tally)
        try:
            self._tell(tally.notices, tally.finished)
        except PolicyError as error:
            self._failed = error
            raise
        return tuple([state.request_id for state in tally.finished])

    def abort(self, request_id: str, now: int) -> None:
        state = self._live.get(request_id)
        if state is not None and state.counted is not None:
            if self._in_flight:
                raise InvariantError(f"abort of {request_id} amid a step that counts it: tell it between steps")
            self._steady.leave(state)
        super().abort(request_id, now)

    def snapshot(self) -> Snapshot:
        return self._snapshot(self._pool.usage(self._steady.tail_waste, self._steady.reserved))

    def check(self) -> None:
        self._steady.check()
        super().check()

    def _draft(self) -> "CountingDraft":
        return CountingDraft(self.config, self._guard, self._pool, self._running, self._steady)

    def _take_counted(self, plan: Plan, ended: Sequence[str], tally: Tally) -> None:
        if plan.decodes is not None and plan.decodes.num_seqs:
            self._steady.complete()
            self._take_ends(ended, tally)

    def _take_ends(self, ended: Sequence[str], tally: Tally) -> None:
        steady = self._steady
        for state in steady.at_end([self._live[request_id] for request_id in ended]):
            if self._publishes_when_complete and state.num_computed >= state.publish_at:
                self._pool.publish(state, state.num_computed)
            if len(state.token_ids) >= state.end_at or state.token_ids[-1] in state.stop_ids:
                steady.finish(state)
                self._reached(state, tally)
            else:
                steady.go_on(state)


class CountingDraft(Draft):
    """num_counted: decodes of this step that the columns leave out."""

    def __init__(
        self, config: EngineConfig, guard: Guard, pool: BlockPool, running: list[RequestState], steady: Steady
    ) -> None:
        super().__init__(config, guard, pool, running)
        self._steady = steady
        self._num_counted = 0

    @property
    def num_seqs(self) -> int:
        return self._num_counted + len(self.batch)

    def decode(self, i: int, most: int, publishes: bool) -> int:
        num = len(self._steady)
        if i == 0 and num:
            give_way = self._give_way if self.guard.last_gives_way else None
            grown = self._steady.schedule(give_way) if num <= most else None
            if grown is None:
                self._steady.leave_all()
            else:
                self.new_blocks |= grown
                self._num_counted = i = len(self._steady)
                self.budget -= i
                most -= i
        return super().decode(i, most, publishes)

    def _give_way(self) -> None:
        self.preempt(self.running.pop())

    def preempt(self, state: RequestState) -> None:
        if self._num_counted:
            self._list_all()
        elif state.counted is not None:
            self._steady.leave(state)
        super().preempt(state)

    def roll_back(self) -> None:
        if self._num_counted:
            self._list_all()
        super().roll_back()

    def _list_all(self) -> None:
        states = self._steady.take_back_step()
        self.batch[:0] = states
        self.starts[:0] = [state.num_computed - 1 for state in states]
        self.counts[:0] = [1] * len(states)
        self.samples[:0] = [True] * len(states)
        self._num_counted = 0

    def _decodes(self) -> Decodes:
        left, joined = self._steady.changes()
        self._steady.forget_changes()
        return Decodes(self._num_counted, self._steady.context if self._num_counted else 0, left, joined)
