"""The model against transformers and against float64."""

# ruff: noqa: E402 (the imports below importorskip need what it looks for)
import json
from dataclasses import fields, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from realexec.attention.base import RaggedBatch
from realexec.attention.numba_cpu import NumbaAttention
from realexec.checkpoint.tensors import named_tensors
from realexec.kv_cache import KVCache
from realexec.linear import linear
from realexec.model import Model
from realexec.ops.numba_cpu import NumbaOps
from realexec.rotation import frequencies
from realexec.shapes import SHAPES, ModelShape, RopeScaling
from realexec.weights import Weights, random_weights
from tests.realexec import reference
from tests.realexec.reference import tiny


def all_logits(shape: ModelShape, weights: Weights, token_ids: list[int]) -> np.ndarray:
    """[T, vocab] of one prefill through the paged model."""
    tokens = len(token_ids)
    cache = KVCache(shape, 1, tokens, slots_multiple=16)
    attention = NumbaAttention(cache, shape.num_heads)
    everything = np.arange(tokens)
    starts, context = np.array([0, tokens], np.int32), np.array([tokens], np.int32)
    attention.begin(RaggedBatch(starts, context, np.zeros((1, 1), np.int32), everything))
    positions = torch.from_numpy(everything)
    with torch.inference_mode():
        return (
            Model(shape, weights, NumbaOps())
            .forward(torch.tensor(token_ids), positions, positions, attention)
            .numpy()
            .copy()
        )


@pytest.mark.parametrize("qk_norm", [False, True])
def test_logits_equal_float64(qk_norm) -> None:
    shape = tiny(qk_norm)
    weights = random_weights(shape, seed=3)
    token_ids = [(11 * i) % 97 for i in range(50)]
    got = all_logits(shape, weights, token_ids)
    for last in (0, 1, 17, 49):
        expected = reference.logits(shape, weights, token_ids[: last + 1])
        np.testing.assert_allclose(got[last], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_logits_equal_transformers(architecture) -> None:
    """Tolerance: two float32 computations of logits of order 2."""
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    shape = tiny(qk_norm=architecture == "qwen3")
    weights = random_weights(shape, seed=5)
    sizes = {
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate_size,
        "rms_norm_eps": shape.rms_norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "max_position_embeddings": shape.max_position,
        "tie_word_embeddings": shape.tie_word_embeddings,
        "attention_bias": False,
        "attn_implementation": "eager",
    }
    if architecture == "llama":
        oracle = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, mlp_bias=False))
    else:
        oracle = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**sizes))
    missing, unexpected = oracle.load_state_dict(named_tensors(shape, weights), strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if shape.tie_word_embeddings else set())
    token_ids = [(13 * i) % 97 for i in range(60)]
    with torch.inference_mode():
        expected = oracle.eval()(torch.tensor([token_ids])).logits[0].numpy()
    np.testing.assert_allclose(all_logits(shape, weights, token_ids), expected, rtol=0, atol=2e-5)


def test_chunks_of_rows_change_nothing(monkeypatch) -> None:
    """Layers work on chunks of rows and the LM head on others; sizes that leave a rest behind."""
    shape = tiny(qk_norm=True)
    weights = random_weights(shape)
    token_ids = [(5 * i) % 97 for i in range(53)]
    whole = all_logits(shape, weights, token_ids)
    monkeypatch.setattr("realexec.ops.numba_cpu.CHUNK_ELEMENTS", 16 * 80)
    np.testing.assert_allclose(all_logits(shape, weights, token_ids), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("change", [{"qkv_bias": True}, {"rope_scaling": RopeScaling("linear", 8.0)}])
def test_bias_and_scaling_matter(change) -> None:
    """Against transformers they are held in test_checkpoint.py."""
    plain = tiny()
    other = replace(plain, **change)
    token_ids = [(5 * i) % 97 for i in range(20)]
    weights = random_weights(other)
    without = replace(weights, layers=tuple(replace(layer, qkv_bias=None) for layer in weights.layers))
    difference = all_logits(other, weights, token_ids) - all_logits(plain, without, token_ids)
    assert np.abs(difference[-1]).max() > 0.1


def test_scaled_frequencies_of_llama_3() -> None:
    """Fast ones are kept, slow ones divided by factor, and none is outside of both."""
    plain = ModelShape("m", 97, 24, 2, 4, 2, 128, 40, 5e5, 1e-5, False, True, 600)
    scaled = replace(plain, rope_scaling=RopeScaling("llama3", 8.0, 1.0, 4.0, 8192))
    kept = frequencies(scaled) / frequencies(plain)
    turns = 8192 * frequencies(plain) / (2 * np.pi)
    np.testing.assert_allclose(kept[turns >= 4], 1.0)
    np.testing.assert_allclose(kept[turns <= 1], 1 / 8)
    assert ((kept >= 1 / 8) & (kept <= 1)).all()
    assert ((kept > 1 / 8) & (kept < 1)).any()


def test_identity_names_optional_fields_only_where_they_matter() -> None:
    """A profile from before a field existed names the same model as one from after."""
    plain = SHAPES["15m"]
    assert set(plain.identity()) == {field.name for field in fields(plain)} - {"qkv_bias", "rope_scaling"}
    other = replace(plain, qkv_bias=True, rope_scaling=RopeScaling("linear", 2.0))
    assert other.identity()["rope_scaling"]["factor"] == 2.0
    assert json.loads(json.dumps(other.identity())) == other.identity()


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 37])
@pytest.mark.parametrize("biased", [True, False])
def test_linear_by_either_library(onednn, rows, biased, monkeypatch) -> None:
    if not onednn:
        monkeypatch.setattr("realexec.linear.ONEDNN", False)
    x, weight = torch.randn(rows, 33), torch.randn(65, 33)
    bias = torch.randn(65) if biased else None
    expected = torch.nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    torch.testing.assert_close(linear(weight, bias)(x).double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(linear(weight, bias)(x[:0]), torch.empty(0, 65))


def test_weights_depend_on_the_seed_alone() -> None:
    first, again, other = (random_weights(tiny(), seed) for seed in (1, 1, 2))
    assert torch.equal(first.layers[1].down, again.layers[1].down)
    assert not torch.equal(first.embedding, other.embedding)
    assert first.head is first.embedding
