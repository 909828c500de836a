"""Draws are uniform and independent enough to route by, and the same on every machine."""

import pytest
from scipy.stats import chisquare

from serving.route.draws import Draws, number

ALPHA = 1e-4
"""Seeds are fixed: what passes passes always. A good generator fails any one case with these odds."""


def counts(cells, num_cells):
    found = [0] * num_cells
    for cell in cells:
        found[cell] += 1
    return found


@pytest.mark.parametrize("n", [2, 3, 7, 64])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_number_is_as_likely(n, seed) -> None:
    draws = Draws("test", seed)
    assert chisquare(counts((draws.below(n) for _ in range(20_000)), n)).pvalue > ALPHA


@pytest.mark.parametrize("n", [2, 5, 8])
def test_a_draw_says_nothing_of_the_next(n) -> None:
    draws = Draws("test", 0)
    drawn = [draws.below(n) for _ in range(40_000)]
    pairs = counts((n * a + b for a, b in zip(drawn[::2], drawn[1::2], strict=True)), n * n)
    assert chisquare(pairs).pvalue > ALPHA


@pytest.mark.parametrize(("other", "seed"), [("other", 0), ("test", 1)])
def test_names_and_seeds_draw_independently(other, seed) -> None:
    a, b = Draws("test", 0), Draws(other, seed)
    assert chisquare(counts((6 * a.below(6) + b.below(6) for _ in range(20_000)), 36)).pvalue > ALPHA


def test_the_same_draws_everywhere() -> None:
    """BLAKE2b of these texts; a change of these numbers changes every recorded run."""
    draws = Draws("power-of-two", 3)
    assert [draws.below(1000) for _ in range(5)] == [number(f"power-of-two 3 {i}") % 1000 for i in range(1, 6)]
    assert number("") == 0xCAE66941D9EFBD404E4D88758EA67670
    assert [Draws("a", 0).below(1) for _ in range(3)] == [0, 0, 0]
