"""From a warm engine to a profile: measure designed batches and served requests in turn, fit, check on held-out runs.

All that is measured runs as it will online: same loop, same threads, load generator and consumer alive. First a pilot,
each batch of a grid once, and a saturated run, for capacity. They say which steps the workload will run, and which
batches tell most about those (experiment.py). These are measured in rounds, between runs that serve requests at several
loads. All times are put on one speed, divided by what the probe took around them, because the machine drifts. Steps of
the saturated run do not join the fit of step times: with every seat taken the probe is slowed down by more than they
are.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import cycle
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from calibration.fit import EXECUTE, OVERHEAD, fit, predict
from calibration.machine import hardware, software
from calibration.measuring.batches import CONTINUED, BatchShape, drawn, fits, grid, plan_of
from calibration.measuring.experiment import mean_variance, picks
from calibration.measuring.region import region
from calibration.measuring.session import Session, check_machine
from calibration.measuring.traffic import AZURE_CONVERSATION, Traffic
from records.cost_terms import CostTerms
from records.json_values import JsonObject
from records.profile import RESIDUAL_SHARES, KVCapacity, Profile, ResidualNoise
from serving.cost import StepFeatures, features
from serving.errors import MeasurementError
from serving.schedule.config import EngineConfig

PILOT_SHARE = 0.2
SATURATED_SHARE = 0.12
DESIGNED_SHARE = 0.3
ROUNDS = (("vllm", 0.5), ("nano-vllm", 0.7), ("vllm", 0.85))
"""Preset and share of capacity of what is served after each third of the designed batches."""
SERVED_WEIGHT = 4.0
"""Of a served step against a designed one: designed ones say how time depends on the shape, served ones how long it is.
Where both count alike, decode steps that an engine serves are predicted 2 to 4 % too long.
"""
DRAWN = 80
RATE_BEFORE_CAPACITY = 10.0
FEWEST_FOR_QUANTILES = 20
LAGS = 20


@dataclass(frozen=True)
class Calibration:
    """samples: every measured step, one row each; calibration/measuring/session.py says of what."""

    profile: Profile
    samples: pd.DataFrame


Say = Callable[[str], None]


def calibrate(
    runner: Any,
    config: EngineConfig,
    budget_s: float,
    seed: int = 0,
    traffic: Traffic = AZURE_CONVERSATION,
    say: Say = lambda text: None,
    progress: Callable[[float], None] = lambda seconds: None,
) -> Calibration:
    """budget_s: seconds to measure for. traffic: what the online part serves, and capacity is stated for.

    Errors: MeasurementError where the machine or the budget does not allow a sound measurement.
    """
    if not budget_s > 0:
        raise MeasurementError(f"the budget is {budget_s} s; give the seconds to measure for")
    session = Session(runner, config, traffic, seed)
    shapes = grid(config, seed)
    say(f"pilot: {len(shapes)} batches, decode, prefill, mixed and behind a cached prefix, once each")
    order = Random(seed).sample(range(len(shapes)), len(shapes))
    pilot_s = PILOT_SHARE * budget_s
    pilot = session.designed("pilot", shapes, cycle(order), pilot_s, RATE_BEFORE_CAPACITY, len(shapes), progress)
    guess = _guess_rate(fit(EXECUTE, _warm(pilot), "execute_ms", relative=True), traffic, config)

    say("a saturated run, for capacity")
    wanted = max(40, round(guess * SATURATED_SHARE * budget_s))
    saturated, served = session.served("saturated", "vllm", None, wanted)
    capacity, wake_ups = served.saturated_rate(), served.wake_ups()
    spent = (PILOT_SHARE + SATURATED_SHARE) * budget_s
    progress(spent)
    first = _profile(runner, config, _samples([pilot, saturated]), capacity, traffic, wake_ups)

    designed_s = DESIGNED_SHARE * budget_s
    shapes, chosen, promise = _experiment(first, config, traffic, capacity, designed_s, shapes, pilot, seed)
    say(f"{len(ROUNDS)} rounds: {len(chosen)} batches that tell most of this traffic, then requests; {promise}")
    runs = [pilot, saturated]
    Random(seed).shuffle(chosen)
    designed_s /= len(ROUNDS)
    served_s = budget_s * (1 - PILOT_SHARE - SATURATED_SHARE - DESIGNED_SHARE) / len(ROUNDS)
    waiting = cycle(chosen)
    for k, (preset, load) in enumerate(ROUNDS):
        rate = load * capacity

        def told(seconds: float, spent: float = spent) -> None:
            progress(spent + seconds)

        runs.append(session.designed(f"designed {k}", shapes, waiting, designed_s, rate, progress=told))
        rows, served = session.served(label(preset, load), preset, rate, max(20, round(rate * served_s)))
        runs.append(rows)
        wake_ups += served.wake_ups()
        spent += designed_s + served_s
        progress(spent)
    samples = _samples(runs)
    return Calibration(_profile(runner, config, samples, capacity, traffic, wake_ups), samples)


def _samples(runs: list[pd.DataFrame]) -> pd.DataFrame:
    """All rows, with normal_ms: execution at the usual speed of the machine, by the probe."""
    samples = pd.concat(runs, ignore_index=True)
    samples["normal_ms"] = samples["execute_ms"] * samples["probe_ms"].median() / samples["probe_ms"]
    samples["weight"] = np.where(_is_served(samples), SERVED_WEIGHT, 1.0)
    return samples


def _is_served(samples: pd.DataFrame) -> pd.Series:
    return samples["run"].isin([label(preset, load) for preset, load in ROUNDS])


def label(preset: str, load: float) -> str:
    """Of a run that serves requests."""
    return f"{preset} at {load:g}"


def _warm(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the first step of a batch of decodes: it follows no decode, as those of an engine do."""
    if "follows" not in rows:
        return rows
    return rows[~((rows["follows"] == 0) & (rows["num_prefill_seqs"] == 0))]


