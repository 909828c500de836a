"""Where a model computes and what KV it gets: sizes, defaults, and refusals before anything is allocated."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from realexec import build
from realexec.build import build_runner, dtype_of
from realexec.compute import GIB, Compute, blocks_in, cpu_blocks
from realexec.loaded import LoadedModel
from realexec.tokenizer.bytewise import ByteTokenizer
from realexec.weights import random_weights
from serving.errors import BlockedError, ConfigError
from serving.schedule.config import EngineConfig
from tests.realexec.reference import tiny

CONFIG = EngineConfig(max_model_len=256, max_num_batched_tokens=64, max_num_seqs=4)


def loaded() -> LoadedModel:
    shape = tiny()
    return LoadedModel("tiny", shape, random_weights(shape), ByteTokenizer())


def test_a_pool_takes_the_memory_it_was_given_and_no_more() -> None:
    shape = tiny()
    block_bytes = 2 * shape.num_layers * shape.num_kv_heads * shape.head_dim * 4 * 16
    assert blocks_in(10 * block_bytes, shape, 16, "float32") == 10
    assert blocks_in(10 * block_bytes - 1, shape, 16, "float32") == 9
    assert blocks_in(10 * block_bytes, shape, 16, "bfloat16") == 20
    assert cpu_blocks(shape, 16, "float32", None) == 4096
    assert cpu_blocks(shape, 16, "float32", 10 * block_bytes / GIB) == 10
    with pytest.raises(ConfigError, match="hold no KV block"):
        blocks_in(block_bytes - 1, shape, 16, "float32")


def test_what_was_asked_for_is_what_runs_and_is_said() -> None:
    runner = build_runner(loaded(), Compute(dtype="bfloat16", kv_gib=0.001), CONFIG)
    assert runner.conditions == {"device": "cpu", "dtype": "bfloat16", "compute_threads": 1}
    assert runner.kv_bytes_per_token * runner.num_blocks * 16 <= 0.001 * GIB
    assert runner.description.startswith(f"bfloat16 on cpu, {runner.num_blocks} KV blocks of 16 tokens (0.00 GiB)")
    assert build_runner(loaded(), Compute(dtype="float32"), CONFIG, 7).num_blocks == 7


@pytest.mark.parametrize(("multiplies", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_what_the_processor_multiplies(multiplies, dtype, monkeypatch) -> None:
    monkeypatch.setattr(build, "multiplies_bfloat16", lambda: multiplies)
    assert dtype_of(Compute()) == dtype
    assert dtype_of(Compute(dtype="float32")) == "float32"
    assert dtype_of(Compute("cuda")) == "bfloat16"


@pytest.mark.parametrize(
    ("compute", "config", "num_blocks", "words"),
    [
        (Compute(kv_gib=1.0), CONFIG, 9, "both size the pool"),
        (
            Compute(dtype="float32"),
            EngineConfig(max_model_len=601, max_num_batched_tokens=64),
            9,
            "has positions for 600",
        ),
        (Compute(dtype="float32"), CONFIG, 10**12, "are available"),
    ],
)
def test_what_cannot_be_is_refused(compute, config, num_blocks, words) -> None:
    with pytest.raises(ConfigError, match=words):
        build_runner(loaded(), compute, config, num_blocks)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_cuda_is_blocked() -> None:
    with pytest.raises(BlockedError, match="--device cpu"):
        build_runner(loaded(), Compute("cuda"), CONFIG)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"device": "tpu"}, "tpu"),
        ({"dtype": "int8"}, "int8"),
        ({"dtype": "float16"}, "float16"),
        ({"num_threads": 0}, "num_threads is 0"),
        ({"kv_gib": 0.0}, "memory for KV"),
        ({"kv_gib": float("nan")}, "memory for KV"),
    ],
)
def test_what_no_device_does_is_refused(wrong, words) -> None:
    with pytest.raises(ConfigError, match=words):
        Compute(**wrong)
