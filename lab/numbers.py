"""Numbers as a person reads them: no more digits than matter, no powers of ten."""

from math import floor, log10

_MOST_DECIMALS = 9


def significant(value: float, digits: int = 4, sign: str = "") -> str:
    """With so many significant digits, all those before the point, and none behind it for a whole number.

    sign: "+" to show that of a positive one.
    """
    decimals = 0 if value == round(value) else _decimals(value, digits)
    return f"{value:{sign},.{decimals}f}"


def plus_minus(mean: float, half_width: float, sign: str = "") -> str:
    """mean ± half_width, both to the second digit of the half width."""
    if not half_width:
        return f"{significant(mean, sign=sign)} ± 0"
    decimals = _decimals(half_width, 2)
    return f"{mean:{sign},.{decimals}f} ± {half_width:,.{decimals}f}"


def _decimals(value: float, digits: int) -> int:
    """Places behind the point."""
    return min(max(0, digits - 1 - floor(log10(abs(value)))), _MOST_DECIMALS)
