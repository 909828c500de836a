"""What a profile says of runs that it has not seen: a folder of workloads in, a row a run and metric out.

A run is a folder with

    workload.csv[.gz]   req_id, arrival_s, prompt_tokens, output_tokens
    config.json         optional: max_num_seqs, client_inflight_cap, clock; and in "server", "engine_kwargs" or
                        "kv_cache": max_num_batched_tokens, max_num_seqs, max_model_len, max_seq_len,
                        enable_chunked_prefill, enable_prefix_caching, block_size, num_gpu_blocks, data_parallel_size

What config.json does not say is as the profile's engine was measured. Prompts share nothing: the files have no tokens.
A "model", or a "tensor_parallel_size", that is not the profile's is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibration.run_folder import (
    REQUEST,
    flat,
    most_in_flight,
    read_config,
    read_table,
    settings_of,
    table_file,
    workload_of,
)
from calibration.simulated import simulated
from calibration.t_interval import t_quantile
from records.profile import Profile
from serving.errors import MeasurementError
from serving.schedule.engine import EngineSpec
from workloads.workload import Workload

CLIENT = ("ttft", "tpot", "e2e")
ENGINE = ("queue", "sched_to_first")
"""Where the clock is the engine's."""
MOST_DRAWS = 8
PERCENT = (50, 90, 99)


@dataclass(frozen=True)
class Inputs:
    """A run to be predicted. settings: of the engine, as its config says. max_in_flight: the client's cap.

    replicas: engines that share the requests in turn and take each step together. engine_clock: whether instants are
    the engine's own, from when it takes a request in, between two steps, to tokens on the host. model, tensor_parallel:
    as it states them; None: it does not.
    """

    name: str
    workload: Workload
    settings: Mapping[str, object]
    max_in_flight: int | None
    replicas: int
    engine_clock: bool
    model: str | None = None
    tensor_parallel: int | None = None


def predict(profile: Profile, runs: "list[Inputs]", spec: EngineSpec) -> pd.DataFrame:
    """Rows of run, metric, n, mean, p50, p90, p99, lo, hi; seconds. spec: of the engine, under each run's own settings.

    Step times take their means. lo, hi: 95 % interval of one run's mean, from MOST_DRAWS simulations at most, each with
    another of the profile's draws of its coefficients, and with step noise, where it has these; nan where it has
    neither. Errors: MeasurementError for a run that is not one of this profile's engine.
    """
    for inputs in runs:
        _refuse_another_engine(profile, inputs)
    return pd.DataFrame([row for inputs in runs for row in _rows(profile, inputs, spec)])


def read_runs(folder: Path) -> list[Inputs]:
    """The folders in it that hold a workload, by name; or the folder itself. Errors: MeasurementError."""
    inside = sorted(p for p in folder.iterdir() if p.is_dir() and table_file(p, "workload"))
    places = [folder] if table_file(folder, "workload") else inside
    if not places:
        raise MeasurementError(f"{folder}: neither it nor a folder in it holds workload.csv or workload.csv.gz")
    return [read_run(place) for place in places]


def read_run(place: Path) -> Inputs:
    """Errors: MeasurementError naming the file and what is wrong with it."""
    file, stated = table_file(place, "workload"), place / "config.json"
    if file is None:
        raise MeasurementError(f"{place}: holds no workload.csv or workload.csv.gz")
    config = read_config(stated) if stated.exists() else {}
    return Inputs(
        name=place.name,
        workload=workload_of(place.name, read_table(file, REQUEST, "a workload"), file),
        settings=settings_of(config),
        max_in_flight=most_in_flight(config),
        replicas=int(flat(config).get("data_parallel_size") or 1),
        engine_clock="engine" in str(config.get("clock", "")),
        model=_maybe_text(flat(config).get("model")),
        tensor_parallel=_maybe_whole(flat(config).get("tensor_parallel_size")),
    )


def _maybe_text(value: object) -> str | None:
    return None if value is None else str(value)


def _maybe_whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


def _refuse_another_engine(profile: Profile, inputs: Inputs) -> None:
    """Where one of the two does not state a thing, nothing is known against it."""
    own = profile.model.get("name")
    if own and inputs.model and not _same_model(str(own), inputs.model):
        raise MeasurementError(f"{inputs.name}: a run of {inputs.model}; profile {profile.name} is one of {own}")
    devices, split = (profile.hardware or {}).get("count"), inputs.tensor_parallel
    if devices and split and devices not in (split, split * inputs.replicas):
        raise MeasurementError(
            f"{inputs.name}: tensor_parallel_size is {split}; profile {profile.name} is one of {devices} devices"
        )


