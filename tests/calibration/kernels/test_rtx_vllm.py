"""LLMServingSim's tables and runs: what is shipped is what they give, and it predicts the run that may be looked at."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibration import shipped
from calibration.kernel_profile.lockstep import in_lockstep
from calibration.sources.kernels import profile_from
from records.profile import Profile
from serving.schedule.engine import EngineSpec
from workloads.request import WorkloadRequest
from workloads.workload import Workload

SETTINGS = Path(__file__).parents[3] / "calibration" / "kernel_profile" / "settings"
NAMES = sorted(path.stem for path in SETTINGS.glob("*.toml"))
MEASURED = Path(__file__).parents[4] / "shared" / "measured" / "rtx-vllm"
needs_tables = pytest.mark.skipif(not MEASURED.exists(), reason="../shared/measured/rtx-vllm is not here")


def test_all_four_settings_are_shipped() -> None:
    assert len(NAMES) == 4
    assert set(NAMES) <= set(shipped.names())


@needs_tables
@pytest.mark.parametrize("name", NAMES)
def test_shipped_is_what_the_tables_give(name: str) -> None:
    made = profile_from(SETTINGS / f"{name}.toml", name, 0).profile
    kept = shipped.find_profile(Path(name))
    assert [t.name for t in made.execute.every_term()] == [t.name for t in kept.execute.every_term()]
    coefficients = [[t.coefficient_ms for t in p.execute.every_term()] for p in (made, kept)]
    assert coefficients[0] == pytest.approx(coefficients[1], rel=1e-6)
    drop = {"execute", "draws", "residual", "held_out"}  # the last digits of a fit differ between machines
    assert made.model_dump(exclude=drop) == kept.model_dump(exclude=drop)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_profiles_fit_their_tables(name: str) -> None:
    profile = shipped.find_profile(Path(name))
    assert profile.held_out is not None
    assert profile.held_out["median"] < 0.025
    assert abs(profile.held_out["mean"]) < 0.015
    assert all(noise.relative_p50_abs < 0.025 for noise in profile.residual.values())
    assert len(profile.draws) == 20
    assert profile.source is not None
    assert profile.source["licence"] == "MIT"


@needs_tables
def test_the_measured_run_is_predicted() -> None:
    """Means within 3 %, and from scheduled to first token within 10 %."""
    measured = pd.read_csv(MEASURED / "check" / "llmss_rtxpro6000_llama-3.1-8b" / "requests.csv.gz")
    names = {"first_token_s": "first_s", "last_token_s": "last_s"}
    expected = means(measured.rename(columns=names))
    found = means(simulated(shipped.find_profile(Path("rtxpro6000-llama-3.1-8b-vllm")), measured))
    error = {name: found[name] / expected[name] - 1 for name in expected}
    assert max(abs(error[name]) for name in ("ttft", "tpot", "e2e")) < 0.03
    assert abs(error["sched_to_first"]) < 0.10


@pytest.mark.slow
@needs_tables
def test_the_draws_hold_what_was_measured() -> None:
    """The interval of the mean, from priors and tables, is neither wrong nor empty talk."""
    measured = pd.read_csv(MEASURED / "check" / "llmss_rtxpro6000_llama-3.1-8b" / "requests.csv.gz")
    names = {"first_token_s": "first_s", "last_token_s": "last_s"}
    expected = means(measured.rename(columns=names))
    profile = shipped.find_profile(Path("rtxpro6000-llama-3.1-8b-vllm"))
    drawn = [means(simulated(profile.drawn(k), measured))["e2e"] for k in range(0, len(profile.draws), 2)]
    assert min(drawn) < expected["e2e"] < max(drawn)
    assert np.ptp(drawn) < 0.15 * expected["e2e"]


def simulated(profile: Profile, rows: pd.DataFrame) -> pd.DataFrame:
    assert profile.engine is not None
    requests = tuple(
        WorkloadRequest(row.req_id, round(row.arrival_s * 1e9), row.prompt_tokens, row.output_tokens, row.output_tokens)
        for row in rows.itertuples()
    )
    pool = {"num_blocks": profile.kv.num_blocks, "block_size": profile.kv.block_size}
    return in_lockstep(
        profile, Workload("replayed", requests), EngineSpec(settings={**profile.engine.settings, **pool}), 1
    )


def means(table: pd.DataFrame) -> dict[str, float]:
    """Seconds, from the engine's clock."""
    return {
        "ttft": float((table["first_s"] - table["queued_s"]).mean()),
        "tpot": float(((table["last_s"] - table["first_s"]) / (table["output_tokens"] - 1)).mean()),
        "e2e": float((table["last_s"] - table["queued_s"]).mean()),
        "sched_to_first": float((table["first_s"] - table["scheduled_s"]).mean()),
    }
