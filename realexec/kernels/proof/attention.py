"""Cases of the paged kernels: store, prefill, decode."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

import torch
from torch import Tensor

from realexec.kernels.checks import BLOCK_SIZES, HEAD_DIMS
from realexec.kernels.decode import DecodeWorkspace, decode_attention
from realexec.kernels.prefill import prefill_attention
from realexec.kernels.proof.verdict import Comparison, compare, same
from realexec.kernels.store import store_kv

NAN = float("nan")

# (tokens stored before, tokens new) of each sequence; (0, 0) is a padding row.
BATCHES = {
    "one token": [(0, 1)],
    "empty": [],
    "padding": [(0, 0), (40, 1), (0, 0), (0, 0), (9, 3), (0, 0)],
    "one-token sequences": [(0, 1), (15, 1), (16, 1), (31, 1), (0, 1)],
    "whole prompts": [(0, 130), (0, 1), (0, 33)],
    "chunks": [(128, 60), (37, 5), (200, 1)],
}
CONTEXTS = [0, 1, 0, 16, 17, 127, 128, 129, 300]
LONG_CONTEXT = 6000  # more than every split's least share


@dataclass(frozen=True, slots=True)
class Paged:
    """A batch over shuffled blocks. Only stored tokens are numbers: the rest of the blocks is NaN, and what follows in
    a block table leads to NaN. qkv [T + 3, heads + 2 kv heads, D]: the last three rows are nobody's.
    """

    qkv: Tensor
    key_cache: Tensor
    value_cache: Tensor
    query_starts: Tensor
    context_lens: Tensor
    block_tables: Tensor
    heads: int

    @property
    def queries(self) -> Tensor:
        return self.qkv[:, : self.heads]

    @property
    def scale(self) -> float:
        return float(self.qkv.shape[2] ** -0.5)


def store_cases(device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Comparison]:
    random, generator = Random(1), torch.Generator().manual_seed(1)
    for head_dim in HEAD_DIMS:
        for _ in range(rounds):
            block_size, kv_heads, tokens = random.choice(BLOCK_SIZES), random.choice([1, 2, 3, 8]), random.randrange(20)
            slots = torch.tensor(random.sample(range(5 * block_size), tokens), dtype=torch.int64)
            padding = torch.tensor([random.random() < 0.2 for _ in range(tokens)], dtype=torch.bool)
            rows = torch.randn(tokens, 2 + 2 * kv_heads, head_dim, generator=generator).to(dtype)
            rows[padding] = NAN
            cache = torch.full((2, 5, block_size, kv_heads, head_dim), NAN, dtype=dtype)
            expected = cache.clone()
            keys, values = rows.to(device)[:, 2:].chunk(2, dim=1)
            for part, new in enumerate((rows[:, 2 : 2 + kv_heads], rows[:, 2 + kv_heads :])):
                expected[part].flatten(0, 1)[slots[~padding]] = new[~padding]
            cache = cache.to(device)
            store_kv(keys, values, cache[0], cache[1], torch.where(padding, -1, slots).to(device))
            yield same(f"{tokens} tokens, {kv_heads} x {head_dim}, blocks of {block_size}", cache.cpu(), expected)


def prefill_cases(device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Comparison]:
    random = Random(2)
    batches = dict(BATCHES)
    for i in range(rounds):
        batches[f"random {i}"] = [(random.randrange(200), random.randrange(50)) for _ in range(random.randint(1, 4))]
    for i, (name, sequences) in enumerate(batches.items()):
        head_dim, block_size, group = _sizes(i)
        batch = paged(sequences, head_dim, block_size, group, dtype, device, seed=i)
        out = torch.full(batch.queries.shape, NAN, dtype=dtype, device=device)
        prefill_attention(
            batch.queries,
            batch.key_cache,
            batch.value_cache,
            batch.query_starts,
            batch.context_lens,
            batch.block_tables,
            out,
            batch.scale,
        )
        yield compare(f"{name}: group {group}, head {head_dim}, blocks of {block_size}", out, expected_attention(batch))


def decode_cases(device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Comparison]:
    random = Random(3)
    batches = {"empty": [], "edges": CONTEXTS, "long": [LONG_CONTEXT, 5]}
    for i in range(rounds):
        batches[f"random {i}"] = [random.choice([0, random.randrange(700)]) for _ in range(random.randint(1, 6))]
    for i, (name, contexts) in enumerate(batches.items()):
        head_dim, block_size, group = _sizes(i)
        sequences = [(max(context - 1, 0), min(context, 1)) for context in contexts]
        batch = paged(sequences, head_dim, block_size, group, dtype, device, seed=i)
        rows = torch.full((len(contexts), *batch.qkv.shape[1:]), NAN, dtype=dtype, device=device)
        real = batch.context_lens > 0
        rows[real] = batch.qkv[: int(real.sum())]
        out = torch.full((len(contexts), batch.heads, head_dim), NAN, dtype=dtype, device=device)
        workspace = DecodeWorkspace(max(1, len(contexts)), batch.heads, head_dim, device)
        workspace.summed.fill_(NAN)
        workspace.weight.fill_(NAN)
        decode_attention(
            rows[:, : batch.heads],
            batch.key_cache,
            batch.value_cache,
            batch.context_lens,
            batch.block_tables,
            out,
            workspace,
            batch.scale,
        )
        expected = torch.zeros(out.shape, dtype=torch.float64, device=device)
        expected[real] = expected_attention(batch)[: int(real.sum())]
        yield compare(f"{name}: group {group}, head {head_dim}, blocks of {block_size}", out, expected)


def large_cache_cases(device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Comparison]:
    """Slots whose elements lie beyond 2^31, where offsets of 32 bits end. Only what is used becomes resident."""
    tokens, block_size, head_dim = 20, 16, 64
    num_blocks = 2**31 // (block_size * head_dim) + 4
    cache = torch.empty(num_blocks, block_size, 1, head_dim, dtype=dtype, device=device)
    qkv = torch.randn(tokens, 3, head_dim, generator=torch.Generator().manual_seed(4)).to(device, dtype)
    table = torch.tensor([[num_blocks - 1, num_blocks - 3]], dtype=torch.int32, device=device)
    places = torch.arange(tokens, device=device)
    slots = table[0].long()[places // block_size] * block_size + places % block_size
    lengths = torch.tensor([tokens], dtype=torch.int32, device=device)
    starts = torch.tensor([0, tokens], dtype=torch.int32, device=device)
    store_kv(qkv[:, 1:2], qkv[:, 1:2], cache, cache, slots)
    yield same("store", cache.flatten(0, 1)[slots], qkv[:, 1:2])
    batch = Paged(qkv, cache, cache, starts, lengths, table, heads=1)
    expected = expected_attention(batch)
    out = torch.full((tokens, 1, head_dim), NAN, dtype=dtype, device=device)
    prefill_attention(batch.queries, cache, cache, starts, lengths, table, out, batch.scale)
    yield compare("prefill", out, expected)
    workspace = DecodeWorkspace(1, 1, head_dim, device)
    decode_attention(batch.queries[-1:], cache, cache, lengths, table, out[-1:].fill_(NAN), workspace, batch.scale)
    yield compare("decode", out[-1:], expected[-1:])


def paged(
    sequences: list[tuple[int, int]],
    head_dim: int,
    block_size: int,
    group: int,
    dtype: torch.dtype,
    device: torch.device,
    seed: int,
) -> Paged:
    """Sequences of (stored, new) tokens, new ones stored too. Every second one shares the first one's full blocks, as
    far as both have stored tokens there.
    """
    random, generator = Random(seed), torch.Generator().manual_seed(seed)
    kv_heads = random.choice([1, 2])
    lengths = [stored + new for stored, new in sequences]
    needs = [-(-length // block_size) for length in lengths]
    num_blocks = sum(needs) + 2
    free = random.sample(range(num_blocks), num_blocks)
    nowhere = free.pop()
    tables = torch.full((len(sequences), max(needs, default=0) + 2), nowhere, dtype=torch.int32)
    caches = torch.full((2, num_blocks, block_size, kv_heads, head_dim), NAN, dtype=dtype)
    for i, length in enumerate(lengths):
        shared = min(sequences[0][0], sequences[i][0]) // block_size if i % 2 else 0
        own = tables[0, :shared].tolist() + [free.pop() for _ in range(needs[i] - shared)]
        tables[i, : needs[i]] = torch.tensor(own, dtype=torch.int32)
        positions = torch.arange(shared * block_size, length)
        slots = tables[i].long()[positions // block_size] * block_size + positions % block_size
        kv = torch.randn(2, len(positions), kv_heads, head_dim, generator=generator).to(dtype)
        caches.flatten(1, 2)[:, slots] = kv
    starts = torch.tensor([0, *accumulate(new for _, new in sequences)], dtype=torch.int32)
    rows = int(starts[-1])
    spread = random.choice([1.0, 4.0])  # scores of many sizes: the running maximum rises on the way
    qkv = torch.randn(rows + 3, (group + 2) * kv_heads, head_dim, generator=generator).to(dtype) * spread
    return Paged(
        qkv.to(device),
        caches[0].to(device),
        caches[1].to(device),
        starts.to(device),
        torch.tensor(lengths, dtype=torch.int32, device=device),
        tables.to(device),
        group * kv_heads,
    )


def expected_attention(batch: Paged) -> Tensor:
    """In float64 [rows of qkv, heads, D], sequence by sequence; NaN for rows that are nobody's."""
    block_size, kv_heads = batch.key_cache.shape[1:3]
    out = torch.full(batch.queries.shape, NAN, dtype=torch.float64, device=batch.qkv.device)
    starts = batch.query_starts.tolist()
    for i, length in enumerate(batch.context_lens.tolist()):
        rows = slice(starts[i], starts[i + 1])
        new = rows.stop - rows.start
        positions = torch.arange(length, device=out.device)
        slots = batch.block_tables[i].long()[positions // block_size] * block_size + positions % block_size
        keys, values = (cache.flatten(0, 1)[slots].double() for cache in (batch.key_cache, batch.value_cache))
        queries = batch.queries[rows].double().unflatten(1, (kv_heads, -1))
        scores = torch.einsum("qkgd,skd->kgqs", queries, keys) * batch.scale
        hidden = positions[None, :] > positions[length - new :][:, None]
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        out[rows] = torch.einsum("kgqs,skd->qkgd", weights, values).flatten(1, 2)
    return out


def _sizes(case: int) -> tuple[int, int, int]:
    """head_dim, block_size, group: each runs through all of its values, at strides that meet in ever new pairs."""
    return HEAD_DIMS[case % 4], BLOCK_SIZES[case % 5], 1 + case * 3 % 8
