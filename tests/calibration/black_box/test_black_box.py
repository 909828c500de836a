"""Calibration from latencies: a machine with known coefficients is simulated, and must be found again from outside."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from calibration.black_box import fit as fitting
from calibration.black_box.form import execute, host, priors, returned
from calibration.black_box.gaps import steps_seen
from calibration.black_box.machine import GPUS, MODELS, Machine
from calibration.black_box.observed import Observed
from calibration.simulated import simulated
from calibration.sources import requests as requests_source
from calibration.sources import vllm_bench
from records.profile import EngineMeasured, KVCapacity, Profile
from serving.errors import MeasurementError
from serving.schedule.engine import EngineSpec
from workloads.synthesize import synthesize
from workloads.workload import Workload

MACHINE = Machine(*GPUS["H100 80GB"], *MODELS["Qwen/Qwen3-14B"])
SETTINGS: dict[str, Any] = {"max_num_seqs": 256, "max_num_batched_tokens": 8192, "max_model_len": 40960}
SPEC = EngineSpec("vllm", settings={**SETTINGS, "async_scheduling": True})
FACTORS = (1.06, 0.9, 1.3, 0.95, 1.1, 0.7, 1.4)
"""The true machine, over what physics expects."""
PRICES = [prior.expected * factor for prior, factor in zip(priors(MACHINE), FACTORS, strict=True)]
TRUE = Profile(
    name="true",
    model={},
    hardware={},
    software={},
    conditions={},
    execute=execute(PRICES, 2),
    schedule=host("schedule", 0.3, 0.01),
    complete=host("complete", 0.2, 0.005),
    return_=returned(PRICES),
    residual={},
    hull={},
    kv=KVCapacity(num_blocks=18038, block_size=16, bytes_per_token=MACHINE.kv_bytes_per_token),
    engine=EngineMeasured(preset="vllm", settings=SPEC.settings),
)
CONFIG = {
    "hardware": "1x NVIDIA H100 80GB HBM3",
    "model": "Qwen/Qwen3-14B",
    "server": {"num_gpu_blocks": 18038, "block_size": 16, "max_num_batched_tokens": 8192, "max_model_len": 40960},
    "max_num_seqs": 256,
}


def served(rate: float, count: int, seed: int) -> tuple[Workload, pd.DataFrame]:
    """What a client of the true machine would see."""
    drawn = synthesize(name=f"{rate:g}", rate=rate, num_requests=count, seed=seed)
    short = tuple(
        replace(r, prompt_len=900 + i % 100, output_len=40, max_tokens=40) for i, r in enumerate(drawn.requests)
    )
    workload = Workload(drawn.name, short)
    return workload, simulated(TRUE, workload, SPEC).requests


def a_run(place: Path, rate: float, count: int = 120, seed: int = 1) -> None:
    place.mkdir(parents=True)
    workload, seen = served(rate, count, seed)
    rows = {r.request_id: r for r in workload.requests}
    pd.DataFrame(
        {
            "req_id": seen.index,
            "arrival_s": [rows[r].arrival_time / 1e9 for r in seen.index],
            "prompt_tokens": [rows[r].prompt_len for r in seen.index],
            "output_tokens": [rows[r].output_len for r in seen.index],
            "ttft_s": seen["ttft_s"],
            "e2e_s": seen["e2e_s"],
            "tpot_s": seen["tpot_s"],
            "status": "ok",
        }
    ).to_csv(place / "requests.csv.gz", index=False)
    (place / "config.json").write_text(json.dumps(CONFIG))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "POWERS", (2,))
    monkeypatch.setattr(fitting, "EVALUATIONS", 5)


@pytest.mark.usefixtures("quick")
def test_low_rates_predict_twice_the_highest_of_them(tmp_path: Path) -> None:
    a_run(tmp_path / "two", 2.0)
    a_run(tmp_path / "four", 4.0)
    sourced = requests_source.profile_from(tmp_path, "found", seed=0)
    found = sourced.profile
    assert len(found.draws) == fitting.DRAWS
    assert found.engine is not None
    assert found.engine.settings["async_scheduling"] is True
    workload, true = served(9.0, 150, seed=7)
    told = simulated(found, workload, SPEC).requests
    for metric in ("ttft_s", "tpot_s", "e2e_s"):
        assert told[metric].mean() == pytest.approx(true[metric].mean(), rel=0.05), metric
    assert any("no step was timed" in note for note in sourced.notes)


def test_steps_are_seen_between_pieces_of_answers() -> None:
    """Two requests: steps of 10 ms, and one of 30 ms in which the second's prompt of 500 was computed."""
    at = np.cumsum([0.0, *[0.010] * 8, 0.030, *[0.010] * 8])
    second = at[9:] + 0.0001
    pieces = pd.concat(
        [pd.DataFrame({"request_id": "a", "at_s": at}), pd.DataFrame({"request_id": "b", "at_s": second})]
    )
    base = synthesize(name="w", rate=1.0, num_requests=2, seed=0).requests
    told = tuple(replace(r, request_id=i, prompt_len=500, output_len=18) for r, i in zip(base, "ab", strict=True))
    seen = steps_seen(Observed("x", Workload("w", told), pd.DataFrame(), pieces))
    prefill = seen[seen["num_prefill_seqs"] > 0]
    assert prefill["gap_ms"].to_numpy() == pytest.approx([30.0], abs=0.2)
    assert prefill["prefill_tokens"].tolist() == [500.0]
    assert seen[seen["num_prefill_seqs"] == 0]["gap_ms"].to_numpy() == pytest.approx(10.0, abs=0.2)


