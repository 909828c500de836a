"""What a duration is made of: terms that add up, and overlaps, of which the slowest counts most.

A term grows with one feature of the step between two values of it:

    milliseconds = coefficient_ms * (clip(feature, low, high) - low)

The constant of a duration is a term of the pseudo-feature "one", which is always 1. An overlap is work that goes on at
the same time, such as arithmetic and reading the weights: (a^p + b^p)^(1/p) of its alternatives, from p = 1 (one after
the other) to "max" (entirely at the same time).
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field, field_validator, model_validator

from records.json_values import Frozen
from serving.cost import StepFeatures
from serving.names import hint

FEATURES = ("one", *StepFeatures.names())
Power = Literal[1, 2, 4, 8, "max"]
"""Powers of two: their roots are square roots, which every machine rounds alike."""


class Term(Frozen):
    """One cause of a duration. low, high: bounds of the feature; high None: no bound. meaning: in words.

    padded: the feature counts as the least of the profile's graph_sizes that is not below it, where there is one.
    interval_ms: of the coefficient, 95 %, where the calibration could say.
    """

    name: str
    feature: str
    low: float = 0.0
    high: float | None = None
    coefficient_ms: float = Field(ge=0)
    meaning: str
    padded: bool = False
    interval_ms: tuple[float, float] | None = None

    @field_validator("feature")
    @classmethod
    def _known(cls, feature: str) -> str:
        if feature not in FEATURES:
            raise ValueError(f"unknown feature; {hint(feature, FEATURES)}")
        return feature

    @model_validator(mode="after")
    def _ordered(self) -> "Term":
        if self.high is not None and self.high <= self.low:
            raise ValueError(f"high ({self.high:g}) must be above low ({self.low:g})")
        return self


class Overlap(Frozen):
    """Work that goes on at the same time. of: what each would take alone. power: p of (a^p + b^p)^(1/p)."""

    name: str
    of: "tuple[CostTerms, ...]" = Field(min_length=2)
    power: Power = "max"
    meaning: str


class CostTerms(Frozen):
    """Milliseconds: the sum of the terms, and of what each overlap takes."""

    terms: tuple[Term, ...]
    overlaps: tuple[Overlap, ...] = ()

    def every_term(self) -> Iterator[Term]:
        """Those of overlaps included, in the order of the file."""
        yield from self.terms
        for overlap in self.overlaps:
            for alternative in overlap.of:
                yield from alternative.every_term()

    def with_coefficients(self, milliseconds: Sequence[float]) -> "CostTerms":
        """The same terms at other prices, in the order of every_term()."""
        given = iter(milliseconds)
        priced = self._priced(given)
        if next(given, None) is not None:
            raise ValueError(f"{len(milliseconds)} coefficients for {sum(1 for _ in self.every_term())} terms")
        return priced

    def with_intervals(self, bounds: Sequence[tuple[float, float]]) -> "CostTerms":
        """The same prices, each with its interval, in the order of every_term(); milliseconds."""
        return self._bounded(iter(bounds))

    def times(self, factor: float) -> "CostTerms":
        """Every duration so many times as long."""
        return self.with_coefficients([t.coefficient_ms * factor for t in self.every_term()])

    def _bounded(self, bounds: Iterator[tuple[float, float]]) -> "CostTerms":
        terms = tuple(t.model_copy(update={"interval_ms": next(bounds)}) for t in self.terms)
        overlaps = tuple(
            o.model_copy(update={"of": tuple(alternative._bounded(bounds) for alternative in o.of)})
            for o in self.overlaps
        )
        return CostTerms(terms=terms, overlaps=overlaps)

    def _priced(self, given: Iterator[float]) -> "CostTerms":
        terms = tuple(t.model_copy(update={"coefficient_ms": next(given), "interval_ms": None}) for t in self.terms)
        overlaps = tuple(
            o.model_copy(update={"of": tuple(alternative._priced(given) for alternative in o.of)})
            for o in self.overlaps
        )
        return CostTerms(terms=terms, overlaps=overlaps)


Overlap.model_rebuild()
