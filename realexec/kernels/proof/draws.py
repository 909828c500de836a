"""Cases of the sampling kernel, against the noise of realexec/race.py and a float64 race."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

import numpy as np
import torch
from torch import Tensor

from realexec.kernels.proof.verdict import Comparison, same
from realexec.kernels.sampling import sample_launches
from realexec.race import fill_uniform

VOCABULARIES = {1: 4, 5: 10, 1000: 24, 4097: 6, 9000: 3}  # and rows
TEMPERATURES = (0.3, 1.0, 2.5)
TOP_P = (1.0, 0.9, 0.4, 1e-6)
SCORE_TOLERANCE = 5e-6  # of 1 + |score|, which is computed in float32
SHARE_TOLERANCE = 1e-5  # a sum of probabilities in float32 may end one token earlier or later


def sample_cases(device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Comparison]:
    random, generator = Random(1), torch.Generator().manual_seed(1)
    for vocab, rows in VOCABULARIES.items():
        for _ in range(rounds):
            settings = random.sample(list(product(TEMPERATURES, (0, 1, 3, 40, vocab), TOP_P)), rows)
            settings[-1] = (0.0, 1, 0.4)
            temperatures, top_k, top_p = (torch.tensor(column) for column in zip(*settings, strict=True))
            words = torch.randint(-(2**63), 2**63 - 1, (rows,), generator=generator)
            words[0] = random.choice([0, -1, -(2**63)])
            logits = _logits(rows, vocab, dtype, random, generator)
            arguments = [tensor.to(device) for tensor in (logits, temperatures, top_k.int(), top_p, words)]
            tokens, thresholds, scores = _sample(arguments)
            for row, (temperature, k, p) in enumerate(settings):
                draw = Draw(logits[row].double(), temperature, k, float(top_p[row]), int(words[row]))
                case = f"vocabulary {vocab}, temperature {temperature}, top_k {k}, top_p {p}"
                yield Comparison(case, _error(draw, int(tokens[row]), float(thresholds[row]), float(scores[row])))

            order = torch.randperm(rows, generator=generator)[: rows - 2].to(device)
            others, *_ = _sample([tensor[order] for tensor in arguments])
            yield same(f"vocabulary {vocab}, in another batch", others, tokens[order])


def _sample(arguments: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The tokens drawn, the smallest logits that took part, and the scores that won."""
    logits, temperatures, top_k, top_p, words = arguments
    tokens = torch.full_like(words, -1)
    launches = sample_launches(logits, temperatures, top_k, top_p, words, tokens)
    for launch in launches:
        launch.run()
    return tokens, launches[0].arguments["thresholds"], launches[1].arguments["scores"].max(1).values


def _logits(rows: int, vocab: int, dtype: torch.dtype, random: Random, generator: torch.Generator) -> Tensor:
    """Rows of few values, so that the largest, too, is there many times; of neighbouring floats; of negative ones."""
    logits = torch.randn(rows, vocab, generator=generator) * 3.0
    for row in logits:
        match random.choice(["any", "few", "neighbours", "negative"]):
            case "few":
                row.copy_(row.round().clamp(max=3.0))
            case "neighbours":
                row.copy_(1.5 + row.round() * 2.0**-23)
            case "negative":
                row.sub_(30.0)
    masked = torch.rand(rows, vocab, generator=generator) < 0.1
    masked[:, random.randrange(vocab)] = False
    return logits.masked_fill(masked, -torch.inf).to(dtype)


@dataclass(frozen=True, slots=True)
class Draw:
    """A row's arguments. logits [vocab] float64."""

    logits: Tensor
    temperature: float
    top_k: int
    top_p: float
    word: int


def _error(draw: Draw, token: int, threshold: float, score: float) -> float:
    """How far the token's score, and the one computed for it, are from the best, in tolerances."""
    logits = draw.logits
    if not 0 <= token < len(logits):
        return math.inf
    if draw.temperature == 0.0:
        return 0.0 if token == int(logits.argmax()) else math.inf
    certainly, possibly = (_kept(draw, draw.top_p + delta) for delta in (-SHARE_TOLERANCE, SHARE_TOLERANCE))
    kept = logits >= threshold
    if (certainly & ~kept).any() or (kept & ~possibly).any() or not kept[token]:
        return math.inf
    uniform = np.empty((1, len(logits)), np.float32)
    fill_uniform(np.array([draw.word], np.int64).view(np.uint64), uniform)
    scores = logits / draw.temperature - torch.from_numpy(uniform[0]).double().neg().log1p().neg().log()
    best = float(scores[kept].max())
    return max(best - float(scores[token]), abs(best - score)) / (SCORE_TOLERANCE * (1.0 + abs(best)))


def _kept(draw: Draw, top_p: float) -> Tensor:
    """Which logits take part, by sorting: top_k first, and of what it leaves the share top_p."""
    logits = draw.logits
    kept = torch.ones(len(logits), dtype=torch.bool)
    if 0 < draw.top_k < len(logits):
        kept = logits >= logits.sort(descending=True).values[draw.top_k - 1]
    if draw.top_p == 1.0:
        return kept
    ordered = logits[kept].sort(descending=True).values
    shares = (ordered / draw.temperature).softmax(0).cumsum(0)
    last = min(int((shares < top_p).sum()), len(ordered) - 1)
    return kept & (logits >= ordered[last])
