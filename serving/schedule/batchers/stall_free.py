"""Stall-free batching: every request that decodes gets its token first; prompts share what is left of the budget.

Running decodes, then running partial prompts, then new ones. Source: Sarathi-Serve 96f9911 sarathi_scheduler.py
(Agrawal et al., OSDI 2024), which takes the memory of a whole prompt at admission and keeps no prefix cache; the
preset says so.
"""

from serving.request import RequestState, Status
from serving.schedule.batchers.mixed import Mixed
from serving.schedule.draft import Draft


class StallFree(Mixed):
    def _continue_running(self, step: Draft, threshold: int) -> None:
        states = step.running[step.decode(0, step.budget, publishes=True) :]
        decodes = [state for state in states if _left(state) == 1]
        for state in decodes + [state for state in states if _left(state) > 1]:
            if state.status is not Status.RUNNING or step.budget == 0:
                continue
            n = _left(state)
            if n > 1:
                n = self._chunk(step, state, n, threshold)
            if n == 0:
                continue
            end = state.num_computed + n
            if end > state.capacity:
                self._make_room(step, state, end, 0)
                if state.capacity < end:
                    return
            if end >= state.publish_at:
                step.pool.publish(state, end)
            step.schedule(state, n)


def _left(state: RequestState) -> int:
    """Tokens known and not computed."""
    return state.num_tokens - state.num_computed
