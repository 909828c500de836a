"""Both backends against float64 on ragged batches over permuted block tables."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)
from random import Random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")
pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from realexec.attention.base import RaggedBatch
from realexec.attention.numba_cpu import NumbaAttention, Tiles
from realexec.attention.torch_paged import TorchPagedAttention
from realexec.cpu_kernels import power_all
from realexec.kv_cache import KVCache
from realexec.shapes import ModelShape
from tests.realexec import reference

# Float32 with about a thousand terms a sum and outputs of order 1: rounding stays near 1e-6; a token too many or
# too few changes an output by 1e-3 or more.
TOLERANCE = 2e-5

SEQUENCES = st.lists(st.tuples(st.integers(0, 70), st.one_of(st.just(1), st.integers(1, 40))), min_size=1, max_size=6)


def check(
    backend: str,
    sequences: list[tuple[int, int]],
    block_size: int,
    kv_heads: int,
    group: int,
    dim: int,
    dtype: torch.dtype = torch.float32,
    threads: int = 1,
) -> None:
    """sequences: (tokens stored before, tokens new) each. What was stored before is stored by the backend itself."""
    shape = ModelShape("a", 8, 8, 2, kv_heads * group, kv_heads, dim, 8, 1e4, 1e-5, False, True, 4096)
    generator = torch.Generator().manual_seed(len(sequences) * block_size)
    needs = [-(-(start + n) // block_size) for start, n in sequences]
    multiple = 16 if backend == "numba" else 1
    cache = KVCache(shape, sum(needs) + 1, block_size, slots_multiple=multiple, dtype=dtype)
    cache.data.fill_(float("nan"))  # nothing that was not stored may matter
    attention = NumbaAttention(cache, kv_heads * group, threads) if backend == "numba" else TorchPagedAttention(cache)
    blocks = list(range(sum(needs) + 1))
    Random(block_size).shuffle(blocks)
    tables = np.full((len(sequences), max(needs)), 2**31 - 1, np.int32)  # padding that no one may read
    places, stored = [], []
    for i, (start, n) in enumerate(sequences):
        tables[i, : needs[i]] = own = [blocks.pop() for _ in range(needs[i])]
        places.append([own[t // block_size] * block_size + t % block_size for t in range(start + n)])
        stored.append(torch.randn(2, start + n, kv_heads, dim, generator=generator).to(dtype))
    before = [start for start, _ in sequences]

    def batch(first: list[int], last: list[int]) -> RaggedBatch:
        starts = np.concatenate([[0], np.cumsum(np.subtract(last, first))]).astype(np.int32)
        slots = [p for own, low, high in zip(places, first, last, strict=True) for p in own[low:high]]
        return RaggedBatch(starts, np.array(last, np.int32), tables, np.array(slots, np.int64))

    ends = [start + n for start, n in sequences]
    old = torch.cat([kv[:, :start] for kv, start in zip(stored, before, strict=True)], dim=1)
    if old.shape[1]:
        attention.begin(batch([0] * len(before), before))
        attention.store(1, old[0], old[1])
    now = batch(before, ends)
    new = torch.cat([kv[:, start:] for kv, start in zip(stored, before, strict=True)], dim=1)
    # Queries, keys and values share rows, as in the model: none is contiguous.
    rows = torch.randn(new.shape[1], kv_heads * (group + 2), dim, generator=generator).to(dtype)
    queries, keys, values = rows.split([kv_heads * group, kv_heads, kv_heads], dim=1)
    keys.copy_(new[0])
    values.copy_(new[1])
    out = torch.full(queries.shape, float("nan"), dtype=dtype)
    untouched = cache.data[0].clone()
    attention.begin(now)
    attention.store(1, keys, values)
    attention.attend(1, queries, out)
    assert torch.equal(cache.data[0].isnan(), untouched.isnan()), "another layer's KV changed"
    tolerance = TOLERANCE if dtype == torch.float32 else 2e-2
    for i, kv in enumerate(stored):
        own = slice(now.query_starts[i], now.query_starts[i + 1])
        expected = reference.attention(*(x.double().numpy() for x in (queries[own], kv[0], kv[1])))
        np.testing.assert_allclose(out[own].float().numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    sequences=SEQUENCES,
    block_size=st.sampled_from([1, 2, 3, 16, 256]),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 4),
    dim=st.sampled_from([2, 6, 48, 64]),
)
def test_ragged_batches(backend, sequences, block_size, kv_heads, group, dim) -> None:
    check(backend, sequences, block_size, kv_heads, group, dim)


@pytest.mark.parametrize("sequences", [[(0, 255)], [(0, 257)], [(1100, 261), (1500, 1)], [(1023, 2)]])
@pytest.mark.parametrize(("group", "dim"), [(2, 8), (3, 64), (8, 128), (13, 32)])
def test_lengths_and_heights_around_the_edges_of_tiles_and_buffers(sequences, group, dim) -> None:
    check("numba", sequences, 16, 1, group, dim)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("block_size", [3, 16, 32])
def test_bfloat16(backend, block_size) -> None:
    """Inputs are rounded before the comparison, so that only the output's own rounding is left: 2^-8 of about 1."""
    check(backend, [(0, 40), (70, 1), (33, 17)], block_size, 2, 3, 64, torch.bfloat16)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("sequences", [[(5, 1)], [(0, 70), (40, 1), (41, 1)], [(100, 1)] * 9])
def test_threads_share_the_tiles(threads, sequences) -> None:
    check("numba", sequences, 16, 2, 2, 32, threads=threads)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(sequences=SEQUENCES, most_rows=st.integers(1, 12), parts=st.integers(1, 4))
def test_tiles_cover_every_row_once_at_its_position(sequences, most_rows, parts) -> None:
    lengths, contexts = [n for _, n in sequences], [start + n for start, n in sequences]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    batch = RaggedBatch(starts, np.array(contexts, np.int32), np.zeros((1, 1), np.int32), np.zeros(0, np.int64))
    tiles = Tiles.of(batch, most_rows)
    edges = tiles.edges(parts)
    assert (len(edges), edges[0], edges[-1]) == (parts + 1, 0, len(tiles.rows))
    assert edges == sorted(edges)
    covered = [
        (row + r, int(sequence), position + r)
        for row, count, sequence, position in zip(
            tiles.rows.tolist(), tiles.counts.tolist(), tiles.sequences.tolist(), tiles.positions.tolist(), strict=True
        )
        for r in range(count)
    ]
    expected = [(starts[i] + r, i, start + r) for i, (start, n) in enumerate(sequences) for r in range(n)]
    assert covered == expected


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 1000.0])
def test_softmax_in_powers_of_two(spread) -> None:
    """Scores far below the largest have weight 0, not a denormal nor a huge number from a wrapped exponent."""
    scores = (np.random.default_rng(0).standard_normal(999) * spread).astype(np.float32)
    expected = np.exp2(scores.astype(np.float64) - scores.max())
    expected /= expected.sum()
    inverse = power_all(scores)
    np.testing.assert_allclose(scores * inverse, expected, rtol=3e-6, atol=1e-30)
