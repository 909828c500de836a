"""The token ids that stand for a prompt: 256 ordinary ids, drawn from a name so that equal names are equal prompts."""

from hashlib import shake_128

import numpy as np

EOS_TOKEN_ID = 2
FIRST_TOKEN_ID = 3
NUM_TOKEN_IDS = 256
"""Ordinary ids are 3 .. 258."""


def tokens_of(name: str, count: int) -> tuple[int, ...]:
    """The first `count` token ids of an endless sequence that the name determines: the bytes of SHAKE128 (FIPS 202)."""
    drawn = np.frombuffer(shake_128(name.encode()).digest(count), dtype=np.uint8)
    return tuple((drawn.astype(np.int64) + FIRST_TOKEN_ID).tolist())