def test_what_a_benchmark_saved_is_the_same_run(tmp_path: Path) -> None:
    workload, seen = served(3.0, 60, seed=2)
    rows = [r for r in workload.requests if r.request_id in seen.index]
    told = {
        "input_lens": [r.prompt_len for r in rows],
        "output_lens": [r.output_len for r in rows],
        "ttfts": [float(seen["ttft_s"][r.request_id]) for r in rows],
        "itls": [[float(seen["tpot_s"][r.request_id])] * (r.output_len - 1) for r in rows],
        "start_times": [1000.0 + r.arrival_time / 1e9 for r in rows],
        "errors": [""] * len(rows),
    }
    (tmp_path / "rate-3.json").write_text(json.dumps(told))
    run = vllm_bench._observed(tmp_path / "rate-3.json", None)
    assert run.latencies["ttft_s"].to_numpy() == pytest.approx(seen["ttft_s"].to_numpy())
    assert run.latencies["e2e_s"].to_numpy() == pytest.approx(seen["e2e_s"].to_numpy())
    assert run.pieces is not None
    assert len(run.pieces) == sum(told["output_lens"])


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda p: (p / "run/requests.csv.gz").unlink(), "holds requests.csv"),
        (lambda p: (p / "run/config.json").unlink(), "config.json"),
        (lambda p: (p / "run/config.json").write_text(json.dumps({**CONFIG, "model": "who/knows"})), "setting.toml"),
        (lambda p: (p / "run/config.json").write_text(json.dumps({**CONFIG, "server": {}})), "num_gpu_blocks"),
        (lambda p: (p / "run/requests.csv.gz").write_bytes(b"x"), "cannot be read"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, break_it: Any, words: str) -> None:
    a_run(tmp_path / "run", 2.0, count=60)
    break_it(tmp_path)
    with pytest.raises(MeasurementError, match=words):
        requests_source.profile_from(tmp_path, "x", 0)


def test_a_benchmark_without_details_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(MeasurementError, match="no JSON file"):
        vllm_bench.profile_from(tmp_path, "x", 0)
    (tmp_path / "a.json").write_text(json.dumps({"input_lens": [1], "output_lens": [1]}))
    with pytest.raises(MeasurementError, match="--save-detailed"):
        vllm_bench.profile_from(tmp_path, "x", 0)
