"""How much of a change of the probe steps show, from steps whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from calibration.probed import probe_exponent
from calibration.speed import times_as_long
from records.profile import Profile
from tests.records.test_profile import PROFILE


def steps(exponent: float, spread: float, seed: int = 0, runs: int = 8, each: int = 200) -> pd.DataFrame:
    """Decode steps of 3 ms and 0.1 ms a sequence, with 5 % noise; each run meets another speed."""
    random = np.random.default_rng(seed)
    seqs = random.integers(1, 33, runs * each)
    probe = 4.0 * np.exp(np.repeat(random.normal(0, spread, runs), each))
    context = seqs * random.integers(50, 500, len(seqs))
    usual = 3.0 + 0.1 * seqs + 1e-4 * context
    return pd.DataFrame(
        {
            "one": 1,
            "num_seqs": seqs,
            "num_tokens": seqs,
            "num_sampled": seqs,
            "num_prefill_seqs": 0,
            "prefill_tokens": 0,
            "prefill_context": 0,
            "prefill_pairs": 0,
            "decode_context": context,
            "probe_ms": probe,
            "execute_ms": usual * (probe / 4.0) ** exponent * np.exp(random.normal(0, 0.05, len(seqs))),
            "weight": 1.0,
        }
    )


@pytest.mark.parametrize("exponent", [0.3, 0.6, 1.0, 1.2])
def test_it_is_found_where_the_machine_changed_its_speed(exponent: float) -> None:
    assert probe_exponent(steps(exponent, spread=0.2)) == pytest.approx(exponent, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_kept_its_speed_leaves_it_at_one(seed: int) -> None:
    """The probe's own noise, half a percent, tells nothing."""
    assert probe_exponent(steps(0.0, spread=0.005, seed=seed)) == pytest.approx(1.0, abs=0.25)


def test_it_is_what_puts_a_profile_on_the_speed_of_a_run() -> None:
    of: Profile = PROFILE.model_copy(update={"probe": {"ms": 4.0, "exponent": 0.5}})
    assert times_as_long(of, 9.0) == pytest.approx(1.5)
    assert times_as_long(PROFILE.model_copy(update={"probe": {"ms": 4.0}}), 6.0) == pytest.approx(1.5)
