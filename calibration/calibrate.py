"""From a warm engine to a profile: measure designed batches, serve online, fit, check on held-out steps.

All times are put on one speed, divided by what the probe took around them, because the machine drifts.
The budget is divided: designed batches first, then a saturated run (capacity), then open-loop runs at 60 % of it. Steps
of the open-loop runs join the fit of step times, and all online steps that of the engine's own costs. Saturated steps
do not join the former: with every seat taken the probe is slowed down by more than they are.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from calibration.design import design
from calibration.fit import EXECUTE, OVERHEAD, fit, predict
from calibration.machine import hardware, software
from calibration.measure import drift, measure
from calibration.online import saturated_rate, step_rows
from calibration.speed import typical_ms
from calibration.traffic import AZURE_CONVERSATION, Traffic
from records.cost_terms import CostTerms
from records.profile import RESIDUAL_SHARES, KVCapacity, Profile, ResidualNoise
from serving.cost import StepFeatures
from serving.errors import MeasurementError
from serving.schedule.config import EngineConfig
from serving.schedule.contract import StepReceipt
from serving.schedule.engine import build_scheduler

DESIGNED_SHARE = 0.5
SATURATED_SHARE = 0.12
HELD_OUT_SHARE = 0.2
OPEN_LOOP_LOAD = 0.6
FEWEST_FOR_QUANTILES = 20


@dataclass(frozen=True)
class Calibration:
    """samples: every measured step, one row each; where says designed, saturated or open-loop."""

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
    shapes = design(config, seed)
    say(f"{len(shapes)} designed batches: decode, prefill and mixed steps")
    designed = measure(runner, shapes, DESIGNED_SHARE * budget_s, seed, progress).assign(where="designed")
    first = fit(EXECUTE, designed, "execute_ms", relative=True)

    say("online: a saturated run for capacity, then an open-loop run")
    guess = _guess_rate(first, traffic, config)
    saturated_s = SATURATED_SHARE * budget_s
    receipts, probe_ms = _serve(runner, config, "vllm", None, max(40, round(guess * saturated_s)), seed + 1, traffic)
    capacity = saturated_rate(receipts)
    online = [step_rows(receipts).assign(where="saturated", probe_ms=probe_ms)]
    progress((DESIGNED_SHARE + SATURATED_SHARE) * budget_s)
    rate = OPEN_LOOP_LOAD * capacity
    open_s = (1 - DESIGNED_SHARE - SATURATED_SHARE) * budget_s
    for k, preset in enumerate(("vllm", "nano-vllm")):
        wanted = max(20, round(rate * open_s / 2))
        receipts, probe_ms = _serve(runner, config, preset, rate, wanted, seed + 2 + k, traffic)
        online.append(step_rows(receipts).assign(where="open-loop", probe_ms=probe_ms))
    progress(budget_s)
    samples = pd.concat([designed, *online], ignore_index=True)
    samples["held_out"] = _held_out(samples, seed)
    samples["disturbed"] = samples["disturbed"].eq(True)
    samples["normal_ms"] = samples["execute_ms"] * samples["probe_ms"].median() / samples["probe_ms"]
    profile = _profile(runner, config, samples, capacity, traffic)
    return Calibration(profile, samples)


def _serve(
    runner: Any, config: EngineConfig, preset: str, rate: float | None, requests: int, seed: int, traffic: Traffic
) -> tuple[list[StepReceipt], float]:
    """Serve a drawn workload; rate None: all at once. Returns the steps and the typical probe among them [ms]."""
    from realexec.load import execute

    drawn = traffic.draw(rate, requests, seed)
    scheduler = build_scheduler(preset, settings=asdict(config))
    run = execute(drawn, scheduler, runner)
    probe_ms = typical_ms(run.probes)
    if probe_ms is None:
        raise MeasurementError(f"the online part served {requests} requests and was too short; raise --budget")
    return run.receipts, probe_ms


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


def _held_out(samples: pd.DataFrame, seed: int) -> np.ndarray:
    """A fifth of the designed shapes, whole, and the last fifth of each online run. Shape [samples], bool."""
    rng = Random(seed)
    shapes = sorted(samples["shape"].dropna().unique())
    chosen = set(rng.sample(shapes, round(HELD_OUT_SHARE * len(shapes))))
    held = samples["shape"].isin(chosen).to_numpy(copy=True)
    for where in ("saturated", "open-loop"):
        rows = np.flatnonzero((samples["where"] == where).to_numpy())
        held[rows[len(rows) - round(HELD_OUT_SHARE * len(rows)) :]] = True
    return held


def _profile(
    runner: Any,
    config: EngineConfig,
    samples: pd.DataFrame,
    capacity: float,
    traffic: Traffic,
) -> Profile:
    usable = samples[~samples["disturbed"]]
    held_out = usable[usable["held_out"]]
    fitted = usable[usable["where"] != "saturated"]
    checked = fit(EXECUTE, fitted[~fitted["held_out"]], "normal_ms", relative=True)
    execute = fit(EXECUTE, fitted, "normal_ms", relative=True)
    shape = runner.shape
    return Profile(
        name=f"{shape.name}-{_slug(str(runner.conditions['device']))}",
        model=shape.identity(),
        hardware=hardware(),
        software=software(),
        conditions={
            **runner.conditions,
            "settings": asdict(config),
            "speed_drift": drift(samples),
            "disturbed_samples": int(samples["disturbed"].sum()),
        },
        execute=execute,
        schedule=fit(OVERHEAD, usable, "schedule_ms"),
        complete=fit(OVERHEAD, usable, "complete_ms"),
        return_=fit(OVERHEAD, usable, "return_ms"),
        residual=_residual(execute, usable),
        hull={name: (float(usable[name].min()), float(usable[name].max())) for name in StepFeatures.names()},
        kv=KVCapacity(
            num_blocks=config.num_blocks,
            block_size=config.block_size,
            bytes_per_token=runner.kv_bytes_per_token,
            host_link_bytes_per_s=runner.probe_host_link(),
        ),
        capacity={"requests_per_s": capacity, "traffic": traffic.name},
        held_out=_errors(checked, held_out),
        probe={"ms": float(samples["probe_ms"].median())},
    )


def _slug(device: str) -> str:
    """Of a device's name, for the name of a profile."""
    return "-".join(re.findall(r"[a-z0-9]+", device.lower()))


