"""What is left over: quantiles by kind, and the persistence that sim/noise.py would have drawn it with."""

import numpy as np
import pandas as pd
import pytest

from calibration.fit import predict
from calibration.model.kinds import kinds_of
from calibration.model.residuals import by_kind, hull, persistence, relative
from records.profile import RESIDUAL_SHARES, ResidualNoise
from serving.cost import StepFeatures
from sim.noise import StepNoise
from tests.calibration.model.made import steps
from tests.records.test_profile import terms

COST = terms(("one", 0, None, 2.0), ("num_tokens", 0, None, 0.01))
SPREAD = ResidualNoise(
    steps=99,
    relative_std=0.1,
    relative_p50_abs=0.05,
    relative_p90_abs=0.1,
    quantiles=tuple(0.2 * (share - 0.5) for share in RESIDUAL_SHARES),
)


def decodes(count: int, persistent: float) -> pd.DataFrame:
    """Decode steps in four runs, with the noise of the simulation."""
    noise = StepNoise({"decode": SPREAD}, 1, "test", persistent)
    rows = [StepFeatures.of_decodes(1 + n % 7, 100 * (1 + n % 7)) for n in range(count)]
    frame = pd.DataFrame(rows).assign(run=np.arange(count) * 4 // count)
    return frame.assign(execute_ms=predict(COST, frame) * [noise.factor(n, row) for n, row in enumerate(rows)])


@pytest.mark.parametrize("persistent", [0.0, 0.3, 0.8])
def test_persistence_is_that_of_the_simulated_noise(persistent: float) -> None:
    frame = decodes(6000, persistent)
    found = persistence(relative(COST, frame, "execute_ms"), frame, "run")
    assert found == pytest.approx(persistent, abs=0.05)


def test_no_order_is_no_persistence() -> None:
    frame = decodes(400, 0.8)
    left = relative(COST, frame, "execute_ms")
    assert persistence(left, frame.assign(run=range(400)), "run") == 0.0
    assert persistence(left[:20], frame.head(20), "run") == 0.0


def test_quantiles_are_those_of_each_kind() -> None:
    frame = steps(3, 100)
    left = np.random.default_rng(0).normal(0, 0.05, len(frame))
    kinds = kinds_of(frame)
    found = by_kind(left, kinds)
    assert found.keys() == set(kinds)
    for kind, noise in found.items():
        assert noise.steps == (kinds == kind).sum()
        assert noise.quantiles[7] == np.median(left[kinds == kind])
    few = by_kind(left[:5], np.array(["decode"] * 5))
    assert few["decode"].quantiles == ()


def test_one_step_of_ten_times_the_length_does_not_make_all_longer() -> None:
    """What is drawn between the quantiles has the mean of what was measured."""
    left = np.append(np.random.default_rng(0).normal(0, 0.05, 1499), 9.0)
    found = by_kind(left, np.array(["decode"] * 1500))["decode"]
    assert np.trapezoid(found.quantiles, RESIDUAL_SHARES) == pytest.approx(left.mean(), abs=0.001)
    assert left.mean() < 0.01
    assert found.quantiles[0] >= left.min()


def test_the_hull_is_a_box() -> None:
    frame = steps(2, 30)
    assert hull(frame)["num_tokens"] == (frame["num_tokens"].min(), frame["num_tokens"].max())
    assert hull(frame).keys() == set(StepFeatures.names())
