"""From the steps of a calibration to a profile: which form predicts whole runs best, and how sure its prices are."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from calibration.fit import EXECUTE, OVERHEAD, fit, predict, prices
from calibration.machine import hardware, software
from calibration.measuring.session import check_machine
from calibration.measuring.traffic import Traffic
from calibration.model.forms import candidates
from calibration.model.kinds import kinds_of
from calibration.model.model import coefficients, fit_model, interval
from calibration.model.residuals import by_kind, hull, relative
from calibration.probed import HOST_EXPONENT, Exponents, own_slower, own_steps, probe_exponents
from records.cost_terms import CostTerms
from records.json_values import JsonObject
from records.profile import KVCapacity, Profile
from serving.schedule.config import EngineConfig

SERVED_WEIGHT = 4.0
"""Of a served step against a designed one: designed ones say how time depends on the shape, served ones how long it is.
Where both count alike, decode steps that an engine serves are predicted 2 to 4 % too long.
"""
OWN = ("schedule_ms", "complete_ms", "return_ms")
FEWEST_REPEATS = 3
PACE_ROUNDS = 5
"""Of paces and prices in turn; after 40, prices are the same within a hundredth."""
LAGS = 20
DRAWS = 20


@dataclass(frozen=True)
class Told:
    """What a session measured besides steps. capacity: requests/s of the traffic. lateness, wake_ups: nanoseconds each,
    see Served.
    host_link: bytes a second that KV moves between device and host memory. exponents: of the probe.
    """

    runner: Any
    config: EngineConfig
    capacity: float
    traffic: Traffic
    lateness: Sequence[int]
    wake_ups: Sequence[int]
    host_link: float
    exponents: Exponents


@dataclass(frozen=True)
class Execution:
    """Step times, fitted. draws: of its prices, each in the order of its terms. held_out: as a profile has it, with
    same_batch: how much a batch differs from itself.
    """

    cost: CostTerms
    draws: tuple[tuple[float, ...], ...] = ()
    held_out: JsonObject | None = None


def together(
    runs: Sequence[pd.DataFrame], served: Sequence[str], row_sizes: Sequence[int]
) -> tuple[pd.DataFrame, Exponents]:
    """All rows, with weight, is_served, normal_ms: execution at the usual speed of the machine, and own_slower: how
    many times as long as usual schedule, complete and return took.

    served: labels of the runs that serve requests at a rate. row_sizes: as a runner has them.
    """
    samples = pd.concat(runs, ignore_index=True)
    samples["is_served"] = samples["run"].isin(served)
    samples["weight"] = np.where(samples["is_served"], SERVED_WEIGHT, 1.0)
    exponents = probe_exponents(_for_execution(samples), row_sizes)
    took_ms, probe_ms = samples["execute_ms"].to_numpy(), samples["probe_ms"].to_numpy()
    samples["normal_ms"] = exponents.usual_ms(took_ms, probe_ms, float(np.median(probe_ms)))
    samples["own_slower"] = own_slower(samples)
    return samples, exponents


def warm(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the first step of a batch of decodes: it follows no decode, as those of an engine do."""
    if "follows" not in rows:
        return rows
    return rows[~((rows["follows"] == 0) & (rows["num_prefill_seqs"] == 0))]


def quick(samples: pd.DataFrame, row_sizes: Sequence[int]) -> Execution:
    """One form, its prices alone."""
    usable = _for_execution(samples)
    return Execution(fit(EXECUTE, usable, "normal_ms", relative=True, weight="weight", graph_sizes=row_sizes))


def chosen(samples: pd.DataFrame, row_sizes: Sequence[int], on_cpu: bool, seed: int) -> Execution:
    """The form that predicts whole runs best, with as likely prices, drawn over runs. on_cpu: one thing is done after
    the other, so no form in which they overlap.
    """
    usable = _for_execution(samples)
    forms = {name: form for name, form in candidates(row_sizes).items() if not (on_cpu and form.overlaps)}
    found = fit_model(
        usable, "normal_ms", "run", graph_sizes=row_sizes, forms=forms, weight="weight", seed=seed, draws=DRAWS
    )
    held_out = {**found.held_out, "same_batch": same_batch(usable)}
    return Execution(found.cost, tuple(coefficients(draw) for draw in found.draws), held_out)


def same_batch(usable: pd.DataFrame) -> float | None:
    """Median of |time / median time of the same designed batch in the same run - 1|: no form explains that. None where
    batches were not repeated.
    """
    repeats = usable[usable["shape"].notna()].groupby(["run", "shape"])["normal_ms"]
    off = (repeats.transform(lambda own: own / own.median()) - 1).abs()[repeats.transform("size") >= FEWEST_REPEATS]
    return float(off.median()) if len(off) else None


