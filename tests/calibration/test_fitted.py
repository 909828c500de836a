"""What a profile says of its samples."""

import numpy as np
import pandas as pd
import pytest

from calibration.fitted import same_batch


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
