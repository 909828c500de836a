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
from realexec.attention.numba_cpu import TILE, NumbaAttention, softmax2
from realexec.attention.torch_paged import TorchPagedAttention
from realexec.kv_cache import KVCache
from realexec.shapes import ModelShape
from tests.realexec import reference

# Float32 with about a thousand terms a sum and outputs of order 1: rounding stays near 1e-6; a token too many or
# too few changes an output by 1e-3 or more.
TOLERANCE = 2e-5

SEQUENCES = st.lists(st.tuples(st.integers(0, 70), st.one_of(st.just(1), st.integers(1, 40))), min_size=1, max_size=6)


def check(backend: str, sequences: list[tuple[int, int]], block_size: int, kv_heads: int, group: int, dim: int) -> None:
    """sequences: (tokens stored before, tokens new) each."""
    shape = ModelShape("a", 8, 8, 2, kv_heads * group, kv_heads, dim, 8, 1e4, 1e-5, False, True, 4096)
    rng = np.random.default_rng(len(sequences) * block_size)
    needs = [-(-(start + n) // block_size) for start, n in sequences]
    cache = KVCache(shape, sum(needs) + 1, block_size)
    blocks = list(range(sum(needs) + 1))
    Random(block_size).shuffle(blocks)
    tables = np.full((len(sequences), max(needs)), 2**31 - 1, np.int32)  # padding that no one may read
    slots: list[int] = []
    stored = []
    for i, (start, n) in enumerate(sequences):
        tables[i, : needs[i]] = own = [blocks.pop() for _ in range(needs[i])]
        kv = rng.standard_normal((2, start + n, kv_heads, dim)).astype(np.float32)
        places = [own[t // block_size] * block_size + t % block_size for t in range(start + n)]
        for part in range(2):
            cache.slots(1, part)[places[:start]] = torch.from_numpy(kv[part, :start])
        slots += places[start:]
        stored.append(kv)
    lengths = np.array([n for _, n in sequences])
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    contexts = np.array([start + n for start, n in sequences], np.int32)
    batch = RaggedBatch(starts, contexts, tables, np.array(slots, np.int64))
    new = np.concatenate([kv[:, start:] for kv, (start, _) in zip(stored, sequences, strict=True)], axis=1)
    # Queries and keys share rows, as in the model: neither is contiguous.
    rotated = torch.from_numpy(rng.standard_normal((starts[-1], kv_heads * (group + 1), dim)).astype(np.float32))
    queries, keys = rotated[:, : kv_heads * group], rotated[:, kv_heads * group :]
    keys.copy_(torch.from_numpy(new[0]))
    out = torch.full(queries.shape, float("nan"))
    attention = NumbaAttention(cache, kv_heads * group) if backend == "numba" else TorchPagedAttention(cache)
    untouched = cache.data[0].clone()
    attention.begin(batch)
    attention.store(1, keys, torch.from_numpy(new[1]))
    attention.attend(1, queries, out)
    assert torch.equal(cache.data[0], untouched), "another layer's KV changed"
    for i, kv in enumerate(stored):
        rows = slice(starts[i], starts[i + 1])
        expected = reference.attention(
            queries[rows].numpy().astype(np.float64), kv[0].astype(np.float64), kv[1].astype(np.float64)
        )
        np.testing.assert_allclose(out[rows].numpy(), expected, rtol=0, atol=TOLERANCE)


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


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("sequences", [[(0, TILE)], [(0, TILE + 1)], [(1100, TILE + 5), (1500, 1)], [(1023, 2)]])
def test_lengths_around_the_edges_of_tiles_and_buffers(backend, sequences) -> None:
    check(backend, sequences, 16, 1, 2, 8)


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 1000.0])
def test_softmax_in_powers_of_two(spread) -> None:
    """Scores far below the largest have weight 0, not a denormal nor a huge number from a wrapped exponent."""
    scores = (np.random.default_rng(0).standard_normal(999) * spread).astype(np.float32)
    expected = np.exp2(scores.astype(np.float64) - scores.max())
    expected /= expected.sum()
    exponents = np.empty(999, np.int32)
    softmax2(scores, 999, exponents, exponents.view(np.float32))
    np.testing.assert_allclose(scores, expected, rtol=3e-6, atol=1e-30)
