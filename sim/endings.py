"""Which of the counted decodes have their last token in a step: the world's half of serving/schedule/counting.py."""

from collections.abc import Sequence

from serving.schedule.contract import Joined, Plan, QuietSteps
from workloads.truth import Truth


class Endings:
    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._steps = 0  # that counted decodes
        self._ends_at: dict[str, int] = {}
        self._due: dict[int, dict[str, None]] = {}

    def told(self, plan: Plan) -> list[str]:
        """To be called with each plan, once. Returns who gets the last token of its output from it."""
        if plan.decodes is None:
            return []
        self._change(plan.decodes.left, plan.decodes.joined, plan.released)
        if not plan.decodes.num_seqs:
            return []
        return self.advance(1)

    @property
    def is_due(self) -> bool:
        """Whether, as far as told, somebody gets a last token from the next step that counts decodes."""
        return self._steps + 1 in self._due

    def limit(self, steps: QuietSteps, may_end: bool) -> int:
        """How many of these are over before somebody gets a last token; may_end: with that step."""
        self._change(steps.left, steps.joined, steps.released)
        return min(steps.most, min(self._due) - self._steps - (not may_end))

    def advance(self, steps: int) -> list[str]:
        """So many steps ran that counted decodes. Returns who got the last token of its output from the last."""
        self._steps += steps
        ended = list(self._due.pop(self._steps, ()))
        for request_id in ended:
            del self._ends_at[request_id]
        return ended

    def _change(self, left: Sequence[str], joined: Sequence[Joined], released: Sequence[str]) -> None:
        for request_id in (*left, *released):
            ends_at = self._ends_at.pop(request_id, None)
            if ends_at is not None:
                self._forget(request_id, ends_at)
        for request_id, start, prompt_len in joined:
            if request_id in self._ends_at:
                continue
            index = start + 1 - prompt_len  # of the output token that its next step samples
            ends_at = self._steps + self._truth.output_len(request_id) - index
            self._ends_at[request_id] = ends_at
            self._due.setdefault(ends_at, {})[request_id] = None

    def _forget(self, request_id: str, ends_at: int) -> None:
        del self._due[ends_at][request_id]
        if not self._due[ends_at]:
            del self._due[ends_at]
