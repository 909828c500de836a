"""Step times of designed batches on the real engine, with drift and disturbance watched."""

import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from calibration.design import CONTINUED, BatchShape, next_plan, plan_of
from serving.cost import features
from serving.errors import MeasurementError
from serving.schedule.contract import Plan

FEWEST_PASSES = 2
PROBE_EVERY = 4
PROBES_AVERAGED = 9
FIRST_TEXT_TOKEN = 3
LARGEST_DRIFT = 2.0


class StepTimer:
    """Executes shapes one by one on a runner; each shape's sequences are forgotten by the next."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._step_id = 0
        self._resident: tuple[str, ...] = ()

    def time(self, shape: BatchShape) -> list[dict[str, float]]:
        """Rows of executed steps: their features, wall_ms and cpu_ms of execution.

        Decodes follow decodes when an engine serves, so a batch of decodes is measured as the steps after its first
        one: that one finds the caches of the processor full of what was measured before.
        """
        plan = plan_of(shape, self._step_id, self._runner.block_size, self._resident)
        self._step_id += 1
        self._resident = plan.request_ids
        row = self._execute(plan)
        if shape.prefills:
            return [row]
        rows = []
        for _ in range(CONTINUED):
            plan = next_plan(plan)
            rows.append(self._execute(plan))
        return rows

    def _execute(self, plan: Plan) -> dict[str, float]:
        inputs = self._runner.prepare(plan)
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        self._runner.execute(inputs)
        wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
        self._runner.accept(plan, [(FIRST_TEXT_TOKEN,)] * len(plan.request_ids))
        return {**features(plan)._asdict(), "wall_ms": wall / 1e6, "cpu_ms": cpu / 1e6}

    def clear(self) -> None:
        """Have the runner forget the last sequences, so that it can serve requests again."""
        self._runner.forget(self._resident)
        self._resident = ()


def measure(
    runner: Any,
    shapes: Sequence[BatchShape],
    budget_s: float,
    seed: int,
    progress: Callable[[float], None] = lambda seconds: None,
) -> pd.DataFrame:
    """Measure all shapes again and again, in a new random order each pass, until the budget is spent.

    Returns a row a step: shape (its index), its features, execute_ms, cpu_ms, disturbed (the thread lost the processor
    while it ran), and probe_ms: what the runner's probe took around that time.
    Errors: MeasurementError if the budget does not allow two passes, or the machine changes speed by half.
    """
    rng = Random(seed)
    timer = StepTimer(runner)
    rows: list[dict[str, float]] = []
    probes: list[tuple[float, float]] = []  # (seconds, milliseconds)
    began = time.perf_counter()
    for position, index in enumerate(_passes(len(shapes), rng)):
        elapsed = time.perf_counter() - began
        progress(min(elapsed, budget_s))
        if elapsed > budget_s and position >= FEWEST_PASSES * len(shapes):
            break
        if elapsed > 4 * budget_s:
            raise MeasurementError(
                f"{position} batches took {elapsed:.0f} s, and two passes over {len(shapes)} are the least; "
                f"raise --budget {elapsed / budget_s * FEWEST_PASSES * len(shapes) / position:.0f} times"
            )
        if position % PROBE_EVERY == 0:
            probes.append((elapsed, runner.probe() / 1e6))
        rows.extend({"shape": index, "at": elapsed, **row} for row in timer.time(shapes[index]))
    timer.clear()
    samples = pd.DataFrame(rows).rename(columns={"wall_ms": "execute_ms"})
    samples["disturbed"] = samples["execute_ms"] > 1.1 * samples["cpu_ms"] + 0.2
    at, probe_ms = np.array(probes).T
    smooth = pd.Series(probe_ms).rolling(PROBES_AVERAGED, center=True, min_periods=1).median()
    samples["probe_ms"] = np.interp(samples["at"].to_numpy(), at, smooth.to_numpy())
    return samples


def drift(samples: pd.DataFrame) -> float:
    """Slowest over fastest probe of a session. Errors: MeasurementError where no fit would mean anything."""
    slowest, fastest = samples["probe_ms"].max(), samples["probe_ms"].min()
    if slowest / fastest > LARGEST_DRIFT:
        raise MeasurementError(
            f"the machine changed speed by {slowest / fastest:.2f} times while it was measured (the same work took "
            f"{fastest:.2f} to {slowest:.2f} ms); stop other programs, or wait, and run again"
        )
    return float(slowest / fastest)


def _passes(count: int, rng: Random) -> Iterator[int]:
    """0 .. count - 1 again and again, in a new random order each time."""
    while True:
        yield from rng.sample(range(count), count)
