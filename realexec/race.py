"""A row of logits becomes a token: a race that the smallest E exp(-logit / temperature) wins.

E = -log(1 - u) is standard exponential, u the token's uniform number; the winner is that of Gumbel-max, with one
logarithm less. All loops over a vocabulary vectorize, which numba's largest and smallest of floats do not: floats
are compared by keys, integers of the same order.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

TILE = 512  # columns at a time, in buffers that stay in the first-level cache
NOTHING = np.int32(-(1 << 31))  # below the key of every logit
NEVER = np.int32((1 << 31) - 1)

LN_2 = np.float32(0.6931471805599453)
LOG2_E = np.float32(1.4426950408889634)
SQRT_HALF = np.int32(0x3F3504F3)  # its bits
FURTHEST = np.float32(126.0)  # binary orders behind the largest logit, from where nobody wins
LARGEST_RECIPROCAL = np.float32(1e38)

# Every type is spelled out, as in attention/numba_cpu.py. reassoc: sums may be taken in any order.
SETTINGS: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract", "reassoc"}}


@numba.njit(inline="always")
def _mixed(low: np.uint32, high: np.uint32, column: np.uint32) -> np.uint32:
    """A hash of a column and the two halves of a row's word: two rounds of murmur3's finalizer (Appleby, public
    domain), each keyed with one half. 32-bit mixing, because it vectorizes.
    """
    h = np.uint32(column ^ low)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    h = np.uint32((h ^ (h >> np.uint32(16))) + high)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@numba.njit(inline="always")
def _uniform(bits: np.uint32) -> np.float32:
    """In (0, 1]; fine near 0 (steps of 2^-32), where the winner is decided."""
    return np.float32((np.float32(bits) + np.float32(0.5)) * np.float32(2.0**-32))


@numba.njit(inline="always")
def _exponential(u: np.float32) -> np.float32:
    """-log(1 - u), relative error below 3e-7, in 1e-10 .. 88.1.

    1 - u = 2^e (1 + f) with |f| < sqrt(2) - 1; where e is 0, f is -u itself, and nothing of a small u is lost.
    log(1 + f) by a polynomial of least squares at Chebyshev nodes.
    """
    bits = np.float32(np.float32(1.0) - u).view(np.int32)
    e = np.int32(np.int32(bits - SQRT_HALF) >> np.int32(23))
    f = np.int32(bits - np.int32(e << np.int32(23))).view(np.float32) - np.float32(1.0)
    f = -u if e == np.int32(0) else f
    p = np.float32(0.127126783) + f * np.float32(-0.0810227022)
    p = np.float32(0.142021149) + f * (np.float32(-0.129721448) + f * p)
    p = np.float32(0.20001471) + f * (np.float32(-0.166422501) + f * p)
    p = np.float32(0.333333284) + f * (np.float32(-0.25000295) + f * p)
    return -(f + f * f * (f * p - np.float32(0.5)) + np.float32(e) * LN_2)


@numba.njit(inline="always")
def _power_of_two(x: np.float32) -> np.float32:
    """2^x for 0 <= x <= 126, relative error below 3e-7: as in attention/numba_cpu.py."""
    k = np.int32(x + np.float32(0.5))
    f = (x - np.float32(k)) * LN_2
    series = np.float32(1 / 120) + f * np.float32(1 / 720)
    series = np.float32(1 / 6) + f * (np.float32(1 / 24) + f * series)
    series = np.float32(1) + f * (np.float32(1) + f * (np.float32(1 / 2) + f * series))
    return series * np.int32(np.int32(k + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(inline="always")
def _behind(logit: np.float32, largest: np.float32, scale: np.float32) -> np.float32:
    """Binary orders that a token is less likely than the likeliest, at most FURTHEST."""
    orders = (largest - logit) * scale
    return orders if orders < FURTHEST else FURTHEST


@numba.njit(inline="always")
def _key(logit: np.float32) -> np.int32:
    """An integer with the order of floats; adding 0 makes of -0 the 0 that it equals."""
    bits = np.float32(logit + np.float32(0.0)).view(np.int32)
    return np.int32(bits ^ np.int32(np.int32(bits >> np.int32(31)) & NEVER))


@numba.njit("int32(int32[::1], int32)", **SETTINGS)
def _count_from(keys: NDArray[np.int32], least: np.int32) -> np.int32:
    """How many keys are >= least."""
    count = np.int32(0)
    for i in range(len(keys)):
        count = np.int32(count + (np.int32(1) if keys[i] >= least else np.int32(0)))
    return count


@numba.njit("float64(int32[::1], float32[::1], int32)", **SETTINGS)
def _weight_from(keys: NDArray[np.int32], weights: NDArray[np.float32], least: np.int32) -> float:
    """What the keys >= least weigh together."""
    weight = 0.0
    for i in range(len(keys)):
        weight += np.float64(weights[i] if keys[i] >= least else np.float32(0.0))
    return weight


@numba.njit("int32(int32[::1], int32, int32)", **SETTINGS)
def _kth_largest(keys: NDArray[np.int32], largest: np.int32, k: np.int32) -> np.int32:
    """The k-th largest key, or a smaller number that as many keys reach; k at most len(keys)."""
    least, over = np.int64(NOTHING), np.int64(largest) + 1  # k keys reach least, fewer reach over
    while over - least > 1:
        middle = (least + over) >> 1
        count = _count_from(keys, np.int32(middle))
        if count >= k:
            least = middle
        else:
            over = middle
        if count == k:
            break
    return np.int32(least)


@numba.njit("int64(int32[::1], float32[::1], float64)", **SETTINGS)
def _gather(keys: NDArray[np.int32], weights: NDArray[np.float32], least_weight: float) -> int:
    """How many weigh that much; they are moved to the front."""
    count = 0
    for i in range(len(keys)):
        weight = weights[i]  # read once: a read behind the writes would wait for them
        keys[count], weights[count] = keys[i], weight
        count += weight >= least_weight
    return count


@numba.njit("int32(int32[::1], float32[::1], int32, float64)", **SETTINGS)
def _nucleus(keys: NDArray[np.int32], weights: NDArray[np.float32], largest: np.int32, enough: float) -> np.int32:
    """The largest key from which on keys weigh enough together, or `largest` where enough is 0."""
    least, over = np.int64(NOTHING), np.int64(largest) + 1  # keys from least on weigh enough, from over on too little
    num_least, num_over = np.int32(len(keys)), np.int32(0)
    while over - least > 1 and num_least - num_over > 1:
        middle = (least + over) >> 1
        count = _count_from(keys, np.int32(middle))
        if _weight_from(keys, weights, np.int32(middle)) >= enough:
            least, num_least = middle, count
        else:
            over, num_over = middle, count
    reached = NEVER
    for key in keys:
        reached = min(reached, key) if key >= least else reached
    return reached


@numba.njit("int32(float32[::1], float32, float32, int32, float32, int32[::1], int32[::1], float32[::1])", **SETTINGS)
def _least_kept(
    logits: NDArray[np.float32],
    largest: np.float32,
    scale: np.float32,
    top_k: np.int32,
    top_p: np.float32,
    keys: NDArray[np.int32],
    candidates: NDArray[np.int32],
    weights: NDArray[np.float32],
) -> np.int32:
    """Tokens whose key reaches it are kept by top_k and top_p. All arrays [vocab]; keys is filled, the last two are
    scratch.
    """
    for i in range(len(logits)):
        keys[i] = _key(logits[i])
    least = NOTHING
    if 0 < top_k < len(logits):
        least = _kth_largest(keys, _key(largest), top_k)
    if top_p < np.float32(1.0):
        for i in range(len(logits)):
            weight = np.float32(1.0) / _power_of_two(_behind(logits[i], largest, scale))
            weights[i] = weight if keys[i] >= least else np.float32(0.0)
            candidates[i] = keys[i]
        share = np.float64(top_p)
        total = _weight_from(keys, weights, NOTHING)
        # Together, tokens below an even share of what may be left out weigh less than that: all of them are.
        count = _gather(candidates, weights, (1.0 - share) * total / len(logits))
        least = _nucleus(candidates[:count], weights[:count], _key(largest), share * total)
    return least


@numba.njit("void(float32[::1], uint32, uint32, uint32, float32, float32, int32[::1])", **SETTINGS)
def _run(
    logits: NDArray[np.float32],
    low: np.uint32,
    high: np.uint32,
    first: np.uint32,
    largest: np.float32,
    scale: np.float32,
    times: NDArray[np.int32],
) -> None:
    """times [n]: of the tokens first, first + 1, ... with these logits [n], as the bits of floats that are not
    negative, which have the order of the floats.
    """
    for i in range(len(logits)):
        noise = _exponential(_uniform(_mixed(low, high, np.uint32(first + np.uint32(i)))))
        times[i] = np.float32(noise * _power_of_two(_behind(logits[i], largest, scale))).view(np.int32)


@numba.njit("void(int32[::1], int32, int32[::1])", **SETTINGS)
def _disqualify(keys: NDArray[np.int32], least: np.int32, times: NDArray[np.int32]) -> None:
    for i in range(len(keys)):
        times[i] = times[i] if keys[i] >= least else NEVER


@numba.njit("int32(int32[::1])", **SETTINGS)
def _smallest(times: NDArray[np.int32]) -> np.int32:
    smallest = NEVER
    for time in times:
        smallest = min(smallest, time)
    return smallest


@numba.njit(
    "void(float32[:,::1], int64[::1], float32[::1], int32[::1], float32[::1], uint64[::1], int32[:,::1], float32[::1], "
    "int64[::1])",
    **SETTINGS,
)
def draw(
    logits: NDArray[np.float32],
    rows: NDArray[np.int64],
    temperatures: NDArray[np.float32],
    top_ks: NDArray[np.int32],
    top_ps: NDArray[np.float32],
    words: NDArray[np.uint64],
    scratch: NDArray[np.int32],
    weights: NDArray[np.float32],
    tokens: NDArray[np.int64],
) -> None:
    """Writes a drawn token over tokens[row], the place of the row's largest logit, for each of `rows`. Where that logit
    is infinite or no number it stays.

    logits [S, vocab]; scratch [2, vocab], weights [vocab]: written over; the others [S], see realexec.sampling.Draws.
    """
    keys, candidates = scratch[0], scratch[1]
    buffer = np.empty(TILE, np.int32)
    vocab = logits.shape[1]
    for row in rows:
        largest = logits[row, tokens[row]]
        if not np.isfinite(largest):
            continue
        scale = min(np.float32(1.0) / temperatures[row], LARGEST_RECIPROCAL) * LOG2_E
        filters = 0 < top_ks[row] < vocab or top_ps[row] < np.float32(1.0)
        least = NOTHING
        if filters:
            least = _least_kept(logits[row], largest, scale, top_ks[row], top_ps[row], keys, candidates, weights)
        low, high = np.uint32(words[row] & np.uint64(0xFFFFFFFF)), np.uint32(words[row] >> np.uint64(32))
        best = NEVER
        for first in range(0, vocab, TILE):
            last = min(first + TILE, vocab)
            if filters and _count_from(keys[first:last], least) == 0:
                continue
            times = buffer[: last - first]
            _run(logits[row, first:last], low, high, np.uint32(first), largest, scale, times)
            if filters:
                _disqualify(keys[first:last], least, times)
            earliest = _smallest(times)
            if earliest < best:
                best = earliest
                tokens[row] = first + np.argmin(times)


@numba.njit("void(uint64[::1], float32[:,::1])", **SETTINGS)
def fill_uniform(words: NDArray[np.uint64], out: NDArray[np.float32]) -> None:
    """out [S, n]: the uniform numbers of S rows with these words, which every device must draw with."""
    for row in range(len(words)):
        low, high = np.uint32(words[row] & np.uint64(0xFFFFFFFF)), np.uint32(words[row] >> np.uint64(32))
        for column in range(out.shape[1]):
            out[row, column] = _uniform(_mixed(low, high, np.uint32(column)))
