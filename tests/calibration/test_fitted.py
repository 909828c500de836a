"""What a profile says of its samples."""

import numpy as np
import pandas as pd
import pytest

from calibration.fitted import own_time, same_batch
from calibration.probed import HOST_EXPONENT, own_slower


def test_a_batch_that_scatters_is_told_from_one_that_the_form_misses() -> None:
    """Three shapes of 100 repeats with 5 % noise in two runs, the second of which was twice as fast; served steps have
    no shape.
    """
    random = np.random.default_rng(0)
    shape = np.tile([0.0, 1.0, 2.0, np.nan], 200)
    run = np.repeat(["a", "b"], 400)
    usual = np.where(run == "a", 2.0, 1.0) * (1 + np.nan_to_num(shape, nan=50))
    rows = pd.DataFrame({"run": run, "shape": shape, "normal_ms": usual * np.exp(random.normal(0, 0.05, 800))})
    assert same_batch(rows) == pytest.approx(0.6745 * 0.05, rel=0.15)
    assert same_batch(rows[rows["shape"].isna()]) is None
    assert same_batch(rows.drop_duplicates(["run", "shape"])) is None


def test_the_engines_own_time_is_that_of_served_runs_on_a_host_as_fast_as_usual() -> None:
    """0.2 ms and 10 us a sequence, on hosts half and twice as fast; twice as much where the engine was full. A run had
    the large batches, and was 1.4 times as slow without the probe's knowing; another as much faster.
    """
    random = np.random.default_rng(1)
    count = 3000
    host_ms, run = np.tile([0.05, 0.1, 0.2], count // 3), np.repeat(["small", "both", "large"], count // 3)
    seqs = random.integers(np.where(run == "large", 17, 1), np.where(run == "small", 33, 65))
    pace = np.select([run == "small", run == "large"], [1 / 1.4, 1.4], 1.0)
    served = random.random(count) < 0.7
    usual_ms = (0.2 + 0.01 * seqs) * np.where(served, 1, 2)
    samples = pd.DataFrame(
        {
            "run": run,
            "num_seqs": seqs,
            "num_prefill_seqs": 0,
            "prefill_tokens": 0,
            "is_served": served,
            "probed": random.random(count) < 0.01,
            "host_ms": host_ms,
        }
    )
    samples["own_slower"] = own_slower(samples)
    slower = (host_ms / 0.1) ** HOST_EXPONENT * pace
    samples["complete_ms"] = usual_ms * slower * np.exp(random.normal(0, 0.1, count)) + 5.0 * samples["probed"]
    found = {term.feature: term.coefficient_ms for term in own_time(samples, "complete_ms").terms}
    assert found["one"] == pytest.approx(0.2, rel=0.05)
    assert found["num_seqs"] == pytest.approx(0.01, rel=0.05)
    full = own_time(samples[~served], "complete_ms")
    assert {term.feature: term.coefficient_ms for term in full.terms}["num_seqs"] == pytest.approx(0.02, rel=0.1)
