"""KIND requests: latencies of requests at a few low rates, client side; no step times.

PATH is a folder of runs, each a folder with

    requests.csv[.gz]      req_id, arrival_s, prompt_tokens, output_tokens, ttft_s, e2e_s, tpot_s, status
    config.json            hardware, model, server: max_num_batched_tokens, block_size, num_gpu_blocks, ...;
                           max_num_seqs, client_inflight_cap
    chunk_times.csv[.gz]   optional: request_id, timestamp_us: when each piece of an answer arrived

The steps' times are fitted by simulating the runs (calibration/black_box/), with priors from the datasheet of the GPU
and the sizes of the model. What lies between engine and client is a term of its own: return. vLLM's own work a step is
assumed (0.3 ms and 10 us a sequence to schedule, 0.2 ms and 5 us to complete): async scheduling, which is assumed too,
hides it behind the step that executes. Prompts are taken to share nothing.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calibration.black_box.fit import Fitted, fit
from calibration.black_box.form import priors
from calibration.black_box.machine import Machine, machine_of
from calibration.black_box.observed import Observed
from calibration.run_folder import (
    REQUEST,
    most_in_flight,
    read_config,
    read_table,
    settings_of,
    table_file,
    workload_of,
)
from calibration.sources.source import Sourced
from records.cost_terms import CostTerms
from records.profile import EngineMeasured, KVCapacity, Profile
from serving.errors import MeasurementError
from serving.schedule.engine import EngineSpec

COLUMNS = (*REQUEST, "ttft_s", "e2e_s", "tpot_s")


def profile_from(path: Path, name: str, seed: int) -> Sourced:
    """Errors: MeasurementError."""
    if not path.is_dir():
        raise MeasurementError(f"{path}: no such folder; give one that holds a folder for each run")
    places = [p for p in (path, *sorted(path.iterdir())) if p.is_dir() and table_file(p, "requests") is not None]
    if not places:
        raise MeasurementError(f"{path}: no folder in it holds requests.csv or requests.csv.gz")
    configs = [read_config(place / "config.json") for place in places]
    runs = [_observed(place, config) for place, config in zip(places, configs, strict=True)]
    return black_box(path, name, seed, runs, configs[0])


def black_box(path: Path, name: str, seed: int, runs: list[Observed], config: dict[str, Any]) -> Sourced:
    """A profile of runs whose engine config describes."""
    machine = machine_of(path, config)
    settings = settings_of(config)
    pool = {key: settings.pop(key, None) for key in ("num_blocks", "block_size")}
    if None in pool.values():
        raise MeasurementError(
            f"{path}: config.json does not say num_gpu_blocks and block_size of the engine; add them (vLLM logs both)"
        )
    settings["async_scheduling"] = True
    base = _base(name, machine, config, settings, pool)
    found = fit(base, runs, priors(machine), EngineSpec("vllm", settings=settings), seed)
    return Sourced(_finished(found, runs, machine, config), notes=_notes(found))


def _base(
    name: str, machine: Machine, config: dict[str, Any], settings: dict[str, Any], pool: dict[str, Any]
) -> Profile:
    nothing = CostTerms(terms=())
    return Profile(
        name=name,
        model={"name": str(config.get("model", "unknown"))},
        hardware={"gpu": str(config.get("hardware", "unknown"))},
        software={"engine": str(config.get("engine", "unknown"))},
        conditions={"clock": str(config.get("clock", "client"))},
        execute=nothing,
        schedule=nothing,
        complete=nothing,
        return_=nothing,
        residual={},
        hull={},
        kv=KVCapacity(**pool, bytes_per_token=machine.kv_bytes_per_token),
        engine=EngineMeasured(preset="vllm", settings=settings),
    )


def _finished(found: Fitted, runs: list[Observed], machine: Machine, config: dict[str, Any]) -> Profile:
    longest = max(r.prompt_len + r.output_len for run in runs for r in run.workload.requests)
    most = float(max(_most_at_once(run) for run in runs))
    profile = found.profile.model_copy(
        update={
            "hull": {"num_seqs": (1.0, most), "num_prefill_seqs": (0.0, most)},
            "held_out": {"simulated_over_observed": {name: _rounded(off) for name, off in found.off.items()}},
            "source": {
                "kind": "requests: latencies of requests, fitted by simulation",
                "licence": str(config.get("license", "not stated")),
                "engine": str(config.get("engine", "unknown")),
                "runs": [run.name for run in runs],
                "longest_request_tokens": longest,
                "overlap": f"power {found.power}",
                "efficiency": _efficiency(found, machine),
                "unvalidated": "no step was timed: steps take what makes simulated latencies the measured ones",
            },
        }
    )
    return Profile.model_validate(profile.model_dump())


def _most_at_once(run: Observed) -> int:
    """Requests in the engine at one time."""
    sent = np.array([r.arrival_time / 1e9 for r in run.workload.requests])
    took = run.latencies["e2e_s"].loc[[r.request_id for r in run.workload.requests]].to_numpy(dtype=float)
    ended = np.sort(sent + took)
    return int((np.arange(1, len(sent) + 1) - np.searchsorted(ended, np.sort(sent))).max())


def _efficiency(found: Fitted, machine: Machine) -> dict[str, float]:
    weights, kv, _, token, pair, *_ = found.prices
    return _rounded(
        {
            "memory, weights": machine.weights_ms() / weights,
            "memory, KV": machine.kv_token_ms() / kv,
            "arithmetic, rows": machine.token_ms() / token,
            "arithmetic, attention": machine.pair_ms() / pair,
        }
    )


def _rounded(told: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in told.items()}


def _notes(found: Fitted) -> tuple[str, ...]:
    worst = max((abs(off), f"{run}, {key}") for run, told in found.off.items() for key, off in told.items())
    return (
        f"the simulation of the calibration runs is at worst {worst[0]:.1%} off ({worst[1]})",
        "no step was timed: beyond the measured rates the prediction is physics with these efficiencies",
    )


def _observed(place: Path, config: dict[str, Any]) -> Observed:
    file = table_file(place, "requests")
    assert file is not None
    table = read_table(file, COLUMNS, "a run")
    if "status" in table and (table["status"] != "ok").any():
        failed = int((table["status"] != "ok").sum())
        raise MeasurementError(f"{file}: {failed} requests did not end well (status); give a run where all did")
    latencies = table.set_index("req_id")[["ttft_s", "tpot_s", "e2e_s"]].astype(float)
    workload = workload_of(place.name, table, file)
    return Observed(place.name, workload, latencies, _pieces(place), most_in_flight(config))


def _pieces(place: Path) -> pd.DataFrame | None:
    file = table_file(place, "chunk_times")
    if file is None:
        return None
    table = read_table(file, ("request_id", "timestamp_us"), "when each piece of an answer arrived")
    return pd.DataFrame({"request_id": table["request_id"], "at_s": table["timestamp_us"] / 1e6})
