"""How much of a change of the probe steps show, from steps whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from calibration.probed import probe_exponents
from calibration.speed import pace
from records.profile import Profile
from tests.records.test_profile import PROFILE


def steps(
    exponent: float, spread: float, seed: int = 0, runs: int = 8, each: int = 200, of_prompts: float | None = None
) -> pd.DataFrame:
    """Decode steps of 3 ms and 0.1 ms a sequence, with 5 % noise; each run meets another speed. of_prompts: every
    second step has a prompt of 100 tokens too, at 0.05 ms each, and follows the probe by this exponent.
    """
    random = np.random.default_rng(seed)
    seqs = random.integers(1, 33, runs * each)
    probe = 4.0 * np.exp(np.repeat(random.normal(0, spread, runs), each))
    context = seqs * random.integers(50, 500, len(seqs))
    prompt = np.zeros(len(seqs), int) if of_prompts is None else 100 * (np.arange(len(seqs)) % 2)
    usual = 3.0 + 0.1 * seqs + 1e-4 * context + 0.05 * prompt
    follows = np.where(prompt > 0, of_prompts or 0.0, exponent)
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
            "probe_ms": probe,
            "execute_ms": usual * (probe / 4.0) ** follows * np.exp(random.normal(0, 0.05, len(seqs))),
            "weight": 1.0,
        }
    )


@pytest.mark.parametrize("exponent", [0.3, 0.6, 1.0, 1.2])
def test_it_is_found_where_the_machine_changed_its_speed(exponent: float) -> None:
    assert probe_exponents(steps(exponent, spread=0.2)).decodes == pytest.approx(exponent, abs=0.05)


def test_steps_with_prompts_have_an_exponent_of_their_own() -> None:
    found = probe_exponents(steps(0.8, spread=0.2, of_prompts=0.4))
    assert found == pytest.approx((0.8, 0.4), abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_machine_that_kept_its_speed_leaves_it_at_one(seed: int) -> None:
    """The probe's own noise, half a percent, tells nothing."""
    assert probe_exponents(steps(0.0, spread=0.005, seed=seed)).decodes == pytest.approx(1.0, abs=0.25)


def test_it_is_what_puts_a_profile_on_the_speed_of_a_run() -> None:
    of: Profile = PROFILE.model_copy(update={"probe": {"ms": 4.0, "exponent": 0.5, "exponent_of_prompts": 1.0}})
    assert pace(of, 9.0) == pytest.approx((1.5, 2.25))
    older = PROFILE.model_copy(update={"probe": {"ms": 4.0}})
    assert pace(older, 6.0) == pytest.approx((1.5, 1.5))