def _experiment(
    profile: Profile,
    config: EngineConfig,
    traffic: Traffic,
    capacity: float,
    budget_s: float,
    pilot_shapes: list[BatchShape],
    pilot: pd.DataFrame,
    seed: int,
) -> tuple[list[BatchShape], list[int], str]:
    """Batches, those of them to measure, and what that promises."""
    likely = region(profile, config, traffic, capacity, seed)
    shapes = [*pilot_shapes, *drawn(config, seed, DRAWN), *(s for s in likely[::5] if fits(s, config))]

    def rows(of: list[BatchShape]) -> tuple[np.ndarray, np.ndarray]:
        """Terms over the predicted time [steps, terms]; predicted milliseconds."""
        frame = pd.DataFrame([features(plan_of(s, 0, config.block_size, ()))._asdict() for s in of])
        expected = predict(profile.execute, frame, profile.graph_sizes)
        return np.stack([b.column(frame) for b in EXECUTE], axis=1) / expected[:, None], expected

    candidates, expected = rows(shapes)
    steps = np.array([1 if s.prefills else 1 + CONTINUED for s in shapes])
    wanted, _ = rows(likely)
    warm = _warm(pilot)
    known = np.stack([b.column(warm) for b in EXECUTE], axis=1)
    known = known / predict(profile.execute, warm, profile.graph_sizes)[:, None]
    chosen = picks(candidates, steps * expected / 1e3, wanted, known, budget_s)
    before = mean_variance(wanted, known)
    after = mean_variance(wanted, np.concatenate([known, candidates[chosen]]))
    promise = f"the variance of its predictions falls to {after / before:.0%}"
    return shapes, chosen, promise


def _guess_rate(terms: CostTerms, traffic: Traffic, config: EngineConfig) -> float:
    """Requests per second that the first fit promises for the mean request with half the seats taken."""
    prompt, output = traffic.mean_lengths()
    seqs = config.max_num_seqs // 2
    mixed = dict.fromkeys(StepFeatures.names(), 0.0) | {
        "num_seqs": seqs,
        "num_tokens": seqs * (1 + prompt / output),
        "num_sampled": seqs,
        "prefill_pairs": seqs / output * prompt**2 / 2,
        "decode_context": seqs * (prompt + output / 2),
        "num_prefill_seqs": seqs / output,
    }
    step_ms = float(predict(terms, pd.DataFrame([mixed]))[0])
    return seqs / output / (step_ms / 1e3)


def _profile(
    runner: Any,
    config: EngineConfig,
    samples: pd.DataFrame,
    capacity: float,
    traffic: Traffic,
    wake_ups: list[int],
) -> Profile:
    usable = _warm(samples[~samples["disturbed"]])
    fitted = usable[usable["run"] != "saturated"]
    execute = fit(EXECUTE, fitted, "normal_ms", relative=True, weight="weight")
    shape = runner.shape
    return Profile(
        name=f"{shape.name}-{_slug(str(runner.conditions['device']))}",
        model=shape.identity(),
        hardware=hardware(),
        software=software(),
        conditions={
            **runner.conditions,
            "settings": asdict(config),
            "speed_drift": check_machine(samples),
            "disturbed_steps": int(samples["disturbed"].sum()),
            "first_step_after_idle": _after_idle(execute, usable),
        },
        execute=execute,
        schedule=fit(OVERHEAD, usable, "schedule_ms"),
        complete=fit(OVERHEAD, usable, "complete_ms"),
        return_=fit(OVERHEAD, usable, "return_ms"),
        wake_ms=float(np.median(wake_ups)) / 1e6 if wake_ups else 0.0,
        residual=_residual(execute, usable[_is_served(usable)] if _is_served(usable).any() else usable),
        residual_persistence=_persistence(execute, usable[_is_served(usable)]),
        hull={name: (float(usable[name].min()), float(usable[name].max())) for name in StepFeatures.names()},
        kv=KVCapacity(
            num_blocks=config.num_blocks,
            block_size=config.block_size,
            bytes_per_token=runner.kv_bytes_per_token,
            host_link_bytes_per_s=runner.probe_host_link(),
        ),
        capacity={"requests_per_s": capacity, "traffic": traffic.name},
        held_out=_held_out_errors(fitted),
        probe={"ms": float(samples["probe_ms"].median())},
    )


