"""A sentence that can be shown to be wrong: with so much of one knob, a figure falls to so much; and how to try it."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.counterfactual.again import Again
from lab.counterfactual.knobs import read_knob
from lab.counterfactual.outcome import Outcome
from lab.diagnose.causes import Cause
from lab.diagnose.weigh import Weights
from serving.errors import ServetwinError

Figure = Literal["mean", "P99"]


class Statement(NamedTuple):
    """knob: of servetwin whatif. figure: of TTFT; before, after: in seconds. goal: what was looked for; reached: by
    this knob, the mildest of those tried that does.
    """

    knob: str
    figure: Figure
    before: float
    after: float
    goal: float
    reached: bool

    def told(self) -> str:
        fell = f"{self.figure} TTFT goes from {self.before:.3g} to {self.after:.3g} s"
        if self.reached:
            return f"with {self.knob} {fell}: below {self.goal:.3g} s"
        return f"with {self.knob} {fell}; {self.goal:.3g} s is not reached by this alone"


def statement(again: Again, weights: Weights, cause: Cause, figure: Figure) -> Statement | None:
    """goal: half way from the run's figure to that of own prefill; for P99, where it exceeds the limit of the
    workload's service level, that. None: no knob of the cause helps, or can be turned, here.
    """
    before = _of(figure, _ttft(again.baseline))
    limits = [r.ttft_slo / 1e9 for r in again.setup.workload.requests if r.ttft_slo is not None]
    goal = (before + _of(figure, weights.own)) / 2
    if figure == "P99" and limits and before > min(limits):
        goal = min(limits)
    best: Statement | None = None
    for knob in cause.smaller:
        try:
            change = read_knob(knob)
            if change.apply(again.setup) == again.setup:
                continue
            found = _ttft(again.run(change))
        except ServetwinError:
            continue
        after = _of(figure, found) if len(found) else float("inf")
        if best is None or after < best.after:
            best = Statement(knob, figure, before, after, goal, after <= goal)
        if after <= goal:
            return best
    return best if best is None or best.after < best.before else None


def _ttft(outcome: Outcome) -> NDArray[np.float64]:
    return outcome.requests["ttft"].dropna().to_numpy(float)


def _of(figure: Figure, ttft: NDArray[np.float64]) -> float:
    return float(ttft.mean() if figure == "mean" else np.percentile(ttft, 99))
