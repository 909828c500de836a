"""Why requests were turned away, or never sent: the most frequent kind of reason, in the words of its first request."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

_WITH_DIGIT = re.compile(r"\S*\d\S*")


class MostFrequent(NamedTuple):
    """alike: how many reasons are of this kind. first: the first of them."""

    alike: int
    first: str


def most_frequent(reasons: Iterable[str]) -> MostFrequent:
    """Reasons that differ in ids and numbers alone are of one kind; of equally frequent kinds, the one met first."""
    first_of: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        kind = _WITH_DIGIT.sub("#", reason)
        first_of.setdefault(kind, reason)
        counts[kind] += 1
    kind, alike = counts.most_common(1)[0]
    return MostFrequent(alike, first_of[kind])
