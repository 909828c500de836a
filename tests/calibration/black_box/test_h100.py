"""The shipped H100 profile against the measured run above the rates that it was fitted to; absent where that is."""

from pathlib import Path

import pytest

from calibration.run_folder import REQUEST, read_table, workload_of
from calibration.shipped import find_profile
from calibration.simulated import simulated
from serving.schedule.engine import EngineSpec

CHECK = Path(__file__).resolve().parents[4] / "shared/measured/h100-qwen3-14b-vllm/check"
RUN = CHECK / "residency_sweep_rate_agg_6rps_vanilla/requests.csv.gz"


@pytest.mark.skipif(not RUN.exists(), reason="../shared/measured/h100-qwen3-14b-vllm is not here")
def test_six_requests_a_second_are_predicted_as_the_profile_says() -> None:
    """Means within 3 %, P99 within 15 %; and the errors in the profile are those of this simulation."""
    measured = read_table(RUN, (*REQUEST, "ttft_s", "tpot_s", "e2e_s"), "a run")
    profile = find_profile(Path("h100-qwen3-14b-vllm"))
    assert profile.engine is not None
    assert profile.source is not None
    spec = EngineSpec(profile.engine.preset, settings=profile.engine.settings)
    told = simulated(profile, workload_of("six", measured, RUN), spec).requests
    stated = profile.source["errors"]["six_per_second"]
    for metric in ("ttft", "tpot", "e2e"):
        ours, theirs = told[f"{metric}_s"], measured[f"{metric}_s"]
        for name, off, bar in (
            ("mean", ours.mean() / theirs.mean() - 1, 0.03),
            ("p99", ours.quantile(0.99) / theirs.quantile(0.99) - 1, 0.15),
        ):
            assert abs(off) <= bar, (metric, name)
            assert off == pytest.approx(stated[f"{metric}_{name}"], abs=0.001), (metric, name)
