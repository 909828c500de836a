"""Steps of the real engine as rows: of designed batches, or of requests it serves; with what disturbed them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from calibration.measuring.batches import BatchShape
from calibration.measuring.online import step_rows
from calibration.measuring.others import Others
from calibration.measuring.planned import AnyToken, PlannedScheduler
from calibration.measuring.traffic import Traffic
from calibration.measuring.watched import WatchedRunner
from calibration.speed import HOST_PROBES_AVERAGED, at_each_probe, smoothed
from records.drift import Probed, probes_condition, probes_in
from serving.errors import MeasurementError
from serving.schedule.config import EngineConfig
from serving.schedule.contract import StepReceipt
from serving.schedule.engine import build_scheduler
from workloads.workload import Workload

if TYPE_CHECKING:
    from realexec.load import ExecutedRun

LARGEST_DISTURBED_SHARE = 0.5
LARGEST_DRIFT = 2.0


class Session:
    """One calibration's measurements on a warm runner. traffic: what is served, and arrives beside designed batches.

    Rows have: run (a label), at (seconds), the features of the step, schedule_ms, execute_ms, complete_ms, return_ms
    (calibration/measuring/online.py), cpu_ms, others (share of a processor that other programs had), disturbed, and
    probe_ms, host_ms: what probes of the machine took around that time; probed: whether one came before the next step.
    """

    def __init__(self, runner: Any, config: EngineConfig, traffic: Traffic, seed: int) -> None:
        self._runner = runner
        self._config = config
        self._traffic = traffic
        self._seed = seed
        self._runs = 0

    def designed(
        self,
        run: str,
        shapes: Sequence[BatchShape],
        order: Iterator[int],
        seconds: float,
        rate: float,
        fewest: int = 0,
        progress: Callable[[float], None] = lambda seconds: None,
    ) -> pd.DataFrame:
        """Rows of shapes in this order, for so long and at least the `fewest` first of them; disturbed ones come again.

        rate: of the requests [1/s] that arrive meanwhile, and are not served. Rows have also shape: its index, and
        follows: how many steps of the same sequences came before.
        Errors: MeasurementError where the fewest take more than four times as long.
        """
        began = time.perf_counter()

        def goes_on(now: int, begun: int) -> bool:
            spent = time.perf_counter() - began
            progress(min(spent, seconds))
            if begun < fewest and spent > 4 * seconds:
                raise MeasurementError(
                    f"{begun} batches took {spent:.0f} s, and {fewest} are the least; raise --budget "
                    f"{spent / seconds * fewest / max(begun, 1):.0f} times"
                )
            return begun < fewest or spent < seconds

        scheduler = PlannedScheduler(shapes, order, self._runner.block_size, goes_on)

        def repeat(begin: float, end: float) -> None:
            chosen = {scheduler.asked[step].shape for step, at in watched.at_s.items() if begin <= at < end}
            scheduler.again(sorted(chosen))

        watched = WatchedRunner(self._runner, others := Others(time.perf_counter, repeat))
        arrivals = self._traffic.draw(rate, max(2, round(rate * seconds)), self._next_seed())
        executed = self._execute(arrivals, scheduler, watched, AnyToken())
        self._runner.forget(scheduler.resident)
        rows = self._rows(run, executed, watched, others)
        asked = [scheduler.asked[receipt.plan.step_id] for receipt in executed.receipts]
        nobody_scheduled = {"schedule_ms": np.nan, "complete_ms": np.nan}
        return rows.assign(shape=[a.shape for a in asked], follows=[a.follows for a in asked], **nobody_scheduled)

    def served(self, run: str, preset: str, rate: float | None, requests: int) -> "tuple[pd.DataFrame, Served]":
        """Rows of serving so many requests; rate [1/s] None: all at once. Rows have also after_idle."""
        watched = WatchedRunner(self._runner, others := Others(time.perf_counter))
        workload = self._traffic.draw(rate, requests, self._next_seed())
        scheduler = build_scheduler(preset, settings=asdict(self._config))
        executed = self._execute(workload, scheduler, watched)
        rows = self._rows(run, executed, watched, others)
        rows["after_idle"] = rows["complete_ms"].isna().shift(1, fill_value=True)
        return rows, Served(executed, workload)

    def _next_seed(self) -> int:
        self._runs += 1
        return self._seed + self._runs

    def _execute(self, workload: Any, scheduler: Any, runner: WatchedRunner, answerer: Any = None) -> "ExecutedRun":
        from realexec.load import execute

        return execute(workload, scheduler, runner, answerer=answerer)

    def _rows(self, run: str, executed: "ExecutedRun", watched: WatchedRunner, others: Others) -> pd.DataFrame:
        receipts, probes = executed.receipts, executed.probes
        of_runner = [probe for probe in probes if probe.took is not None]
        if not of_runner or not receipts:
            raise MeasurementError(f"{run}: {len(receipts)} steps were too few to measure; raise --budget")
        ids = [receipt.plan.step_id for receipt in receipts]
        rows = step_rows(receipts)
        rows.insert(0, "run", run)
        rows["at"] = [watched.at_s[i] for i in ids]
        rows["cpu_ms"] = [watched.cpu_ns[i] / 1e6 for i in ids]
        rows["others"] = [others.share_at(watched.at_s[i]) for i in ids]
        rows["disturbed"] = [others.disturbed_at(watched.at_s[i]) for i in ids]
        launched = np.array([receipt.launch_at for receipt in receipts])
        rows["probed"] = np.append(np.diff(_before(launched, of_runner)), 0) > 0
        rows["complete_ms"] -= _paused_behind(launched, probes) / 1e6
        told = probes_in(probes_condition(probes))
        rows["probe_ms"] = np.interp(launched / 1e9, told.at_s, at_each_probe(told, self._runner.conditions))
        rows["host_ms"] = np.interp(launched / 1e9, told.at_s, smoothed(told.host_ms, HOST_PROBES_AVERAGED))
        return rows


def _before(launched: np.ndarray, probes: Sequence[Probed]) -> np.ndarray:
    """How many of them each step had before it; shape [steps]."""
    return np.searchsorted([probe.at for probe in probes], launched)


def _paused_behind(launched: np.ndarray, probes: Sequence[Probed]) -> np.ndarray:
    """Nanoseconds of probes between a step and the next; shape [steps]."""
    total = np.cumsum([0, *(probe.paused for probe in probes)])[_before(launched, probes)]
    return np.append(np.diff(total), 0)


class Served:
    """What only requests show. receipts: of the steps, in order. lateness: nanoseconds from the instant at which a
    request was due until the engine had it, each.
    """

    def __init__(self, executed: "ExecutedRun", workload: Workload) -> None:
        self.receipts = executed.receipts
        self.lateness = executed.lateness
        self.workload = workload
        self._had_at = {
            request.request_id: request.arrival_time + late
            for request, late in zip(executed.sent, executed.lateness, strict=True)
        }

    def wake_ups(self) -> list[int]:
        """Nanoseconds from an idle engine's having a request to its call of schedule()."""
        found = []
        for before, receipt in zip([None, *self.receipts], self.receipts, strict=False):
            admitted = [a.request_id for a in receipt.plan.admitted]
            if not admitted or (before is not None and _has_work(before)):
                continue
            had_at = min(self._had_at[request_id] for request_id in admitted)
            if before is None or had_at > before.delivered_at:
                found.append(max(0, receipt.schedule_at - had_at))  # the generator's clock is read a little later
        return found


