"""A form over samples: its milliseconds and their derivatives, for any prices.

A form is a CostTerms whose coefficients do not matter yet: the prices are what is looked for.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from calibration.fit import column
from records.cost_terms import CostTerms, Overlap, Power

POWERS: tuple[Power, ...] = (1, 2, 4, 8, "max")
"""From one after the other to entirely at the same time."""
_TINY = 1e-9


class Design:
    """form: its terms, in the order of every_term(). columns: what prices are multiplied with, shape [samples, terms].

    Columns are divided by scale, shape [terms], so that the greatest entry of each is 1; prices here are per scale.
    counts: how much each sample counts, shape [samples].
    """

    def __init__(self, form: CostTerms, columns: np.ndarray, scale: np.ndarray, counts: np.ndarray) -> None:
        self.form = form
        self.columns = columns
        self.scale = scale
        self.counts = counts

    @classmethod
    def of(
        cls, form: CostTerms, samples: pd.DataFrame, graph_sizes: Sequence[int] = (), weight: str | None = None
    ) -> "Design":
        """weight: the column of counts; None: all alike."""
        raw = np.stack([column(term, samples, graph_sizes) for term in form.every_term()], axis=1)
        scale = np.maximum(np.abs(raw).max(axis=0, initial=0.0), 1e-12)
        counts = np.ones(len(samples)) if weight is None else samples[weight].to_numpy(dtype=float)
        return cls(form, raw / scale, scale, counts)

    def rows(self, chosen: np.ndarray) -> "Design":
        """chosen: a mask, or places, of samples."""
        return Design(self.form, self.columns[chosen], self.scale, self.counts[chosen])

    def softened(self, power: Power) -> "Design":
        """With overlaps of at most this power."""
        return Design(softened(self.form, power), self.columns, self.scale, self.counts)

    def priced(self, prices: np.ndarray) -> CostTerms:
        return self.form.with_coefficients((prices / self.scale).tolist())

    def at(self, prices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Milliseconds, shape [samples], and their derivatives by the prices, shape [samples, terms]."""
        slopes = self.columns.copy()
        total, _ = self._sum(self.form, prices, slopes, 0)
        return total, slopes

    def _sum(self, cost: CostTerms, prices: np.ndarray, slopes: np.ndarray, first: int) -> tuple[np.ndarray, int]:
        """Its milliseconds, and the place behind its last term."""
        behind = first + len(cost.terms)
        total = self.columns[:, first:behind] @ prices[first:behind]
        for overlap in cost.overlaps:
            took, behind = self._overlap(overlap, prices, slopes, behind)
            total = total + took
        return total, behind

    def _overlap(self, overlap: Overlap, prices: np.ndarray, slopes: np.ndarray, first: int) -> tuple[np.ndarray, int]:
        alone, places, behind = [], [], first
        for side in overlap.of:
            begin = behind
            took, behind = self._sum(side, prices, slopes, begin)
            alone.append(took)
            places.append(slice(begin, behind))
        total, shares = together(np.stack(alone), overlap.power)
        for place, share in zip(places, shares, strict=True):
            slopes[:, place] *= share[:, None]
        return total, behind


def together(alone: np.ndarray, power: Power) -> tuple[np.ndarray, np.ndarray]:
    """What sides take at the same time, shape [samples], and its derivatives by each; alone: shape [sides, samples]."""
    most = np.maximum(alone.max(axis=0), _TINY)
    if power == "max":
        return most, (np.arange(len(alone))[:, None] == alone.argmax(axis=0)).astype(float)
    total = np.maximum(most * ((alone / most) ** power).sum(axis=0) ** (1 / power), _TINY)
    return total, (alone / total) ** (power - 1)


def softened(form: CostTerms, power: Power) -> CostTerms:
    """With overlaps of at most this power."""
    overlaps = tuple(
        overlap.model_copy(
            update={
                "power": min(overlap.power, power, key=POWERS.index),
                "of": tuple(softened(side, power) for side in overlap.of),
            }
        )
        for overlap in form.overlaps
    )
    return form.model_copy(update={"overlaps": overlaps})


def pruned(cost: CostTerms) -> CostTerms:
    """Without terms that cost nothing, and without overlaps of which one side is left."""
    terms = [term for term in cost.terms if term.coefficient_ms > 0]
    overlaps = []
    for overlap in cost.overlaps:
        sides = [side for side in map(pruned, overlap.of) if side.terms or side.overlaps]
        if len(sides) > 1:
            overlaps.append(overlap.model_copy(update={"of": tuple(sides)}))
        elif sides:
            terms += sides[0].terms
            overlaps += sides[0].overlaps
    return CostTerms(terms=tuple(terms), overlaps=tuple(overlaps))
