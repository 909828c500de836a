"""A sentence that can be shown to be wrong: with so much of one knob, a figure falls to so much; and how to try it."""

from typing import NamedTuple

import numpy as np

from lab.counterfactual.again import Again
from lab.counterfactual.knobs import read_knob
from lab.diagnose.causes import Cause
from lab.diagnose.weigh import Weights
from serving.errors import ServetwinError


class Statement(NamedTuple):
    """knob: of servetwin whatif. before, after: P99 of TTFT in seconds. goal: what was looked for; reached: by this
    knob, the mildest of those tried that does.
    """

    knob: str
    before: float
    after: float
    goal: float
    reached: bool

    def told(self) -> str:
        fell = f"P99 TTFT goes from {self.before:.3g} to {self.after:.3g} s"
        if self.reached:
            return f"with {self.knob} {fell}: below {self.goal:.3g} s"
        return f"with {self.knob} {fell}; {self.goal:.3g} s is not reached by this alone"


def statement(again: Again, weights: Weights, cause: Cause) -> Statement | None:
    """goal: the limit of the workload's service level, where the run's P99 exceeds it; else half way from the run's P99
    to that of own prefill. None: no knob of the cause can be turned here.
    """
    ttft = again.baseline.requests["ttft"].dropna().to_numpy(float)
    before = float(np.percentile(ttft, 99))
    limits = [r.ttft_slo / 1e9 for r in again.setup.workload.requests if r.ttft_slo is not None]
    goal = (before + float(np.percentile(weights.own, 99))) / 2
    if limits and before > min(limits):
        goal = min(limits)
    best: Statement | None = None
    for knob in cause.smaller:
        try:
            change = read_knob(knob)
            if change.apply(again.setup) == again.setup:
                continue
            found = again.run(change).requests["ttft"].dropna().to_numpy(float)
        except ServetwinError:
            continue
        after = float(np.percentile(found, 99)) if len(found) else float("inf")
        if best is None or after < best.after:
            best = Statement(knob, before, after, goal, after <= goal)
        if after <= goal:
            return best
    return best
