"""Time inside is integer nanoseconds; files and reports say seconds. The two ways between them."""

EXACT_UNTIL_NS = 2**51
"""Up to this many nanoseconds (26 days) a time in seconds is turned back into the very same integer."""


def seconds(ns: int) -> float:
    """The nearest float64."""
    return ns / 1e9


def nanoseconds(s: float) -> int:
    """Undoes seconds() exactly for times up to EXACT_UNTIL_NS."""
    return round(s * 1e9)
