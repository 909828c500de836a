"""A sample of the kernels compiles for GPUs that are not here, and fits them; the command does all."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from realexec.compute import name_of
from realexec.kernels import aot
from realexec.kernels.activation import silu_mul_launch
from realexec.kernels.checks import DTYPES, HEAD_DIMS
from realexec.kernels.decode import DecodeWorkspace, decode_launches
from realexec.kernels.norm import norm_launch
from realexec.kernels.prefill import prefill_launch
from realexec.kernels.rope import rotate_launch
from realexec.kernels.sampling import sample_launches
from realexec.kernels.shipped import Variant, variants
from realexec.kernels.store import store_launch

SAMPLE = {
    ("prefill", torch.bfloat16, 128),
    ("prefill", torch.float32, 128),
    ("decode", torch.bfloat16, 96),
    ("reduce", torch.bfloat16, 128),
    ("rotate with norms", torch.bfloat16, 128),
    ("add norm", torch.bfloat16, 4096),
    ("threshold", torch.float32, 151936),
    ("draw", torch.float32, 151936),
}


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    """Triton keeps what it has compiled; a test compiles."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize("architecture", aot.ARCHITECTURES)
def test_a_sample_fits(architecture: str) -> None:
    sample = [variant for variant in variants() if (variant.kernel, variant.dtype, variant.size) in SAMPLE]
    assert len(sample) == len(SAMPLE)
    for variant in sample:
        usage = aot.measure(variant, aot.ARCHITECTURES[architecture])
        assert usage.fits, usage
        assert 8 <= usage.registers <= 512, usage


def test_attention_uses_tensor_cores_and_keeps_loads_in_flight() -> None:
    """Of 16-bit values; what was read as registers and shared memory means little if the loop is not pipelined."""
    launches = {v.kernel: v.launch for v in variants() if v.dtype == torch.bfloat16 and v.size == 128}
    for kernel, product in (("prefill", "wgmma.mma_async"), ("decode", "mma.sync")):
        ptx = aot.compile_launch(launches[kernel], aot.ARCHITECTURES["sm_90"].target).asm["ptx"]
        assert product in ptx
        assert "cp.async" in ptx


def test_variants_are_all_dtypes_and_head_sizes() -> None:
    found = {(variant.dtype, variant.size) for variant in variants() if variant.kernel == "decode"}
    assert found == {(dtype, head_dim) for dtype in DTYPES for head_dim in HEAD_DIMS}


@pytest.mark.parametrize("architecture", ["sm_90", "gfx942"])
def test_sizes_of_one_and_odd_sizes_compile(architecture: str) -> None:
    """The JIT makes an argument of 1 a constant, and knows less of one that 16 does not divide."""
    target = aot.ARCHITECTURES[architecture].target
    qkv, cache = meta(3, 3, 48), meta(5, 16, 1, 48)
    slots, table, one = meta(3, dtype=torch.int64), meta(9, 24, dtype=torch.float32), meta(3, 1)
    lengths, tables = meta(3, dtype=torch.int32), meta(3, 1, dtype=torch.int32)
    out, starts = meta(3, 1, 48), meta(4, dtype=torch.int32)
    floats = meta(3, dtype=torch.float32)
    launches = [
        store_launch(qkv[:, 1:2], qkv[:, 2:], cache, cache, slots),
        rotate_launch(qkv, 1, 1, slots, table, table, None, None, 1e-6),
        prefill_launch(qkv[:, :1], cache, cache, starts, lengths, tables, out, 1.0),
        *decode_launches(qkv[:, :1], cache, cache, lengths, tables, out, DecodeWorkspace(3, 1, 48, "meta"), 1.0),
        norm_launch(one, meta(1), 1e-6, one),
        silu_mul_launch(meta(3, 2), one),
        *sample_launches(meta(3, 5), floats, lengths, floats, slots, slots),
        *sample_launches(meta(3, 1), floats, lengths, floats, slots, slots),
    ]
    for launch in launches:
        assert aot.compile_launch(launch, target).metadata.shared <= aot.ARCHITECTURES[architecture].shared_bytes


def test_the_documented_table_is_of_these_kernels(repo: Path) -> None:
    """docs/kernels.md has a row for every variant, with the warps and stages it has now."""
    text = (repo / "docs" / "kernels.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:6]] for line in text.splitlines() if line.startswith("| ")]
    name = name_of
    shipped = [[v.kernel, name(v.dtype), str(v.size), str(v.launch.warps), str(v.launch.stages)] for v in variants()]
    assert sorted(rows[2:]) == sorted(shipped)


def test_what_does_not_fit_is_said() -> None:
    variant: Variant = next(variants())
    usage = aot.Usage(variant.kernel, "bfloat16", 48, "sm_80", 4, 1, 255, 8, 0)
    assert not usage.fits
    large = aot.Usage(variant.kernel, "bfloat16", 48, "gfx942", 4, 1, 100, 0, 65537)
    assert not large.fits
