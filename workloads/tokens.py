"""The token ids that stand for a prompt: 256 ordinary ids, drawn from a name so that equal names are equal prompts."""

from hashlib import blake2b

import numpy as np

EOS_TOKEN_ID = 2
FIRST_TOKEN_ID = 3
NUM_TOKEN_IDS = 256
"""Ordinary ids are 3 .. 258."""


def tokens_of(name: str, count: int) -> tuple[int, ...]:
    """The first `count` token ids of an endless sequence that the name determines.

    Raw bytes of PCG64, whose stream numpy promises to keep; a longer draw begins with the shorter one.
    """
    seed = int.from_bytes(blake2b(name.encode(), digest_size=16).digest(), "little")
    words = np.random.PCG64(seed).random_raw(-(-count // 8)).astype("<u8")
    drawn = np.frombuffer(words.tobytes(), dtype=np.uint8)[:count].astype(np.int64) + FIRST_TOKEN_ID
    return tuple(drawn.tolist())
