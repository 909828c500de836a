"""Random choices without a random generator: the n-th draw is a function of seed, name and n.

A counter-based generator (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011), with BLAKE2b (RFC 7693)
as the function. It gives 128 bits, so the rest of their division by n is uniform up to a share of n / 2**128.
"""

from hashlib import blake2b


class Draws:
    """An endless sequence of draws. name: whose they are; other names with the same seed draw independently."""

    def __init__(self, name: str, seed: int) -> None:
        self._key = f"{name} {seed} "
        self._count = 0

    def below(self, n: int) -> int:
        """Uniform in 0 .. n - 1; n is at least 1."""
        self._count += 1
        return number(f"{self._key}{self._count}") % n


def number(text: str) -> int:
    """128 bits that the text determines: equal on every machine."""
    return int.from_bytes(blake2b(text.encode(), digest_size=16).digest())
