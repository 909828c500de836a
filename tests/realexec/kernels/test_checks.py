"""What a kernel cannot take is refused before anything is launched; and the bounds that hold buffers together."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")
pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from realexec.kernels.activation import silu_mul_launch
from realexec.kernels.configs import MAX_SPLITS, decode_splits, padded
from realexec.kernels.decode import DecodeWorkspace, decode_launches
from realexec.kernels.prefill import prefill_launch
from realexec.kernels.rope import rotate_launch
from realexec.kernels.store import store_launch
from serving.errors import ConfigError, InvariantError


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def slots(tokens: int) -> torch.Tensor:
    return empty(tokens, dtype=torch.int64)


@pytest.mark.parametrize(
    ("head_dim", "block_size", "dtype", "names"),
    [
        (80, 16, torch.bfloat16, "heads of .* not 80"),
        (64, 24, torch.bfloat16, "blocks of .* not 24"),
        (64, 16, torch.float64, "not float64"),
    ],
)
def test_a_setting_without_a_kernel_is_a_config_error(head_dim, block_size, dtype, names) -> None:
    rows, cache = empty(3, 2, head_dim, dtype=dtype), empty(5, block_size, 2, head_dim, dtype=dtype)
    lengths, tables = empty(3, dtype=torch.int32), empty(3, 4, dtype=torch.int32)
    workspace = DecodeWorkspace(3, 2, head_dim, "meta")
    with pytest.raises(ConfigError, match=names):
        store_launch(rows, rows, cache, cache, slots(3))
    with pytest.raises(ConfigError, match=names):
        decode_launches(rows, cache, cache, lengths, tables, rows, workspace, 1.0)
    with pytest.raises(ConfigError, match=names):
        prefill_launch(rows, cache, cache, empty(4, dtype=torch.int32), lengths, tables, rows, 1.0)


def test_a_group_too_large_is_a_config_error() -> None:
    rows, cache = empty(3, 18, 64), empty(5, 16, 2, 64)
    starts, lengths, tables = (empty(*shape, dtype=torch.int32) for shape in ((4,), (3,), (3, 4)))
    with pytest.raises(ConfigError, match="up to 8 query heads a kv head, not 9"):
        prefill_launch(rows, cache, cache, starts, lengths, tables, rows, 1.0)


def test_tensors_that_do_not_belong_together_are_an_invariant_error() -> None:
    rows, cache = empty(3, 2, 64), empty(5, 16, 2, 64)
    cos = sin = empty(9, 32, dtype=torch.float32)
    four, lengths, tables = empty(4, 2, 64), empty(4, dtype=torch.int32), empty(4, 4, dtype=torch.int32)
    workspace = DecodeWorkspace(3, 2, 64, "meta")
    with pytest.raises(InvariantError, match=r"slots is \(2,\)"):
        store_launch(rows, rows, cache, cache, slots(2))
    with pytest.raises(InvariantError, match="value_cache has strides"):
        store_launch(rows, rows, cache, empty(5, 32, 2, 64)[:, ::2], slots(3))
    with pytest.raises(InvariantError, match=r"gate_up is \(3, 10\)"):
        silu_mul_launch(empty(3, 10), empty(3, 6))
    with pytest.raises(InvariantError, match="together or not at all"):
        rotate_launch(empty(3, 4, 64), 2, 1, slots(3), cos, sin, empty(64), None, 1e-6)
    with pytest.raises(InvariantError, match=r"4 sequences .* workspace"):
        decode_launches(four, cache, cache, lengths, tables, four, workspace, 1.0)


@given(st.integers(1, 600), st.integers(1, 64), st.integers(1, 16))
def test_a_workspace_holds_every_smaller_batch(max_batch: int, kv_heads: int, group: int) -> None:
    workspace = DecodeWorkspace(max_batch, kv_heads * group, 64, "meta")
    for batch in range(1, max_batch + 1):
        splits = decode_splits(batch, kv_heads)
        assert 1 <= splits <= MAX_SPLITS
        assert batch * kv_heads * group * splits <= len(workspace.weight)


@given(st.lists(st.integers(0, 300), max_size=30), st.integers(1, 128))
def test_the_prefill_grid_reaches_every_block_of_queries(lengths: list[int], block: int) -> None:
    """The bound of prefill.py: programs first // block + i, and on, are enough for sequence i and nobody else's."""
    free_from, row = 0, 0
    for i, length in enumerate(lengths):
        first = row // block + i
        assert first >= free_from
        free_from = first + -(-length // block)
        row += length
    assert free_from <= row // block + len(lengths)


@given(st.integers(1, 1 << 20))
def test_padded_is_the_next_power_of_two(size: int) -> None:
    assert padded(size) >= size > padded(size) // 2
    assert padded(size) & (padded(size) - 1) == 0
