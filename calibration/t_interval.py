"""Student's t, for intervals of means over few repeats."""

from math import nan

CONFIDENCE = 0.95


def t_quantile(degrees: float) -> float:
    """How many standard errors reach from a mean to either end of its interval; nan without a degree of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) if degrees > 0 else nan


def t_chance(t: float, degrees: float) -> float:
    """Of a mean so many standard errors from 0, or further, where 0 is right; nan without a degree of freedom."""
    from scipy.special import stdtr

    return 2 * float(stdtr(degrees, -abs(t))) if degrees > 0 else nan