def _slug(device: str) -> str:
    """Of a device's name, for the name of a profile."""
    return "-".join(re.findall(r"[a-z0-9]+", device.lower()))


def _held_out_errors(samples: pd.DataFrame) -> dict[str, Any]:
    """Relative errors on the steps of each run, by terms that were fitted to all other runs."""
    found: dict[str, Any] = {}
    errors, predicted, measured = [], 0.0, 0.0
    for run in samples["run"].unique():
        held = samples[samples["run"] == run]
        rest = samples[samples["run"] != run]
        if rest.empty:
            return {}
        expected, took = (
            predict(fit(EXECUTE, rest, "normal_ms", relative=True, weight="weight"), held),
            held["normal_ms"].to_numpy(),
        )
        error = np.abs(expected / took - 1)
        errors.append(error)
        predicted, measured = predicted + expected.sum(), measured + took.sum()
        found[str(run)] = {
            "steps": len(held),
            "median": float(np.median(error)),
            "p90": float(np.percentile(error, 90)),
            "total_time": float(expected.sum() / took.sum() - 1),
        }
    every = np.concatenate(errors)
    total = {"steps": len(every), "median": float(np.median(every)), "total_time": float(predicted / measured - 1)}
    return {**total, "runs": found}


def _residual(terms: CostTerms, samples: pd.DataFrame) -> dict[str, ResidualNoise]:
    """Relative residuals of the fit, by kind of step."""
    relative = samples["normal_ms"].to_numpy(dtype=float) / predict(terms, samples) - 1
    prefills = samples["num_prefill_seqs"].to_numpy()
    kinds = np.where(prefills == 0, "decode", np.where(prefills == samples["num_seqs"], "prefill", "mixed"))
    return {kind: _noise(relative[kinds == kind]) for kind in ("decode", "prefill", "mixed") if (kinds == kind).any()}


def _after_idle(terms: CostTerms, usable: pd.DataFrame) -> JsonObject | None:
    """How much longer than predicted the first step is that follows no other: caches are cold, clocks low. It is said,
    and not modelled: there are few, where an engine is worth simulating.
    """
    first = usable[usable["after_idle"].eq(True)]
    if first.empty:
        return None
    ratio = float(first["normal_ms"].sum() / predict(terms, first).sum())
    return {"steps": len(first), "times_as_long": ratio}


def _persistence(terms: CostTerms, served: pd.DataFrame) -> float:
    """The share of steps that must repeat the residual of the step before, for sums of neighbouring steps to scatter as
    measured: by the autocorrelation over LAGS steps, summed. Outliers count as the quartiles' distance thrice.
    """
    sums = []
    for run in served["run"].unique():
        rows = served[served["run"] == run]
        if len(rows) < 10 * LAGS:
            continue
        residual = rows["normal_ms"].to_numpy(dtype=float) / predict(terms, rows) - 1
        low, middle, high = np.percentile(residual, (25, 50, 75))
        residual = np.clip(residual - middle, -3 * (high - low), 3 * (high - low))
        residual -= residual.mean()
        power = float(residual @ residual)
        sums.append(sum(float(residual[k:] @ residual[:-k]) / power for k in range(1, LAGS + 1)))
    if not sums:
        return 0.0
    total = max(0.0, float(np.mean(sums)))  # of a geometric decay: p / (1 - p)
    return total / (1 + total)


def _noise(relative: np.ndarray) -> ResidualNoise:
    """relative: residuals of the steps of one kind, shape [steps]."""
    enough = len(relative) >= FEWEST_FOR_QUANTILES
    return ResidualNoise(
        steps=len(relative),
        relative_std=float(relative.std()),
        relative_p50_abs=float(np.percentile(np.abs(relative), 50)),
        relative_p90_abs=float(np.percentile(np.abs(relative), 90)),
        quantiles=tuple(np.quantile(relative, RESIDUAL_SHARES).tolist()) if enough else (),
    )
