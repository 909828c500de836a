"""Named random streams of one seed: a draw more from one leaves the others as they were."""

from hashlib import blake2b

import numpy as np

from serving.errors import ConfigError


def stream(seed: int, name: str) -> np.random.Generator:
    """Errors: ConfigError for a negative seed."""
    if seed < 0:
        raise ConfigError(f"seed is {seed}; it must not be negative")
    key = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(key,))))