def _has_work(receipt: StepReceipt) -> bool:
    snapshot = receipt.snapshot
    return snapshot.num_running + snapshot.num_waiting - len(receipt.outcome.finished) > 0


class RefusedError(MeasurementError):
    """The machine was too busy, or changed its speed too much, for any fit to mean something. samples: as they are."""

    def __init__(self, text: str, samples: pd.DataFrame) -> None:
        super().__init__(text)
        self.samples = samples


def check_machine(rows: pd.DataFrame) -> float:
    """Slowest over fastest probe of a session. Errors: RefusedError."""
    slowest, fastest = rows["probe_ms"].max(), rows["probe_ms"].min()
    share, others = float(rows["disturbed"].mean()), float(rows["others"].mean())
    wrong = []
    if slowest / fastest > LARGEST_DRIFT:
        wrong.append(
            f"the machine changed speed by {slowest / fastest:.2f} times while it was measured (the same work took "
            f"{fastest:.2f} to {slowest:.2f} ms)"
        )
    if share > LARGEST_DISTURBED_SHARE:
        wrong.append(
            f"{share:.0%} of the steps were disturbed: other programs had {others:.2f} of a processor on average"
        )
    if wrong:
        raise RefusedError(f"{', and '.join(wrong)}; stop other programs, or wait, and run again", rows)
    return float(slowest / fastest)
