"""What a profile says of runs that it has not seen: a folder of workloads in, a row a run and metric out.

A run is a folder with

    workload.csv[.gz]   req_id, arrival_s, prompt_tokens, output_tokens
    config.json         optional: max_num_seqs, client_inflight_cap, clock; and in "server", "engine_kwargs" or
                        "kv_cache": max_num_batched_tokens, max_num_seqs, max_model_len, max_seq_len,
                        enable_chunked_prefill, enable_prefix_caching, block_size, num_gpu_blocks, data_parallel_size

What config.json does not say is as the profile's engine was measured. Prompts share nothing: the files have no tokens.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from calibration.simulated import simulated
from records.profile import Profile
from serving.errors import MeasurementError, ServetwinError
from serving.schedule.engine import EngineSpec
from workloads.workload import Workload, WorkloadRequest

COLUMNS = ("req_id", "arrival_s", "prompt_tokens", "output_tokens")
CLIENT = ("ttft", "tpot", "e2e")
ENGINE = ("queue", "sched_to_first")
"""Where the clock is the engine's."""
MOST_DRAWS = 8
PERCENT = (50, 90, 99)
CONFIDENCE = 0.95
SETTINGS = {
    "max_num_seqs": "max_num_seqs",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "max_model_len": "max_model_len",
    "max_seq_len": "max_model_len",
    "enable_chunked_prefill": "enable_chunked_prefill",
    "enable_prefix_caching": "enable_prefix_caching",
    "block_size": "block_size",
    "num_gpu_blocks": "num_blocks",
}
"""A key of config.json -> the engine's setting."""


@dataclass(frozen=True)
class Inputs:
    """A run to be predicted. settings: of the engine, as its config says. max_in_flight: the client's cap.

    replicas: engines that share the requests in turn and take each step together. engine_clock: whether instants are
    the engine's own, from a request's arrival there to its tokens on the host.
    """

    name: str
    workload: Workload
    settings: Mapping[str, object]
    max_in_flight: int | None
    replicas: int
    engine_clock: bool


def predict(profile: Profile, runs: "list[Inputs]", spec: EngineSpec) -> pd.DataFrame:
    """Rows of run, metric, n, mean, p50, p90, p99, lo, hi; seconds. spec: of the engine, under each run's own settings.

    Step times take their means. lo, hi: 95 % interval of the mean, from simulations with up to MOST_DRAWS of the
    profile's draws of its coefficients: what calibration left uncertain, no step noise; nan with fewer than two draws.
    """
    return pd.DataFrame([row for inputs in runs for row in _rows(profile, inputs, spec)])


def read_runs(folder: Path) -> list[Inputs]:
    """The folders in it that hold a workload, by name; or the folder itself. Errors: MeasurementError."""
    places = (
        [folder] if _workload_file(folder) else sorted(p for p in folder.iterdir() if p.is_dir() and _workload_file(p))
    )
    if not places:
        raise MeasurementError(f"{folder}: neither it nor a folder in it holds workload.csv or workload.csv.gz")
    return [read_run(place) for place in places]


def read_run(place: Path) -> Inputs:
    """Errors: MeasurementError naming the file and what is wrong with it."""
    file = _workload_file(place)
    if file is None:
        raise MeasurementError(f"{place}: holds no workload.csv or workload.csv.gz")
    config = _config(place / "config.json")
    flat = {
        **config,
        **{k: v for part in ("server", "engine_kwargs", "kv_cache") for k, v in (config.get(part) or {}).items()},
    }
    settings = {ours: flat[theirs] for theirs, ours in SETTINGS.items() if flat.get(theirs) is not None}
    cap = config.get("client_inflight_cap")
    return Inputs(
        name=place.name,
        workload=_workload(place.name, file),
        settings=settings,
        max_in_flight=None if cap is None else int(cap),
        replicas=int(flat.get("data_parallel_size") or 1),
        engine_clock="engine" in str(config.get("clock", "")),
    )


