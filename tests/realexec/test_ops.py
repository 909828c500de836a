"""The CPU's fast operations are the plain ones, in both number formats, on strided rows and odd widths."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from hypothesis import given, settings
from hypothesis import strategies as st

from realexec.ops.numba_cpu import NumbaOps
from realexec.ops.plain import PlainOps
from serving.errors import ConfigError

DTYPES = [torch.float32, torch.bfloat16]
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7}  # relative; one step of bfloat16 is 2^-8
EPS = 1e-5


def near(got, expected, dtype) -> None:
    torch.testing.assert_close(got.float(), expected.float(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def normal(dtype, *size: int, seed: int = 0, scale: float = 1.0):
    return (torch.randn(*size, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(rows=st.integers(0, 9), width=st.integers(1, 70), scale=st.sampled_from([1e-3, 1.0, 100.0]))
def test_norms(dtype, rows, width, scale) -> None:
    x, weight = normal(dtype, rows, width, scale=scale), normal(dtype, width, seed=1)
    fast, plain = NumbaOps(dtype), PlainOps(dtype)
    got, expected = torch.full_like(x, torch.nan), torch.full_like(x, torch.nan)
    fast.rms_norm(x, weight, EPS, got)
    plain.rms_norm(x, weight, EPS, expected)
    near(got, expected, dtype)
    residual = normal(dtype, rows, width, seed=2)
    residuals = residual.clone(), residual.clone()
    fast.add_rms_norm(x, residuals[0], weight, EPS, got)
    plain.add_rms_norm(x, residuals[1], weight, EPS, expected)
    assert torch.equal(*residuals), "one sum, rounded once, is the same number whoever adds"
    near(got, expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normed", [False, True])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(rows=st.integers(0, 6), heads=st.integers(1, 4), kv_heads=st.integers(1, 3), half=st.integers(1, 40))
def test_rotation(dtype, normed, rows, heads, kv_heads, half) -> None:
    qkv = normal(dtype, rows + 1, heads + 2 * kv_heads, 2 * half)
    positions = torch.arange(3, 3 + rows)
    angles = torch.arange(20)[:, None] * 0.7 ** torch.arange(half)
    norms = (normal(dtype, 2 * half, seed=1), normal(dtype, 2 * half, seed=2)) if normed else (None, None)
    results = []
    for ops in (NumbaOps(dtype), PlainOps(dtype)):
        own = qkv.clone()
        ops.rotate_qk(own[:rows], heads, kv_heads, positions, angles.cos(), angles.sin(), *norms, EPS)
        assert torch.equal(own[rows:], qkv[rows:]), "a row behind the batch changed"
        assert torch.equal(own[:, heads + kv_heads :], qkv[:, heads + kv_heads :]), "values changed"
        results.append(own)
    # With norms the fast way rounds to bfloat16 once more, between norm and rotation.
    tolerance = 2 * TOLERANCE[dtype]
    torch.testing.assert_close(results[0].float(), results[1].float(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
def test_silu_mul(dtype, scale) -> None:
    gate_up = normal(dtype, 7, 2 * 53, scale=scale)
    got, expected = torch.full((7, 53), torch.nan, dtype=dtype), torch.empty(7, 53, dtype=dtype)
    NumbaOps(dtype).silu_mul(gate_up, got)
    PlainOps(dtype).silu_mul(gate_up, expected)
    torch.testing.assert_close(got.float(), expected.float(), rtol=TOLERANCE[dtype], atol=1e-4)


def test_memory_of_a_name_is_kept_and_grows() -> None:
    ops = NumbaOps()
    small = ops.empty("a", 2, 8)
    large = ops.empty("a", 5, 8)
    assert ops.empty("a", 2, 8).data_ptr() == large.data_ptr()
    assert ops.empty("b", 2, 8).data_ptr() != large.data_ptr()
    assert small.shape == (2, 8)


def test_what_a_cpu_does_not_compute_in_is_refused() -> None:
    with pytest.raises(ConfigError, match="float16"):
        NumbaOps(torch.float16)


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 700, 2048, 2100, 5000])
@pytest.mark.parametrize("width", [8, 4096, 32000, 151936, 1 << 22])
def test_chunks_cover_all_rows_and_are_no_larger_than_allowed(rows, width) -> None:
    from realexec.linear import ROW_BUCKETS, bucket
    from realexec.ops.numba_cpu import CHUNK_ELEMENTS, LEAST_CHUNK

    padded = bucket(rows)
    parts = NumbaOps().chunks(padded, width)
    assert [i for part in parts for i in range(padded)[part]] == list(range(padded))
    for part in parts:
        assert (part.stop - part.start) * width <= max(CHUNK_ELEMENTS, LEAST_CHUNK * width)
        assert part.stop - part.start in ROW_BUCKETS
    assert NumbaOps().chunks(0, width) == [], "a step that samples nothing"
