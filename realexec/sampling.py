"""From logits to tokens: the largest, or a draw with noise that belongs to the request.

    Sampling    what one request asks for
    Samplings   who asks for what
    Draws       what a step needs of that, in arrays: all that a device is told
    Sampler     logits and Draws to tokens, on a CPU

No torch here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realexec.race import draw
from serving.errors import ConfigError, InvariantError

MASK = (1 << 64) - 1
MOST_TOP_K = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one request's tokens are chosen.

    temperature     logits are divided by it; 0 takes the largest, the first of equals
    top_k           only logits that are not below the k-th largest; 0: all
    top_p           of those the smallest set {logits >= t} that has this share of the probability; 1: all
    seed            equal seeds draw equal tokens from equal logits, whatever the requests are called; None: the noise
                    is of the runner's seed and the request's id
    min_tokens      output tokens before which none of stop_token_ids is chosen
    stop_token_ids  what ends the output; of no effect beyond min_tokens here, as the scheduler ends requests
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    min_tokens: int = 0
    stop_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature is {self.temperature}; it must be finite and at least 0")
        if self.top_k < 0:
            raise ConfigError(f"top_k is {self.top_k}; it must be at least 1, or 0 for all tokens")
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.min_tokens < 0:
            raise ConfigError(f"min_tokens is {self.min_tokens}; it must be at least 0")
        if any(token < 0 for token in self.stop_token_ids):
            raise ConfigError(f"stop_token_ids has {min(self.stop_token_ids)}; token ids are at least 0")


class Masked(NamedTuple):
    """Tokens that one row must not choose."""

    row: int
    token_ids: tuple[int, ...]


class Draws(NamedTuple):
    """How each of S rows of logits becomes a token. Arrays [S]; top_ks 0, top_ps 1: off; words: of the noise."""

    temperatures: NDArray[np.float32]
    top_ks: NDArray[np.int32]
    top_ps: NDArray[np.float32]
    words: NDArray[np.uint64]
    masked: tuple[Masked, ...] = ()


class _Row(NamedTuple):
    stream: int
    sampling: Sampling


class Samplings:
    """default: of requests that were not added. Its seed is the runner's: with a request's id it makes the noise of
    each request that has no seed of its own.
    """

    def __init__(self, default: Sampling) -> None:
        self._default = replace(default, seed=None)
        self._seed = default.seed or 0
        self._rows: dict[str, _Row] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, request_id: str, sampling: Sampling) -> None:
        if request_id in self._rows:
            raise InvariantError(f"{request_id} is told how to sample, but one of that name is not released yet")
        self._rows[request_id] = self._row(request_id, sampling)

    def forget(self, request_ids: Sequence[str]) -> None:
        for request_id in request_ids:
            self._rows.pop(request_id, None)

    def draws(self, request_ids: Sequence[str], positions: NDArray[np.int64], num_output: NDArray[np.int64]) -> Draws:
        """positions [S]: of the tokens to be drawn, in prompt and output; num_output [S]: output tokens before them."""
        rows = [self._rows.get(r) or self._rows.setdefault(r, self._row(r, self._default)) for r in request_ids]
        samplings = [row.sampling for row in rows]
        early = np.flatnonzero(num_output < np.array([s.min_tokens for s in samplings], np.int64)).tolist()
        return Draws(
            temperatures=np.array([s.temperature for s in samplings], np.float32),
            top_ks=np.array([min(s.top_k, MOST_TOP_K) for s in samplings], np.int32),
            top_ps=np.array([s.top_p for s in samplings], np.float32),
            words=np.array(
                [splitmix(row.stream ^ position) for row, position in zip(rows, positions.tolist(), strict=True)],
                np.uint64,
            ),
            masked=tuple(Masked(i, samplings[i].stop_token_ids) for i in early),
        )

    def _row(self, request_id: str, sampling: Sampling) -> _Row:
        if sampling.seed is not None:
            seed, key = sampling.seed, 0
        else:
            seed, key = self._seed, int.from_bytes(blake2b(request_id.encode(), digest_size=8).digest(), "little")
        return _Row(splitmix(splitmix(seed & MASK) ^ key), sampling)


class Sampler:
    """Gumbel-max: argmax(logits / temperature - log E), E standard exponential, is distributed as
    softmax(logits / temperature) over the tokens that top_k and top_p keep.

    A row's draw depends on its logits and its entries of Draws alone, so the rest of a batch changes nothing.
    """

    def __init__(self) -> None:
        self._scratch = np.empty((2, 0), np.int32)
        self._weights = np.empty(0, np.float32)

    def __call__(self, logits: NDArray[np.float32], draws: Draws) -> list[int]:
        """A token for each row of logits [S, vocab], C-contiguous; masked ones are overwritten."""
        for row, token_ids in draws.masked:
            logits[row, list(token_ids)] = -np.inf
        tokens = logits.argmax(axis=1)
        rows = np.flatnonzero(draws.temperatures)
        if len(rows):
            vocab = logits.shape[1]
            if len(self._weights) != vocab:
                self._scratch, self._weights = np.empty((2, vocab), np.int32), np.empty(vocab, np.float32)
            draw(
                logits,
                rows,
                draws.temperatures,
                draws.top_ks,
                draws.top_ps,
                draws.words,
                self._scratch,
                self._weights,
                tokens,
            )
        chosen: list[int] = tokens.tolist()
        return chosen


def splitmix(value: int) -> int:
    """A 64-bit bijection that scatters neighbours (Steele, Lea & Flood 2014, SplitMix64)."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)
