"""Who is not beaten in everything by somebody else."""

from collections.abc import Sequence


def pareto_front(points: Sequence[Sequence[float]], less_is_better: Sequence[bool]) -> list[int]:
    """Places of the points that no other one dominates: is as good in every figure, and better in one.

    Equal points are on the front together. In the order of points.
    """
    signed = [tuple(v if less else -v for v, less in zip(p, less_is_better, strict=True)) for p in points]
    front: list[int] = []
    # In lexicographic order nobody is dominated by one that comes later, so the front so far tells.
    for place in sorted(range(len(signed)), key=lambda i: signed[i]):
        if not any(_dominates(signed[other], signed[place]) for other in front):
            front.append(place)
    return sorted(front)


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
