"""KIND aiconfigurator: tables made by a formula give steps that follow it; what was not measured is told."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from calibration.sources import operator_tables
from calibration.sources.aiconfigurator import profile_from
from records.profile_cost import ProfileCost
from serving.cost import StepFeatures
from serving.errors import BlockedError, MeasurementError

FLOPS, BYTES = 400e12, 2e12
LAYERS, HIDDEN, HEADS, KV_HEADS, DIM, INTERMEDIATE, VOCAB = 8, 4096, 32, 8, 128, 14336, 128256
FILE = f"""
system = "gpu_x"
data = "systems"
tensor_parallel = 1
[model]
name = "made up"
layers = {LAYERS}
hidden = {HIDDEN}
heads = {HEADS}
kv_heads = {KV_HEADS}
head_dim = {DIM}
intermediate = {INTERMEDIATE}
vocab = {VOCAB}
max_position = 8192
[engine]
max_num_seqs = 64
"""


def gemm_ms(m: float, n: float, k: float) -> float:
    """As powers of n and k, which interpolation in logarithms finds exactly."""
    return 1e3 * n * k * max(2 * m / FLOPS, 2 / BYTES)


def decode_ms(batch: float, context: float) -> float:
    return 0.005 + 1e-4 * batch + batch * context * 2 * KV_HEADS * DIM * 2 / BYTES * 1e3


def prefill_ms(batch: float, tokens: float) -> float:
    return 0.005 + batch * tokens * (tokens + 1) / 2 * 4 * HEADS * DIM / FLOPS * 1e3


def write_tables(systems: Path, version: str = "0.24.0") -> None:
    systems.mkdir(exist_ok=True)
    (systems / "gpu_x.yaml").write_text(
        "gpu:\n  mem_bw: 2000000000000 # 2 TB/s\n  mem_bw_empirical_scaling_factor: 1.0\n"
        "  mem_empirical_constant_latency: 0.0\n  mem_capacity: 85899345920\n"
    )
    sizes, rows = (1024, 4096, 8192, 32768, 65536), (1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
    common = {"device": "X", "gemm_dtype": "bfloat16"}
    gemm = [{**common, "m": m, "n": n, "k": k, "latency": gemm_ms(m, n, k)} for m, n, k in product(rows, sizes, sizes)]
    shape = {"num_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": DIM, "window_size": 0}
    shape |= {"attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16"}
    batches, lengths = (1, 2, 4, 8, 16, 32, 64), (16, 64, 256, 1024, 4096)
    decode = [
        {**shape, "batch_size": b, "isl": 1, "step": t - 1, "latency": decode_ms(b, t)}
        for b, t in product(batches, lengths)
    ]
    prefill = [
        {**shape, "batch_size": b, "isl": t, "step": 0, "latency": prefill_ms(b, t)}
        for b, t in product(batches, lengths)
    ]
    reduce = [
        {"num_gpus": 2, "message_size": 2**n, "backend": kind, "latency": factor * (0.004 + 2**n * 1e-8)}
        for n in range(7, 30)
        for kind, factor in (("vllm_graph", 1), ("vllm_eager", 9))
    ]
    for what, name, table in (
        ("gemm", "gemm_perf", gemm),
        ("attention", "generation_attention_perf", decode),
        ("attention", "context_attention_perf", prefill),
        ("comm", "custom_allreduce_perf", reduce),
    ):
        folder = systems / "data" / "gpu_x" / what / "vllm" / version
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(table).to_parquet(folder / f"{name}.parquet")


def expected_ms(step: StepFeatures) -> float:
    matrices = (
        ((HEADS + 2 * KV_HEADS) * DIM, HIDDEN),
        (HIDDEN, HEADS * DIM),
        (2 * INTERMEDIATE, HIDDEN),
        (HIDDEN, INTERMEDIATE),
    )
    layer = sum(gemm_ms(step.num_tokens, n, k) for n, k in matrices)
    numbers = 8 * HIDDEN + 2 * (HEADS + KV_HEADS) * DIM + 3 * INTERMEDIATE
    layer += step.num_tokens * numbers * 2 / BYTES * 1e3
    layer += 0.005 + 1e-4 * step.num_seqs + step.decode_context * 2 * KV_HEADS * DIM * 2 / BYTES * 1e3
    layer += step.prefill_pairs * 4 * HEADS * DIM / FLOPS * 1e3
    return LAYERS * layer + gemm_ms(step.num_sampled, VOCAB, HIDDEN)


@pytest.fixture
def here(tmp_path: Path) -> Callable[..., Path]:
    """Writes the file, with a change."""
    write_tables(tmp_path / "systems")

    def write(old: str = "", new: str = "") -> Path:
        path = tmp_path / "wanted.toml"
        path.write_text(FILE.replace(old, new, 1) if old else FILE)
        return path

    return write


@pytest.mark.parametrize(
    "step",
    [
        StepFeatures.of_decodes(1, 1000),
        StepFeatures.of_decodes(64, 64 * 1000),
        StepFeatures.of_chunk(2048, 0, 0, 0),
        StepFeatures.of_chunk(1000, 0, 24, 24 * 500),
    ],
)
def test_a_step_is_the_sum_of_its_operators(here: Callable[..., Path], step: StepFeatures) -> None:
    profile = profile_from(here(), "made", 0).profile
    assert ProfileCost(profile).execute_time(step) / 1e6 == pytest.approx(expected_ms(step), rel=0.04)


def test_two_gpus_pay_two_all_reduces_a_layer_within_a_graph(here: Callable[..., Path], tmp_path: Path) -> None:
    systems = tmp_path / "systems"
    for name in ("generation_attention_perf", "context_attention_perf"):
        path = systems / "data/gpu_x/attention/vllm/0.24.0" / f"{name}.parquet"
        table = pd.read_parquet(path)
        halves = table.assign(num_heads=HEADS // 2, num_key_value_heads=KV_HEADS // 2, latency=table["latency"] / 2)
        pd.concat([table, halves]).to_parquet(path)
    step = StepFeatures.of_chunk(2048, 0, 0, 0)
    one = ProfileCost(profile_from(here(), "one", 0).profile).execute_time(step) / 1e6
    two = ProfileCost(profile_from(here("parallel = 1", "parallel = 2"), "two", 0).profile).execute_time(step) / 1e6
    norms = LAYERS * 2048 * 8 * HIDDEN * 2 / BYTES * 1e3
    reduced = LAYERS * 2 * (0.004 + 2048 * HIDDEN * 1e-8)
    assert two == pytest.approx((one - norms) / 2 + norms + reduced, rel=0.03)


def test_the_newest_version_counts_unless_one_is_asked_for(here: Callable[..., Path], tmp_path: Path) -> None:
    write_tables(tmp_path / "systems", "0.9.1")
    assert profile_from(here(), "made", 0).profile.software["vllm"] == "0.24.0"
    older = here('data = "systems"', 'data = "systems"\nversion = "0.9.1"')
    assert profile_from(older, "made", 0).profile.software["vllm"] == "0.9.1"


def test_host_times_are_what_the_file_says_and_their_absence_is_told(here: Callable[..., Path]) -> None:
    made = profile_from(here(), "made", 0)
    assert any("[host] is not stated" in note for note in made.notes)
    step = StepFeatures.of_decodes(10, 1000)
    stated = profile_from(here("[engine]", "[host]\nstep = 1.5\nsequence = 0.1\nreturn = 3.0\n[engine]"), "made", 0)
    assert not any("[host]" in note for note in stated.notes)
    before, after = ProfileCost(made.profile), ProfileCost(stated.profile)
    assert after.execute_time(step) - before.execute_time(step) == pytest.approx(2.5e6, abs=1)
    assert after.return_time(step) == 3_000_000
    assert "no whole step was measured" in str((made.profile.source or {})["unvalidated"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gpu_x", "gpu_y", "did you mean gpu_x"),
        ("heads = 32", "heads = 24", "num_heads was 32"),
        ("tensor_parallel = 1", "tensor_parallel = 3", "cannot share evenly"),
        ('data = "systems"', 'data = "systems"\nbackend = "sglang"', "it has vllm"),
        ('data = "systems"', 'data = "systems"\nversion = "0.23.0"', "did you mean 0.24.0"),
        ('data = "systems"', 'data = "systems"\nprecision = "fp8"', "gemm_dtype was bfloat16"),
        ('data = "systems"', 'data = "elsewhere"', "no folder data"),
        ("hidden = 4096", "", "hidden"),
    ],
)
def test_what_was_not_measured_is_told(here: Callable[..., Path], old: str, new: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        profile_from(here(old, new), "made", 0)


def test_without_the_package_it_is_blocked(here: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_tables, "PACKAGE", "no_such_package_is_installed")
    with pytest.raises(BlockedError, match="aiconfigurator"):
        profile_from(here('data = "systems"', ""), "made", 0)