def profile_of(told: Told, samples: pd.DataFrame, execution: Execution) -> Profile:
    """Errors: MeasurementError for a machine that was too busy, or changed its speed too much."""
    usable = warm(samples[~samples["disturbed"]])
    served = usable[usable["is_served"]]
    typical = served if len(served) else usable
    shape, config, cost, sizes = told.runner.shape, told.config, execution.cost, tuple(told.runner.row_sizes)
    profile = Profile(
        name=f"{shape.name}-{_slug(str(told.runner.conditions['device']))}",
        model=shape.identity(),
        hardware=hardware() | _gpu(told.runner.conditions),
        software=software(),
        conditions={
            **told.runner.conditions,
            "settings": asdict(config),
            "speed_drift": check_machine(samples),
            "disturbed_steps": int(samples["disturbed"].sum()),
            "first_step_after_idle": _after_idle(cost, usable, sizes),
        },
        execute=cost,
        schedule=own_time(usable, "schedule_ms"),
        complete=own_time(usable, "complete_ms"),
        return_=own_time(usable, "return_ms"),
        graph_sizes=sizes,
        arrive_ms=float(np.mean(told.lateness)) / 1e6 if told.lateness else 0.0,
        wake_ms=float(np.median(told.wake_ups)) / 1e6 if told.wake_ups else 0.0,
        residual=by_kind(relative(cost, typical, "normal_ms", sizes), kinds_of(typical)),
        residual_persistence=_persistence(cost, served, sizes),
        hull=hull(usable),
        kv=KVCapacity(
            num_blocks=config.num_blocks,
            block_size=config.block_size,
            bytes_per_token=told.runner.kv_bytes_per_token,
            host_link_bytes_per_s=told.host_link,
        ),
        capacity={"requests_per_s": told.capacity, "traffic": told.traffic.name},
        held_out=execution.held_out,
        probe={
            "ms": float(samples["probe_ms"].median()),
            "exponent": told.exponents.fixed,
            "exponent_of_work": told.exponents.work,
            "host_ms": float(samples["host_ms"].median()),
            "exponent_of_host": HOST_EXPONENT,
        },
    )
    return _with_draws(profile, execution.draws, usable)


def own_time(usable: pd.DataFrame, target: str) -> CostTerms:
    """Of schedule, complete or return, at the usual speed of the host."""
    return fit(OVERHEAD, _own_steps(usable, target), target, relative=True)


def _own_steps(usable: pd.DataFrame, target: str) -> pd.DataFrame:
    """Of runs that serve requests at a rate, where there are any: an engine full of requests would decide otherwise."""
    steps = own_steps(usable.assign(**{target: usable[target] / usable["own_slower"]}), target)
    served = steps[steps["is_served"]]
    return _at_one_pace(served if len(served) else steps, target)


def _at_one_pace(steps: pd.DataFrame, target: str) -> pd.DataFrame:
    """As if all runs had gone at the mean pace of them (of logarithms), beyond what probes tell: a slow run has larger
    batches, and would pass for a price of sequences.
    """
    even = steps = steps.reset_index(drop=True)  # runs drawn twice have their index twice
    run = steps["run"]
    took = steps[target].groupby(run).sum()
    for _ in range(PACE_ROUNDS):
        expected = pd.Series(predict(fit(OVERHEAD, even, target, relative=True), steps)).groupby(run).sum()
        slower = np.log(took / expected)
        even = steps.assign(**{target: steps[target] / np.exp(run.map(slower - slower.mean()))})
    return even


def _gpu(conditions: Mapping[str, object]) -> dict[str, object]:
    return {} if conditions["device"] == "cpu" else {"gpu": conditions["device"]}


def _for_execution(samples: pd.DataFrame) -> pd.DataFrame:
    return warm(samples[~samples["disturbed"]])


def _with_draws(profile: Profile, draws: Sequence[tuple[float, ...]], usable: pd.DataFrame) -> Profile:
    """Each draw of execution with prices of the engine's own work, from runs drawn with replacement: neighbouring steps
    are alike, and are never drawn alone.
    """
    if not draws:
        return profile
    _, schedule, complete, return_ = profile.durations
    runs, random = usable["run"].unique(), np.random.default_rng(len(usable))
    every = []
    for draw in draws:
        rows = pd.concat([usable[usable["run"] == run] for run in random.choice(runs, size=len(runs))])
        if rows["schedule_ms"].isna().all():  # designed runs alone say nothing of scheduling
            rows = usable
        own = [
            price
            for cost, target in zip((schedule, complete, return_), OWN, strict=True)
            for price in prices(cost, _own_steps(rows, target), target, relative=True)
        ]
        every.append((*draw, *own))
    bounds = iter(interval(np.array(every))[len(draws[0]) :])
    durations = [cost.with_intervals(list(islice(bounds, len(cost.terms)))) for cost in (schedule, complete, return_)]
    return profile.with_durations([profile.execute, *durations]).model_copy(update={"draws": tuple(every)})


def _after_idle(cost: CostTerms, usable: pd.DataFrame, row_sizes: Sequence[int]) -> JsonObject | None:
    """How much longer than predicted the first step is that follows no other: caches are cold, clocks low. It is said,
    and not modelled: there are few, where an engine is worth simulating.
    """
    first = usable[usable["after_idle"].eq(True)]
    if first.empty:
        return None
    return {
        "steps": len(first),
        "times_as_long": float(first["normal_ms"].sum() / predict(cost, first, row_sizes).sum()),
    }


def _persistence(cost: CostTerms, served: pd.DataFrame, row_sizes: Sequence[int]) -> float:
    """The share of steps that must repeat the residual of the step before, for sums of neighbouring steps to scatter as
    measured: by the autocorrelation over LAGS steps, summed. Outliers count as the quartiles' distance thrice.
    """
    sums = []
    for run in served["run"].unique():
        rows = served[served["run"] == run]
        if len(rows) < 10 * LAGS:
            continue
        residual = relative(cost, rows, "normal_ms", row_sizes)
        low, middle, high = np.percentile(residual, (25, 50, 75))
        residual = np.clip(residual - middle, -3 * (high - low), 3 * (high - low))
        residual -= residual.mean()
        power = float(residual @ residual)
        sums.append(sum(float(residual[k:] @ residual[:-k]) / power for k in range(1, LAGS + 1)))
    if not sums:
        return 0.0
    total = max(0.0, float(np.mean(sums)))  # of a geometric decay: p / (1 - p)
    return total / (1 + total)


def _slug(device: str) -> str:
    """Of a device's name, for the name of a profile."""
    return "-".join(re.findall(r"[a-z0-9]+", device.lower()))