def _same_model(one: str, other: str) -> bool:
    """Whoever published it; a variant of it ("-Instruct") has the same shape."""
    short, long = sorted((name.rstrip("/").rpartition("/")[2].lower() for name in (one, other)), key=len)
    return long == short or long.startswith(f"{short}-")


def _rows(profile: Profile, inputs: Inputs, spec: EngineSpec) -> "list[dict[str, Any]]":
    metrics = (*CLIENT, *ENGINE) if inputs.engine_clock else CLIENT
    own = replace(spec, settings={**spec.settings, **inputs.settings})
    most = own.settings.get("max_model_len")
    if most is None:
        longest = max(r.prompt_len + r.output_len for r in inputs.workload.requests)
        own = replace(own, settings={**own.settings, "max_model_len": longest + 1})
    fitted = _times(profile, None, inputs, own)
    drawn = [_times(*chance, inputs, own) for chance in _chances(profile)]
    rows = []
    for metric in metrics:
        values = fitted[metric].dropna()
        mean = float(values.mean())
        low = high = float("nan")
        if len(drawn) > 1:
            means = [float(times[metric].mean()) for times in drawn]
            half = t_quantile(len(means) - 1) * float(np.std(means, ddof=1))
            low, high = max(0.0, mean - half), mean + half
        percentiles = {f"p{p}": float(np.percentile(values, p)) for p in PERCENT}
        rows.append(
            {"run": inputs.name, "metric": metric, "n": len(values), "mean": mean, **percentiles, "lo": low, "hi": high}
        )
    return rows


def _chances(profile: Profile) -> Iterator[tuple[Profile, int | None]]:
    """The profile with one of its draws, and a seed of step noise."""
    has_noise = any(noise.quantiles for noise in profile.residual.values())
    count = min(len(profile.draws), MOST_DRAWS) if profile.draws else MOST_DRAWS * has_noise
    for k in range(count):
        yield profile.drawn(k) if profile.draws else profile, k if has_noise else None


def _times(profile: Profile, noise_seed: int | None, inputs: Inputs, spec: EngineSpec) -> pd.DataFrame:
    """A column a metric, in seconds; a row a request."""
    if inputs.replicas > 1:
        return _in_lockstep(profile, noise_seed, inputs, spec)
    outcome = simulated(profile, inputs.workload, spec, max_in_flight=inputs.max_in_flight, noise_seed=noise_seed)
    if outcome.refused:
        request_id, why = next(iter(outcome.refused.items()))
        raise MeasurementError(f"{inputs.name}: {len(outcome.refused)} requests are refused; {request_id}: {why}")
    table = outcome.requests.rename(columns=lambda name: name.removesuffix("_s"))
    if inputs.engine_clock:
        table["ttft"] -= table["return"] + table["to_engine"]
        table["e2e"] -= table["return"] + table["to_engine"]
        table["queue"] -= table["to_engine"]
    return table


def _in_lockstep(profile: Profile, noise_seed: int | None, inputs: Inputs, spec: EngineSpec) -> pd.DataFrame:
    from calibration.kernel_profile.lockstep import in_lockstep
    from sim.noise import StepNoise

    if not inputs.engine_clock or inputs.max_in_flight is not None:
        raise MeasurementError(
            f"{inputs.name}: {inputs.replicas} replicas in lockstep are predicted on the engine's clock, and without a "
            f"cap of requests in flight"
        )
    pool = {"num_blocks": profile.kv.num_blocks, "block_size": profile.kv.block_size}
    own = replace(spec, settings={**pool, **spec.settings})
    noise = None if noise_seed is None else StepNoise.of(profile, noise_seed, "step noise 0 0")
    told = in_lockstep(profile, inputs.workload, own, inputs.replicas, noise).set_index("request_id")
    taken = told["queued_s"]
    return pd.DataFrame(
        {
            "ttft": told["first_s"] - taken,
            "tpot": (told["last_s"] - told["first_s"]) / (told["output_tokens"] - 1).where(told["output_tokens"] > 1),
            "e2e": told["last_s"] - taken,
            "queue": told["scheduled_s"] - taken,
            "sched_to_first": told["first_s"] - told["scheduled_s"],
        }
    )
