"""Each part's share of a difference: its mean effect over all orders in which parts can be exchanged (Shapley 1953).

In exact arithmetic, so the shares add up to the whole difference.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations
from math import factorial
from typing import TypeVar

Player = TypeVar("Player")


def shapley(players: Sequence[Player], worth: Callable[[frozenset[Player]], Fraction]) -> dict[Player, Fraction]:
    """worth: of each set of players. The shares add up to worth(all) - worth(none); who changes nothing has 0."""
    n = len(players)
    shares: dict[Player, Fraction] = {}
    for player in players:
        others = [other for other in players if other != player]
        shares[player] = Fraction(0)
        for size in range(n):
            weight = Fraction(factorial(size) * factorial(n - size - 1), factorial(n))
            for before in map(frozenset, combinations(others, size)):
                shares[player] += weight * (worth(before | {player}) - worth(before))
    return shares
