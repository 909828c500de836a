"""Batches that can be measured: decode, prefill and mixed steps that an engine's settings allow.

A grid on powers of two spans the region and its edges; log-uniform draws fill it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from random import Random

from serving.schedule.config import EngineConfig
from serving.schedule.contract import Admission, Plan


@dataclass(frozen=True, slots=True)
class BatchShape:
    """decodes: tokens already stored of each decode; prefills: (tokens already stored, tokens to compute) each."""

    decodes: tuple[int, ...] = ()
    prefills: tuple[tuple[int, int], ...] = ()

    @property
    def kind(self) -> str:
        if not self.prefills:
            return "decode"
        return "mixed" if self.decodes else "prefill"

    @property
    def sequences(self) -> tuple[tuple[int, int], ...]:
        return tuple((stored, 1) for stored in self.decodes) + self.prefills


CONTINUED = 3
"""Decode steps that can follow a measured one."""


def grid(config: EngineConfig, seed: int) -> list[BatchShape]:
    """The edges of what these settings allow, and powers of two between; prompts new, or behind a cached prefix."""
    rng = Random(seed)
    return [s for s in (*_decodes(config, rng), *_prefills(config), *_mixed(config, rng)) if fits(s, config)]


def drawn(config: EngineConfig, seed: int, count: int) -> list[BatchShape]:
    """From between the edges."""
    rng = Random(seed)
    draws = (_draw(config, rng) for _ in range(20 * count))
    return list(islice((s for s in draws if fits(s, config)), count))


def fits(shape: BatchShape, config: EngineConfig) -> bool:
    """Whether an engine under these settings could run it, and CONTINUED steps more."""
    sequences = shape.sequences
    blocks = sum(_blocks(stored, n, config.block_size) for stored, n in sequences)
    return (
        0 < len(sequences) <= config.max_num_seqs
        and sum(n for _, n in sequences) <= config.max_num_batched_tokens
        and blocks <= config.num_blocks
        and all(n > 0 and stored + n + CONTINUED < config.max_model_len for stored, n in sequences)
    )


def plan_of(shape: BatchShape, step_id: int, block_size: int, released: Sequence[str]) -> Plan:
    """A plan that places the shape's sequences in the pool, their stored tokens taken as computed.

    Blocks interleave between sequences, as they do after a while online.
    """
    ids = [f"{step_id}.{i}" for i in range(len(shape.sequences))]
    counts = [_blocks(stored, n, block_size) for stored, n in shape.sequences]
    tables: list[list[int]] = [[] for _ in ids]
    block = 0
    for depth in range(max(counts)):
        for table, count in zip(tables, counts, strict=True):
            if depth < count:
                table.append(block)
                block += 1
    return Plan(
        step_id=step_id,
        request_ids=tuple(ids),
        starts=tuple(stored for stored, _ in shape.sequences),
        num_tokens=tuple(n for _, n in shape.sequences),
        samples=(True,) * len(ids),
        prompt_lens=tuple(stored + n for stored, n in shape.sequences),
        admitted=tuple(
            Admission(i, tuple(3 + (7 * k + step_id) % 256 for k in range(stored + n)), stored)
            for i, (stored, n) in zip(ids, shape.sequences, strict=True)
        ),
        new_blocks=tuple((i, tuple(table)) for i, table in zip(ids, tables, strict=True)),
        preempted=(),
        released=tuple(released),
    )


def next_plan(plan: Plan, step_id: int) -> Plan:
    """The same sequences one step later, each decoding one token: at most CONTINUED times, in the blocks they have."""
    starts = tuple(start + n for start, n in zip(plan.starts, plan.num_tokens, strict=True))
    return plan._replace(
        step_id=step_id, starts=starts, num_tokens=(1,) * len(starts), admitted=(), new_blocks=(), released=()
    )


def _blocks(stored: int, tokens: int, block_size: int) -> int:
    return -(-(stored + tokens + CONTINUED) // block_size)


def _powers(low: int, high: int, factor: int = 2) -> list[int]:
    """low, low * factor, ... and high itself."""
    values, value = [], low
    while value < high:
        values.append(value)
        value *= factor
    return [*values, high]


def _around(mean: int, count: int, rng: Random) -> tuple[int, ...]:
    return tuple(rng.randint(max(1, mean // 2), mean + mean // 2) for _ in range(count))


def _longest(config: EngineConfig) -> int:
    """The most tokens one sequence can have stored with room for one more."""
    return min(config.max_model_len, config.num_blocks * config.block_size) - 2


def _decodes(config: EngineConfig, rng: Random) -> Iterator[BatchShape]:
    most = min(config.max_num_seqs, config.max_num_batched_tokens)
    for seqs, context in product(_powers(1, most), (24, 160, 640, _longest(config) // 2)):
        yield BatchShape(decodes=_around(context, seqs, rng))


def _prefills(config: EngineConfig) -> Iterator[BatchShape]:
    budget = min(config.max_num_batched_tokens, _longest(config))
    for tokens, stored in product(_powers(8, budget), (0, 256)):
        yield BatchShape(prefills=((stored, tokens),))
    for prompts, tokens in ((2, 32), (2, 256), (4, 64), (8, 32), (8, 128)):
        yield BatchShape(prefills=((0, tokens),) * prompts)


def _mixed(config: EngineConfig, rng: Random) -> Iterator[BatchShape]:
    budget = min(config.max_num_batched_tokens, _longest(config))
    for seqs, tokens in product(_powers(1, min(64, config.max_num_seqs - 1), 4), _powers(16, budget // 2, 4)):
        yield BatchShape(_around(160, seqs, rng), ((0, tokens),))


def _draw(config: EngineConfig, rng: Random) -> BatchShape:
    def log_uniform(low: int, high: int) -> int:
        return round(low * (high / low) ** rng.random()) if high > low else low

    seqs = log_uniform(1, config.max_num_seqs)
    decodes = _around(log_uniform(16, _longest(config) // 2), seqs, rng)
    kind = rng.choice(("decode", "prefill", "mixed", "mixed"))
    if kind == "decode":
        return BatchShape(decodes)
    tokens = log_uniform(8, config.max_num_batched_tokens)
    prompts = min(tokens, rng.choice((1, 1, 2, 3)))
    stored = rng.choice((0, 0, 128))
    prefills = tuple((stored, max(2, tokens // prompts)) for _ in range(prompts))
    return BatchShape(decodes if kind == "mixed" else (), prefills)
