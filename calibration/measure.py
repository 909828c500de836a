"""Step times of designed batches on the real engine, with drift and disturbance watched."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from random import Random
from typing import Any

import pandas as pd

from calibration.design import REFERENCE, BatchShape, plan_of
from serving.cost import features
from serving.errors import MeasurementError

FEWEST_PASSES = 2
PROBE_EVERY = 24
LARGEST_DRIFT = 1.5


class StepTimer:
    """Executes shapes one by one on a runner; each step's sequences are forgotten by the next."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._step_id = 0
        self._resident: tuple[str, ...] = ()

    def time(self, shape: BatchShape) -> dict[str, float]:
        """The features of one executed step, wall_ms and cpu_ms of its execution."""
        plan = plan_of(shape, self._step_id, self._runner.block_size, self._resident)
        self._step_id += 1
        self._resident = plan.request_ids
        inputs = self._runner.prepare(plan)
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        self._runner.execute(inputs)
        wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
        return {**asdict(features(plan)), "wall_ms": wall / 1e6, "cpu_ms": cpu / 1e6}

    def clear(self) -> None:
        """Have the runner forget the last sequences, so that it can serve requests again."""
        self._runner.forget(self._resident)
        self._resident = ()


def probe(runner: Any, repeats: int = 15) -> float:
    """Median milliseconds of the reference batch."""
    timer = StepTimer(runner)
    times = [timer.time(REFERENCE)["wall_ms"] for _ in range(repeats + 2)][2:]
    timer.clear()
    return statistics.median(times)


def measure(
    runner: Any,
    shapes: Sequence[BatchShape],
    budget_s: float,
    seed: int,
    progress: Callable[[float], None] = lambda seconds: None,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Measure all shapes again and again, in a new random order each pass, until the budget is spent.

    Returns samples, a row a step (shape: its index; disturbed: the thread lost the processor while it ran), and the
    drift: probe_ms, and probe_max_over_min of the probe's medians over the session.
    Errors: MeasurementError if the budget does not allow two passes, or the machine changes speed by half.
    """
    rng = Random(seed)
    timer = StepTimer(runner)
    rows: list[dict[str, float]] = []
    probes: list[float] = []
    began = time.perf_counter()
    for _ in range(2):
        timer.time(shapes[0])
    passes = 0
    while True:
        order = list(range(len(shapes)))
        rng.shuffle(order)
        for position, index in enumerate(order):
            if position % PROBE_EVERY == 0:
                probes.append(statistics.median(timer.time(REFERENCE)["wall_ms"] for _ in range(5)))
            row = timer.time(shapes[index])
            rows.append({"shape": index, "pass": passes, **row})
            elapsed = time.perf_counter() - began
            progress(min(elapsed, budget_s))
            if elapsed > budget_s and passes >= FEWEST_PASSES:
                break
            if elapsed > 4 * budget_s:
                raise MeasurementError(
                    f"{passes} passes over {len(shapes)} batches took {elapsed:.0f} s, two are the least; "
                    f"raise --budget above {elapsed * FEWEST_PASSES / max(1, passes + position / len(order)):.0f} s"
                )
        passes += 1
        if time.perf_counter() - began > budget_s and passes >= FEWEST_PASSES:
            break
    timer.clear()
    drift = max(probes) / min(probes)
    if drift > LARGEST_DRIFT:
        raise MeasurementError(
            f"the machine changed speed by {drift:.2f} times while it was measured (the same batch took "
            f"{min(probes):.2f} to {max(probes):.2f} ms); stop other programs, or wait, and run again"
        )
    samples = pd.DataFrame(rows)
    samples["disturbed"] = samples["wall_ms"] > 1.1 * samples["cpu_ms"] + 0.2
    return samples, {"probe_ms": statistics.median(probes), "probe_max_over_min": drift}
