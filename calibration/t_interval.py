"""Student's t, for intervals of means over few repeats."""

from math import nan

CONFIDENCE = 0.95


def t_quantile(degrees: float) -> float:
    """How many standard errors reach from a mean to either end of its interval; nan without a degree of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) if degrees > 0 else nan
