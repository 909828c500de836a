"""Which of the counted decodes have their last token in a step: the world's half of serving/schedule/counting.py."""

from serving.schedule.contract import Plan
from workloads.truth import Truth


class Endings:
    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._steps = 0  # that counted decodes
        self._ends_at: dict[str, int] = {}
        self._due: dict[int, dict[str, None]] = {}

    def quiet_steps(self) -> int:
        """How many steps there are before the next that gives somebody its last token."""
        return min(self._due) - self._steps - 1 if self._due else 1 << 30

    def advance(self, steps: int) -> None:
        self._steps += steps

    def told(self, plan: Plan) -> list[str]:
        """To be called with each plan, once. Returns who gets the last token of its output from it."""
        if plan.decodes is None:
            return []
        for request_id in (*plan.decodes.left, *plan.released):
            if request_id in self._ends_at:
                ends_at = self._ends_at.pop(request_id)
                del self._due[ends_at][request_id]
                if not self._due[ends_at]:
                    del self._due[ends_at]
        for joined in plan.decodes.joined:
            index = joined.start + 1 - joined.prompt_len  # of the output token that its next step samples
            ends_at = self._steps + self._truth.output_len(joined.request_id) - index
            self._ends_at[joined.request_id] = ends_at
            self._due.setdefault(ends_at, {})[joined.request_id] = None
        if not plan.decodes.num_seqs:
            return []
        self._steps += 1
        ended = list(self._due.pop(self._steps, ()))
        for request_id in ended:
            del self._ends_at[request_id]
        return ended