def _rows(profile: Profile, inputs: Inputs, spec: EngineSpec) -> "list[dict[str, Any]]":
    metrics = (*CLIENT, *ENGINE) if inputs.engine_clock else CLIENT
    own = replace(spec, settings={**spec.settings, **inputs.settings})
    most = own.settings.get("max_model_len")
    if most is None:
        longest = max(r.prompt_len + r.output_len for r in inputs.workload.requests)
        own = replace(own, settings={**own.settings, "max_model_len": longest + 1})
    fitted = _times(profile, inputs, own)
    drawn = [_times(profile.drawn(k), inputs, own) for k in range(min(len(profile.draws), MOST_DRAWS))]
    rows = []
    for metric in metrics:
        values = fitted[metric].dropna()
        mean = float(values.mean())
        low = high = float("nan")
        if len(drawn) > 1:
            means = [float(times[metric].mean()) for times in drawn]
            half = float(student_t.ppf((1 + CONFIDENCE) / 2, len(means) - 1)) * float(np.std(means, ddof=1))
            low, high = max(0.0, mean - half), mean + half
        percentiles = {f"p{p}": float(np.percentile(values, p)) for p in PERCENT}
        rows.append(
            {"run": inputs.name, "metric": metric, "n": len(values), "mean": mean, **percentiles, "lo": low, "hi": high}
        )
    return rows


def _times(profile: Profile, inputs: Inputs, spec: EngineSpec) -> pd.DataFrame:
    """A column a metric, in seconds; a row a request."""
    if inputs.replicas > 1:
        return _in_lockstep(profile, inputs, spec)
    outcome = simulated(profile, inputs.workload, spec, max_in_flight=inputs.max_in_flight)
    if outcome.refused:
        request_id, why = next(iter(outcome.refused.items()))
        raise MeasurementError(f"{inputs.name}: {len(outcome.refused)} requests are refused; {request_id}: {why}")
    table = outcome.requests.rename(columns=lambda name: name.removesuffix("_s"))
    if inputs.engine_clock:
        table["ttft"] -= table["return"]
        table["e2e"] -= table["return"]
    return table


def _in_lockstep(profile: Profile, inputs: Inputs, spec: EngineSpec) -> pd.DataFrame:
    from calibration.kernel_profile.lockstep import in_lockstep

    if not inputs.engine_clock or inputs.max_in_flight is not None:
        raise MeasurementError(
            f"{inputs.name}: {inputs.replicas} replicas in lockstep are predicted on the engine's clock, and without a "
            f"cap of requests in flight"
        )
    pool = {"num_blocks": profile.kv.num_blocks, "block_size": profile.kv.block_size}
    own = replace(spec, settings={**pool, **spec.settings})
    told = in_lockstep(profile, inputs.workload, own, inputs.replicas).set_index("request_id")
    arrived = pd.Series({r.request_id: r.arrival_time / 1e9 for r in inputs.workload.requests})
    return pd.DataFrame(
        {
            "ttft": told["first_s"] - arrived,
            "tpot": (told["last_s"] - told["first_s"]) / (told["output_tokens"] - 1).where(told["output_tokens"] > 1),
            "e2e": told["last_s"] - arrived,
            "queue": told["scheduled_s"] - arrived,
            "sched_to_first": told["first_s"] - told["scheduled_s"],
        }
    )


def _workload_file(place: Path) -> Path | None:
    return next((p for name in ("workload.csv.gz", "workload.csv") if (p := place / name).exists()), None)


def _config(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise MeasurementError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise MeasurementError(f"{file}: holds no object, but {type(found).__name__}")
    return found


def _workload(name: str, file: Path) -> Workload:
    try:
        table = pd.read_csv(file, dtype={"req_id": str})
    except (OSError, ValueError) as error:
        raise MeasurementError(f"{file}: cannot be read as CSV: {error}") from error
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise MeasurementError(f"{file}: lacks {', '.join(missing)}; a workload has {', '.join(COLUMNS)}")
    whole = table[["arrival_s", "prompt_tokens", "output_tokens"]].apply(pd.to_numeric, errors="coerce")
    wrong = np.flatnonzero(
        ~((whole["arrival_s"] >= 0) & (whole["prompt_tokens"] >= 1) & (whole["output_tokens"] >= 1)).to_numpy()
    )
    if len(wrong):
        raise MeasurementError(f"{file}: line {wrong[0] + 2} needs arrival_s >= 0 and at least one token each way")
    try:
        return Workload(
            name,
            tuple(
                WorkloadRequest(str(r), round(at * 1e9), int(prompt), int(output), max_tokens=int(output))
                for r, at, prompt, output in zip(table["req_id"], *whole.to_numpy().T, strict=True)
            ),
        )
    except ServetwinError as error:
        raise MeasurementError(f"{file}: {error}") from error
