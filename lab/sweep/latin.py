"""Points of a Latin hypercube: each of n equal slices of every range holds one point.

McKay, Beckman, Conover: A Comparison of Three Methods for Selecting Values of Input Variables (Technometrics 21, 1979).
"""

from lab.sweep.spec import Range


def latin_points(ranges: dict[str, Range], points: int, seed: int) -> list[dict[str, float]]:
    """By name of its range, in the order of ranges. Same arguments, same points."""
    import numpy as np
    from scipy.stats import qmc

    if not ranges:
        return []
    shares = qmc.LatinHypercube(d=len(ranges), rng=np.random.default_rng(seed)).random(points)
    return [{name: found.at(float(u)) for (name, found), u in zip(ranges.items(), row, strict=True)} for row in shares]
