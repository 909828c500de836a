"""What was found of a law that a record must obey."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Where = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Law:
    """says: the law. checked: how many requests, steps or sums it was held against; 0 where the record does not tell.

    broken: how many of these break it. first: the first of them, in words. figures: what else there is to know, by
    name; `_s` in seconds. remark: about the figures, or why nothing was checked.
    """

    name: str
    says: str
    checked: int
    broken: int = 0
    first: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    remark: str = ""

    @property
    def holds(self) -> bool:
        return not self.broken


class Check(NamedTuple):
    """broken: of each case, whether it breaks the law. words: of a case that does. figures: add up over engines."""

    broken: Where
    words: Callable[[int], str]
    figures: Mapping[str, float] = {}


UNKNOWN = Check(np.zeros(0, dtype=bool), str)
"""Of an engine whose manifest does not say what the law needs."""


def law_of(name: str, says: str, checks: Sequence[Check]) -> Law:
    """One law from checks of several parts, in order; the first case that breaks it speaks for all."""
    broken = [int(np.count_nonzero(check.broken)) for check in checks]
    guilty = next((check for check, number in zip(checks, broken, strict=True) if number), None)
    names = [figure for check in checks for figure in check.figures]
    return Law(
        name=name,
        says=says,
        checked=sum(len(check.broken) for check in checks),
        broken=sum(broken),
        first="" if guilty is None else guilty.words(int(np.argmax(guilty.broken))),
        figures={figure: sum(check.figures.get(figure, 0) for check in checks) for figure in dict.fromkeys(names)},
    )
