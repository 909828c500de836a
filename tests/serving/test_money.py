"""Money: what is paid, by what it is divided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ConfigError
from serving.metrics.money import HOUR, Cost, Rental, cost_of

RENTALS = st.lists(st.builds(Rental, st.floats(0, 100, allow_subnormal=False), st.integers(0, 10**15)), max_size=8)


def test_a_bill_by_hand() -> None:
    """An hour at 4 and half an hour at 2: 5 in all."""
    paid = [Rental(4.0, HOUR), Rental(2.0, HOUR // 2)]
    found = cost_of(paid, num_prompt=3_000_000, num_output=1_000_000, num_requests=1000, num_good=500)
    assert found == Cost(
        replica_s=5400.0,
        total=5.0,
        per_million_output_tokens=5.0,
        per_million_tokens=1.25,
        per_request=0.005,
        per_good_request=0.01,
    )


def test_nothing_to_divide_by() -> None:
    found = cost_of([Rental(4.0, HOUR)], num_prompt=0, num_output=0, num_requests=0, num_good=0)
    assert found == Cost(3600.0, 4.0, None, None, None, None)
    some = cost_of([], num_prompt=1, num_output=0, num_requests=1, num_good=0)
    assert some == Cost(0.0, 0.0, None, 0.0, 0.0, None)


@given(RENTALS, RENTALS, st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_bill_is_the_sum_of_its_parts(one, other, num_prompt, num_output) -> None:
    def total(rentals):
        return cost_of(rentals, num_prompt=num_prompt, num_output=num_output, num_requests=7, num_good=3)

    both = total([*one, *other])
    assert both.total == pytest.approx(total(one).total + total(other).total)
    assert both.per_good_request >= both.per_request
    assert both.per_million_output_tokens * num_output == pytest.approx(both.total * 1e6)
    assert both.per_million_tokens * (num_prompt + num_output) == pytest.approx(both.total * 1e6)


@pytest.mark.parametrize("rental", [Rental(-1.0, 1), Rental(1.0, -1), Rental(float("inf"), 1), Rental(float("nan"), 1)])
def test_prices_and_times_are_not_below_zero(rental) -> None:
    with pytest.raises(ConfigError, match="neither may be below 0"):
        cost_of([rental], num_prompt=1, num_output=1, num_requests=1, num_good=1)