def _errors(terms: CostTerms, samples: pd.DataFrame) -> dict[str, Any]:
    """Relative errors of terms on samples they were not fitted to, by where the steps come from."""
    error = np.abs(predict(terms, samples) / samples["normal_ms"].to_numpy(dtype=float) - 1)
    bias = predict(terms, samples).sum() / samples["normal_ms"].sum() - 1
    found: dict[str, Any] = {"steps": len(samples), "median": float(np.median(error)), "total_time": float(bias)}
    for where in samples["where"].unique():
        chosen = (samples["where"] == where).to_numpy()
        found[where] = {
            "steps": int(chosen.sum()),
            "median": float(np.median(error[chosen])),
            "p90": float(np.percentile(error[chosen], 90)),
        }
    return found


def _residual(terms: CostTerms, samples: pd.DataFrame) -> dict[str, ResidualNoise]:
    """Relative residuals of the fit, by kind of step."""
    relative = samples["normal_ms"].to_numpy(dtype=float) / predict(terms, samples) - 1
    prefills = samples["num_prefill_seqs"].to_numpy()
    kinds = np.where(prefills == 0, "decode", np.where(prefills == samples["num_seqs"], "prefill", "mixed"))
    return {kind: _noise(relative[kinds == kind]) for kind in ("decode", "prefill", "mixed") if (kinds == kind).any()}


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
