"""Shares: what defines them (Shapley 1953), exactly."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from calibration.substitution.shapley import shapley

PLAYERS = ("a", "b", "c", "d")
WORTHS = st.lists(st.floats(-1e9, 1e9).map(Fraction), min_size=16, max_size=16)


def game(worths):
    return lambda team: worths[sum(1 << i for i, player in enumerate(PLAYERS) if player in team)]


@given(WORTHS)
def test_shares_add_up_to_the_whole_exactly(worths) -> None:
    assert sum(shapley(PLAYERS, game(worths)).values()) == worths[-1] - worths[0]


@given(WORTHS)
def test_who_changes_nothing_has_no_share(worths) -> None:
    without_a = game(worths)
    shares = shapley(PLAYERS, lambda team: without_a(team - {"a"}))
    assert shares["a"] == 0
    assert shares == {"a": Fraction(0), **shapley(PLAYERS[1:], without_a)}


@given(WORTHS, WORTHS)
def test_shares_of_a_sum_are_the_sums_of_shares(one, other) -> None:
    both = shapley(PLAYERS, game([a + b for a, b in zip(one, other, strict=True)]))
    first, second = shapley(PLAYERS, game(one)), shapley(PLAYERS, game(other))
    assert both == {player: first[player] + second[player] for player in PLAYERS}


@given(WORTHS, st.sampled_from(PLAYERS), st.sampled_from(PLAYERS))
def test_equals_have_equal_shares(worths, one, other) -> None:
    worth = game(worths)
    swapped = {one: other, other: one}
    shares = shapley(PLAYERS, lambda team: worth(team) + worth(frozenset(swapped.get(p, p) for p in team)))
    assert shares[one] == shares[other]


def test_two_parts_that_only_work_together_share_evenly() -> None:
    assert shapley(("a", "b"), lambda team: Fraction(len(team) == 2)) == {"a": Fraction(1, 2), "b": Fraction(1, 2)}
    assert shapley((), lambda team: Fraction(1)) == {}
