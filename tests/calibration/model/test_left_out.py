"""Steps of a log that are left out of a fit, and what is taken from the steps where the metadata cannot be right."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibration.fit import predict
from calibration.sources.kinds import source
from calibration.sources.steps import features_of, profile_from, read_log, samples_of
from records.profile import Profile
from serving.cost import StepFeatures
from serving.schedule.engine import EngineSpec, build
from tests.calibration.model.made import steps
from tests.records.test_profile import terms

METADATA = {
    "effective_config": {
        "scheduler_config.max_num_seqs": 128,
        "scheduler_config.max_num_batched_tokens": 8192,
        "cache_config.block_size": 32,
    },
    "requested": {"deployment_config": {"model": "a/model"}},
}
COST = terms(
    ("one", 0, None, 5.0),
    ("num_tokens", 0, None, 0.02),
    ("decode_context", 0, None, 1e-4),
    ("prefill_pairs", 0, None, 1e-6),
)


def log_of(frame: pd.DataFrame) -> pd.DataFrame:
    """As the engine writes it, in runs of 20; steps with at most one prefill."""
    decodes = frame["num_seqs"] - frame["num_prefill_seqs"]
    return pd.DataFrame(
        {
            "counter_id": np.arange(len(frame)) + 100 * (np.arange(len(frame)) // 20),
            "sum_prefill_tokens": frame["prefill_tokens"],
            "num_prefill_requests": frame["num_prefill_seqs"],
            "sum_prefill_kv_tokens": frame["prefill_context"],
            "var_prefill_length": 0.0,
            "num_decode_requests": decodes,
            "sum_decode_kv_tokens": frame["decode_context"] - decodes,
            "latency_ms": predict(COST, frame),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log_of(steps(6, 40)).to_csv(tmp_path / "steps.csv.gz", index=False)
    (tmp_path / "vllm_metadata.json").write_text(json.dumps(METADATA))
    return tmp_path


def test_a_log_comes_back_as_the_steps_it_was_made_of(folder: Path) -> None:
    frame = steps(6, 40)
    assert features_of(read_log(folder)[0]).equals(frame[list(StepFeatures.names())].astype("int64"))
    profile = source("steps")(folder, "mine", 0).profile
    assert predict(profile.execute, frame, profile.graph_sizes) == pytest.approx(predict(COST, frame), rel=0.05)
    assert profile.engine is not None
    build(EngineSpec("vllm", settings=profile.engine.settings))
    assert profile.kv.block_size == 32
    assert Profile.model_validate_json(profile.to_json()).draws == profile.draws


def test_a_budget_that_steps_exceed_was_not_the_engines(folder: Path) -> None:
    told = json.loads(json.dumps(METADATA))
    told["effective_config"]["scheduler_config.max_num_batched_tokens"] = 64
    (folder / "vllm_metadata.json").write_text(json.dumps(told))
    made = profile_from(folder, "mine", 0)
    assert made.profile.engine is not None
    assert made.profile.engine.settings["max_num_batched_tokens"] == made.profile.hull["num_tokens"][1]
    assert made.profile.graph_sizes[-1] == 512
    assert any("max_num_batched_tokens 64" in note for note in made.notes)


def test_a_log_of_one_run_is_cut_into_stretches(folder: Path) -> None:
    whole = samples_of(log_of(steps(6, 40)).assign(counter_id=range(240)))
    assert whole["run"].nunique() == 20
    assert (whole["run"].diff().dropna() >= 0).all()


def test_steps_noted_at_the_one_before_are_left_out() -> None:
    log = log_of(pd.DataFrame([StepFeatures.of_chunk(64 + n, 0, 0, 0) for n in range(19)]))
    assert not samples_of(log)["displaced"].any()
    log.loc[14, "latency_ms"] += log.loc[15, "latency_ms"] - 0.3
    log.loc[15, "latency_ms"] = 0.3
    assert np.flatnonzero(samples_of(log)["displaced"]).tolist() == [14, 15]


def test_a_decode_behind_a_prefill_is_left_out_within_its_run() -> None:
    rows = [StepFeatures.of_chunk(64, 0, 0, 0), *[StepFeatures.of_decodes(1, 65 + n) for n in range(3)]] * 5
    log = log_of(pd.DataFrame(rows))
    assert samples_of(log)["behind_prefill"].tolist() == [False, True, False, False] * 5
    apart = log.assign(counter_id=2 * np.arange(len(log)))
    assert not samples_of(apart)["behind_prefill"].any()
