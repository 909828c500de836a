"""What can be seen in the run itself: the longest time in which somebody waits, and what the engine had meanwhile."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lab.counterfactual.again import Again


class Wait(NamedTuple):
    """Of the longest span of steps in which at least one request waits. begin, end: seconds. steps: first and last
    number. waiting: the most. running: the most, of `seats`. kv_ready: share of the pool that is free, or held by
    nobody, in the mean; kv_unused: that is reserved and empty. arrivals, arrivals_mean: requests/s in it, and in the
    run.
    """

    begin: float
    end: float
    steps: tuple[int, int]
    waiting: int
    running: int
    seats: int
    kv_ready: float
    kv_unused: float
    arrivals: float
    arrivals_mean: float

    def told(self) -> str:
        return (
            f"the longest wait: {self.begin:.2f} to {self.end:.2f} s (steps {self.steps[0]} to {self.steps[1]}): up to "
            f"{self.waiting} wait while {self.running} of {self.seats} seats are taken, {self.kv_ready:.0%} of the KV "
            f"pool is free or idle, {self.kv_unused:.0%} reserved and empty; {self.arrivals:.3g} arrivals/s, "
            f"{self.arrivals_mean:.3g} in the whole run"
        )


class Seen(NamedTuple):
    """preemptions: of all requests. cached, prompts: tokens. step_ms: mean execution. idle_share: of the time from the
    first step to the last in which nothing executes. wait: None where nobody ever waits for the next step.
    """

    preemptions: int
    cached: int
    prompts: int
    step_ms: float
    idle_share: float
    wait: Wait | None

    def lines(self) -> list[str]:
        told = [] if self.wait is None else [self.wait.told()]
        told.append(
            f"{self.preemptions} preemptions; the prefix cache saved {self.cached / max(1, self.prompts):.1%} of "
            f"{self.prompts:,} prompt tokens; a step executes for {self.step_ms:.2f} ms in the mean; nothing "
            f"executes for {self.idle_share:.0%} of the time"
        )
        return told

    def as_dict(self) -> dict[str, Any]:
        return {**self._asdict(), "wait": None if self.wait is None else self.wait._asdict()}


def seen(again: Again) -> Seen:
    outcome = again.baseline
    requests, steps = outcome.requests, outcome.steps
    execution = (steps["host"] - steps["launch"]).to_numpy(float)
    span = float(steps["host"].max() - steps["time"].min()) if len(steps) else 0.0
    return Seen(
        preemptions=int(requests["num_preemptions"].sum()),
        cached=int(requests["num_cached"].sum()),
        prompts=int(requests["prompt_len"].sum()),
        step_ms=float(execution.mean() * 1e3) if len(steps) else 0.0,
        idle_share=max(0.0, 1 - float(execution.sum()) / span) if span else 0.0,
        wait=_longest_wait(again, steps, requests),
    )


def _longest_wait(again: Again, steps: pd.DataFrame, requests: pd.DataFrame) -> Wait | None:
    waits = (steps["num_waiting"] > 0).to_numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], waits.astype(int), [0]])))
    if not len(edges):
        return None
    at, end = steps["time"].to_numpy(float), steps["host"].to_numpy(float)
    spans = [(end[last - 1] - at[first], first, last) for first, last in edges.reshape(-1, 2).tolist()]
    _, first, last = max(spans)
    inside = steps.iloc[first:last]
    begin, until = float(at[first]), float(end[last - 1])
    arrivals = requests["arrival"].dropna().to_numpy(float)
    span = float(arrivals.max() - arrivals.min()) or 1.0
    ready = (inside["kv_free"] + inside["kv_cached_idle"]) / inside["kv_total"]
    return Wait(
        begin=begin,
        end=until,
        steps=(int(inside["step_id"].iloc[0]), int(inside["step_id"].iloc[-1])),
        waiting=int(inside["num_waiting"].max()),
        running=int(inside["num_running"].max()),
        seats=int(str(again.setup.engine.settings["max_num_seqs"])),
        kv_ready=float(ready.mean()),
        kv_unused=float((inside["kv_reserved_unused"] / inside["kv_total"]).mean()),
        arrivals=float(((arrivals >= begin) & (arrivals <= until)).sum() / max(until - begin, 1e-9)),
        arrivals_mean=len(arrivals) / span,
    )
