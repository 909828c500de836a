"""What counts as equal, and what a check found."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from realexec.compute import name_of

# Of 1 + |expected|. Kernels compute in float32 and round once; attention also rounds the weights of its softmax to the
# dtype of the values. A token too many or too few changes a float32 result by a hundred times its tolerance.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2 * 2.0**-10, torch.bfloat16: 2 * 2.0**-7}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One case. error: the worst deviation, in tolerances; infinite if something is not a number or not untouched."""

    case: str
    error: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """All cases of one check: how many, and the worst of them."""

    check: str
    dtype: str
    cases: int
    error: float
    worst_case: str

    @property
    def passed(self) -> bool:
        return self.error <= 1.0


def compare(case: str, got: Tensor, expected: Tensor) -> Comparison:
    """got against expected float64; where that is NaN, got must be NaN too: it was not to be written."""
    if not got.numel():
        return Comparison(case, 0.0)
    result, expected = got.double().cpu(), expected.cpu()
    errors = (result - expected).abs() / (TOLERANCES[got.dtype] * (1.0 + expected.abs()))
    errors[result.isnan() & expected.isnan()] = 0.0
    worst = float(errors.nan_to_num(nan=math.inf).max())
    return Comparison(case, worst)


def same(case: str, got: Tensor, expected: Tensor) -> Comparison:
    """Equal in every element, NaN being equal to NaN."""
    equal = torch.equal(got.nan_to_num(nan=math.pi), expected.nan_to_num(nan=math.pi))
    equal = equal and torch.equal(got.isnan(), expected.isnan())
    return Comparison(case, 0.0 if equal else math.inf)


def judge(check: str, dtype: torch.dtype, comparisons: Iterator[Comparison]) -> Verdict:
    found = list(comparisons)
    worst = max(found, key=lambda comparison: comparison.error)
    return Verdict(check, name_of(dtype), len(found), worst.error, worst.case)
