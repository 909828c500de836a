"""How much of a change of the probe steps show, from steps whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from calibration.probed import PRIOR, Exponents, probe_exponents
from calibration.speed import pace
from records.profile import Profile
from tests.records.test_profile import PROFILE


def steps(fixed: float, work: float, spread: float, seed: int = 0, runs: int = 8, each: int = 200) -> pd.DataFrame:
    """Steps of 3 ms and 0.1 ms a sequence, every second one with a prompt of 100 tokens at 0.05 ms each; 5 % noise.
    Each run meets another speed. The probe takes 4 ms as a rule.
    """
    random = np.random.default_rng(seed)
    seqs = random.integers(1, 33, runs * each)
    slower = np.exp(np.repeat(random.permutation(np.linspace(-1.5, 1.5, runs)) * spread, each))
    context = seqs * random.integers(50, 500, len(seqs))
    prompt = 100 * (np.arange(len(seqs)) % 2)
    usual = 3.0 + 0.1 * seqs + 1e-4 * context + 0.05 * prompt
    took = np.minimum(usual, 4.0) * slower**fixed + np.maximum(usual - 4.0, 0.0) * slower**work
    return pd.DataFrame(
        {
            "one": 1,
            "num_seqs": seqs,
            "num_tokens": seqs + prompt,
            "num_sampled": seqs,
            "num_prefill_seqs": (prompt > 0).astype(int),
            "prefill_tokens": prompt,
            "prefill_context": 0,
            "prefill_pairs": prompt * (prompt + 1) // 2,
            "decode_context": context,
            "probe_ms": 4.0 * slower,
            "execute_ms": took * np.exp(random.normal(0, 0.05, len(seqs))),
            "usual_ms": usual,
            "weight": 1.0,
        }
    )


@pytest.mark.parametrize(("fixed", "work"), [(0.8, 0.3), (1.0, 1.0), (0.6, 0.0), (0.3, 0.9)])
def test_they_are_found_where_the_machine_changed_its_speed(fixed: float, work: float) -> None:
    """The more, the nearer: where it was by 6 times, within a third of the way from the prior."""
    far = np.linalg.norm(np.subtract(PRIOR, (fixed, work)))
    off = [
        np.linalg.norm(np.subtract(probe_exponents(steps(fixed, work, spread)), (fixed, work))) / far
        for spread in (0.3, 0.6, 1.2)
    ]
    assert off == sorted(off, reverse=True)
    assert off[0] < 0.6
    assert off[1] < 0.35
    assert off[2] < 0.15


def test_with_them_steps_are_what_they_usually_take() -> None:
    seen = steps(0.8, 0.3, spread=0.2)
    usual = Exponents(0.8, 0.3).usual_ms(seen["execute_ms"].to_numpy(), seen["probe_ms"].to_numpy(), 4.0)
    assert np.log(usual / seen["usual_ms"]).std() < 0.07
    assert np.log(usual / seen["usual_ms"]).mean() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_kept_its_speed_leaves_them_at_what_others_showed(seed: int) -> None:
    """The probe's own noise, half a percent, tells nothing."""
    assert probe_exponents(steps(0.0, 0.0, spread=0.005, seed=seed)) == pytest.approx(PRIOR, abs=0.05)


def test_they_are_what_puts_a_profile_on_the_speed_of_a_run() -> None:
    of: Profile = PROFILE.model_copy(update={"probe": {"ms": 4.0, "exponent": 0.5, "exponent_of_work": 1.0}})
    assert pace(of, 9.0) == pytest.approx((1.5, 2.25, 4_000_000))
    older = PROFILE.model_copy(update={"probe": {"ms": 4.0}})
    assert pace(older, 6.0) == pytest.approx((1.5, 1.5, 4_000_000))
